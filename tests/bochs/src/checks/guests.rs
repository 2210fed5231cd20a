//! Guests that checks begin with.

use carillon_machine::InterruptFlag;
use carillon_machine::vmx::ExitControls;
use carillon_machine::vmx::Guest;
use carillon_machine::vmx::MsrBitmap;
use carillon_machine::vmx::PinBased;
use carillon_machine::vmx::Primary;
use carillon_machine::vmx::Secondary;
use carillon_machine::vmx::VirtualApicPage;
use carillon_machine::vmx::Vmcs;

use crate::comparison::NOTIFICATION;
use crate::memory::APIC_ACCESS;
use crate::memory::DESCRIPTOR;
use crate::memory::VIRTUAL_APIC;

/// How the guest reaches its APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// By the APIC-access page.
    Page,
    /// By MSRs.
    Msrs,
}

/// What the processor virtualizes beside the TPR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extras {
    /// Nothing.
    None,
    /// APIC registers.
    Registers,
    /// Virtual interrupts are delivered.
    Delivery,
    /// Both.
    Both,
}

impl Extras {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::None, Self::Registers, Self::Delivery, Self::Both];
}

/// Whether posted interrupts are processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posting {
    /// A notification is an external interrupt like any other.
    Off,
    /// It is none.
    On,
}

/// A VMCS whose addresses are those of this image's pages, with a TPR shadow.
pub(crate) fn vmcs(reach: Reach, extras: Extras, posting: Posting) -> Vmcs {
    let mut vmcs = Vmcs {
        virtual_apic_address: VIRTUAL_APIC.address(),
        apic_access_address: APIC_ACCESS.address(),
        descriptor_address: DESCRIPTOR.address(),
        notification_vector: u16::from(NOTIFICATION),
        ..Vmcs::default()
    };
    vmcs.controls.pin =
        PinBased::new().with_external_interrupt_exiting(true).with_process_posted_interrupts(posting == Posting::On);
    vmcs.controls.primary =
        Primary::new().with_use_tpr_shadow(true).with_use_msr_bitmaps(true).with_activate_secondary(true);
    vmcs.controls.secondary = Secondary::new()
        .with_virtualize_apic_accesses(reach == Reach::Page)
        .with_virtualize_x2apic_mode(reach == Reach::Msrs)
        .with_apic_register_virtualization(matches!(extras, Extras::Registers | Extras::Both))
        .with_virtual_interrupt_delivery(matches!(extras, Extras::Delivery | Extras::Both));
    vmcs.controls.exit = ExitControls::new().with_acknowledge_interrupt_on_exit(true);
    vmcs
}

/// The same with interrupts enabled or not, and an empty page.
pub(crate) fn guest(reach: Reach, extras: Extras, posting: Posting, interrupt_flag: InterruptFlag) -> Guest {
    Guest::new(Vmcs { interrupt_flag, ..vmcs(reach, extras, posting) }, VirtualApicPage::new())
}

/// A bitmap that leaves only the writes that the processor virtualizes to the guest, and every read of the page.
pub(crate) fn safe_bitmap(extras: Extras) -> MsrBitmap {
    let delivered = if matches!(extras, Extras::Delivery | Extras::Both) { 1 << 0x0b | 1 << 0x3f } else { 0 };
    let read = if matches!(extras, Extras::Registers | Extras::Both) { [0; 4] } else { [!(1 << 0x08), !0, !0, !0] };
    MsrBitmap { read, write: [!(1 << 0x08 | delivered), !0, !0, !0] }
}
