//! Contenders of the delivery bars: the software engine under the workloads of the floors.

use std::cell::Cell;

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::ApicBus;
use hypervisor_lib::delivery::Destination;
use hypervisor_lib::delivery::Host;
use hypervisor_lib::delivery::Message;
use hypervisor_lib::delivery::Moment;
use hypervisor_lib::delivery::Notification;
use hypervisor_lib::delivery::software::Acknowledged;
use hypervisor_lib::delivery::software::ApicFeatures;
use hypervisor_lib::delivery::software::LocalApic;
use hypervisor_lib::delivery::software::LocalApicConfig;
use hypervisor_lib::delivery::software::ProcessorRole;
use vector_allocator::Vector;

use crate::floor::random_vectors;

const BASE: u32 = 0x1b;
const SVR: u32 = 0x80f;
const EOI: u32 = 0x80b;
const ICR: u32 = 0x830;

struct Counting {
    bus: ApicBus,
    actions: Cell<u64>,
}

impl Host for Counting {
    fn bus(&self) -> &ApicBus {
        &self.bus
    }

    #[inline]
    fn act(&self, _: Action) {
        self.actions.set(self.actions.get() + 1);
    }
}

/// Local APICs in x2APIC mode, enabled.
fn apics(count: u32) -> (Counting, Vec<LocalApic>) {
    let ids: Vec<ApicId> = (0..count).map(ApicId).collect();
    let host = Counting { bus: ApicBus::new(&ids).expect("different numbers"), actions: Cell::new(0) };
    let features = ApicFeatures { x2apic: true, ..ApicFeatures::default() };
    let begin = |number| {
        let (vcpu, role) = (VcpuId(number), ProcessorRole::Application);
        let config = LocalApicConfig { vcpu, id: ApicId(number), role, features, physical_bits: 46 };
        let mut apic = LocalApic::new(config, &host);
        apic.write_msr(Moment::default(), BASE, 0xfee0_0c00, &host).expect("x2APIC mode");
        apic.write_msr(Moment::default(), SVR, 0x1ff, &host).expect("enabled");
        apic
    };
    let apics = (0..count).map(begin).collect();
    (host, apics)
}

fn messages() -> Vec<Message> {
    let message = |vector: usize| Message {
        destination: Destination::Physical(0),
        delivery: DeliveryMode::Fixed,
        vector: u8::try_from(vector).expect("a byte"),
        trigger: TriggerMode::Edge,
    };
    random_vectors().into_iter().map(message).collect()
}

/// Deliver and end by a register write.
#[inline]
fn serve(apic: &mut LocalApic, host: &Counting) {
    if let Acknowledged::Vector(_) = apic.acknowledge() {
        apic.write_msr(Moment::default(), EOI, 0, host).expect("an EOI");
    }
}

/// Workload A1: each vector injected, delivered and ended on the vCPU's own thread.
pub(crate) fn local() -> impl FnMut(u64) {
    let (host, mut apics) = apics(1);
    let messages = messages();
    let mut next = 0;
    move |operations| {
        for _ in 0..operations {
            apics[0].receive(&messages[next], &host);
            serve(&mut apics[0], &host);
            next = (next + 1) % messages.len();
        }
        std::hint::black_box(&apics);
    }
}

/// Workload A2: each vector posted as a sender does that knows the vCPU, synced, delivered and ended.
pub(crate) fn posted() -> impl FnMut(u64) {
    let (host, mut apics) = apics(1);
    let vectors: Vec<Vector> = messages().iter().filter_map(|message| Vector::new(message.vector).ok()).collect();
    let mut next = 0;
    move |operations| {
        for _ in 0..operations {
            let inbox = host.bus.inbox(VcpuId(0)).expect("the vCPU is there");
            if inbox.post(vectors[next], TriggerMode::Edge) == Notification::Due {
                host.act(Action::Kick(VcpuId(0)));
            }
            apics[0].sync(&host);
            serve(&mut apics[0], &host);
            next = (next + 1) % vectors.len();
        }
        std::hint::black_box(&apics);
    }
}

/// The same for a sender that has a message: who is addressed is found first.
pub(crate) fn routed() -> impl FnMut(u64) {
    let (host, mut apics) = apics(1);
    let messages = messages();
    let mut next = 0;
    move |operations| {
        for _ in 0..operations {
            host.bus.send(&messages[next], &host);
            apics[0].sync(&host);
            serve(&mut apics[0], &host);
            next = (next + 1) % messages.len();
        }
        std::hint::black_box(&apics);
    }
}

/// A sync that finds nothing.
pub(crate) fn sync_of_nothing() -> impl FnMut(u64) {
    let (host, mut apics) = apics(1);
    move |operations| {
        for _ in 0..operations {
            apics[0].sync(&host);
            std::hint::black_box(&mut apics[0]);
        }
    }
}

/// Workload A3: a command to a random one of `count` local APICs, which syncs, takes it and ends it.
pub(crate) fn command(count: u32) -> impl FnMut(u64) {
    let (host, mut apics) = apics(count);
    let vectors = random_vectors();
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = 0;
    move |operations| {
        for _ in 0..operations {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let to = (state >> 20) % u64::from(count);
            let sender = usize::from(to == 0);
            let command = to << 32 | 0x4000 | vectors[next] as u64;
            apics[sender].write_msr(Moment::default(), ICR, command, &host).expect("a command");
            let target = &mut apics[to as usize];
            target.sync(&host);
            serve(target, &host);
            next = (next + 1) % vectors.len();
        }
        std::hint::black_box(&apics);
    }
}
