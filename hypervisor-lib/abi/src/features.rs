//! What a hypervisor offers its guests (`public/features.h`): the bits `XENVER_get_features` returns in submap 0.

/// Declares the bits of submap 0, in the order of the header.
macro_rules! features {
    ($($(#[$doc:meta])* $name:ident = $bit:literal,)*) => {
        /// A feature (`XENFEAT_*`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Feature {
            $($(#[$doc])* $name = $bit,)*
        }
    };
}

features! {
    /// The guest may write its page tables directly.
    WritablePageTables = 0,
    /// The guest may write its descriptor tables directly.
    WritableDescriptorTables = 1,
    /// The hypervisor translates guest frames: every HVM and PVH guest.
    AutoTranslatedPhysmap = 2,
    /// The guest may ask for a vector as its event callback.
    HvmCallbackVector = 8,
    /// The paravirtual clock is safe to use in an HVM guest.
    HvmSafePvclock = 9,
    /// The guest may map physical IRQs to events.
    HvmPirqs = 10,
    /// This is the domain that drives the hardware.
    Dom0 = 11,
    /// Guest frames are not host frames.
    NotDirectMapped = 16,
    /// Guest frames are host frames.
    DirectMapped = 17,
    /// A vCPU's run state may be registered by its guest-physical address.
    RunstatePhysArea = 18,
    /// A vCPU's time may be registered by its guest-physical address.
    VcpuTimePhysArea = 19,
    /// A device model sees every write to an MSI-X table.
    DmMsixAllWrites = 20,
}

/// Asks for a set of features (`XENVER_get_features`, `public/version.h`).
pub const XENVER_GET_FEATURES: u32 = 6;

/// The argument of [`XENVER_GET_FEATURES`] (`struct xen_feature_info`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct FeatureInfo {
    /// In: which 32 features; 0 for those of this module.
    pub submap_idx: u32,
    /// Out: the features, a bit each.
    pub submap: u32,
}

/// A set of features: submap 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features(pub u32);

impl Features {
    /// This set and one feature more.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Self(self.0 | 1 << feature as u32)
    }

    /// Whether the set has a feature.
    #[must_use]
    pub const fn has(self, feature: Feature) -> bool {
        self.0 >> feature as u32 & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::Feature;
    use super::Features;

    #[test]
    fn a_set_has_the_features_it_was_given_and_no_other() {
        let features = Features::default().with(Feature::HvmCallbackVector).with(Feature::HvmPirqs);
        assert_eq!(features.0, 0x500);
        assert!(features.has(Feature::HvmPirqs));
        assert!(!features.has(Feature::HvmSafePvclock));
    }
}
