//! What a processor with SVM does for a guest's local APIC under AVIC (APM vol. 2, 15.29), register by register.
//!
//! It is the hardware's half: control block, pages and tables are as software left them, sensible or not. It is no
//! hypervisor, and it knows no time. What the hypervisor does with the exits is `hypervisor_lib::delivery::avic`'s.
//!
//! ```text
//!  VMRUN ──► checks ──► look at IRR ──► recognised? ──► boundary: physical interrupt first; IF = 1 ──► IRR to ISR
//!                          ▲
//!  doorbell, TPR, CR8, EOI ┤
//!  page, MSR ──► memory │ trap: written, then 402 │ fault: 402 │ level EOI: 402
//!      └► ICR ──► tables ──► another's IRR, doorbell, or 401
//! ```
//!
//! Not modelled: NMIs and their virtualization, event injection, accesses that are not of 32 aligned bits, intercepts of CR8,
//! Secure AVIC, the cached translation of the APIC's page.
//!
//! ```
//! use carillon_machine::InterruptFlag;
//! use carillon_machine::Lapic;
//! use carillon_machine::svm::*;
//! use hypervisor_abi::avic::BackingPage;
//! use hypervisor_abi::avic::InterruptControl;
//! use hypervisor_abi::avic::VectorBits;
//!
//! let control = InterruptControl::new().with_avic(true).with_x2avic(true).with_masks_virtual_interrupts(true);
//! let (nested_paging, interrupt_flag) = (NestedPaging::On, InterruptFlag::Set);
//! let vmcb = Vmcb { control, nested_paging, interrupt_flag, ..Vmcb::default() };
//! let (page, mut lapic) = (BackingPage::default(), Lapic::new(0));
//! let mut guest = Guest::new(vmcb, Processor::default());
//! guest.enter(&page)?;
//! // Somebody sets a bit: nothing happens until the doorbell rings.
//! page.set(VectorBits::InterruptRequest, 0x61);
//! assert_eq!(guest.boundary(&page, &mut lapic), Event::Nothing);
//! guest.hear_doorbell(&page);
//! assert_eq!(guest.boundary(&page, &mut lapic), Event::Delivered(0x61));
//! assert_eq!(guest.wrmsr(&page, 0x80b, 0), Access::Virtual(None));
//! # Ok::<(), EntryFault>(())
//! ```

mod access;
mod entry;
mod exit;
mod interrupt;
mod ipi;
mod register;
mod vmcb;

pub use access::MsrPermissions;
pub use entry::EntryFault;
pub use exit::Direction;
pub use exit::Exit;
pub use exit::Failure;
pub use interrupt::Event;
pub use ipi::AvicMemory;
pub use ipi::BackingPages;
pub use ipi::Erratum1235;
pub use ipi::Ipi;
pub use register::RegisterOffset;
pub use vmcb::Access;
pub use vmcb::ExtendedLvt;
pub use vmcb::Guest;
pub use vmcb::HltIntercept;
pub use vmcb::InterruptIntercept;
pub use vmcb::LevelEnd;
pub use vmcb::NestedPaging;
pub use vmcb::Processor;
pub use vmcb::Vmcb;
