//! A domain moves to another host with its memory: nothing is lost, ports keep their numbers, nonsense is refused.

use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::Virq;
use hypervisor_abi::event::FIFO_QUEUES;
use hypervisor_abi::hvm::CallbackVia;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::event::Action;
use hypervisor_lib::event::Binding;
use hypervisor_lib::event::DomainConfig;
use hypervisor_lib::event::EoiUnmask;
use hypervisor_lib::event::EventAbi;
use hypervisor_lib::event::GuestPlace;
use hypervisor_lib::event::RestoreError;
use hypervisor_lib::event::SavedError;
use hypervisor_lib::event::SavedEvents;
use hypervisor_lib::event::Sharing;
use hypervisor_lib::event::WordSize;
use hypervisor_lib::event::reconnections;
use hypervisor_lib::fabric::DomainKind;
use proptest::prelude::ProptestConfig;
use proptest::prelude::any;
use proptest::proptest;

use crate::guest::Guest;
use crate::host::TestHost;
use crate::host::domain;

const V0: VcpuId = VcpuId(0);
const V1: VcpuId = VcpuId(1);

fn hvm() -> DomainConfig {
    DomainConfig { kind: DomainKind::Hvm, ..domain(1) }
}

/// What a migration copies: the guest's own pages, as far as events are in them.
fn copy_memory(from: Guest<'_>, to: Guest<'_>) {
    let copy_32 = |from: &hypervisor_abi::sync::AtomicU32, to: &hypervisor_abi::sync::AtomicU32| {
        to.store(from.load(Ordering::Acquire), Ordering::Release);
    };
    for (from, to) in [
        (&from.shared_64().evtchn_pending, &to.shared_64().evtchn_pending),
        (&from.shared_64().evtchn_mask, &to.shared_64().evtchn_mask),
    ] {
        from.iter().zip(to).for_each(|(from, to)| to.store(from.load(Ordering::Acquire), Ordering::Release));
    }
    (0..64).for_each(|port| copy_32(&from.word(Port(port)).0, &to.word(Port(port)).0));
    for vcpu in [V0, V1] {
        let (from, to) = (from.control(vcpu), to.control(vcpu));
        copy_32(&from.ready, &to.ready);
        (0..FIFO_QUEUES).for_each(|queue| copy_32(&from.head[queue], &to.head[queue]));
    }
}

/// A domain with ports of all kinds, some of them pending, masked, or in a queue.
fn busy_domain(fifo: bool) -> (TestHost, Vec<Port>) {
    let host = TestHost::new([hvm(), domain(0)]);
    let mut guest = Guest::new(&host, 1);
    if fifo {
        guest = guest.use_fifo(1);
    }
    let own = guest.domain;
    own.set_callback_via(&host, CallbackVia::Vector(0xf3), WordSize::Bits64).expect("a callback");
    own.set_upcall_vector(&host, V1, 0xd1).expect("a vCPU");
    own.register_pirq_eoi_page(&host, 7, EoiUnmask::Automatic).expect("a page");
    let ipi = own.bind_ipi(&host, V0).expect("a port");
    let closed = own.bind_ipi(&host, V0).expect("a port");
    let timer = own.bind_virq(&host, Virq::TIMER, V1).expect("a port");
    let line = own.bind_pirq(&host, 9, Sharing::Shared).expect("a line");
    let front = own.alloc_unbound(&host, DomainId::SELF, DomainId::DOM0).expect("a port");
    let back = host.get(0).bind_interdomain(&host, DomainId(1), front).expect("offered");
    let loop_a = own.alloc_unbound(&host, DomainId::SELF, DomainId::SELF).expect("a port");
    let loop_b = own.bind_interdomain(&host, DomainId::SELF, loop_a).expect("offered");
    own.bind_vcpu(&host, front, V1).expect("a port");
    if fifo {
        own.set_priority(line, 2).expect("a port");
    }
    own.close(&host, closed).expect("an open port");
    guest.mask(timer);
    own.send(&host, ipi).expect("an IPI port");
    own.send_virq(&host, V1, Virq::TIMER).expect("a vCPU");
    own.send_pirq(&host, 9);
    host.get(0).send(&host, back).expect("connected");
    (host, vec![ipi, timer, line, front, loop_a, loop_b])
}

#[test]
fn r32_a_moved_domain_keeps_ports_vectors_masks_and_every_pending_event() {
    for fifo in [false, true] {
        let (old, ports) = busy_domain(fifo);
        let saved = old.get(1).save();
        let bytes = saved.to_bytes();
        assert_eq!(SavedEvents::from_bytes(&bytes), Ok(saved.clone()));

        let host = TestHost::new([hvm(), domain(0)]);
        let guest = Guest::new(&host, 1);
        copy_memory(Guest::new(&old, 1), guest);
        guest.domain.restore(&host, &saved).expect("the domain fits");
        assert_eq!(guest.domain.abi() == EventAbi::Fifo, fifo);
        assert_eq!(guest.domain.upcall_vector(V1), Some(0xd1));
        assert_eq!(guest.domain.callback_vector(&host, V0), Some(0xf3));
        let domain = DomainId(1);
        let calls = [Action::Kick { domain, vcpu: V0 }, Action::InjectVector { domain, vcpu: V1, vector: 0xd1 }];
        assert_eq!(host.take_actions(), calls);

        let [ipi, timer, line, front, loop_a, loop_b] = ports[..] else { unreachable!("six ports were opened") };
        let mut taken = guest.consume(V0);
        taken.extend(guest.consume(V1));
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken, [ipi, line, front, loop_b], "fifo: {fifo}");
        guest.unmask(timer);
        assert_eq!(guest.consume(V1), [timer]);
        // The connection to the other domain is offered again, the one inside goes on.
        let again: Vec<Port> = reconnections(&saved).iter().map(|port| port.port).collect();
        assert_eq!(again, [front, loop_a, loop_b]);
        let back = host.get(0).bind_interdomain(&host, domain, front).expect("offered again");
        host.get(0).send(&host, back).expect("connected");
        assert_eq!(guest.consume(V1), [front]);
        guest.domain.send(&host, loop_b).expect("connected");
        assert_eq!(guest.consume(V0), [loop_a]);
        assert_eq!(guest.domain.bind_ipi(&host, V0), Ok(Port(2)), "the number that was free");
        guest.domain.send_pirq(&host, 9);
        assert_eq!(guest.consume(V0), [line]);
        guest.domain.destroy(&host).expect("nobody is preempted");
        host.get(0).destroy(&host).expect("nobody is preempted");
        assert_eq!(host.memory.pins(), 0);
    }
}

#[test]
fn an_event_that_waits_for_its_event_word_waits_on_the_new_host() {
    let old = TestHost::new([domain(1)]);
    let guest = Guest::new(&old, 1).use_fifo(0);
    let ipi = guest.domain.bind_ipi(&old, V0).expect("a port");
    guest.domain.send(&old, ipi).expect("an IPI port");
    let host = TestHost::new([domain(1)]);
    let moved = Guest::new(&host, 1);
    moved.domain.restore(&host, &guest.domain.save()).expect("the domain fits");
    moved.domain.expand_array(&host, crate::guest::ARRAY_GFN).expect("a page");
    assert_eq!(moved.consume(V0), [ipi]);
}

#[test]
fn a_registered_block_is_found_again_with_what_the_guest_left_in_it() {
    let old = TestHost::new([domain(1)]);
    let place = GuestPlace { gfn: 9, offset: 128 };
    old.get(1).register_vcpu_info(&old, V1, place).expect("a block");
    let saved = old.get(1).save();
    let host = TestHost::new([domain(1)]);
    let block: &hypervisor_abi::VcpuInfo64 = host.memory.view(DomainId(1), place).expect("memory");
    block.evtchn_upcall_mask.store(1, Ordering::Release);
    host.get(1).restore(&host, &saved).expect("the domain fits");
    assert_eq!(block.evtchn_upcall_mask.load(Ordering::Acquire), 1);
    assert_eq!(block.evtchn_upcall_pending.load(Ordering::Acquire), 1);
}

#[test]
fn what_does_not_fit_is_refused_with_its_reason() {
    let (old, ports) = busy_domain(false);
    let saved = old.get(1).save();
    let restore = |config, saved: &SavedEvents| {
        let host = TestHost::new([config]);
        host.get(1).restore(&host, saved)
    };
    assert_eq!(old.get(1).restore(&old, &saved), Err(RestoreError::NotFresh));
    let fewer = DomainConfig { vcpus: 1, ..hvm() };
    assert_eq!(restore(fewer, &saved), Err(RestoreError::Vcpus { saved: 2, present: 1 }));
    let narrow = DomainConfig { max_port: 3, ..hvm() };
    assert_eq!(restore(narrow, &saved), Err(RestoreError::Port(ports[5])));
    let mut one_sided = saved.clone();
    one_sided.ports.retain(|port| port.port != ports[4]);
    assert_eq!(restore(hvm(), &one_sided), Err(RestoreError::Port(ports[5])));
    let mut twice = saved.clone();
    for port in &mut twice.ports {
        port.binding = Binding::Virq(Virq::DEBUG);
        port.vcpu = 0;
    }
    assert_eq!(restore(hvm(), &twice), Err(RestoreError::Port(ports[1])));
    let callback = SavedEvents { callback: u64::MAX, ..saved };
    assert!(matches!(restore(hvm(), &callback), Err(RestoreError::Callback(_))));
}

#[test]
fn bytes_that_are_cut_or_of_another_version_are_refused() {
    let bytes = busy_domain(true).0.get(1).save().to_bytes();
    for length in 0..bytes.len() {
        assert!(matches!(SavedEvents::from_bytes(&bytes[..length]), Err(SavedError::Short(_))), "{length} bytes");
    }
    assert_eq!(SavedEvents::from_bytes(&[&bytes[..], &[0]].concat()), Err(SavedError::Long(bytes.len())));
    assert_eq!(SavedEvents::from_bytes(&[2, 0, 0, 0]), Err(SavedError::Version(2)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn saved_bytes_that_were_tampered_with_are_refused_or_restored_soundly(
        fifo: bool,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = busy_domain(fifo).0.get(1).save().to_bytes();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(saved) = SavedEvents::from_bytes(&bytes) {
            let host = TestHost::new([hvm(), domain(0)]);
            // Whatever comes of it, the domain can be ended, and the other one has nothing of it.
            let _: Result<(), RestoreError> = host.get(1).restore(&host, &saved);
            host.get(1).destroy(&host).expect("nobody is preempted");
            assert_eq!(host.get(1).open_ports(), 0);
            assert_eq!((host.get(0).open_ports(), host.memory.pins()), (0, 1));
        }
    }
}
