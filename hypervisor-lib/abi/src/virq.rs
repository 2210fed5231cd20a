//! Virtual IRQs: events of the hypervisor itself (`public/xen.h`).

use core::fmt;

/// How many virtual IRQs there can be (`NR_VIRQS`).
pub const NR_VIRQS: usize = 24;

/// A virtual IRQ's number, below [`NR_VIRQS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Virq(u8);

/// The number is no virtual IRQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("virtual IRQ {0} is out of range: 0 to 23")]
pub struct IllegalVirq(pub u32);

/// Who gets a virtual IRQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VirqClass {
    /// Each vCPU of each domain its own.
    PerVcpu,
    /// Each domain its own.
    PerDomain,
    /// One domain for the whole host: dom0, or the handler chosen with `XEN_DOMCTL_set_virq_handler`.
    Global,
}

impl Virq {
    /// A vCPU's timer.
    pub const TIMER: Self = Self(0);
    /// Asks a guest to tell its state.
    pub const DEBUG: Self = Self(1);
    /// Input on the emergency console.
    pub const CONSOLE: Self = Self(2);
    /// Something happened to a domain.
    pub const DOM_EXC: Self = Self(3);
    /// The trace buffer has records.
    pub const TBUF: Self = Self(4);
    /// A domain has paused for its debugger.
    pub const DEBUGGER: Self = Self(6);
    /// A profile sample.
    pub const XENOPROF: Self = Self(7);
    /// The console ring has got text.
    pub const CON_RING: Self = Self(8);
    /// A CPU went online or offline.
    pub const PCPU_STATE: Self = Self(9);
    /// A memory event.
    pub const MEM_EVENT: Self = Self(10);
    /// An Argo message.
    pub const ARGO: Self = Self(11);
    /// The hypervisor is short of memory.
    pub const ENOMEM: Self = Self(12);
    /// A performance-counter interrupt.
    pub const XENPMU: Self = Self(13);
    /// A machine check, the first of the architecture's eight (`VIRQ_ARCH_0`, `VIRQ_MCA`).
    pub const MCA: Self = Self(16);

    /// Checks a number once.
    ///
    /// # Errors
    /// [`IllegalVirq`] from 24 on.
    pub fn new(number: u32) -> Result<Self, IllegalVirq> {
        match u8::try_from(number) {
            Ok(small) if usize::from(small) < NR_VIRQS => Ok(Self(small)),
            _ => Err(IllegalVirq(number)),
        }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// As an index into a table of virtual IRQs.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Who gets it (x86: all of the architecture's own are global).
    #[must_use]
    pub const fn class(self) -> VirqClass {
        match self {
            Self::TIMER | Self::DEBUG | Self::XENOPROF | Self::XENPMU => VirqClass::PerVcpu,
            Self::ARGO => VirqClass::PerDomain,
            _ => VirqClass::Global,
        }
    }
}

impl fmt::Display for Virq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VIRQ {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Virq;
    use super::VirqClass;

    #[test]
    fn only_24_virqs_exist() {
        assert_eq!(Virq::new(23).map(Virq::number), Ok(23));
        assert!(Virq::new(24).is_err());
        assert!(Virq::new(256).is_err());
        assert!(Virq::new(u32::MAX).is_err());
    }

    #[test]
    fn timer_debug_profiler_and_counters_belong_to_vcpus_and_argo_to_domains() {
        let of = |class| (0..24).filter(move |number| Virq::new(*number).is_ok_and(|virq| virq.class() == class));
        assert!(of(VirqClass::PerVcpu).eq([0, 1, 7, 13]));
        assert!(of(VirqClass::PerDomain).eq([11]));
        assert_eq!(of(VirqClass::Global).count(), 19);
    }
}
