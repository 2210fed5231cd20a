//! A processor with AVIC, on `carillon-machine`'s model of it.

use carillon_machine::InterruptFlag;
use carillon_machine::Lapic;
use carillon_machine::Signal;
use carillon_machine::svm;
use carillon_machine::svm::Access;
use carillon_machine::svm::Guest;
use carillon_machine::svm::Ipi;
use carillon_machine::svm::LevelEnd;
use carillon_machine::svm::NestedPaging;
use carillon_machine::svm::Processor;
use carillon_machine::svm::RegisterOffset;
use carillon_machine::svm::Vmcb;
use carillon_machine::vmx::ExitStyle;
use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::MSR_X2APIC_FIRST;
use hypervisor_abi::apic::MSR_X2APIC_LAST;
use hypervisor_abi::avic::AccessKind;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::HostApicId;
use hypervisor_abi::avic::IncompleteIpi;
use hypervisor_abi::avic::InterruptControl;
use hypervisor_abi::avic::NoAcceleration;
use hypervisor_abi::avic::PhysicalTablePointer;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::Host;
use hypervisor_lib::delivery::Interception;
use hypervisor_lib::delivery::Switch;
use hypervisor_lib::delivery::avic::Handler;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::avic::interception;
use hypervisor_lib::delivery::engine::Exit;
use hypervisor_lib::delivery::engine::Gate;
use hypervisor_lib::delivery::engine::Setting;
use vector_allocator::Vector;

use crate::core::Boundary;
use crate::core::Done;
use crate::core::Place;
use crate::host::LOGICAL_TABLE;
use crate::host::PHYSICAL_TABLE;
use crate::host::Platform;
use crate::host::acceleration;
use crate::host::backing_frame;

/// A processor that runs one vCPU.
#[derive(Debug)]
pub(crate) struct SvmCore {
    vcpu: usize,
    guest: Guest,
    lapic: Lapic,
    pub(crate) windows: [Switch; 2],
}

impl SvmCore {
    pub(crate) fn new(vcpu: usize, platform: &Platform) -> Self {
        let table = PhysicalTablePointer::new().with_frame(PHYSICAL_TABLE >> 12);
        let vmcb = Vmcb {
            control: InterruptControl::new().with_masks_virtual_interrupts(true),
            backing_page: backing_frame(vcpu) << 12,
            logical_table: LOGICAL_TABLE,
            physical_table: table.with_max_index(platform.max_avic_index()),
            nested_paging: NestedPaging::On,
            ..Vmcb::default()
        };
        // What the manual leaves open, each in turn.
        let level_end = if vcpu.is_multiple_of(2) { LevelEnd::Cleared } else { LevelEnd::Kept };
        let guest = Guest::new(vmcb, Processor { level_end, ..Processor::default() });
        Self { vcpu, guest, lapic: Lapic::new(0), windows: [Switch::Off; 2] }
    }

    pub(crate) fn set(&mut self, setting: Setting, platform: &Platform) {
        match setting {
            Setting::Window(window, switch) => self.windows[window as usize] = switch,
            Setting::TaskPriority(priority) => self.guest.vmcb.control.set_task_priority(priority),
            Setting::Avic(mode) => self.set_avic(mode, platform),
            Setting::Inject(_) => {}
            other => panic!("{other:?} of Intel's"),
        }
    }

    fn set_avic(&mut self, mode: Option<Mode>, platform: &Platform) {
        self.guest.vmcb.control.set_avic(mode.is_some());
        self.guest.vmcb.control.set_x2avic(mode == Some(Mode::X2Avic));
        let handler = mode.map_or(Handler::Software, |mode| Handler::Avic(acceleration(mode)));
        for (index, msr) in (MSR_X2APIC_FIRST..=MSR_X2APIC_LAST).enumerate() {
            let set = |words: &mut [u64; 4], access| {
                let exits = interception(handler, access, msr) == Interception::Intercept;
                words[index / 64] = words[index / 64] & !(1 << (index % 64)) | u64::from(exits) << (index % 64);
            };
            set(&mut self.guest.vmcb.msr_permissions.read, AccessKind::Read);
            set(&mut self.guest.vmcb.msr_permissions.write, AccessKind::Write);
        }
        let core = HostApicId::new(u32::try_from(self.vcpu).expect("few")).expect("few");
        platform.reside(self.vcpu, mode.map(|_| core));
    }

    fn page<'p>(&self, platform: &'p Platform) -> &'p BackingPage {
        platform.page(VcpuId(u32::try_from(self.vcpu).expect("few vCPUs"))).expect("each vCPU has one")
    }

    pub(crate) fn enter(&mut self, platform: &Platform, interrupts: Gate) {
        self.set_interrupt_flag(interrupts);
        self.guest.enter(self.page(platform)).expect("an entry that every field allows");
    }

    pub(crate) fn set_interrupt_flag(&mut self, interrupts: Gate) {
        self.guest.vmcb.interrupt_flag = match interrupts {
            Gate::Open => InterruptFlag::Set,
            Gate::Closed => InterruptFlag::Clear,
        };
    }

    pub(crate) fn read(&mut self, place: Place, platform: &Platform) -> Done<u64> {
        let page = self.page(platform);
        let access = match place {
            Place::Page(offset) => match self.guest.read_page(page, RegisterOffset::of_address(offset.into())) {
                Access::Virtual(value) => Access::Virtual(u64::from(value)),
                Access::Native => return Done::Emulate,
                Access::Exit(exit) => Access::Exit(exit),
                Access::GeneralProtection => Access::GeneralProtection,
            },
            Place::Msr(msr) => self.guest.rdmsr(page, msr),
        };
        match access {
            Access::Virtual(value) => Done::Virtual(value),
            Access::Native => panic!("{place:?} of the host is read"),
            Access::Exit(exit) => done(exit),
            Access::GeneralProtection => Done::Fault,
        }
    }

    pub(crate) fn write(&mut self, place: Place, value: u64, platform: &Platform) -> Done<()> {
        let page = self.page(platform);
        let [a, b, c, d, ..] = value.to_le_bytes();
        let access = match place {
            Place::Page(offset) => {
                let offset = RegisterOffset::of_address(offset.into());
                self.guest.write_page(page, offset, u32::from_le_bytes([a, b, c, d]))
            }
            Place::Msr(msr) => self.guest.wrmsr(page, msr, value),
        };
        match (access, place) {
            (Access::Virtual(None), _) => Done::Virtual(()),
            (Access::Virtual(Some(ipi)), _) => self.send(ipi, platform),
            (Access::Native, Place::Page(_)) => Done::Emulate,
            (Access::Native, Place::Msr(msr)) => panic!("MSR {msr:#x} of the host is written"),
            (Access::Exit(exit), _) => done(exit),
            (Access::GeneralProtection, _) => Done::Fault,
        }
    }

    fn send(&mut self, ipi: Ipi, platform: &Platform) -> Done<()> {
        let mut ring = |signal| match signal {
            Signal::Doorbell(core) => {
                platform.act(Action::RingDoorbell(HostApicId::new(core.0).expect("a processor of the host")));
            }
            Signal::Interrupt(message) => panic!("{message:?} of AVIC's"),
        };
        match self.guest.send_ipi(ipi, self.page(platform), platform, &mut ring) {
            Access::Virtual(()) => Done::Virtual(()),
            Access::Exit(exit) => done(exit),
            other => panic!("{other:?} of a command"),
        }
    }

    pub(crate) fn write_cr8(&mut self, class: u8, platform: &Platform) -> Done<()> {
        // With AVIC off, the engine has it intercepted.
        if !self.guest.vmcb.control.avic() {
            return Done::Emulate;
        }
        match self.guest.write_cr8(self.page(platform), class.into()) {
            Access::Virtual(()) => Done::Virtual(()),
            other => panic!("{other:?} of a write of CR8"),
        }
    }

    /// Its doorbell is rung.
    pub(crate) fn ring(&mut self, platform: &Platform) {
        self.guest.hear_doorbell(self.page(platform));
    }

    pub(crate) fn boundary(&mut self, platform: &Platform) -> Boundary {
        // With AVIC off the processor looks at no page.
        if !self.guest.vmcb.control.avic() {
            return Boundary::Nothing;
        }
        match self.guest.boundary(self.page(platform), &mut self.lapic) {
            svm::Event::Delivered(number) => Boundary::Delivered(Vector::new(number).expect("a legal vector")),
            svm::Event::Nothing => Boundary::Nothing,
            other => panic!("{other:?} without a host interrupt"),
        }
    }
}

fn done<T>(exit: svm::Exit) -> Done<T> {
    match exit {
        svm::Exit::Msr(_) => Done::Emulate,
        svm::Exit::IncompleteIpi { .. } => {
            Done::Exit(Exit::IncompleteIpi(IncompleteIpi::from_info(exit.info1(), exit.info2())))
        }
        svm::Exit::NoAcceleration { style, .. } => {
            let told = Exit::NoAcceleration(NoAcceleration::from_info(exit.info1(), exit.info2()));
            if style == ExitStyle::Fault { Done::Ask(told) } else { Done::Exit(told) }
        }
        svm::Exit::Interrupt | svm::Exit::Hlt | svm::Exit::IdleHlt => panic!("{exit:?} of an access"),
    }
}
