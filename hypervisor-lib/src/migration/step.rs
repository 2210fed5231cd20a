//! One step of a way between physical CPUs: a write, a look that prevents a lost interrupt, or what is left as it is.

use core::fmt;

use vector_allocator::CpuId;
use vector_allocator::Lease;

use crate::delivery::avic::IrteIndex;

/// A physical interrupt that follows a vCPU: one in remapped form, which the host takes under a vector of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The host's number for it.
    pub irq: u32,
    /// Its vector.
    pub lease: Lease,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IRQ {}", self.irq)
    }
}

/// What belongs to the vCPU and goes with it, whichever CPU runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carried {
    /// Intel: RVI, SVI and the EOI-exit bitmap in the VMCS; VIRR, VISR and VTPR in the page.
    VmcsAndPage,
    /// AMD: IRR, ISR, TMR and TPR in the backing page.
    BackingPage,
    /// A local APIC in software: all its registers.
    Registers,
    /// Event channels: pending and mask bits or event words, and the vCPU's upcall flags.
    EventWords,
}

/// Why a look is taken at what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Look {
    /// The vCPU is about to run: what was posted while nobody was notified.
    BeforeRunning,
    /// The vCPU is about to sleep: what was posted before senders could see that.
    BeforeSleeping,
}

/// Where the remapping entries of a vCPU under AVIC say it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Said {
    /// On a CPU: its doorbell is rung.
    Running(CpuId),
    /// On none, and runnable: nobody is told.
    Waiting,
    /// On none, and asleep: interrupts are logged.
    Sleeping,
}

/// A step. Its [`Display`](fmt::Display) says what is done, [`reason`](Self::reason) why, [`source`](Self::source) where that
/// is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Take a vector for the source where it goes; its old one stays live.
    Reserve(Source, CpuId),
    /// Write the source's vector and CPU into its remapping entry or message.
    Program(Source),
    /// See whether the source's old vector still waits or is in service anywhere.
    Drain(Source),
    /// Give the source's old vector back.
    Release(Source),
    /// Make the source's old vector, which is still live, its own again.
    TakeBack(Source, CpuId),
    /// Leave a posted source as it is.
    LeavePosted {
        /// The host's number for it.
        irq: u32,
    },
    /// Descriptor: SN := 1.
    Suppress,
    /// Put the vCPU on a CPU's list of blocked ones.
    JoinWakeList(CpuId),
    /// Take it off the list it is on.
    LeaveWakeList,
    /// Descriptor: NV := wake-up vector.
    NameWakeUp,
    /// Descriptor: NV := notification vector.
    NameNotification,
    /// Descriptor: NDST := CPU, NV := notification vector, SN := 0, in one.
    Aim(CpuId),
    /// Look whether anything is posted.
    FindPosted(Look),
    /// Remapping entry in guest mode: its lower half.
    SayInIrte(IrteIndex, Said),
    /// Let the IOMMU forget its copies of entries.
    InvalidateIrtes,
    /// Physical APIC-ID table: host CPU, IsRunning := 1.
    SetRunning(CpuId),
    /// Physical APIC-ID table: IsRunning := 0.
    ClearRunning,
    /// Backing page: look for an interrupt that is due.
    FindDue,
    /// Have the CPU flush the VM's translations at the next entry if another vCPU of it ran there.
    FlushIfAnotherRan(CpuId),
    /// The hypervisor's own note of where the vCPU is, by which it kicks it.
    AimKicks(CpuId),
    /// The hypervisor's own note that the vCPU sleeps.
    NoteAsleep,
    /// The hypervisor's own note that the vCPU is to run.
    NoteRunnable,
    /// Look whether an event or interrupt waits.
    FindPending(Look),
    /// Change nothing.
    Carry(Carried),
    /// A CPU goes: its list of blocked vCPUs and where they are notified become another's.
    MoveWakeList {
        /// The CPU that goes.
        from: CpuId,
        /// The one that takes over.
        to: CpuId,
    },
    /// A CPU goes: its sources get vectors elsewhere, and what waits in its IRR is sent again.
    Evacuate(CpuId),
    /// A CPU goes: what it has acknowledged and not delivered yet becomes another's work.
    HandOver {
        /// The CPU that goes.
        from: CpuId,
        /// The one that takes over.
        to: CpuId,
    },
}

/// Whose words a step changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Words {
    /// The engine's: descriptor, tables, page.
    Engine,
    /// The arbiter's of vectors, and the device's.
    Vectors,
    /// The host's.
    Host,
}

impl Step {
    /// Whose words it changes.
    #[must_use]
    pub const fn words(&self) -> Words {
        match self {
            Self::Reserve(..)
            | Self::Program(_)
            | Self::Drain(_)
            | Self::Release(_)
            | Self::TakeBack(..)
            | Self::Evacuate(_) => Words::Vectors,
            Self::MoveWakeList { .. } | Self::HandOver { .. } => Words::Host,
            _ => Words::Engine,
        }
    }

    /// Why it is there, and why at its place.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Reserve(..) => "the one step that can be refused, so it is first: nothing else has changed yet",
            Self::Program(_) => "interrupts go to the new CPU from now on; the old vector still means the same source",
            Self::Drain(_) => "an interrupt sent before may still wait or be in service on the old CPU",
            Self::Release(_) => "nothing can come on it any more, so it may become another source's",
            Self::TakeBack(..) => "the old vector was never given up; the new one drains instead",
            Self::LeavePosted { .. } => "its entry names the descriptor, not a CPU",
            Self::Suppress => "the CPU it leaves would be notified for nothing; what is posted meanwhile waits in PIR",
            Self::JoinWakeList(_) => "before the vector changes, or its handler would find nobody to wake",
            Self::LeaveWakeList => "it is awake; the list may be another CPU's by now",
            Self::NameWakeUp => "the CPU runs others now: only its wake-up handler can wake this vCPU",
            Self::NameNotification => "it does not sleep after all",
            Self::Aim(_) => "in one exchange, so that no agent notifies the old CPU by the new vector; SN last of all",
            Self::FindPosted(Look::BeforeRunning) => "a bit posted under SN sent no notification and never will",
            Self::FindPosted(Look::BeforeSleeping) => "a post before the vector changed notified the wrong handler",
            Self::SayInIrte(_, Said::Running(_)) => "the IOMMU goes by its entry, not by the table",
            Self::SayInIrte(_, Said::Waiting) => "it runs again whatever comes: no doorbell, no log",
            Self::SayInIrte(_, Said::Sleeping) => "the log is the only sign of a device's interrupt while it sleeps",
            Self::InvalidateIrtes => "the IOMMU may use a copy of the old entry until it has forgotten it",
            Self::SetRunning(_) => "senders ring this CPU's doorbell from now on; host ID and IsRunning in one",
            Self::ClearRunning => {
                "senders exit and wake it from now on; before the look, or one of the two misses the other"
            }
            Self::FindDue => "whoever set it before IsRunning was cleared rang a doorbell that nobody hears",
            Self::FlushIfAnotherRan(_) => "the APIC page translates to another vCPU's backing page there",
            Self::AimKicks(_) => "whoever makes something pending kicks this CPU from now on",
            Self::NoteAsleep => "senders wake it from now on; before the look, or one of the two misses the other",
            Self::NoteRunnable => "it does not sleep after all",
            Self::FindPending(Look::BeforeRunning) => "what came while it was between CPUs kicked nobody",
            Self::FindPending(Look::BeforeSleeping) => "what came before it slept woke nobody",
            Self::Carry(Carried::VmcsAndPage) => "they change when a route changes and on restore, not with the CPU",
            Self::Carry(Carried::BackingPage) => "every CPU and the IOMMU find it by the same address",
            Self::Carry(Carried::Registers) => "the state is the vCPU's; only its kick target is a CPU",
            Self::Carry(Carried::EventWords) => "ports are bound to vCPUs, not to CPUs",
            Self::MoveWakeList { .. } => {
                "whoever was notified already is woken: the dead CPU may not have heard; nobody joins any more"
            }
            Self::Evacuate(_) => "nothing is sent to it after this; what it had not taken is sent to the new CPU",
            Self::HandOver { .. } => "it has ended those interrupts already: nobody will send them again",
        }
    }

    /// Where the rule is written.
    #[must_use]
    pub const fn source(&self) -> &'static str {
        match self {
            Self::Reserve(..) | Self::Program(_) | Self::Drain(_) | Self::Release(_) | Self::TakeBack(..) => {
                "xen/arch/x86/irq.c: _assign_irq_vector, irq_move_cleanup_interrupt"
            }
            Self::LeavePosted { .. } => "VT-d, 5.2; xen 1066331913",
            Self::Suppress => "SDM vol. 3C, 30.6; vmx.c: vmx_pi_switch_from",
            Self::JoinWakeList(_)
            | Self::LeaveWakeList
            | Self::NameWakeUp
            | Self::NameNotification
            | Self::FindPosted(Look::BeforeSleeping) => "vmx.c: vmx_vcpu_block",
            Self::Aim(_) => "SDM vol. 3C, 30.6; vmx.c: vmx_pi_switch_to",
            Self::FindPosted(Look::BeforeRunning) => "linux posted_intr.c: vmx_vcpu_pi_load; xen 56348df32b",
            Self::SayInIrte(..) | Self::InvalidateIrtes => "AMD 48882; linux amd_iommu_types.h",
            Self::SetRunning(_) | Self::ClearRunning | Self::FindDue => "APM vol. 2, 15.29.6.1",
            Self::FlushIfAnotherRan(_) => "APM vol. 2, 15.29.4.3",
            Self::AimKicks(_) | Self::FindPending(Look::BeforeRunning) => {
                "xen/common/sched/core.c: vcpu_migrate_finish"
            }
            Self::NoteAsleep | Self::NoteRunnable | Self::FindPending(Look::BeforeSleeping) => {
                "xen/common/sched/core.c: vcpu_block"
            }
            Self::Carry(Carried::VmcsAndPage) => "SDM vol. 3C, 25.4.2, 25.6.8, 30.1",
            Self::Carry(Carried::BackingPage) => "APM vol. 2, 15.29",
            Self::Carry(Carried::Registers) => "SDM vol. 3A, 11.4",
            Self::Carry(Carried::EventWords) => "public/event_channel.h; public/xen.h",
            Self::MoveWakeList { .. } => "vmx.c: vmx_pi_desc_fixup",
            Self::Evacuate(_) => "xen/arch/x86/irq.c: fixup_irqs",
            Self::HandOver { .. } => "xen 29555668b5",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserve(source, cpu) => write!(f, "reserve a host vector on CPU {cpu} for {source}"),
            Self::Program(source) => write!(f, "program {source}: vector and destination of its entry"),
            Self::Drain(source) => write!(f, "drain {source}'s old vector"),
            Self::Release(source) => write!(f, "release {source}'s old vector"),
            Self::TakeBack(source, cpu) => write!(f, "take {source}'s vector on CPU {cpu} back"),
            Self::LeavePosted { irq } => write!(f, "leave IRQ {irq}'s entry as it is"),
            Self::Suppress => f.write_str("SN := 1"),
            Self::JoinWakeList(cpu) => write!(f, "join CPU {cpu}'s list of blocked vCPUs"),
            Self::LeaveWakeList => f.write_str("leave the list of blocked vCPUs"),
            Self::NameWakeUp => f.write_str("NV := wake-up vector"),
            Self::NameNotification => f.write_str("NV := notification vector"),
            Self::Aim(cpu) => write!(f, "NDST := CPU {cpu}, NV := notification vector, SN := 0"),
            Self::FindPosted(_) => f.write_str("look at PIR"),
            Self::SayInIrte(irte, Said::Running(cpu)) => {
                write!(f, "entry {irte}: is_run := 1, destination := CPU {cpu}")
            }
            Self::SayInIrte(irte, Said::Waiting) => write!(f, "entry {irte}: is_run := 0"),
            Self::SayInIrte(irte, Said::Sleeping) => write!(f, "entry {irte}: is_run := 0, log := 1"),
            Self::InvalidateIrtes => f.write_str("invalidate the IOMMU's copies, and wait"),
            Self::SetRunning(cpu) => write!(f, "host ID := CPU {cpu}, IsRunning := 1"),
            Self::ClearRunning => f.write_str("IsRunning := 0"),
            Self::FindDue => f.write_str("look at the IRR"),
            Self::FlushIfAnotherRan(cpu) => write!(f, "TLB_CONTROL := 3 if another vCPU of the VM ran on CPU {cpu}"),
            Self::AimKicks(cpu) => write!(f, "kicks go to CPU {cpu}"),
            Self::NoteAsleep => f.write_str("note that it sleeps"),
            Self::NoteRunnable => f.write_str("note that it is to run"),
            Self::FindPending(_) => f.write_str("look at what is pending"),
            Self::Carry(Carried::VmcsAndPage) => {
                f.write_str("leave RVI, SVI, EOI-exit bitmap, VIRR and VTPR as they are")
            }
            Self::Carry(Carried::BackingPage) => f.write_str("leave IRR, ISR, TMR and TPR as they are"),
            Self::Carry(Carried::Registers) => f.write_str("leave the local APIC's registers as they are"),
            Self::Carry(Carried::EventWords) => f.write_str("leave ports, masks and pending bits as they are"),
            Self::MoveWakeList { from, to } => {
                write!(f, "move CPU {from}'s list of blocked vCPUs to CPU {to}, NDST with it")
            }
            Self::Evacuate(cpu) => write!(f, "move every vector off CPU {cpu}, and send what waits there again"),
            Self::HandOver { from, to } => write!(f, "give CPU {from}'s undelivered interrupts to CPU {to}"),
        }
    }
}
