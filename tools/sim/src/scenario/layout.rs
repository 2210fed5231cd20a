//! Which vectors there are, as a person writes it.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;
use vector_allocator::CpuId;
use vector_allocator::CustomLayout;
use vector_allocator::LayoutError;
use vector_allocator::Vector;
use vector_allocator::VectorLayout;
use vector_allocator::VectorSet;
use vector_allocator::XenLayout;

/// Which vectors there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Layout {
    /// Xen's, as the distributions build it.
    #[default]
    Xen,
    /// Linux's.
    Linux,
    /// One's own.
    Custom {
        /// What may be leased on the boot CPU.
        boot_cpu: VectorRanges,
        /// What may be leased on every other CPU.
        other_cpus: VectorRanges,
        /// Vectors reserved on every CPU for notifications.
        notification: VectorRanges,
        /// Vectors the hypervisor handles itself.
        system: VectorRanges,
    },
}

/// A set of vectors as a person writes it: two-digit hexadecimal numbers and ranges, such as `30-7f,81`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VectorRanges(pub VectorSet);

/// A text is no set of vectors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no set of vectors: expected hexadecimal numbers from 10 to ff and ranges such as `30-7f,81`")]
pub struct IllegalRanges(String);

impl Layout {
    /// The layout meant.
    ///
    /// # Errors
    /// [`LayoutError`] when a custom one contradicts itself.
    pub fn build(&self) -> Result<VectorLayout, LayoutError> {
        match self {
            Self::Xen => Ok(VectorLayout::xen(XenLayout::default())),
            Self::Linux => Ok(VectorLayout::linux()),
            Self::Custom { boot_cpu, other_cpus, notification, system } => VectorLayout::custom(CustomLayout {
                boot_cpu: boot_cpu.0,
                other_cpus: other_cpus.0,
                notification: notification.0,
                system: system.0,
            }),
        }
    }
}

impl From<&VectorLayout> for Layout {
    /// A layout as a scenario says it: by name where it has one.
    fn from(layout: &VectorLayout) -> Self {
        let named = [Self::Xen, Self::Linux].into_iter().find(|named| named.build().as_ref() == Ok(layout));
        named.unwrap_or_else(|| Self::Custom {
            boot_cpu: VectorRanges(*layout.leasable(CpuId::BOOT)),
            other_cpus: VectorRanges(*layout.leasable(CpuId(1))),
            notification: VectorRanges(*layout.notification()),
            system: VectorRanges(*layout.system()),
        })
    }
}

impl TryFrom<String> for VectorRanges {
    type Error = IllegalRanges;

    fn try_from(text: String) -> Result<Self, IllegalRanges> {
        let vector = |number: &str| Vector::new(u8::from_str_radix(number.trim(), 16).ok()?).ok();
        let parts = text.split(',').filter(|part| !part.trim().is_empty());
        let set = parts.map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (vector(first)?, vector(last)?);
            (!first.outranks(last)).then(|| VectorSet::range(first, last))
        });
        let union = |all: VectorSet, part: Option<VectorSet>| part.map(|part| all.union(&part));
        set.into_iter().try_fold(VectorSet::EMPTY, union).map(Self).ok_or(IllegalRanges(text))
    }
}

impl From<VectorRanges> for String {
    fn from(ranges: VectorRanges) -> Self {
        ranges.to_string()
    }
}

impl fmt::Display for VectorRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().peekable();
        let mut separator = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if(|next| next.index() == last.index() + 1) {
                last = next;
            }
            write!(f, "{separator}{:02x}", first.number())?;
            if last != first {
                write!(f, "-{:02x}", last.number())?;
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::VectorRanges;

    #[test]
    fn ranges_are_read_as_they_are_written() {
        for text in ["", "30", "30-7f,81", "10-ff", "20-22,30,80,82"] {
            assert_eq!(VectorRanges::try_from(text.to_owned()).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_range_of_vectors_is_refused() {
        for text in ["0f", "100", "7f-30", "x", "30-", "0x30"] {
            assert!(VectorRanges::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }
}
