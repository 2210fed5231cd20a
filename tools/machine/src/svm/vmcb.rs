//! A guest as the processor sees it: its control block, and what the processor itself is able to do.

use hypervisor_abi::avic::InterruptControl;
use hypervisor_abi::avic::PhysicalTablePointer;

use super::Erratum1235;
use super::Exit;
use super::MsrPermissions;
use crate::InterruptFlag;
use crate::Recognition;
use crate::vmx::Activity;
use crate::vmx::Blocking;
use crate::vmx::PhysicalWidth;

/// The fields of the virtual-machine control block that interrupts and the local APIC depend on (APM vol. 2, appendix B).
/// Software sets them between #VMEXIT and VMRUN; the processor changes the task priority and the guest's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vmcb {
    /// Offset 0x60: AVIC's switches, and the guest's task priority, which is what decides what is delivered.
    pub control: InterruptControl,
    /// Offset 0xe0: the physical address of the backing page.
    pub backing_page: u64,
    /// Offset 0xf0: the physical address of the logical APIC-ID table.
    pub logical_table: u64,
    /// Offset 0xf8: where the physical APIC-ID table is, and its greatest index.
    pub physical_table: PhysicalTablePointer,
    /// Whether nested paging is on, without which there is no AVIC.
    pub nested_paging: NestedPaging,
    /// Whether physical interrupts exit (INTR intercept).
    pub interrupt_intercept: InterruptIntercept,
    /// What HLT does.
    pub hlt_intercept: HltIntercept,
    /// Which MSRs of the local APIC exit.
    pub msr_permissions: MsrPermissions,
    /// RFLAGS.IF.
    pub interrupt_flag: InterruptFlag,
    /// The interrupt shadow of STI or MOV SS.
    pub shadow: Blocking,
    /// Whether the guest runs.
    pub activity: Activity,
}

/// Nested paging (APM vol. 2, 15.25).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NestedPaging {
    /// The guest's physical addresses are translated.
    On,
    /// They are the host's.
    Off,
}

/// What a physical interrupt does while the guest runs (APM vol. 2, 15.13.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterruptIntercept {
    /// It exits, and is not acknowledged.
    Exit,
    /// The guest takes it.
    None,
}

/// What HLT does (APM vol. 2, 15.9 and appendix B).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HltIntercept {
    /// The guest halts.
    None,
    /// It exits.
    Always,
    /// It exits unless a virtual interrupt could be delivered (idle HLT intercept).
    Idle,
}

/// What the processor is, as CPUID and the manual tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processor {
    /// How many bits a physical address has (CPUID 8000_0008 EAX).
    pub width: PhysicalWidth,
    /// The greatest index of a physical table in x2AVIC mode: 511, or 4095 (CPUID 8000_000A ECX bit 6).
    pub x2avic_limit: u16,
    /// What it does with the extended local vector table (CPUID 8000_000A EDX bit 27).
    pub extended_lvt: ExtendedLvt,
    /// When it clears the in-service bit of a level-triggered interrupt.
    pub level_end: LevelEnd,
    /// Whether it has erratum 1235.
    pub erratum_1235: Erratum1235,
}

/// How the extended entries of the local vector table, 500H to 530H, are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtendedLvt {
    /// Every access exits before it is done.
    Faults,
    /// Reads are done, writes exit afterwards.
    Accessible,
}

/// What the manual leaves open: whether a level-triggered interrupt is still in service when its end exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LevelEnd {
    /// It is not.
    Cleared,
    /// It is.
    Kept,
}

impl Default for Vmcb {
    /// All fields 0, the guest about to run with interrupts disabled.
    fn default() -> Self {
        Self {
            control: InterruptControl::new(),
            backing_page: 0,
            logical_table: 0,
            physical_table: PhysicalTablePointer::new(),
            nested_paging: NestedPaging::Off,
            interrupt_intercept: InterruptIntercept::None,
            hlt_intercept: HltIntercept::None,
            msr_permissions: MsrPermissions::default(),
            interrupt_flag: InterruptFlag::Clear,
            shadow: Blocking::None,
            activity: Activity::Active,
        }
    }
}

impl Default for Processor {
    /// One with everything that exists today and without errata, physical addresses of 52 bits.
    fn default() -> Self {
        Self {
            width: PhysicalWidth(52),
            x2avic_limit: 4095,
            extended_lvt: ExtendedLvt::Accessible,
            level_end: LevelEnd::Cleared,
            erratum_1235: Erratum1235::Absent,
        }
    }
}

/// What became of an instruction that would touch the local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<T = ()> {
    /// It was virtualized: the guest goes on, with this result.
    Virtual(T),
    /// It does what it would do without AVIC: to plain memory, or to the processor's *own* local APIC.
    Native,
    /// The guest was left.
    Exit(Exit),
    /// The guest gets a general-protection fault.
    GeneralProtection,
}

/// A guest in guest mode. [`enter`](Self::enter) it; let it execute instructions; after each pass the
/// [`boundary`](Self::boundary) until nothing happens there; after an exit enter it again.
///
/// Its backing page is memory that others change too, and is given to every method that touches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Its control block.
    pub vmcb: Vmcb,
    /// What it runs on.
    pub processor: Processor,
    /// Whether the processor has seen a virtual interrupt to deliver. It does not look at memory for that but when something
    /// tells it to.
    pub(super) recognition: Recognition,
}

/// How the guest reaches its local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    /// AVIC is off.
    Off,
    /// By a page.
    Page,
    /// By MSRs.
    Msrs,
}

impl Guest {
    /// A guest that was not entered yet.
    #[must_use]
    pub const fn new(vmcb: Vmcb, processor: Processor) -> Self {
        Self { vmcb, processor, recognition: Recognition::NotRecognised }
    }

    /// Whether a virtual interrupt has been seen that the next boundary delivers, if it may.
    #[must_use]
    pub const fn recognition(&self) -> Recognition {
        self.recognition
    }

    /// STI. If it sets IF, interrupts wait until the next instruction is done.
    pub fn sti(&mut self) {
        if self.vmcb.interrupt_flag == InterruptFlag::Clear {
            self.vmcb.shadow = Blocking::UntilNextInstruction;
        }
        self.vmcb.interrupt_flag = InterruptFlag::Set;
    }

    /// CLI.
    pub const fn cli(&mut self) {
        self.vmcb.interrupt_flag = InterruptFlag::Clear;
    }

    pub(super) const fn mode(&self) -> Mode {
        match (self.vmcb.control.avic(), self.vmcb.control.x2avic()) {
            (false, _) => Mode::Off,
            (true, false) => Mode::Page,
            (true, true) => Mode::Msrs,
        }
    }
}
