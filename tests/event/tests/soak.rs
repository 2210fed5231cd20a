//! Everything at its limit at once: 131071 ports, 16 priorities, 64 vCPUs, several senders. Every send is accounted for.
#![cfg(not(any(loom, shuttle)))]

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::thread;

use carillon_event_tests::Kernel;
use carillon_event_tests::KernelPages;
use carillon_event_tests::World;
use carillon_event_tests::bring_up;
use carillon_event_tests::config;
use carillon_event_tests::kernel;
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
use hypervisor_abi::event::FIFO_CHANNELS;
use hypervisor_abi::event::FifoPriority;
use hypervisor_lib::event::DomainConfig;
use hypervisor_lib::event::HeapMemory;
use hypervisor_lib::fabric::DomainKind;
use parking_lot::RawMutex;

const GUEST: DomainId = DomainId::DOM0;
const PORTS: u32 = FIFO_CHANNELS - 1;
const VCPUS: u32 = 64;
const SENDERS: u32 = 4;
/// How often each sender sends on every port.
const ROUNDS: u32 = 6;
/// Each thread runs a quarter of the vCPUs.
const VCPU_THREADS: usize = 4;

type Guest<'w> = Kernel<'w, HeapMemory<RawMutex>, RawMutex>;

/// What was sent on a port, what its handler has seen of that, and how often it ran.
#[derive(Debug, Default)]
struct Account {
    sent: AtomicU32,
    seen: AtomicU32,
    handled: AtomicU32,
}

/// A vCPU takes all its events, if it is called; whether it was.
fn serve<'w>(vcpu: &mut VcpuEvents<'w, Fifo<'w>>, guest: &Guest<'w>, accounts: &[Account]) -> bool {
    let number = vcpu.vcpu();
    let was_called = vcpu.is_upcall_pending();
    let mut round = if was_called { Round::More } else { Round::Done };
    while round == Round::More {
        let handled = vcpu.handle(guest, Time(0), |port| {
            assert_eq!(VcpuId(port.0 % VCPUS), number, "{port} came to {number}");
            let account = &accounts[port.index()];
            account.handled.fetch_add(1, Ordering::SeqCst);
            account.seen.fetch_max(account.sent.load(Ordering::SeqCst), Ordering::SeqCst);
            Served::Finished(Work::Done)
        });
        round = handled.expect("nothing refuses an honest guest");
    }
    was_called
}

#[test]
fn every_send_is_accounted_for_with_131071_ports_16_priorities_and_64_vcpus() {
    let limits = DomainConfig { vcpus: VCPUS, max_port: PORTS, pirqs: 0, ..config(GUEST.0, DomainKind::Pv) };
    let world = World::<_, RawMutex>::new(HeapMemory::<RawMutex>::new(512, 256), [limits]);
    let pages = KernelPages::new(&world, GUEST, Port(FIFO_CHANNELS).index());
    let guest = kernel(&world, GUEST, &pages);
    let mut vcpus: Vec<_> = (0..VCPUS).map(|vcpu| bring_up(&world, GUEST, &guest, VcpuId(vcpu))).collect();
    for number in 1..=PORTS {
        let eoi = if number % 3 == 0 { EoiMode::Late } else { EoiMode::Early };
        let port = guest.bind_ipi(VcpuId(number % VCPUS), eoi).expect("a free port");
        assert_eq!(port, Port(number), "ports are given out in their order");
        let priority = FifoPriority::new(u8::try_from(number / VCPUS % 16).expect("below 16")).expect("below 16");
        guest.set_priority(port, priority).expect("a bound port");
        guest.unmask(port).expect("a bound port");
    }
    assert!(guest.bind_ipi(VcpuId(0), EoiMode::Early).is_err(), "there are no more ports");

    let accounts: Vec<Account> = (0..=PORTS).map(|_| Account::default()).collect();
    let have_all_sent = AtomicBool::new(false);
    thread::scope(|scope| {
        let (guest, accounts, have_all_sent) = (&guest, &accounts[..], &have_all_sent);
        for own in vcpus.chunks_mut(Port(VCPUS).index() / VCPU_THREADS) {
            scope.spawn(move || {
                while !have_all_sent.load(Ordering::SeqCst) {
                    for vcpu in own.iter_mut() {
                        serve(vcpu, guest, accounts);
                    }
                    thread::yield_now();
                }
            });
        }
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                scope.spawn(move || {
                    // Each begins elsewhere; they meet where one is slower.
                    for step in 0..ROUNDS * PORTS {
                        let port = Port((step + sender * (PORTS / SENDERS)) % PORTS + 1);
                        accounts[port.index()].sent.fetch_add(1, Ordering::SeqCst);
                        guest.send(port).expect("a bound port");
                    }
                })
            })
            .collect();
        let results: Vec<_> = senders.into_iter().map(thread::ScopedJoinHandle::join).collect();
        have_all_sent.store(true, Ordering::SeqCst);
        assert!(results.iter().all(Result::is_ok), "a sender has failed");
    });
    while vcpus.iter_mut().any(|vcpu| serve(vcpu, &guest, &accounts)) {}

    let mut handled_in_all = 0;
    for (account, number) in accounts.iter().zip(0..).skip(1) {
        let [sent, seen, handled] =
            [&account.sent, &account.seen, &account.handled].map(|count| count.load(Ordering::SeqCst));
        assert_eq!((sent, seen), (SENDERS * ROUNDS, SENDERS * ROUNDS), "port {number} has lost its last event");
        assert!((1..=sent).contains(&handled), "port {number} was handled {handled} times for {sent} events");
        assert!(!guest.is_pending(Port(number)));
        handled_in_all += handled;
    }
    println!("{} events sent, handled in {handled_in_all} deliveries", SENDERS * ROUNDS * PORTS);
    assert_eq!(world.get(GUEST).dropped_events(), 0);
    assert!((0..VCPUS).all(|vcpu| world.calls(GUEST, VcpuId(vcpu)) > 0), "a vCPU was never called");
    world.check();
}
