//! A guest as the processor sees it: its VMCS, its virtual-APIC page, and the one flag that is in neither.

use super::Controls;
use super::EoiExitBitmap;
use super::Exit;
use super::GuestInterruptStatus;
use super::MsrBitmap;
use super::VirtualApicPage;
use crate::InterruptFlag;
use crate::Recognition;

/// The fields of the virtual-machine control structure that interrupts and the APIC depend on (SDM vol. 3C, chapter 25).
/// Software sets them between VM exit and VM entry; the processor changes `status` and the guest state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vmcs {
    /// The VM-execution and VM-exit controls.
    pub controls: Controls,
    /// The physical address of the virtual-APIC page.
    pub virtual_apic_address: u64,
    /// The physical address of the page that stands for the APIC's.
    pub apic_access_address: u64,
    /// The TPR threshold: a task-priority class below bits 3:0 exits, if virtual interrupts are not delivered.
    pub tpr_threshold: u32,
    /// The vectors whose EOI exits.
    pub eoi_exit: EoiExitBitmap,
    /// Which of the APIC's MSRs exit.
    pub msr_bitmap: MsrBitmap,
    /// The physical address of the posted-interrupt descriptor.
    pub descriptor_address: u64,
    /// The physical address of the PID-pointer table.
    pub pid_pointer_table: u64,
    /// The index of its last entry.
    pub last_pid_pointer: u16,
    /// The posted-interrupt notification vector.
    pub notification_vector: u16,
    /// RVI and SVI.
    pub status: GuestInterruptStatus,
    /// RFLAGS.IF.
    pub interrupt_flag: InterruptFlag,
    /// Blocking by STI or MOV SS.
    pub blocking: Blocking,
    /// Whether the guest runs.
    pub activity: Activity,
}

/// The interruptibility state (SDM vol. 3C, 25.4.2): whether the instruction before keeps interrupts off this boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blocking {
    /// It does not.
    None,
    /// It was an STI that set IF, or a MOV or POP to SS.
    UntilNextInstruction,
}

/// The activity state (SDM vol. 3C, 25.4.2), as far as interrupts change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activity {
    /// Instructions are executed.
    Active,
    /// HLT was executed.
    Hlt,
}

/// What became of an instruction that would touch the APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<T = ()> {
    /// It was virtualized: the guest goes on, with this result.
    Virtual(T),
    /// It does what it would do without virtualization: to the processor's *own* APIC, or to plain memory.
    Native,
    /// The guest was left.
    Exit(Exit),
    /// The guest gets a general-protection fault.
    GeneralProtection,
}

impl Default for Vmcs {
    /// All fields 0, the guest about to run with interrupts disabled.
    fn default() -> Self {
        Self {
            controls: Controls::default(),
            virtual_apic_address: 0,
            apic_access_address: 0,
            tpr_threshold: 0,
            eoi_exit: EoiExitBitmap::default(),
            msr_bitmap: MsrBitmap::default(),
            descriptor_address: 0,
            pid_pointer_table: 0,
            last_pid_pointer: 0,
            notification_vector: 0,
            status: GuestInterruptStatus::new(),
            interrupt_flag: InterruptFlag::Clear,
            blocking: Blocking::None,
            activity: Activity::Active,
        }
    }
}

/// A guest in VMX non-root operation. [`enter`](Self::enter) it; let it execute instructions; after each pass the
/// [`boundary`](Self::boundary) until nothing happens there; after an exit enter it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Its VMCS.
    pub vmcs: Vmcs,
    /// Its virtual-APIC page. It is memory: software may write to it at any time, and nothing is evaluated for that.
    pub page: VirtualApicPage,
    /// Whether a pending virtual interrupt is recognised. It does not survive an exit.
    pub(super) recognition: Recognition,
}

impl Guest {
    /// A guest that was not entered yet.
    #[must_use]
    pub const fn new(vmcs: Vmcs, page: VirtualApicPage) -> Self {
        Self { vmcs, page, recognition: Recognition::NotRecognised }
    }

    /// Whether a pending virtual interrupt is recognised (SDM vol. 3C, 30.2.1).
    #[must_use]
    pub const fn recognition(&self) -> Recognition {
        self.recognition
    }

    /// STI. If it sets IF, interrupts wait until the next instruction is done.
    pub fn sti(&mut self) {
        if self.vmcs.interrupt_flag == InterruptFlag::Clear {
            self.vmcs.blocking = Blocking::UntilNextInstruction;
        }
        self.vmcs.interrupt_flag = InterruptFlag::Set;
    }

    /// CLI.
    pub const fn cli(&mut self) {
        self.vmcs.interrupt_flag = InterruptFlag::Clear;
    }

    /// HLT.
    pub const fn hlt(&mut self) -> Access {
        if self.vmcs.controls.primary.hlt_exiting() {
            return Access::Exit(Exit::Hlt);
        }
        self.vmcs.activity = Activity::Hlt;
        Access::Virtual(())
    }

    pub(super) const fn delivers(&self) -> bool {
        self.vmcs.controls.secondary().virtual_interrupt_delivery()
    }

    pub(super) const fn virtualizes_registers(&self) -> bool {
        self.vmcs.controls.secondary().apic_register_virtualization()
    }

    pub(super) const fn virtualizes_ipis(&self) -> bool {
        self.vmcs.controls.tertiary().ipi_virtualization()
    }

    pub(super) const fn shadows_tpr(&self) -> bool {
        self.vmcs.controls.primary.use_tpr_shadow()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::Access;
    use super::Activity;
    use super::Guest;
    use super::Vmcs;
    use crate::vmx::Exit;
    use crate::vmx::VirtualApicPage;

    /// A guest with everything but posting, reached by the APIC-access page.
    pub(in crate::vmx) fn delivering() -> Guest {
        let mut vmcs = Vmcs { virtual_apic_address: 0x1000, apic_access_address: 0xfee0_0000, ..Vmcs::default() };
        vmcs.controls.pin.set_external_interrupt_exiting(true);
        vmcs.controls.primary.set_use_tpr_shadow(true);
        vmcs.controls.primary.set_use_msr_bitmaps(true);
        vmcs.controls.primary.set_activate_secondary(true);
        vmcs.controls.secondary.set_virtualize_apic_accesses(true);
        vmcs.controls.secondary.set_apic_register_virtualization(true);
        vmcs.controls.secondary.set_virtual_interrupt_delivery(true);
        vmcs.controls.exit.set_acknowledge_interrupt_on_exit(true);
        Guest::new(vmcs, VirtualApicPage::new())
    }

    /// The same, reached by MSRs.
    pub(in crate::vmx) fn delivering_x2apic() -> Guest {
        let mut guest = delivering();
        guest.vmcs.controls.secondary.set_virtualize_apic_accesses(false);
        guest.vmcs.controls.secondary.set_virtualize_x2apic_mode(true);
        guest
    }

    #[test]
    fn hlt_halts_unless_it_exits() {
        let mut guest = delivering();
        assert_eq!(guest.hlt(), Access::Virtual(()));
        assert_eq!(guest.vmcs.activity, Activity::Hlt);
        let mut guest = delivering();
        guest.vmcs.controls.primary.set_hlt_exiting(true);
        assert_eq!(guest.hlt(), Access::Exit(Exit::Hlt));
        assert_eq!(guest.vmcs.activity, Activity::Active);
    }
}
