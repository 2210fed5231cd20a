//! A processor with VMX, on `carillon-machine`'s model of it.

use carillon_machine::InterruptFlag;
use carillon_machine::Lapic;
use carillon_machine::Signal;
use carillon_machine::vmx;
use carillon_machine::vmx::Access;
use carillon_machine::vmx::Guest;
use carillon_machine::vmx::Ipi;
use carillon_machine::vmx::PageOffset;
use carillon_machine::vmx::PhysicalWidth;
use carillon_machine::vmx::RegisterPage as _;
use carillon_machine::vmx::VirtualApicPage;
use carillon_machine::vmx::VirtualVector;
use carillon_machine::vmx::Vmcs;
use carillon_machine::vmx::Width;
use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::MSR_X2APIC_FIRST;
use hypervisor_abi::apic::MSR_X2APIC_LAST;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::posted::PostedDestination;
use hypervisor_abi::sync::AtomicU32;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::Host;
use hypervisor_lib::delivery::Switch;
use hypervisor_lib::delivery::apicv::ApicvControls;
use hypervisor_lib::delivery::apicv::MsrIntercepts;
use hypervisor_lib::delivery::engine::Exit;
use hypervisor_lib::delivery::engine::Gate;
use hypervisor_lib::delivery::engine::Setting;
use hypervisor_lib::delivery::engine::Window;
use hypervisor_lib::delivery::posted::Notice;
use vector_allocator::Vector;

use crate::core::Boundary;
use crate::core::Done;
use crate::core::Place;
use crate::host::DESCRIPTORS;
use crate::host::NOTIFICATION;
use crate::host::PID_TABLE;
use crate::host::Platform;
use crate::host::WIDTH;

/// A processor that runs one vCPU, and its own local APIC.
#[derive(Debug)]
pub(crate) struct VmxCore {
    vcpu: usize,
    guest: Guest,
    lapic: Lapic,
    nmi_window: Switch,
}

impl VmxCore {
    pub(crate) fn new(vcpu: usize, platform: &Platform) -> Self {
        let number = u64::try_from(vcpu).expect("few vCPUs");
        let mut vmcs = Vmcs {
            virtual_apic_address: 0x1000 * (1 + number),
            apic_access_address: 0xfee0_0000,
            descriptor_address: DESCRIPTORS + 64 * number,
            pid_pointer_table: PID_TABLE,
            last_pid_pointer: platform.last_pid_pointer(),
            notification_vector: NOTIFICATION.into(),
            ..Vmcs::default()
        };
        vmcs.controls.primary.set_use_msr_bitmaps(true);
        vmcs.controls.primary.set_activate_secondary(true);
        vmcs.controls.primary.set_activate_tertiary(true);
        let guest = Guest::new(vmcs, VirtualApicPage::new());
        Self { vcpu, guest, lapic: Lapic::new(0), nmi_window: Switch::Off }
    }

    pub(crate) fn set(&mut self, setting: Setting) {
        let vmcs = &mut self.guest.vmcs;
        match setting {
            Setting::InterruptStatus(status) => {
                vmcs.status.set_rvi(VirtualVector(status.requested()));
                vmcs.status.set_svi(VirtualVector(status.in_service()));
            }
            Setting::EoiExit { word, vectors } => vmcs.eoi_exit.0[usize::from(word)] = vectors,
            Setting::TprThreshold(class) => vmcs.tpr_threshold = class.into(),
            Setting::Window(Window::Interrupt, switch) => {
                vmcs.controls.primary.set_interrupt_window_exiting(switch == Switch::On);
            }
            Setting::Window(Window::Nmi, switch) => self.nmi_window = switch,
            Setting::Apicv(controls) => self.set_controls(controls),
            // The model has no event injection: who enters the guest delivers.
            Setting::Inject(_) => {}
            Setting::TaskPriority(_) | Setting::Avic(_) => panic!("a setting of AMD's"),
        }
    }

    fn set_controls(&mut self, controls: ApicvControls) {
        let vmcs = &mut self.guest.vmcs;
        vmcs.controls.pin.set_external_interrupt_exiting(controls.external_interrupts_exit);
        vmcs.controls.pin.set_process_posted_interrupts(controls.posting);
        vmcs.controls.exit.set_acknowledge_interrupt_on_exit(controls.acknowledge_on_exit);
        vmcs.controls.primary.set_use_tpr_shadow(controls.tpr_shadow);
        vmcs.controls.secondary.set_virtualize_apic_accesses(controls.accesses);
        vmcs.controls.secondary.set_virtualize_x2apic_mode(controls.x2apic);
        vmcs.controls.secondary.set_apic_register_virtualization(controls.registers);
        vmcs.controls.secondary.set_virtual_interrupt_delivery(controls.delivery);
        vmcs.controls.tertiary.set_ipi_virtualization(controls.ipis);
        let intercepts = MsrIntercepts::new(controls);
        for (index, msr) in (MSR_X2APIC_FIRST..=MSR_X2APIC_LAST).enumerate() {
            let set = |words: &mut [u64; 4], exits: bool| {
                words[index / 64] = words[index / 64] & !(1 << (index % 64)) | u64::from(exits) << (index % 64);
            };
            set(&mut vmcs.msr_bitmap.read, intercepts.read_exits(msr));
            set(&mut vmcs.msr_bitmap.write, intercepts.write_exits(msr));
        }
    }

    pub(crate) fn enter(&mut self, platform: &Platform, interrupts: Gate) -> Option<Exit> {
        let page = self.page(platform);
        for_each_cell(page, |offset, cell| self.guest.page.set_word(offset, cell.load(Ordering::Relaxed)));
        self.set_interrupt_flag(interrupts);
        let exit = self.guest.enter(PhysicalWidth(WIDTH)).expect("an entry that every control allows");
        exit.map(|exit| concerns_apic(exit).expect("an exit of an entry"))
    }

    pub(crate) fn leave(&self, platform: &Platform) {
        for_each_cell(self.page(platform), |offset, cell| cell.store(self.guest.page.word(offset), Ordering::Relaxed));
    }

    fn page<'p>(&self, platform: &'p Platform) -> &'p BackingPage {
        platform.page(VcpuId(u32::try_from(self.vcpu).expect("few vCPUs"))).expect("each vCPU has one")
    }

    pub(crate) fn read(&mut self, place: Place) -> Done<u64> {
        match place {
            Place::Page(offset) => match self.guest.read_page(at(offset), Width::Doubleword) {
                Access::Virtual(value) => Done::Virtual(value.into()),
                Access::Native | Access::Exit(_) => Done::Emulate,
                Access::GeneralProtection => Done::Fault,
            },
            Place::Msr(msr) => match self.guest.rdmsr(msr) {
                Access::Virtual(value) => Done::Virtual(value),
                Access::Native => panic!("MSR {msr:#x} of the host is read"),
                Access::Exit(_) => Done::Emulate,
                Access::GeneralProtection => Done::Fault,
            },
        }
    }

    pub(crate) fn write(&mut self, place: Place, value: u64, platform: &Platform) -> Done<()> {
        let [a, b, c, d, ..] = value.to_le_bytes();
        let access = match place {
            Place::Page(offset) => {
                self.guest.write_page(at(offset), Width::Doubleword, u32::from_le_bytes([a, b, c, d]))
            }
            Place::Msr(msr) => self.guest.wrmsr(msr, value),
        };
        match (access, place) {
            (Access::Virtual(None), _) => Done::Virtual(()),
            (Access::Virtual(Some(ipi)), _) => self.send(ipi, platform),
            (Access::Native, Place::Msr(msr)) => panic!("MSR {msr:#x} of the host is written"),
            (Access::Native, Place::Page(_)) => Done::Emulate,
            (Access::Exit(exit), _) => concerns_apic(exit).map_or(Done::Emulate, Done::Exit),
            (Access::GeneralProtection, _) => Done::Fault,
        }
    }

    /// The processor sends to another vCPU, and notifies its processor.
    fn send(&self, ipi: Ipi, platform: &Platform) -> Done<()> {
        let mut notify = |signal| match signal {
            Signal::Interrupt(message) => {
                let destination = PostedDestination::new(ApicId(message.destination), ApicMode::X2Apic);
                platform.act(Action::Notify(Notice { vector: message.vector, destination }));
            }
            Signal::Doorbell(_) => panic!("a doorbell of AMD's"),
        };
        match self.guest.send_ipi(ipi, PhysicalWidth(WIDTH), ApicMode::X2Apic, platform, &mut notify) {
            Access::Virtual(()) => Done::Virtual(()),
            Access::Exit(exit) => concerns_apic(exit).map_or(Done::Emulate, Done::Exit),
            other => panic!("{other:?} of a command"),
        }
    }

    pub(crate) fn write_cr8(&mut self, class: u8) -> Done<()> {
        match self.guest.write_cr8(class.into()) {
            Access::Virtual(()) => Done::Virtual(()),
            Access::Native => Done::Emulate,
            Access::Exit(exit) => concerns_apic(exit).map_or(Done::Emulate, Done::Exit),
            Access::GeneralProtection => Done::Fault,
        }
    }

    pub(crate) fn set_interrupt_flag(&mut self, interrupts: Gate) {
        self.guest.vmcs.interrupt_flag = match interrupts {
            Gate::Open => InterruptFlag::Set,
            Gate::Closed => InterruptFlag::Clear,
        };
    }

    pub(crate) fn interrupt(&mut self, vector: u8) {
        self.lapic.accept(Vector::new(vector).expect("a host vector"));
    }

    pub(crate) fn nmi_window(&self) -> Switch {
        self.nmi_window
    }

    pub(crate) fn boundary(&mut self, platform: &Platform) -> Boundary {
        let mut descriptor = Host::descriptor(platform, VcpuId(u32::try_from(self.vcpu).expect("few vCPUs")))
            .expect("each vCPU has one");
        match self.guest.boundary(&mut self.lapic, &mut descriptor) {
            vmx::Event::Delivered(vector) => Boundary::Delivered(Vector::new(vector.0).expect("a legal vector")),
            vmx::Event::Processed => Boundary::Again,
            vmx::Event::Nothing => Boundary::Nothing,
            vmx::Event::Exited(exit) => {
                if matches!(exit, vmx::Exit::ExternalInterrupt(_)) {
                    self.lapic.eoi();
                }
                concerns_apic(exit).map_or(Boundary::Leave, Boundary::Exit)
            }
            vmx::Event::External(vector) => panic!("host interrupt {vector:#x} reaches the guest"),
        }
    }
}

/// The exits that the engine finishes; the others are emulated, or nothing to it.
fn concerns_apic(exit: vmx::Exit) -> Option<Exit> {
    match exit {
        vmx::Exit::InterruptWindow => Some(Exit::InterruptWindow),
        vmx::Exit::TprBelowThreshold => Some(Exit::TprBelowThreshold),
        vmx::Exit::VirtualizedEoi(vector) => Some(Exit::EndOfInterrupt(vector.0)),
        vmx::Exit::ApicWrite(offset) => Some(Exit::ApicWrite(offset.bytes())),
        _ => None,
    }
}

fn at(offset: u16) -> PageOffset {
    PageOffset::of_address(offset.into())
}

/// Calls `visit` for the first eight bytes of each slot.
fn for_each_cell(page: &BackingPage, mut visit: impl FnMut(PageOffset, &AtomicU32)) {
    for offset in (0..0x400).step_by(16) {
        let Some(register) = ApicRegister::at_offset(offset) else { continue };
        let slot = page.register_slot(register);
        visit(at(offset), &slot.value);
        visit(at(offset + 4), &slot.upper);
    }
}
