//! Which vectors there are to give: the map of the 240, per hypervisor.

use crate::Vector;
use crate::VectorSet;

/// A map of the vectors: what may be leased on which CPU, and which bands the hypervisor keeps.
///
/// Layouts are data. [`xen`](Self::xen) and [`linux`](Self::linux) are the two in the field; [`custom`](Self::custom)
/// takes any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorLayout {
    name: &'static str,
    boot_cpu: VectorSet,
    other_cpus: VectorSet,
    notification: VectorSet,
    system: VectorSet,
}

/// What a Xen host is built and started with, as far as it takes vectors out of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XenLayout {
    /// `CONFIG_PV`: 0x80 is the legacy system-call gate.
    pub pv: bool,
    /// `CONFIG_PV32`: 0x82 is the 32-bit hypercall gate.
    pub pv32: bool,
    /// The HPET broadcast interrupt keeps 0x30: newer versions do, from 4.21 on at the earliest, and release it when no CPU
    /// needs it. Xen 4.17 has no such vector.
    pub hpet_broadcast: bool,
}

impl Default for XenLayout {
    /// As the distributions build it.
    fn default() -> Self {
        Self { pv: true, pv32: true, hpet_broadcast: true }
    }
}

/// The parts of a custom layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustomLayout {
    /// What may be leased on the boot CPU.
    pub boot_cpu: VectorSet,
    /// What may be leased on every other CPU.
    pub other_cpus: VectorSet,
    /// Vectors reserved on every CPU for notifications.
    pub notification: VectorSet,
    /// Vectors the hypervisor handles itself.
    pub system: VectorSet,
}

/// A layout contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Two bands claim the same vector.
    #[error("vector {vector} is in two bands: {first} and {second}")]
    Overlap {
        /// The lowest vector claimed twice.
        vector: Vector,
        /// One band.
        first: &'static str,
        /// The other band.
        second: &'static str,
    },
    /// Nothing may be leased.
    #[error("the layout leaves no vector to lease on {0}")]
    NothingToLease(&'static str),
}

/// Xen's notation of a band: first and last vector (`asm/irq-vectors.h`).
const fn band(first: u8, last: u8) -> (u8, u8) {
    (first, last)
}

const XEN_DYNAMIC: (u8, u8) = band(0x20, 0xef);
const XEN_LEGACY: (u8, u8) = band(0x20, 0x2f);
const XEN_RESERVED: [u8; 3] = [0x20, 0x21, 0x22];
const XEN_HPET_BROADCAST: u8 = 0x30;
const XEN_SYSCALL: u8 = 0x80;
const XEN_HYPERCALL_PV32: u8 = 0x82;
const XEN_NOTIFICATION: (u8, u8) = band(0xf1, 0xf8);
const XEN_IRQ0: u8 = 0xf0;
const XEN_SYSTEM: (u8, u8) = band(0xf9, 0xff);
const LINUX_EXTERNAL: (u8, u8) = band(0x20, 0xeb);
const LINUX_SYSCALL: u8 = 0x80;
const LINUX_NOTIFICATION: (u8, u8) = band(0xf0, 0xf2);

fn set((first, last): (u8, u8)) -> VectorSet {
    match (Vector::new(first), Vector::new(last)) {
        (Ok(first), Ok(last)) => VectorSet::range(first, last),
        _ => VectorSet::EMPTY,
    }
}

fn one(vector: u8) -> VectorSet {
    set((vector, vector))
}

impl VectorLayout {
    /// Xen's map: 202 vectors on an application processor, 189 on the boot CPU with everything configured in
    /// (`asm/irq-vectors.h`, `init_irq_data`).
    #[must_use]
    pub fn xen(options: XenLayout) -> Self {
        let mut taken: VectorSet = XEN_RESERVED.iter().fold(VectorSet::EMPTY, |all, vector| all.union(&one(*vector)));
        for (present, vector) in [
            (options.pv, XEN_SYSCALL),
            (options.pv32, XEN_HYPERCALL_PV32),
            (options.hpet_broadcast, XEN_HPET_BROADCAST),
        ] {
            if present {
                taken = taken.union(&one(vector));
            }
        }
        let other_cpus = set(XEN_DYNAMIC).difference(&taken);
        Self {
            name: "xen",
            boot_cpu: other_cpus.difference(&set(XEN_LEGACY)),
            other_cpus,
            notification: set(XEN_NOTIFICATION),
            system: set(XEN_SYSTEM).union(&one(XEN_IRQ0)),
        }
    }

    /// Linux's map: 203 vectors on every CPU (`asm/irq_vectors.h`; [32, 236) less the system-call gate).
    #[must_use]
    pub fn linux() -> Self {
        let external = set(LINUX_EXTERNAL).difference(&one(LINUX_SYSCALL));
        let top = set((0xec, 0xff));
        Self {
            name: "linux",
            boot_cpu: external,
            other_cpus: external,
            notification: set(LINUX_NOTIFICATION),
            system: top.difference(&set(LINUX_NOTIFICATION)),
        }
    }

    /// A map of one's own, checked.
    ///
    /// # Errors
    /// [`LayoutError`] when bands overlap or nothing is left to lease.
    pub fn custom(parts: CustomLayout) -> Result<Self, LayoutError> {
        let bands = [
            ("boot-cpu", parts.boot_cpu),
            ("other-cpus", parts.other_cpus),
            ("notification", parts.notification),
            ("system", parts.system),
        ];
        for (first, second) in [(0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
            if let Some(vector) = bands[first].1.intersection(&bands[second].1).lowest() {
                return Err(LayoutError::Overlap { vector, first: bands[first].0, second: bands[second].0 });
            }
        }
        for (name, leasable) in &bands[..2] {
            if leasable.is_empty() {
                return Err(LayoutError::NothingToLease(name));
            }
        }
        Ok(Self {
            name: "custom",
            boot_cpu: parts.boot_cpu,
            other_cpus: parts.other_cpus,
            notification: parts.notification,
            system: parts.system,
        })
    }

    /// `xen`, `linux` or `custom`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What may be leased on `cpu`.
    #[must_use]
    pub const fn leasable(&self, cpu: crate::CpuId) -> &VectorSet {
        if cpu.0 == crate::CpuId::BOOT.0 { &self.boot_cpu } else { &self.other_cpus }
    }

    /// Vectors reserved on every CPU for notifications (Xen: "high-priority direct vectors").
    #[must_use]
    pub const fn notification(&self) -> &VectorSet {
        &self.notification
    }

    /// Vectors the hypervisor handles itself on every CPU.
    #[must_use]
    pub const fn system(&self) -> &VectorSet {
        &self.system
    }
}

#[cfg(test)]
mod tests {
    use super::CustomLayout;
    use super::LayoutError;
    use super::VectorLayout;
    use super::XenLayout;
    use crate::CpuId;
    use crate::Vector;
    use crate::VectorSet;

    #[test]
    fn xen_leaves_202_vectors_on_an_application_processor_and_189_on_the_boot_cpu() {
        let layout = VectorLayout::xen(XenLayout::default());
        assert_eq!(layout.leasable(CpuId(1)).len(), 202);
        assert_eq!(layout.leasable(CpuId::BOOT).len(), 189);
        assert_eq!(layout.notification().len(), 8);
    }

    #[test]
    fn a_xen_without_pv_and_hpet_broadcast_gets_those_vectors_back() {
        let layout = VectorLayout::xen(XenLayout { pv: false, pv32: false, hpet_broadcast: false });
        assert_eq!(layout.leasable(CpuId(1)).len(), 205);
        assert_eq!(layout.leasable(CpuId::BOOT).len(), 192);
    }

    #[test]
    fn linux_leaves_203_vectors_on_every_cpu() {
        let layout = VectorLayout::linux();
        assert_eq!(layout.leasable(CpuId::BOOT).len(), 203);
        assert_eq!(layout.leasable(CpuId(7)).len(), 203);
    }

    #[test]
    fn a_custom_layout_that_contradicts_itself_is_refused_by_vector_and_band() {
        let range = |first, last| VectorSet::range(Vector::new(first).unwrap(), Vector::new(last).unwrap());
        let good = CustomLayout {
            boot_cpu: range(0x30, 0xef),
            other_cpus: range(0x20, 0xef),
            notification: range(0xf0, 0xf7),
            system: range(0xf8, 0xff),
        };
        assert_eq!(VectorLayout::custom(good).unwrap().leasable(CpuId(3)).len(), 208);
        assert_eq!(
            VectorLayout::custom(CustomLayout { system: range(0xef, 0xff), notification: VectorSet::EMPTY, ..good }),
            Err(LayoutError::Overlap { vector: Vector::new(0xef).unwrap(), first: "boot-cpu", second: "system" })
        );
        assert_eq!(
            VectorLayout::custom(CustomLayout { other_cpus: VectorSet::EMPTY, ..good }),
            Err(LayoutError::NothingToLease("other-cpus"))
        );
    }
}
