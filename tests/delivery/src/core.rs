//! What a processor does with a guest's access to its local APIC, whatever the processor.

use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_lib::delivery::Switch;
use hypervisor_lib::delivery::engine::Exit;
use hypervisor_lib::delivery::engine::Gate;
use hypervisor_lib::delivery::engine::Gates;
use hypervisor_lib::delivery::engine::Setting;
use hypervisor_lib::delivery::engine::Window;
use vector_allocator::Vector;

use crate::host::Platform;
use crate::svm_core::SvmCore;
use crate::vmx_core::VmxCore;

/// A processor that runs a vCPU.
#[derive(Debug)]
pub(crate) enum Core {
    /// It knows nothing of the guest's local APIC.
    Plain {
        /// The windows that exit: for interrupts, for non-maskable ones.
        windows: [Switch; 2],
        /// The host interrupt that waits: it makes the guest exit.
        interrupt: Option<u8>,
    },
    /// One with VMX's APIC virtualization.
    Vmx(Box<VmxCore>),
    /// One with AVIC.
    Svm(Box<SvmCore>),
}

/// Where a register is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Page(u16),
    Msr(u32),
}

/// What becomes of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done<T> {
    /// The processor has done it.
    Virtual(T),
    /// It exits, and is to be emulated.
    Emulate,
    /// It exits with this, and is to be emulated.
    Ask(Exit),
    /// It was done, and exits afterwards.
    Exit(Exit),
    /// The guest gets a general-protection fault.
    Fault,
}

/// What happens at an instruction boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Boundary {
    /// An interrupt is delivered.
    Delivered(Vector),
    /// An exit that concerns the local APIC.
    Exit(Exit),
    /// Another exit.
    Leave,
    /// Something that leaves the guest at a boundary.
    Again,
    /// The next instruction.
    Nothing,
}

impl Core {
    pub(crate) fn set(&mut self, setting: Setting, platform: &Platform) {
        match self {
            Self::Plain { windows, .. } => {
                if let Setting::Window(window, switch) = setting {
                    windows[window as usize] = switch;
                }
            }
            Self::Vmx(core) => core.set(setting),
            Self::Svm(core) => core.set(setting, platform),
        }
    }

    /// The guest is entered; an exit that comes before its first instruction.
    pub(crate) fn enter(&mut self, platform: &Platform, gates: Gates) -> Option<Exit> {
        match self {
            Self::Plain { .. } => None,
            Self::Vmx(core) => core.enter(platform, gates.interrupts),
            Self::Svm(core) => {
                core.enter(platform, gates.interrupts);
                None
            }
        }
    }

    /// The guest is left: what the processor has in its registers goes to memory.
    pub(crate) fn leave(&mut self, platform: &Platform) {
        if let Self::Vmx(core) = self {
            core.leave(platform);
        }
    }

    pub(crate) fn read(&mut self, place: Place, platform: &Platform) -> Done<u64> {
        match self {
            Self::Plain { .. } => Done::Emulate,
            Self::Vmx(core) => core.read(place),
            Self::Svm(core) => core.read(place, platform),
        }
    }

    pub(crate) fn write(&mut self, place: Place, value: u64, platform: &Platform) -> Done<()> {
        match self {
            Self::Plain { .. } => Done::Emulate,
            Self::Vmx(core) => core.write(place, value, platform),
            Self::Svm(core) => core.write(place, value, platform),
        }
    }

    pub(crate) fn write_cr8(&mut self, class: u8, platform: &Platform) -> Done<()> {
        match self {
            Self::Plain { .. } => Done::Emulate,
            Self::Vmx(core) => core.write_cr8(class),
            Self::Svm(core) => core.write_cr8(class, platform),
        }
    }

    pub(crate) fn set_interrupt_flag(&mut self, interrupts: Gate) {
        match self {
            Self::Plain { .. } => {}
            Self::Vmx(core) => core.set_interrupt_flag(interrupts),
            Self::Svm(core) => core.set_interrupt_flag(interrupts),
        }
    }

    /// A host interrupt of this vector comes.
    pub(crate) fn interrupt(&mut self, vector: u8) {
        match self {
            Self::Plain { interrupt, .. } => *interrupt = Some(vector),
            Self::Vmx(core) => core.interrupt(vector),
            Self::Svm(_) => panic!("nobody notifies a processor with AVIC"),
        }
    }

    /// Its doorbell is rung.
    pub(crate) fn ring(&mut self, platform: &Platform) {
        if let Self::Svm(core) = self {
            core.ring(platform);
        }
    }

    /// Passes a boundary, the guest's gates being so.
    pub(crate) fn boundary(&mut self, gates: Gates, platform: &Platform) -> Boundary {
        let windows = match self {
            Self::Plain { windows, .. } => *windows,
            Self::Vmx(core) => [Switch::Off, core.nmi_window()],
            Self::Svm(core) => core.windows,
        };
        let is_open = |window: Window, gate| windows[window as usize] == Switch::On && gate == Gate::Open;
        if is_open(Window::Nmi, gates.nmis) {
            return Boundary::Exit(Exit::NmiWindow);
        }
        match self {
            Self::Plain { .. } | Self::Svm(_) if is_open(Window::Interrupt, gates.interrupts) => {
                Boundary::Exit(Exit::InterruptWindow)
            }
            Self::Plain { interrupt, .. } => interrupt.take().map_or(Boundary::Nothing, |_| Boundary::Leave),
            Self::Vmx(core) => core.boundary(platform),
            Self::Svm(core) => core.boundary(platform),
        }
    }
}

impl Place {
    /// Where a register is in this mode; none if the guest cannot reach it at all.
    pub(crate) fn of(register: ApicRegister, mode: ApicMode) -> Option<Self> {
        match mode {
            ApicMode::XApic => Some(Self::Page(register.offset())),
            ApicMode::X2Apic => Some(Self::Msr(register.msr())),
            ApicMode::Disabled => None,
        }
    }
}
