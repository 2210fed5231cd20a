//! Four vCPUs of a guest, a peer that sends to it, and an account of what was sent and seen.

use std::collections::hash_map::RandomState;
use std::env;
use std::hash::BuildHasher;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use carillon_event_tests::Kernel;
use carillon_event_tests::ShuttleLock;
use carillon_event_tests::World;
use carillon_event_tests::config;
use guest_shim::EoiMode;
use guest_shim::Fifo;
use guest_shim::Round;
use guest_shim::Served;
use guest_shim::Time;
use guest_shim::VcpuEvents;
use guest_shim::Work;
use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_lib::event::DomainConfig;
use hypervisor_lib::event::HeapMemory;
use hypervisor_lib::fabric::DomainKind;
use shuttle::Config;
use shuttle::MaxSteps;
use shuttle::Runner;
use shuttle::scheduler::PctScheduler;
use shuttle::scheduler::RandomScheduler;
use shuttle::thread;

pub(crate) const PEER: DomainId = DomainId::DOM0;
pub(crate) const GUEST: DomainId = DomainId(1);
pub(crate) const VCPUS: [VcpuId; 4] = [VcpuId(0), VcpuId(1), VcpuId(2), VcpuId(3)];
/// How many ports a guest sets memory aside for.
pub(crate) const PORTS: usize = 32;

pub(crate) type Machine = World<HeapMemory<parking_lot::RawMutex>, ShuttleLock>;
pub(crate) type Guest<'w> = Kernel<'w, HeapMemory<parking_lot::RawMutex>, ShuttleLock>;
pub(crate) type Vcpu<'w> = VcpuEvents<'w, Fifo<'w>>;

/// Paravirtual domains with four vCPUs each.
pub(crate) fn machine(domains: u16) -> Machine {
    let configs =
        (0..domains).map(|id| DomainConfig { vcpus: 4, max_port: 63, pirqs: 0, ..config(id, DomainKind::Pv) });
    World::new(HeapMemory::new(64, 64), configs)
}

/// Runs a scenario under so many random schedules, and as many of probabilistic concurrency testing, which prefers few
/// but ill-placed changes of thread. An iteration of more than `steps` steps is work without a bound.
pub(crate) fn explore(iterations: usize, steps: usize, scenario: impl Fn() + Send + Sync + Copy + 'static) {
    let seed =
        env::var("SEED").ok().map_or_else(|| RandomState::new().hash_one(0), |seed| seed.parse().expect("a seed"));
    println!("SEED={seed}");
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.max_steps = MaxSteps::FailAfter(steps);
    config.silence_warnings = true;
    Runner::new(RandomScheduler::new_from_seed(seed, iterations), config.clone()).run(scenario);
    Runner::new(PctScheduler::new_from_seed(seed, 4, iterations), config).run(scenario);
}

/// What was sent on a port, what its handler has seen of that, and how often it ran. These atomics are the test's own: no
/// thread changes at them.
#[derive(Debug, Default)]
pub(crate) struct Account {
    sent: AtomicU32,
    seen: AtomicU32,
    handled: AtomicU32,
}

impl Account {
    /// To be called before each send.
    pub(crate) fn count_sent(&self) {
        self.sent.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn handle(&self) {
        self.handled.fetch_add(1, Ordering::SeqCst);
        self.seen.fetch_max(self.sent.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Nothing was lost: the handler ran after the last send; and nothing came twice: it ran at most once for each, and
    /// once for each of `extra` events nobody counted.
    pub(crate) fn check(&self, name: &str, extra: u32) {
        let [sent, seen, handled] = [&self.sent, &self.seen, &self.handled].map(|count| count.load(Ordering::SeqCst));
        assert_eq!(seen, sent, "{name}: the last event was lost");
        assert!(handled <= sent + extra, "{name}: {sent} events came {handled} times");
    }
}

/// Offers a port for the peer, connects it, and takes the guest's end into use on a vCPU.
pub(crate) fn connect(machine: &Machine, guest: &Guest<'_>, vcpu: VcpuId, eoi: EoiMode) -> (Port, Port) {
    let port = guest.offer(PEER, vcpu, eoi).expect("a free port");
    guest.unmask(port).expect("a bound port");
    let theirs = machine.get(PEER).bind_interdomain(machine, GUEST, port).expect("an offered port");
    (port, theirs)
}

/// A vCPU takes what it is called for; whether it was.
pub(crate) fn serve<'w>(vcpu: &mut Vcpu<'w>, guest: &Guest<'w>, mut handler: impl FnMut(Port)) -> bool {
    let was_called = vcpu.is_upcall_pending();
    if was_called {
        let round = vcpu.handle(guest, Time(0), |port| {
            handler(port);
            Served::Finished(Work::Done)
        });
        assert_eq!(round, Ok(Round::Done));
    }
    was_called
}

/// A vCPU's life while others send: so many looks whether it is called.
pub(crate) fn live<'w>(vcpu: &mut Vcpu<'w>, guest: &Guest<'w>, looks: u32, handler: impl Fn(Port)) {
    for _ in 0..looks {
        serve(vcpu, guest, &handler);
        thread::yield_now();
    }
}

/// After all senders have ended: the vCPUs take what is left.
pub(crate) fn drain<'w>(vcpus: &mut [Vcpu<'w>], guest: &Guest<'w>, handler: impl Fn(Port)) {
    while vcpus.iter_mut().any(|vcpu| serve(vcpu, guest, &handler)) {}
}
