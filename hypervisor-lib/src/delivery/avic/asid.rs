//! When translations of a VM have to go because another of its vCPUs ran on the core (APM vol. 2, 15.29.4.3).
//!
//! In xAVIC mode the guest's address of its local APIC translates to a backing page of its own for every vCPU. vCPUs that share
//! an address space, under one ASID, would reach each other's.

use alloc::boxed::Box;
use alloc::vec;

use hypervisor_abi::apic::ApicId;
use hypervisor_abi::avic::TlbControl;

use super::acceleration::Mode;

/// Which vCPU of a VM that uses one ASID ran last on each core.
#[derive(Debug)]
pub struct SharedAsid {
    last: Box<[Option<ApicId>]>,
}

/// A core beyond those a VM was prepared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("core {core} of {cores}")]
pub struct NoCore {
    /// The core.
    pub core: usize,
    /// How many there are.
    pub cores: usize,
}

impl SharedAsid {
    /// A VM that has run on none of so many cores.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        Self { last: vec![None; cores].into_boxed_slice() }
    }

    /// What is to be flushed when a vCPU is entered on a core. Other VMs that ran there meanwhile change nothing: their
    /// translations are under other ASIDs, and ours stay.
    ///
    /// # Errors
    /// There is no such core.
    pub fn enter(&mut self, core: usize, vcpu: ApicId, mode: Mode) -> Result<TlbControl, NoCore> {
        let cores = self.last.len();
        let last = self.last.get_mut(core).ok_or(NoCore { core, cores })?.replace(vcpu);
        Ok(match (mode, last) {
            (Mode::XAvic, Some(other)) if other != vcpu => TlbControl::FlushGuest,
            _ => TlbControl::Keep,
        })
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::apic::ApicId;
    use hypervisor_abi::avic::TlbControl;

    use super::NoCore;
    use super::SharedAsid;
    use crate::delivery::avic::Mode;

    /// without a flush a vCPU reads the backing page of the one that ran before it.
    #[test]
    fn r78_another_vcpu_of_the_vm_on_the_same_core_is_entered_with_a_flush() {
        let mut asid = SharedAsid::new(2);
        let mut enter = |core, vcpu| asid.enter(core, ApicId(vcpu), Mode::XAvic);
        assert_eq!(enter(0, 0), Ok(TlbControl::Keep), "nobody ran before");
        assert_eq!(enter(0, 0), Ok(TlbControl::Keep));
        assert_eq!(enter(0, 1), Ok(TlbControl::FlushGuest));
        assert_eq!(enter(1, 1), Ok(TlbControl::Keep), "another core");
        assert_eq!(enter(0, 1), Ok(TlbControl::Keep));
        assert_eq!(enter(0, 0), Ok(TlbControl::FlushGuest));
        assert_eq!(enter(2, 0), Err(NoCore { core: 2, cores: 2 }));
    }

    #[test]
    fn r78_in_x2avic_mode_no_page_is_mapped_but_who_ran_is_remembered() {
        let mut asid = SharedAsid::new(1);
        assert_eq!(asid.enter(0, ApicId(0), Mode::X2Avic), Ok(TlbControl::Keep));
        assert_eq!(asid.enter(0, ApicId(1), Mode::X2Avic), Ok(TlbControl::Keep));
        assert_eq!(asid.enter(0, ApicId(0), Mode::XAvic), Ok(TlbControl::FlushGuest));
    }
}
