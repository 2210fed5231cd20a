//! What an engine asks of the control structure, step by step.

use std::cell::RefCell;

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::VectorBits;
use hypervisor_abi::posted::PostedDescriptor;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::ApicBus;
use hypervisor_lib::delivery::Destination;
use hypervisor_lib::delivery::Host;
use hypervisor_lib::delivery::Message;
use hypervisor_lib::delivery::Moment;
use hypervisor_lib::delivery::Switch;
use hypervisor_lib::delivery::engine::AcknowledgeOnExit;
use hypervisor_lib::delivery::engine::Apicv;
use hypervisor_lib::delivery::engine::ApicvLevel;
use hypervisor_lib::delivery::engine::Event;
use hypervisor_lib::delivery::engine::Exit;
use hypervisor_lib::delivery::engine::ExitError;
use hypervisor_lib::delivery::engine::Finished;
use hypervisor_lib::delivery::engine::Gate;
use hypervisor_lib::delivery::engine::Gates;
use hypervisor_lib::delivery::engine::InterruptStatus;
use hypervisor_lib::delivery::engine::NestedEntry;
use hypervisor_lib::delivery::engine::Setting;
use hypervisor_lib::delivery::engine::Software;
use hypervisor_lib::delivery::engine::VcpuApic;
use hypervisor_lib::delivery::engine::Window;
use hypervisor_lib::delivery::software::Pin;
use hypervisor_lib::event::Level;

use crate::machine::ALL_FEATURES;
use crate::machine::X2APIC;
use crate::machine::config;
use crate::machine::vector;

const NOW: Moment = Moment { bus: 0, tsc: 0 };
/// The vector of the external interrupt controller.
const EXTERNAL: u8 = 0x08;

struct OneVcpu {
    bus: ApicBus,
    page: BackingPage,
    descriptor: PostedDescriptor,
    asked: RefCell<Vec<Action>>,
}

impl Host for OneVcpu {
    fn bus(&self) -> &ApicBus {
        &self.bus
    }

    fn act(&self, action: Action) {
        self.asked.borrow_mut().push(action);
    }

    fn page(&self, _vcpu: VcpuId) -> Option<&BackingPage> {
        Some(&self.page)
    }

    fn descriptor(&self, _vcpu: VcpuId) -> Option<&PostedDescriptor> {
        Some(&self.descriptor)
    }

    fn external_vector(&self) -> Option<u8> {
        Some(EXTERNAL)
    }
}

impl OneVcpu {
    fn new() -> Self {
        Self {
            bus: ApicBus::new(&[ApicId(0)]).expect("one number"),
            page: BackingPage::default(),
            descriptor: PostedDescriptor::default(),
            asked: RefCell::default(),
        }
    }

    /// A vCPU in x2APIC mode, software-enabled, that has been in the guest.
    fn vcpu(&self, level: ApicvLevel) -> VcpuApic<Apicv> {
        let mut vcpu = VcpuApic::new(config(0, 0, ALL_FEATURES), Apicv::new(level), self);
        vcpu.write_msr(NOW, 0x1b, X2APIC | 1 << 8, self).expect("x2APIC mode");
        vcpu.write_msr(NOW, ApicRegister::SpuriousVector.msr(), 0x1ff, self).expect("enabled");
        assert_eq!(vcpu.enter(Gates::OPEN, NOW, self), None);
        vcpu.exited(None, self);
        self.asked.take();
        vcpu
    }

    fn send(&self, delivery: DeliveryMode, number: u8, trigger: TriggerMode) {
        let message = Message { destination: Destination::Physical(0), delivery, vector: number, trigger };
        self.bus.send(&message, self);
    }

    fn send_edge(&self, number: u8) {
        self.send(DeliveryMode::Fixed, number, TriggerMode::Edge);
    }

    /// What has been set since the last call.
    fn set(&self) -> Vec<Setting> {
        let settings = |action| if let Action::Set(setting) = action { Some(setting) } else { None };
        self.asked.take().into_iter().filter_map(settings).collect()
    }
}

fn status(requested: u8, in_service: u8) -> Setting {
    Setting::InterruptStatus(InterruptStatus::new().with_requested(requested).with_in_service(in_service))
}

#[test]
fn nothing_is_set_for_an_entry_that_changes_nothing() {
    for level in [ApicvLevel::TprShadow, ApicvLevel::Registers, ApicvLevel::Delivery, ApicvLevel::Ipis] {
        let host = OneVcpu::new();
        let mut vcpu = host.vcpu(level);
        for _ in 0..3 {
            assert_eq!(vcpu.enter(Gates::CLOSED, NOW, &host), None);
            vcpu.exited(None, &host);
            assert_eq!(host.set(), [], "{level:?}");
        }
    }
}

#[test]
fn the_threshold_is_the_class_that_the_task_priority_holds_back() {
    let host = OneVcpu::new();
    let mut vcpu = host.vcpu(ApicvLevel::TprShadow);
    vcpu.set_cr8(9, &host);
    host.send_edge(0x73);
    assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), None);
    assert_eq!(host.set(), [Setting::TprThreshold(7)]);
    // The guest lowers it in the page, and exits.
    host.page.register(ApicRegister::TaskPriority).store(0x60, hypervisor_abi::sync::Ordering::Relaxed);
    vcpu.exited(None, &host);
    assert_eq!(vcpu.finish(Exit::TprBelowThreshold, NOW, &host), Ok(Finished::Enter));
    assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), Some(Event::Vector(vector(0x73))));
    assert_eq!(host.set(), [Setting::Inject(Event::Vector(vector(0x73))), Setting::TprThreshold(0)]);
}

/// an external interrupt goes first; what was posted is in the page all the same.
#[test]
fn r51_what_was_posted_is_merged_although_an_external_interrupt_is_injected() {
    let host = OneVcpu::new();
    let mut vcpu = host.vcpu(ApicvLevel::Posting);
    host.send_edge(0x51);
    host.send(DeliveryMode::ExtInt, 0, TriggerMode::Edge);
    assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), Some(Event::External(EXTERNAL)));
    assert_eq!(host.set(), [Setting::Inject(Event::External(EXTERNAL)), status(0x51, 0)]);
    assert!(host.page.has(VectorBits::InterruptRequest, 0x51));
}

/// an interrupt that ends by other means than EOI leaves SVI to whatever is still in service.
#[test]
fn r52_an_end_by_other_means_sets_svi_anew() {
    let host = OneVcpu::new();
    let mut vcpu = host.vcpu(ApicvLevel::Delivery);
    for number in [0x41, 0x92] {
        host.page.set(VectorBits::InService, number);
    }
    vcpu.local_apic(&host).end_of_interrupt(&host);
    assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), None);
    assert_eq!(host.set(), [status(0, 0x41)]);
}

/// a non-maskable interrupt that is blocked asks for the window under APICv as under any engine.
#[test]
fn r53_a_blocked_nmi_asks_for_its_window() {
    for level in [ApicvLevel::TprShadow, ApicvLevel::Posting] {
        let host = OneVcpu::new();
        let mut vcpu = host.vcpu(level);
        host.send(DeliveryMode::Nmi, 0, TriggerMode::Edge);
        let blocked = Gates { nmis: Gate::Closed, ..Gates::OPEN };
        assert_eq!(vcpu.enter(blocked, NOW, &host), None);
        assert_eq!(host.set(), [Setting::Window(Window::Nmi, Switch::On)], "{level:?}");
        vcpu.exited(None, &host);
        assert_eq!(vcpu.finish(Exit::NmiWindow, NOW, &host), Ok(Finished::Enter));
        assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), Some(Event::Nmi));
        assert_eq!(host.set(), [Setting::Inject(Event::Nmi), Setting::Window(Window::Nmi, Switch::Off)]);
    }
}

/// what an entry was given is not overwritten by what comes before the entry is made; both are delivered.
#[test]
fn r65_an_event_survives_a_second_pass_before_the_entry() {
    let host = OneVcpu::new();
    let mut vcpu = host.vcpu(ApicvLevel::TprShadow);
    host.send_edge(0x51);
    assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), Some(Event::Vector(vector(0x51))));
    // The entry is given up, for something has come.
    host.send(DeliveryMode::Nmi, 0, TriggerMode::Edge);
    host.send_edge(0x91);
    host.asked.take();
    assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), Some(Event::Vector(vector(0x51))));
    let windows = [Window::Interrupt, Window::Nmi].map(|window| Setting::Window(window, Switch::On));
    assert_eq!(host.set(), [Setting::Inject(Event::Vector(vector(0x51))), windows[0], windows[1]]);
    // It is delivered, and the next ones follow.
    vcpu.exited(None, &host);
    assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), Some(Event::Nmi));
    vcpu.exited(None, &host);
    assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), Some(Event::Vector(vector(0x91))));
}

#[test]
fn an_event_whose_delivery_is_broken_off_is_injected_again() {
    let host = OneVcpu::new();
    let mut vcpu = host.vcpu(ApicvLevel::TprShadow);
    host.send_edge(0x51);
    let event = vcpu.enter(Gates::OPEN, NOW, &host);
    assert_eq!(event, Some(Event::Vector(vector(0x51))));
    vcpu.exited(event, &host);
    assert!(vcpu.wakes(Gates::CLOSED, &host));
    assert_eq!(vcpu.enter(Gates::CLOSED, NOW, &host), event);
    vcpu.exited(None, &host);
    assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), None);
}

/// the route of a level-triggered vector is taken away while the vector is served; its end still exits, is told, and
/// then exits no more.
#[test]
fn r67_a_level_triggered_vector_in_service_exits_at_its_end_without_a_route() {
    let host = OneVcpu::new();
    let mut vcpu = host.vcpu(ApicvLevel::Posting);
    host.send(DeliveryMode::Fixed, 0x62, TriggerMode::Level);
    assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), None);
    let exits = |vectors| Setting::EoiExit { word: 1, vectors };
    assert_eq!(host.set(), [status(0x62, 0), exits(1 << (0x62 - 64))]);
    // The processor delivers it, then ends it.
    host.page.clear(VectorBits::InterruptRequest, 0x62);
    host.page.set(VectorBits::InService, 0x62);
    vcpu.exited(None, &host);
    assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), None);
    assert_eq!(host.set(), [], "in service it exits still");
    host.page.clear(VectorBits::InService, 0x62);
    vcpu.exited(None, &host);
    assert_eq!(vcpu.finish(Exit::EndOfInterrupt(0x62), NOW, &host), Ok(Finished::Enter));
    assert_eq!(host.asked.take(), [Action::EndOfInterrupt(vector(0x62))]);
    assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), None);
    assert_eq!(host.set(), [exits(0)]);
}

#[test]
fn a_route_counts_from_the_next_entry_on() {
    let host = OneVcpu::new();
    let mut vcpu = host.vcpu(ApicvLevel::Delivery);
    vcpu.routes_mut().add(vector(0xd1));
    assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), None);
    assert_eq!(host.set(), [Setting::EoiExit { word: 3, vectors: 1 << (0xd1 - 192) }]);
    vcpu.exited(None, &host);
    assert_eq!(vcpu.finish(Exit::EndOfInterrupt(0xd1), NOW, &host), Ok(Finished::Enter));
    assert_eq!(host.asked.take(), [Action::VectorEnded(vector(0xd1))]);
    assert_eq!(vcpu.routes_mut().remove(vector(0xd1)), Ok(()));
    assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), None);
    assert_eq!(host.set(), [Setting::EoiExit { word: 3, vectors: 0 }]);
}

#[test]
fn an_external_interrupt_waits_for_its_window() {
    let host = OneVcpu::new();
    let mut vcpu = host.vcpu(ApicvLevel::Posting);
    let lint0 = ApicRegister::Lvt(hypervisor_abi::apic::LvtEntry::Lint0);
    vcpu.write_msr(NOW, lint0.msr(), 0x700, &host).expect("external interrupts");
    vcpu.set_pin(Pin::Lint0, Level::High, &host);
    host.asked.take();
    let closed = Gates { interrupts: Gate::Closed, ..Gates::OPEN };
    assert_eq!(vcpu.enter(closed, NOW, &host), None);
    assert_eq!(host.set()[0], Setting::Window(Window::Interrupt, Switch::On));
    vcpu.exited(None, &host);
    assert_eq!(vcpu.finish(Exit::InterruptWindow, NOW, &host), Ok(Finished::Enter));
    assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), Some(Event::External(EXTERNAL)));
    vcpu.set_pin(Pin::Lint0, Level::Low, &host);
    vcpu.exited(None, &host);
    host.asked.take();
    assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), None);
    assert_eq!(host.set(), [Setting::Window(Window::Interrupt, Switch::Off)]);
}

/// while its guest's guest runs, nothing of the guest's own is set; it all is when the guest runs again.
#[test]
fn r66_no_eoi_exit_bitmap_of_l1_is_loaded_while_l2_runs() {
    let host = OneVcpu::new();
    let mut vcpu = host.vcpu(ApicvLevel::Posting);
    host.send(DeliveryMode::Fixed, 0x62, TriggerMode::Level);
    vcpu.routes_mut().add(vector(0xd1));
    host.asked.take();
    assert_eq!(vcpu.enter_nested(Gates::CLOSED, &host), NestedEntry::Enter);
    assert_eq!(host.set(), []);
    assert_eq!(vcpu.enter_nested(Gates::OPEN, &host), NestedEntry::ExitToL1);
    assert_eq!(host.set(), []);
    assert_eq!(vcpu.exit_to_l1(AcknowledgeOnExit::Leave, &host), None);
    assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), None);
    let bit = |number: u8| 1 << (number % 64);
    let expected = [
        status(0x62, 0),
        Setting::EoiExit { word: 1, vectors: bit(0x62) },
        Setting::EoiExit { word: 3, vectors: bit(0xd1) },
    ];
    assert_eq!(host.set(), expected);
}

/// RVI follows what is requested whatever SVI is; SVI names the vector only if the guest asked for it to be acknowledged,
/// and then its end exits.
#[test]
fn r55_rvi_is_set_anew_in_any_case_and_svi_only_by_acknowledgement() {
    for (acknowledge, told, expected) in [
        (AcknowledgeOnExit::Leave, None, status(0x91, 0x41)),
        (AcknowledgeOnExit::Acknowledge, Some(vector(0x91)), status(0x62, 0x91)),
    ] {
        let host = OneVcpu::new();
        let mut vcpu = host.vcpu(ApicvLevel::Posting);
        host.page.set(VectorBits::InService, 0x41);
        host.send_edge(0x62);
        host.send(DeliveryMode::Fixed, 0x91, TriggerMode::Level);
        assert_eq!(vcpu.enter_nested(Gates::OPEN, &host), NestedEntry::ExitToL1);
        assert_eq!(vcpu.exit_to_l1(acknowledge, &host), told);
        host.asked.take();
        assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), None);
        assert_eq!(host.set(), [expected, Setting::EoiExit { word: 2, vectors: 1 << (0x91 - 128) }]);
    }
}

/// what was staged stays while a local APIC is software-disabled, which no processor knows of.
#[test]
fn r70_software_disabling_takes_everything_back_and_enabling_gives_it_again() {
    let host = OneVcpu::new();
    let mut vcpu = host.vcpu(ApicvLevel::Posting);
    host.page.set(VectorBits::InterruptRequest, 0x51);
    host.send_edge(0x62);
    vcpu.write_msr(NOW, ApicRegister::SpuriousVector.msr(), 0xff, &host).expect("disabled");
    host.send_edge(0x73);
    host.asked.take();
    assert_eq!(vcpu.enter(Gates::CLOSED, NOW, &host), None);
    let is_off = |setting: &Setting| matches!(setting, Setting::Apicv(controls) if !controls.delivery);
    assert!(host.set().iter().any(is_off), "the hypervisor injects");
    vcpu.exited(None, &host);
    vcpu.write_msr(NOW, ApicRegister::SpuriousVector.msr(), 0x1ff, &host).expect("enabled");
    assert_eq!(vcpu.enter(Gates::CLOSED, NOW, &host), None);
    assert!(host.set().contains(&status(0x62, 0)), "but what came while it was disabled");
    assert!(host.page.has(VectorBits::InterruptRequest, 0x51));
}

#[test]
fn an_exit_of_another_engine_is_refused() {
    let host = OneVcpu::new();
    let mut vcpu = VcpuApic::new(config(0, 0, ALL_FEATURES), Software, &host);
    let exit = Exit::ApicWrite(0x300);
    let refused = vcpu.finish(exit, NOW, &host);
    assert_eq!(refused, Err(ExitError::Foreign { exit, engine: vcpu.engine() }));
}

#[test]
fn a_vector_that_comes_level_triggered_and_posted_before_an_entry_is_level_triggered() {
    let host = OneVcpu::new();
    let mut vcpu = host.vcpu(ApicvLevel::Posting);
    for level_first in [true, false] {
        if level_first {
            host.send(DeliveryMode::Fixed, 0x51, TriggerMode::Level);
        }
        host.send_edge(0x51);
        if !level_first {
            host.send(DeliveryMode::Fixed, 0x51, TriggerMode::Level);
        }
        assert_eq!(vcpu.enter(Gates::OPEN, NOW, &host), None);
        assert!(host.page.has(VectorBits::TriggerMode, 0x51), "{level_first}");
        vcpu.exited(None, &host);
        vcpu.init(&host);
        vcpu.write_msr(NOW, ApicRegister::SpuriousVector.msr(), 0x1ff, &host).expect("enabled");
    }
}

#[test]
fn a_page_with_trigger_modes_of_another_time_tells_none_of_them() {
    let host = OneVcpu::new();
    host.page.set(VectorBits::TriggerMode, 0x51);
    // The processor itself makes a vector wait without a look at its trigger mode: it must be right beforehand.
    host.vcpu(ApicvLevel::Posting);
    assert!(!host.page.has(VectorBits::TriggerMode, 0x51));
}

/// The VMCS went on asking for a window that nothing waited for: the guest exited at every instruction, for ever.
#[test]
fn a_window_that_the_old_engine_asked_for_is_closed_when_the_new_one_delivers() {
    let host = OneVcpu::new();
    let mut vcpu = host.vcpu(ApicvLevel::TprShadow);
    host.send_edge(0x51);
    assert_eq!(vcpu.enter(Gates::CLOSED, NOW, &host), None);
    vcpu.exited(None, &host);
    assert!(host.set().contains(&Setting::Window(Window::Interrupt, Switch::On)));
    vcpu.switch(Apicv::new(ApicvLevel::Delivery), &host);
    assert_eq!(vcpu.enter(Gates::CLOSED, NOW, &host), None);
    assert!(host.set().contains(&Setting::Window(Window::Interrupt, Switch::Off)));
}
