//! The error status register: what was noticed, and what software has been shown (SDM vol. 3A, 11.5.3).

use hypervisor_abi::apic::ErrorStatus;
use hypervisor_abi::apic::LvtEntry;

use super::local_apic::LocalApic;

/// Errors noticed since software last wrote the register, and the register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Errors {
    pub(super) noticed: u32,
    pub(super) shown: u32,
    /// The error interrupt has been raised since the last write, which alone lets it be raised again.
    pub(super) is_raised: bool,
}

/// A command had an illegal vector.
pub(super) const SEND_ILLEGAL_VECTOR: ErrorStatus = ErrorStatus::new().with_send_illegal_vector(true);
/// A message had an illegal vector.
pub(super) const RECEIVE_ILLEGAL_VECTOR: ErrorStatus = ErrorStatus::new().with_receive_illegal_vector(true);
/// There is no such register.
pub(super) const ILLEGAL_REGISTER: ErrorStatus = ErrorStatus::new().with_illegal_register(true);

/// Every bit there is.
const DEFINED: u32 = ErrorStatus::new()
    .with_redirectable_ipi(true)
    .with_send_illegal_vector(true)
    .with_receive_illegal_vector(true)
    .with_illegal_register(true)
    .into_bits();

impl Errors {
    /// The errors as they were saved.
    pub(super) fn restored(noticed: u32, shown: u32) -> Self {
        let noticed = noticed & DEFINED;
        Self { noticed, shown: shown & DEFINED, is_raised: noticed != 0 }
    }

    /// A write of the register, whatever the value: shows what was noticed, and starts afresh.
    pub(super) fn show(&mut self) {
        *self = Self { shown: self.noticed, ..Self::default() };
    }
}

impl LocalApic {
    /// Notes an error and raises the error interrupt, once between two writes of the register. An error interrupt that
    /// itself has an illegal vector is one more error and no interrupt.
    pub(super) fn note_error(&mut self, error: ErrorStatus) {
        self.errors.noticed |= error.into_bits();
        if core::mem::replace(&mut self.errors.is_raised, true) {
            return;
        }
        let entry = self.lvt(LvtEntry::Error);
        if !entry.masked() && !self.accept_edge(entry.vector()) {
            self.errors.noticed |= RECEIVE_ILLEGAL_VECTOR.into_bits();
        }
    }
}
