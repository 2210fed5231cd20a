//! Registers on loan: what a processor works on by itself stands in a page meanwhile, and comes back when it is needed here.
//!
//! While the vectors are on loan, this IRR holds only what has been accepted since, and TMR is right for those; everything
//! else that accepts vectors, sends or keeps time goes on as always.

use hypervisor_abi::apic::ApicAccess;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::LvtEntry;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::apic::VectorBank;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::VectorBits;
use hypervisor_abi::sync::AtomicU32;
use hypervisor_abi::sync::Ordering;
use vector_allocator::Vector;

use super::local_apic::LocalApic;
use super::priority::Priority;
use crate::delivery::host::Host;
use crate::delivery::port::Port;
use crate::delivery::time::Moment;
use crate::delivery::vector_register::VectorRegister;

/// Where ICR's upper half stands in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcrLayout {
    /// In a slot of its own: in xAPIC mode, and AMD's in either.
    Split,
    /// Behind the lower half: Intel's in x2APIC mode.
    Whole,
}

impl LocalApic {
    /// Puts IRR, ISR, TMR and the priorities into the page. `shown` is the TMR that the page had when the vectors came back
    /// last: bits that others have changed since are theirs.
    pub(in crate::delivery) fn lend_vectors(&mut self, page: &BackingPage, shown: &VectorRegister) {
        for bank in VectorBank::ALL {
            let (now, before) = (self.priority.tmr.bank(bank), shown.bank(bank));
            change(page.register(ApicRegister::TriggerMode(bank)), now & !before, before & !now);
            store(page, ApicRegister::InService(bank), self.priority.isr.bank(bank));
        }
        self.lend_task_priority(page);
        store(page, ApicRegister::ProcessorPriority, self.priority.ppr().into());
        self.lend_accepted(page);
    }

    /// Adds what has been accepted here to the page's IRR, each vector's trigger mode before it; whether there was anything.
    pub(in crate::delivery) fn lend_accepted(&mut self, page: &BackingPage) -> bool {
        if self.priority.irr.is_empty() {
            return false;
        }
        for bank in VectorBank::ALL {
            let accepted = self.priority.irr.bank(bank);
            if accepted != 0 {
                let level = self.priority.tmr.bank(bank) & accepted;
                change(page.register(ApicRegister::TriggerMode(bank)), level, accepted & !level);
                page.register(ApicRegister::InterruptRequest(bank)).fetch_or(accepted, Ordering::SeqCst);
            }
        }
        self.priority.irr = VectorRegister::default();
        true
    }

    /// Shows the vectors in the page, for reading alone.
    pub(in crate::delivery) fn show_vectors(&self, page: &BackingPage) {
        for bank in VectorBank::ALL {
            store(page, ApicRegister::InService(bank), self.priority.isr.bank(bank));
            store(page, ApicRegister::TriggerMode(bank), self.priority.tmr.bank(bank));
            store(page, ApicRegister::InterruptRequest(bank), self.priority.irr.bank(bank));
        }
        self.lend_task_priority(page);
        store(page, ApicRegister::ProcessorPriority, self.priority.ppr().into());
    }

    /// The TMR of a page, whoever has written it.
    pub(in crate::delivery) fn shown_tmr(page: &BackingPage) -> VectorRegister {
        VectorRegister::from_words(read(page, VectorBits::TriggerMode))
    }

    /// What was shown is no longer: nothing waits in the page. Returns its TMR.
    pub(in crate::delivery) fn hide_vectors(page: &BackingPage) -> VectorRegister {
        for bank in VectorBank::ALL {
            store(page, ApicRegister::InterruptRequest(bank), 0);
        }
        Self::shown_tmr(page)
    }

    /// Puts TPR into the page.
    pub(in crate::delivery) fn lend_task_priority(&self, page: &BackingPage) {
        store(page, ApicRegister::TaskPriority, self.priority.tpr().into());
    }

    /// Shows the registers that change by writes alone in the page.
    pub(in crate::delivery) fn show_others(&self, page: &BackingPage, now: Moment, layout: IcrLayout) {
        use ApicRegister::DestinationFormat;
        use ApicRegister::ErrorStatus;
        use ApicRegister::Id;
        use ApicRegister::LogicalDestination;
        use ApicRegister::SpuriousVector;
        use ApicRegister::TimerDivide;
        use ApicRegister::TimerInitialCount;
        use ApicRegister::Version;
        let registers = [
            Id,
            Version,
            LogicalDestination,
            DestinationFormat,
            SpuriousVector,
            ErrorStatus,
            TimerInitialCount,
            TimerDivide,
        ];
        let x2apic = self.mode() == ApicMode::X2Apic;
        for register in registers.into_iter().chain(LvtEntry::ALL.map(LvtEntry::register)) {
            let is_there = !x2apic || register.x2apic_access() != ApicAccess::Reserved;
            store(page, register, if is_there { self.read_register(register, now) } else { 0 });
        }
        self.show_icr(page, layout);
    }

    /// Shows ICR in the page.
    pub(in crate::delivery) fn show_icr(&self, page: &BackingPage, layout: IcrLayout) {
        let (low, high) = (self.icr.low(), self.icr.destination());
        let slot = page.register_slot(ApicRegister::IcrLow);
        slot.value.store(low, Ordering::Relaxed);
        slot.upper.store(if layout == IcrLayout::Whole { high } else { 0 }, Ordering::Relaxed);
        store(page, ApicRegister::IcrHigh, if layout == IcrLayout::Split { high } else { 0 });
    }

    /// ICR as the page has it: the guest writes some of it without an exit.
    pub(in crate::delivery) fn take_back_icr(&mut self, page: &BackingPage, layout: IcrLayout) {
        let slot = page.register_slot(ApicRegister::IcrLow);
        let high = match layout {
            IcrLayout::Whole => slot.upper.load(Ordering::Relaxed),
            IcrLayout::Split => load(page, ApicRegister::IcrHigh),
        };
        let low = slot.value.load(Ordering::Relaxed) & Icr::WRITABLE_LOW;
        self.icr = Icr::new().with_low(low).with_destination(high);
    }

    /// A write of ICR that the page holds: `written` is as the page has it, in xAPIC mode with the destination in its highest
    /// byte.
    pub(in crate::delivery) fn send_written<H: Host>(&mut self, written: Icr, now: Moment, host: &H) {
        if self.mode() == ApicMode::X2Apic {
            self.icr.set_destination(written.destination());
        } else {
            self.write_register(ApicRegister::IcrHigh, written.destination(), now, host);
        }
        self.write_register(ApicRegister::IcrLow, written.low(), now, host);
    }

    /// A write of SELF IPI that no page holds: ICR stays as it is.
    pub(in crate::delivery) fn send_self_ipi<H: Host>(&mut self, vector: u8, now: Moment, host: &H) {
        self.write_register(ApicRegister::SelfIpi, vector.into(), now, host);
    }

    /// A write of another register that the page holds.
    pub(in crate::delivery) fn write_from_page<H: Host>(
        &mut self,
        page: &BackingPage,
        register: ApicRegister,
        now: Moment,
        host: &H,
    ) {
        self.write_register(register, load(page, register), now, host);
    }

    /// TPR as the page has it.
    pub(in crate::delivery) fn take_back_task_priority(&mut self, page: &BackingPage) {
        self.priority.set_tpr(load(page, ApicRegister::TaskPriority).to_le_bytes()[0]);
    }

    /// IRR, ISR, TMR and the priorities as the page has them, and what has been accepted here meanwhile. The page's IRR is
    /// empty afterwards, but for what others add. Returns the page's TMR.
    pub(in crate::delivery) fn take_back_vectors(&mut self, page: &BackingPage) -> VectorRegister {
        let accepted = self.priority.irr;
        let requested = take_requests(page);
        // Whoever adds a vector sets its trigger mode first, so this is right for all that have been taken.
        let shown = VectorRegister::from_words(read(page, VectorBits::TriggerMode));
        let (mut irr, mut tmr) = (accepted, shown);
        for (word, requested) in requested.into_iter().enumerate() {
            irr.merge(word, requested);
            let (here, level) = (accepted.words()[word], self.priority.tmr.words()[word]);
            tmr.clear(word, here & !level);
            tmr.merge(word, here & level);
        }
        let isr = VectorRegister::from_words(read(page, VectorBits::InService));
        let tpr = load(page, ApicRegister::TaskPriority).to_le_bytes()[0];
        self.priority = Priority::new(irr, isr, tmr, tpr);
        shown
    }

    /// What others have added to the page's IRR while the vectors are here.
    pub(in crate::delivery) fn accept_from_page(&mut self, page: &BackingPage) {
        let requested = take_requests(page);
        if requested == [0; 4] {
            return;
        }
        let level = read(page, VectorBits::TriggerMode);
        for (word, (requested, level)) in requested.into_iter().zip(level).enumerate() {
            self.priority.accept_word(TriggerMode::Edge, word, requested & !level);
            self.priority.accept_word(TriggerMode::Level, word, requested & level);
        }
    }

    /// Makes the posted vectors of a word wait: they are edge-triggered.
    pub(in crate::delivery) fn accept_posted(&mut self, word: usize, bits: u64) {
        self.priority.accept_word(TriggerMode::Edge, word, bits);
    }

    /// Whether an external interrupt waits.
    pub(in crate::delivery) fn has_external_interrupt(&self) -> bool {
        self.vectors.ext_int()
    }

    /// The highest vector that waits, and the highest in service.
    pub(in crate::delivery) fn highest(&self) -> (Option<Vector>, Option<Vector>) {
        (self.priority.irr.highest(), self.priority.isr.highest())
    }

    /// Whether a vector was accepted level-triggered.
    pub(in crate::delivery) fn is_level(&self, vector: Vector) -> bool {
        self.priority.tmr.contains(vector)
    }

    /// The vectors that were accepted level-triggered.
    pub(in crate::delivery) fn level_triggered(&self) -> &VectorRegister {
        &self.priority.tmr
    }

    /// Says where vectors are to be left from now on.
    pub(in crate::delivery) fn set_port<H: Host>(&mut self, port: Port, host: &H) {
        if core::mem::replace(&mut self.port, port) != port {
            self.publish(host);
        }
    }
}

/// A 256-bit register of the page, as four words.
pub(in crate::delivery) fn read(page: &BackingPage, bits: VectorBits) -> [u64; 4] {
    core::array::from_fn(|word| {
        let half = |half: usize| {
            let vector = u8::try_from(word * 64 + half * 32).unwrap_or(0);
            u64::from(page.register(bits.register(vector)).load(Ordering::SeqCst))
        };
        half(0) | half(1) << 32
    })
}

/// Takes everything out of the page's IRR.
fn take_requests(page: &BackingPage) -> [u64; 4] {
    let mut words = [0; 4];
    for bank in VectorBank::ALL {
        let cell = page.register(ApicRegister::InterruptRequest(bank));
        if cell.load(Ordering::SeqCst) != 0 {
            words[bank.index() / 2] |= u64::from(cell.swap(0, Ordering::SeqCst)) << (32 * (bank.index() % 2));
        }
    }
    words
}

/// Sets and clears bits, without touching the others.
fn change(cell: &AtomicU32, set: u32, clear: u32) {
    if set != 0 {
        cell.fetch_or(set, Ordering::SeqCst);
    }
    if clear != 0 && cell.load(Ordering::SeqCst) & clear != 0 {
        cell.fetch_and(!clear, Ordering::SeqCst);
    }
}

/// A register that nobody else changes now.
fn load(page: &BackingPage, register: ApicRegister) -> u32 {
    page.register(register).load(Ordering::Relaxed)
}

fn store(page: &BackingPage, register: ApicRegister, value: u32) {
    let slot = page.register_slot(register);
    slot.value.store(value, Ordering::Relaxed);
    slot.upper.store(0, Ordering::Relaxed);
}
