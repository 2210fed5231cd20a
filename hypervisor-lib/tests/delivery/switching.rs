//! A vCPU that changes its engine, and the control structure that it keeps.

use std::cell::RefCell;

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::avic::BackingPage;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::ApicBus;
use hypervisor_lib::delivery::Destination;
use hypervisor_lib::delivery::Host;
use hypervisor_lib::delivery::Message;
use hypervisor_lib::delivery::Moment;
use hypervisor_lib::delivery::Switch;
use hypervisor_lib::delivery::engine::Apicv;
use hypervisor_lib::delivery::engine::ApicvLevel;
use hypervisor_lib::delivery::engine::Gates;
use hypervisor_lib::delivery::engine::Setting;
use hypervisor_lib::delivery::engine::VcpuApic;
use hypervisor_lib::delivery::engine::Window;
use hypervisor_lib::delivery::software::AccessWidth;
use hypervisor_lib::delivery::software::ApicFeatures;
use hypervisor_lib::delivery::software::LocalApicConfig;
use hypervisor_lib::delivery::software::ProcessorRole;

struct Hypervisor {
    bus: ApicBus,
    page: BackingPage,
    asked: RefCell<Vec<Action>>,
}

impl Host for Hypervisor {
    fn bus(&self) -> &ApicBus {
        &self.bus
    }

    fn act(&self, action: Action) {
        self.asked.borrow_mut().push(action);
    }

    fn page(&self, _vcpu: VcpuId) -> Option<&BackingPage> {
        Some(&self.page)
    }
}

/// The VMCS went on asking for a window that nothing waited for: the guest exited at every instruction, for ever.
#[test]
fn a_window_that_the_old_engine_asked_for_is_closed_when_the_new_one_delivers() {
    let host = Hypervisor {
        bus: ApicBus::new(&[ApicId(0)]).unwrap(),
        page: BackingPage::default(),
        asked: RefCell::default(),
    };
    let config = LocalApicConfig {
        vcpu: VcpuId(0),
        id: ApicId(0),
        role: ProcessorRole::Bootstrap,
        features: ApicFeatures::default(),
        physical_bits: 46,
    };
    let now = Moment::default();
    let mut vcpu = VcpuApic::new(config, Apicv::new(ApicvLevel::TprShadow), &host);
    vcpu.write_mmio(now, 0x0f0, AccessWidth::Dword, 0x1ff, &host).unwrap();
    let message = Message {
        destination: Destination::Physical(0),
        delivery: DeliveryMode::Fixed,
        vector: 0x51,
        trigger: TriggerMode::Edge,
    };
    host.bus.send(&message, &host);
    let window = |switch| Action::Set(Setting::Window(Window::Interrupt, switch));
    assert_eq!(vcpu.enter(Gates::CLOSED, now, &host), None);
    vcpu.exited(None, &host);
    assert!(host.asked.take().contains(&window(Switch::On)));
    vcpu.switch(Apicv::new(ApicvLevel::Delivery), &host);
    assert_eq!(vcpu.enter(Gates::CLOSED, now, &host), None);
    assert!(host.asked.take().contains(&window(Switch::Off)));
}
