//! What a processor with VMX does for a guest's APIC and interrupts (SDM vol. 3C, chapter 30), register by register.
//!
//! It is the hardware's half: the VMCS and the virtual-APIC page are as software left them, sensible or not, and every step
//! is the manual's. It is no hypervisor, and it knows no time. The comparison with a processor is in `tests/bochs`.
//!
//! ```text
//!  VM entry ──► checks ──► PPR virtualization ──► evaluation ──► recognised? ──► boundary: IF = 1 ──► delivery
//!                                                  ▲                               │
//!  CR8, APIC-access page, MSR ─► TPR, EOI, ────────┤                               └► interrupt window, external interrupt:
//!      └► exit, or native        self-IPI          │                                  VM exit
//!      └► IPI ─► PID-pointer table ─► another's PIR, notification
//!  notification vector ─► PIR into VIRR, RVI ──────┘
//! ```
//!
//! Not modelled: NMIs, event injection, the checks of host and guest state, guest-physical accesses to
//! the APIC-access page, exits by CR8-load and CR8-store exiting.
//!
//! ```
//! use carillon_machine::vmx::*;
//!
//! // A guest whose EOI of vector 0x61 the hypervisor wants to hear of.
//! let mut vmcs = Vmcs { eoi_exit: EoiExitBitmap([0, 1 << (0x61 - 64), 0, 0]), ..Vmcs::default() };
//! vmcs.controls.pin.set_external_interrupt_exiting(true);
//! vmcs.controls.primary = Primary::new().with_use_tpr_shadow(true).with_activate_secondary(true);
//! vmcs.controls.secondary = Secondary::new().with_virtualize_apic_accesses(true).with_virtual_interrupt_delivery(true);
//! vmcs.interrupt_flag = carillon_machine::InterruptFlag::Set;
//! // It has one waiting; software keeps RVI and VIRR together.
//! let vector = VirtualVector(0x61);
//! vmcs.status.set_rvi(vector);
//! let mut page = VirtualApicPage::new();
//! page.insert(VectorRegister::Request, vector);
//!
//! let mut guest = Guest::new(vmcs, page);
//! let mut lapic = carillon_machine::Lapic::new(0);
//! assert_eq!(guest.enter(PhysicalWidth(46))?, None);
//! assert_eq!(guest.boundary(&mut lapic, &mut Descriptor::default()), Event::Delivered(vector));
//! let ended = guest.write_page(PageOffset::VEOI, Width::Doubleword, 0);
//! assert_eq!(ended, Access::Exit(Exit::VirtualizedEoi(vector)));
//! # Ok::<(), EntryFault>(())
//! ```

mod boundary;
mod controls;
mod entry;
mod exit;
mod guest;
mod ipi;
mod msr;
mod page;
mod page_access;
mod posted;
mod status;
mod virtualize;

pub use boundary::Event;
pub use controls::Controls;
pub use controls::ExitControls;
pub use controls::PinBased;
pub use controls::Primary;
pub use controls::Secondary;
pub use controls::Tertiary;
pub use entry::EntryFault;
pub use entry::PhysicalWidth;
pub use exit::Exit;
pub use exit::ExitStyle;
pub use exit::PageAccess;
pub use guest::Access;
pub use guest::Activity;
pub use guest::Blocking;
pub use guest::Guest;
pub use guest::Vmcs;
pub use ipi::Ipi;
pub use ipi::PidMemory;
pub use msr::MsrBitmap;
pub use msr::MsrIndex;
pub use page::PageOffset;
pub use page::VectorRegister;
pub use page::VirtualApicPage;
pub use page::Width;
pub use posted::Descriptor;
pub use posted::Notification;
pub use posted::PostedControl;
pub use posted::PostedRequests;
pub use status::EoiExitBitmap;
pub use status::GuestInterruptStatus;
pub use status::VirtualVector;
