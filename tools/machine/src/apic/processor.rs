//! The processor under an engine: what is set for it before an entry, and what its guest then does.

use alloc::boxed::Box;

use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::MSR_X2APIC_FIRST;
use hypervisor_abi::apic::MSR_X2APIC_LAST;
use hypervisor_abi::avic::AccessKind;
use hypervisor_abi::avic::IncompleteIpi;
use hypervisor_abi::avic::InterruptControl;
use hypervisor_abi::avic::NoAcceleration;
use hypervisor_abi::avic::PhysicalTablePointer;
use hypervisor_abi::posted::PostedDescriptor;
use hypervisor_lib::delivery::DoorbellRinger;
use hypervisor_lib::delivery::Interception;
use hypervisor_lib::delivery::Switch;
use hypervisor_lib::delivery::apicv::ApicvControls;
use hypervisor_lib::delivery::apicv::MsrIntercepts;
use hypervisor_lib::delivery::avic;
use hypervisor_lib::delivery::avic::Acceleration;
use hypervisor_lib::delivery::avic::ExtendedLvt;
use hypervisor_lib::delivery::avic::Handler;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::engine;
use hypervisor_lib::delivery::engine::Setting;
use hypervisor_lib::delivery::engine::Window;
use vector_allocator::Vector;

use super::hypervisor::View;
use super::page::SharedPage;
use crate::ExitCause;
use crate::Interconnect;
use crate::InterruptFlag;
use crate::Vendor;
use crate::lapic::Acknowledged;
use crate::lapic::Lapic;
use crate::svm;
use crate::vmx;
use crate::vmx::EoiExitBitmap;
use crate::vmx::GuestInterruptStatus;
use crate::vmx::MsrBitmap;
use crate::vmx::PhysicalWidth;
use crate::vmx::VirtualVector;

/// Physical addresses of the modelled processors.
const WIDTH: PhysicalWidth = PhysicalWidth(46);

/// The processor as one vCPU's control structure has set it.
#[derive(Debug)]
pub(super) enum Processor {
    /// One that knows nothing of local APICs.
    Plain(Plain),
    /// Intel's, with APIC virtualization.
    Vmx(Box<vmx::Guest<SharedPage>>),
    /// AMD's, with AVIC.
    Svm(Box<svm::Guest>, SharedPage),
}

/// A processor that lets the hypervisor inject, and tells it when it may.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain {
    vendor: Vendor,
    window: Switch,
}

/// What happened at a boundary in guest mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The guest is at the gate of this vector, its first instruction not yet run.
    Delivered(Vector),
    /// A notification was processed without an exit.
    Processed,
    /// The guest exited; the vector is in service in the local APIC.
    Interrupted(Vector),
    /// The guest exited, for it can take an interrupt.
    Window,
    /// The next instruction runs.
    Nothing,
}

/// What became of a write to a register of the local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// The processor has done all there is to do.
    Done,
    /// It exits before it is done: the hypervisor emulates it.
    Emulate,
    /// It exits after it is done, as far as the processor goes.
    Finish(engine::Exit),
}

impl Plain {
    pub(super) const fn new(vendor: Vendor) -> Self {
        Self { vendor, window: Switch::Off }
    }

    fn boundary(&self, flag: InterruptFlag, lapic: &mut Lapic) -> Event {
        let window = (self.window == Switch::On && flag == InterruptFlag::Set).then_some(Event::Window);
        // As with virtual interrupts, the order is the maker's (SDM vol. 3C, 26.2; APM vol. 2, 15.21.4).
        match self.vendor {
            Vendor::Intel => window.or_else(|| interrupted(lapic)),
            Vendor::Amd => interrupted(lapic).or(window),
        }
        .unwrap_or(Event::Nothing)
    }
}

fn interrupted(lapic: &mut Lapic) -> Option<Event> {
    match lapic.acknowledge() {
        Acknowledged::Vector(vector) => Some(Event::Interrupted(vector)),
        Acknowledged::Spurious => None,
    }
}

impl Processor {
    /// An Intel processor with the addresses that never change.
    pub(super) fn vmx(page: SharedPage, descriptor: u64, pid_table: (u64, u16), notification: Vector) -> Self {
        let (pid_pointer_table, last_pid_pointer) = pid_table;
        let vmcs = vmx::Vmcs {
            // One page stands for all: the model does not look there.
            virtual_apic_address: 0x1000,
            apic_access_address: 0xfee0_0000,
            descriptor_address: descriptor,
            notification_vector: u16::from(notification.number()),
            pid_pointer_table,
            last_pid_pointer,
            ..vmx::Vmcs::default()
        };
        Self::Vmx(Box::new(vmx::Guest::new(vmcs, page)))
    }

    /// An AMD processor with the addresses that never change.
    pub(super) fn svm(page: SharedPage, page_frame: u64, physical_table: (u64, u16), ringer: DoorbellRinger) -> Self {
        let (table_frame, max_index) = physical_table;
        let vmcb = svm::Vmcb {
            control: InterruptControl::new().with_masks_virtual_interrupts(true),
            backing_page: page_frame << 12,
            physical_table: PhysicalTablePointer::new().with_frame(table_frame).with_max_index(max_index),
            nested_paging: svm::NestedPaging::On,
            interrupt_intercept: svm::InterruptIntercept::Exit,
            ..svm::Vmcb::default()
        };
        let erratum_1235 = match ringer {
            DoorbellRinger::Processor => svm::Erratum1235::Absent,
            DoorbellRinger::Hypervisor => svm::Erratum1235::PRESENT,
        };
        let extended_lvt = svm::ExtendedLvt::Faults;
        let processor = svm::Processor { erratum_1235, extended_lvt, ..svm::Processor::default() };
        Self::Svm(Box::new(svm::Guest::new(vmcb, processor)), page)
    }

    /// Sets what an engine asks for.
    pub(super) fn set(&mut self, setting: Setting) {
        match (self, setting) {
            (Self::Plain(plain), Setting::Window(Window::Interrupt, switch)) => plain.window = switch,
            (Self::Vmx(guest), setting) => set_vmcs(&mut guest.vmcs, setting),
            (Self::Svm(guest, _), Setting::Avic(mode)) => set_avic(&mut guest.vmcb, mode),
            (Self::Svm(guest, _), Setting::TaskPriority(priority)) => guest.vmcb.control.set_task_priority(priority),
            // What an entry injects is delivered by it; AVIC injects no vectors, and nobody sends the rest.
            (Self::Plain(_) | Self::Svm(..), _) => {}
        }
    }

    /// Enters the guest.
    pub(super) fn enter(&mut self) {
        match self {
            Self::Plain(_) => {}
            Self::Vmx(guest) => {
                let entered = guest.enter(WIDTH);
                debug_assert_eq!(entered, Ok(None), "the engine's settings contradict each other");
            }
            Self::Svm(guest, page) => {
                let entered = guest.enter(&page.0);
                debug_assert_eq!(entered, Ok(()), "the engine's settings contradict each other");
            }
        }
    }

    /// Passes a boundary.
    pub(super) fn boundary(&mut self, flag: InterruptFlag, lapic: &mut Lapic, descriptor: &PostedDescriptor) -> Event {
        match self {
            Self::Plain(plain) => plain.boundary(flag, lapic),
            Self::Vmx(guest) => {
                guest.vmcs.interrupt_flag = flag;
                match guest.boundary(lapic, &mut &*descriptor) {
                    vmx::Event::Delivered(vector) => delivered(vector.0),
                    vmx::Event::Processed => Event::Processed,
                    vmx::Event::Exited(vmx::Exit::ExternalInterrupt(Some(vector))) => {
                        Vector::new(vector).map_or(Event::Nothing, Event::Interrupted)
                    }
                    vmx::Event::Exited(vmx::Exit::InterruptWindow) => Event::Window,
                    vmx::Event::Exited(_) | vmx::Event::External(_) | vmx::Event::Nothing => Event::Nothing,
                }
            }
            Self::Svm(guest, page) => {
                guest.vmcb.interrupt_flag = flag;
                match guest.boundary(&page.0, lapic) {
                    svm::Event::Delivered(vector) => delivered(vector),
                    // The interrupt waits in the local APIC until the host takes it.
                    svm::Event::Exited(_) => interrupted(lapic).unwrap_or(Event::Nothing),
                    svm::Event::External(_) | svm::Event::Nothing => Event::Nothing,
                }
            }
        }
    }

    /// The guest writes to a register by WRMSR.
    pub(super) fn write(
        &mut self,
        register: ApicRegister,
        value: u64,
        view: View<'_>,
        interconnect: &mut impl Interconnect,
    ) -> Written {
        match self {
            Self::Plain(_) => Written::Emulate,
            Self::Vmx(guest) => match guest.wrmsr(register.msr(), value) {
                vmx::Access::Virtual(None) => Written::Done,
                vmx::Access::Virtual(Some(ipi)) => {
                    match guest.send_ipi(ipi, WIDTH, ApicMode::X2Apic, view.hypervisor, interconnect) {
                        vmx::Access::Exit(exit) => finish(exit),
                        _ => Written::Done,
                    }
                }
                vmx::Access::Exit(exit) => finish(exit),
                // The engine's MSR bitmap lets no write through that the processor does not virtualize.
                vmx::Access::Native | vmx::Access::GeneralProtection => Written::Emulate,
            },
            Self::Svm(guest, page) => match guest.wrmsr(&page.0, register.msr(), value) {
                svm::Access::Virtual(None) => Written::Done,
                svm::Access::Virtual(Some(ipi)) => match guest.send_ipi(ipi, &page.0, view.hypervisor, interconnect) {
                    svm::Access::Exit(exit) => finish_avic(exit),
                    _ => Written::Done,
                },
                svm::Access::Exit(exit) => finish_avic(exit),
                svm::Access::Native | svm::Access::GeneralProtection => Written::Emulate,
            },
        }
    }

    /// AVIC's doorbell rings while the guest runs.
    pub(super) fn hear_doorbell(&mut self) {
        if let Self::Svm(guest, page) = self {
            guest.hear_doorbell(&page.0);
        }
    }
}

impl Written {
    /// Why the guest was left, if it was.
    pub(super) const fn cause(self) -> Option<ExitCause> {
        match self {
            Self::Done => None,
            Self::Emulate => Some(ExitCause::ApicAccess),
            Self::Finish(engine::Exit::EndOfInterrupt(_)) => Some(ExitCause::Eoi),
            Self::Finish(engine::Exit::IncompleteIpi(_)) => Some(ExitCause::IncompleteIpi),
            Self::Finish(engine::Exit::NoAcceleration(_)) => Some(ExitCause::NoAcceleration),
            Self::Finish(_) => Some(ExitCause::ApicWrite),
        }
    }
}

fn delivered(vector: u8) -> Event {
    Vector::new(vector).map_or(Event::Nothing, Event::Delivered)
}

const fn finish(exit: vmx::Exit) -> Written {
    match exit {
        vmx::Exit::VirtualizedEoi(vector) => Written::Finish(engine::Exit::EndOfInterrupt(vector.0)),
        vmx::Exit::ApicWrite(offset) => Written::Finish(engine::Exit::ApicWrite(offset.bytes())),
        _ => Written::Emulate,
    }
}

fn finish_avic(exit: svm::Exit) -> Written {
    match exit {
        svm::Exit::IncompleteIpi { .. } => {
            Written::Finish(engine::Exit::IncompleteIpi(IncompleteIpi::from_info(exit.info1(), exit.info2())))
        }
        svm::Exit::NoAcceleration { .. } => {
            Written::Finish(engine::Exit::NoAcceleration(NoAcceleration::from_info(exit.info1(), exit.info2())))
        }
        _ => Written::Emulate,
    }
}

fn set_avic(vmcb: &mut svm::Vmcb, mode: Option<Mode>) {
    vmcb.control.set_avic(mode.is_some());
    vmcb.control.set_x2avic(mode == Some(Mode::X2Avic));
    let handler =
        mode.map_or(Handler::Software, |mode| Handler::Avic(Acceleration { mode, extended_lvt: ExtendedLvt::Faults }));
    let exits = |access, msr| avic::interception(handler, access, msr) == Interception::Intercept;
    vmcb.msr_permissions = svm::MsrPermissions {
        read: msr_bits(|msr| exits(AccessKind::Read, msr)),
        write: msr_bits(|msr| exits(AccessKind::Write, msr)),
    };
}

/// A bit for each of the local APIC's MSRs.
fn msr_bits(exits: impl Fn(u32) -> bool) -> [u64; 4] {
    let mut bits = [0; 4];
    for (index, msr) in (MSR_X2APIC_FIRST..=MSR_X2APIC_LAST).enumerate() {
        bits[index / 64] |= u64::from(exits(msr)) << (index % 64);
    }
    bits
}

fn set_vmcs(vmcs: &mut vmx::Vmcs, setting: Setting) {
    match setting {
        Setting::InterruptStatus(status) => {
            vmcs.status = GuestInterruptStatus::new()
                .with_rvi(VirtualVector(status.requested()))
                .with_svi(VirtualVector(status.in_service()));
        }
        Setting::EoiExit { word, vectors } => {
            let EoiExitBitmap(words) = &mut vmcs.eoi_exit;
            words[usize::from(word)] = vectors;
        }
        Setting::TprThreshold(class) => vmcs.tpr_threshold = u32::from(class),
        Setting::Window(Window::Interrupt, switch) => {
            vmcs.controls.primary.set_interrupt_window_exiting(switch == Switch::On);
        }
        Setting::Apicv(controls) => set_controls(vmcs, controls),
        // What an entry injects is delivered by it; non-maskable interrupts are not the machine's, and the rest is AMD's.
        Setting::Inject(_) | Setting::Window(Window::Nmi, _) | Setting::TaskPriority(_) | Setting::Avic(_) => {}
    }
}

fn set_controls(vmcs: &mut vmx::Vmcs, controls: ApicvControls) {
    let to = &mut vmcs.controls;
    to.pin.set_external_interrupt_exiting(controls.external_interrupts_exit);
    to.pin.set_process_posted_interrupts(controls.posting);
    to.exit.set_acknowledge_interrupt_on_exit(controls.acknowledge_on_exit);
    to.primary.set_use_tpr_shadow(controls.tpr_shadow);
    to.primary.set_use_msr_bitmaps(true);
    to.primary.set_activate_secondary(true);
    to.primary.set_activate_tertiary(controls.ipis);
    to.secondary.set_virtualize_apic_accesses(controls.accesses);
    to.secondary.set_virtualize_x2apic_mode(controls.x2apic);
    to.secondary.set_apic_register_virtualization(controls.registers);
    to.secondary.set_virtual_interrupt_delivery(controls.delivery);
    to.tertiary.set_ipi_virtualization(controls.ipis);
    let intercepts = MsrIntercepts::new(controls);
    vmcs.msr_bitmap = MsrBitmap {
        read: msr_bits(|msr| intercepts.read_exits(msr)),
        write: msr_bits(|msr| intercepts.write_exits(msr)),
    };
}
