//! What an HVM guest sets about its upcalls (`public/hvm/params.h`, `public/hvm/hvm_op.h`).

/// Sets a parameter (`HVMOP_set_param`).
pub const HVMOP_SET_PARAM: u32 = 0;
/// Reads a parameter (`HVMOP_get_param`).
pub const HVMOP_GET_PARAM: u32 = 1;
/// Gives a vCPU its own upcall vector (`HVMOP_set_evtchn_upcall_vector`).
pub const HVMOP_SET_EVTCHN_UPCALL_VECTOR: u32 = 23;

/// How events call the guest; the value is a [`CallbackVia`].
pub const HVM_PARAM_CALLBACK_IRQ: u32 = 0;
/// The frame of the ring to xenstore.
pub const HVM_PARAM_STORE_PFN: u32 = 1;
/// The port to xenstore.
pub const HVM_PARAM_STORE_EVTCHN: u32 = 2;
/// The frame of the console's ring.
pub const HVM_PARAM_CONSOLE_PFN: u32 = 17;
/// The port of the console.
pub const HVM_PARAM_CONSOLE_EVTCHN: u32 = 18;

/// The argument of [`HVMOP_SET_PARAM`] and [`HVMOP_GET_PARAM`] (`struct xen_hvm_param`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct HvmParam {
    /// In: whose parameter.
    pub domid: u16,
    /// Padding.
    pub pad: u16,
    /// In: which (`HVM_PARAM_*`).
    pub index: u32,
    /// In or out: its value.
    pub value: u64,
}

/// The argument of [`HVMOP_SET_EVTCHN_UPCALL_VECTOR`] (`struct xen_hvm_evtchn_upcall_vector`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct EvtchnUpcallVector {
    /// In: the vCPU.
    pub vcpu: u32,
    /// In: the vector of its local APIC.
    pub vector: u8,
    /// Padding.
    pub pad: [u8; 3],
}

/// How events call an HVM guest that has given no vector of its own to a vCPU ([`HVM_PARAM_CALLBACK_IRQ`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CallbackVia {
    /// Not at all.
    #[default]
    None,
    /// By a line of the platform's interrupt controllers (type 0; GSI 0 stands for none).
    Gsi(u8),
    /// By a PCI function's interrupt pin (type 1).
    PciIntx {
        /// The slot (device number), 0–31.
        device: u8,
        /// The pin: 0 is INTA.
        pin: u8,
    },
    /// By a vector that is injected whatever the local APIC holds, and needs no EOI (type 2).
    Vector(u8),
}

/// The callback's type is none that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("callback type {0} does not exist: 0 (GSI), 1 (PCI INTx) or 2 (vector)")]
pub struct UnknownCallbackType(pub u8);

impl CallbackVia {
    /// The value as the parameter carries it: the type in bits 63:56, the rest by type.
    #[must_use]
    pub const fn to_param(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Gsi(gsi) => gsi as u64,
            Self::PciIntx { device, pin } => 1 << 56 | ((device & 31) as u64) << 11 | (pin & 3) as u64,
            Self::Vector(vector) => 2 << 56 | vector as u64,
        }
    }

    /// What a parameter's value means. PCI domain, bus and function are left out: the pin's route depends on the slot
    /// alone.
    ///
    /// # Errors
    /// [`UnknownCallbackType`].
    pub const fn from_param(value: u64) -> Result<Self, UnknownCallbackType> {
        let [low, devfn, .., kind] = value.to_le_bytes();
        match kind {
            0 if low == 0 => Ok(Self::None),
            0 => Ok(Self::Gsi(low)),
            1 => Ok(Self::PciIntx { device: devfn >> 3, pin: low & 3 }),
            2 => Ok(Self::Vector(low)),
            unknown => Err(UnknownCallbackType(unknown)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CallbackVia;

    #[test]
    fn a_callback_survives_its_encoding() {
        let vias = [
            CallbackVia::None,
            CallbackVia::Gsi(28),
            CallbackVia::PciIntx { device: 3, pin: 0 },
            CallbackVia::PciIntx { device: 31, pin: 3 },
            CallbackVia::Vector(0xf3),
        ];
        for via in vias {
            assert_eq!(CallbackVia::from_param(via.to_param()), Ok(via));
        }
    }

    #[test]
    fn the_type_is_the_top_byte_and_the_function_is_left_out() {
        assert_eq!(CallbackVia::from_param(2 << 56 | 0xf3), Ok(CallbackVia::Vector(0xf3)));
        let function_5 = 1 << 56 | (3 << 3 | 5) << 8 | 1;
        assert_eq!(CallbackVia::from_param(function_5), Ok(CallbackVia::PciIntx { device: 3, pin: 1 }));
        assert!(CallbackVia::from_param(3 << 56).is_err());
        assert!(CallbackVia::from_param(u64::MAX).is_err());
    }
}
