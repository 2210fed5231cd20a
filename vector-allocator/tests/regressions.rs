//! Bugs that other hypervisors shipped in host vectors and CPU hotplug, each as a scenario that must come out right.

use vector_allocator::AllocateError;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::DomainId;
use vector_allocator::Drain;
use vector_allocator::Evacuation;
use vector_allocator::Forward;
use vector_allocator::IoApicAck;
use vector_allocator::Lease;
use vector_allocator::Move;
use vector_allocator::MoveError;
use vector_allocator::Owner;
use vector_allocator::Policy;
use vector_allocator::SourceKind;
use vector_allocator::StaleLease;
use vector_allocator::TurnBackError;
use vector_allocator::Vector;
use vector_allocator::VectorAllocator;
use vector_allocator::VectorLayout;
use vector_allocator::VectorSet;
use vector_allocator::XenLayout;

const GUEST: Owner = Owner::Guest(DomainId(1));
const POLICIES: [Policy; 3] = [Policy::XenCursor, Policy::Spread, Policy::BelowDom0];

fn host(policy: Policy, model: DestinationModel) -> VectorAllocator {
    let layout = VectorLayout::xen(XenLayout::default());
    VectorAllocator::new(layout, model, 4, &CpuSet::first_n(4), policy, IoApicAck::New).unwrap()
}

fn on(cpu: u32) -> CpuSet {
    CpuSet::single(CpuId(cpu))
}

fn lease(allocator: &mut VectorAllocator, affinity: &CpuSet) -> Lease {
    allocator.allocate(GUEST, SourceKind::EdgeMaskable, affinity).unwrap()
}

fn vector(allocator: &VectorAllocator, lease: Lease) -> Vector {
    allocator.placement(lease).unwrap().vector
}

fn one(vector: Vector) -> VectorSet {
    VectorSet::range(vector, vector)
}

/// the CPU an interrupt is moving away from goes offline and comes back; the mask of old CPUs still named it, so the
/// cleanup touched a vector that belonged to somebody else by then.
#[test]
fn r86_a_cpu_that_goes_during_a_move_is_forgotten_by_the_move() {
    for policy in POLICIES {
        let mut host = host(policy, DestinationModel::Physical);
        let moving = lease(&mut host, &on(1));
        let old = vector(&host, moving);
        host.begin_move(moving, &on(2)).unwrap();
        let evacuation = host.take_offline(CpuId(1), &one(old)).unwrap();
        let now = host.placement(moving).unwrap();
        assert_eq!((now.target, now.moving_from), (CpuId(2), None), "nothing is left to drain");
        let forward = Forward { lease: moving, waited_on: old, vector: now.vector, to: CpuId(2) };
        assert_eq!(evacuation.forwards, [forward], "what waited on the old CPU is sent to the new one");
        host.bring_online(CpuId(1)).unwrap();
        let next = host.adopt(Owner::Dom0, SourceKind::EdgeMaskable, old, &on(1), CpuId(1)).unwrap();
        assert_eq!(host.clean_up(CpuId(1), &VectorSet::EMPTY), 0);
        assert_eq!(vector(&host, next), old);
        assert!(host.begin_move(moving, &on(3)).is_ok(), "the move before is over");
        assert_eq!(host.check(), Ok(()));
    }
}

/// R-86, the other side: the CPU an interrupt is moving *to* goes. The old vector, still live, takes it back.
#[test]
fn r86_a_move_whose_destination_goes_falls_back_to_the_old_vector() {
    for policy in POLICIES {
        let mut host = host(policy, DestinationModel::Physical);
        let moving = lease(&mut host, &on(1));
        let old = vector(&host, moving);
        host.begin_move(moving, &[1, 2].into_iter().map(CpuId).collect()).unwrap();
        assert_eq!(host.placement(moving).unwrap().moving_from, None, "CPU 1 is in the mask: it stays");
        host.begin_move(moving, &on(2)).unwrap();
        let fresh = vector(&host, moving);
        let evacuation = host.take_offline(CpuId(2), &one(fresh)).unwrap();
        let now = host.placement(moving).unwrap();
        assert_eq!((now.vector, now.target, now.moving_from), (old, CpuId(1), None));
        assert_eq!(evacuation.forwards, [Forward { lease: moving, waited_on: fresh, vector: old, to: CpuId(1) }]);
        assert_eq!(host.check(), Ok(()));
    }
}

/// an interrupt whose affinity names only CPUs that are gone kept pointing at them and was lost.
#[test]
fn r87_an_interrupt_whose_cpus_are_all_gone_goes_to_any_that_is_online() {
    for policy in POLICIES {
        for model in [DestinationModel::Physical, DestinationModel::Logical { cluster_size: 2 }] {
            let mut host = host(policy, model);
            let lost = lease(&mut host, &[2, 3].into_iter().map(CpuId).collect());
            host.take_offline(CpuId(2), &VectorSet::EMPTY).unwrap();
            let evacuation = host.take_offline(CpuId(3), &VectorSet::EMPTY).unwrap();
            assert_eq!(evacuation.moved, [lost]);
            assert!(host.online().contains(host.placement(lost).unwrap().target));
            assert_eq!(host.check(), Ok(()));
        }
    }
}

/// interrupts with an all-ones affinity were shuffled whenever any CPU went or came.
#[test]
fn r88_a_cpu_that_goes_or_comes_moves_nothing_that_is_not_on_it() {
    for policy in POLICIES {
        let mut host = host(policy, DestinationModel::Physical);
        let all = CpuSet::first_n(4);
        let leases: Vec<Lease> = (0..12).map(|_| lease(&mut host, &all)).collect();
        let seats = |host: &VectorAllocator| {
            let seat = |lease: &Lease| host.placement(*lease).map(|at| (at.vector, at.target)).unwrap();
            leases.iter().map(seat).collect::<Vec<_>>()
        };
        let before = seats(&host);
        let evacuation = host.take_offline(CpuId(3), &VectorSet::EMPTY).unwrap();
        let gone = seats(&host);
        for ((lease, before), gone) in leases.iter().zip(&before).zip(&gone) {
            let was_there = before.1 == CpuId(3);
            assert_eq!(evacuation.moved.contains(lease), was_there);
            assert_eq!(before != gone, was_there);
        }
        host.bring_online(CpuId(3)).unwrap();
        assert_eq!(seats(&host), gone);
    }
}

/// a device on a vector reserved everywhere (Xen's serial line on F1): its CPU mask must stay accurate, and it can be
/// moved.
#[test]
fn r90_a_device_on_a_vector_reserved_everywhere_moves_by_its_mask_alone() {
    let mut host = host(Policy::XenCursor, DestinationModel::FLAT);
    let f1 = Vector::new(0xf1).unwrap();
    let serial = host.adopt(Owner::System, SourceKind::EdgeMaskable, f1, &CpuSet::first_n(4), CpuId(0)).unwrap();
    assert_eq!(host.begin_move(serial, &on(2)), Ok(Move::Kept { target: CpuId(2) }));
    assert_eq!(host.placement(serial).unwrap().holders.to_set(), on(2));
    let evacuation = host.take_offline(CpuId(2), &one(f1)).unwrap();
    let now = host.placement(serial).unwrap();
    assert_eq!((now.vector, now.target), (f1, CpuId(0)));
    assert!(!now.holders.contains(CpuId(2)), "the mask names no CPU that is gone");
    let forward = Forward { lease: serial, waited_on: f1, vector: f1, to: CpuId(0) };
    assert_eq!(evacuation, Evacuation { forwards: vec![forward], moved: vec![serial], stranded: vec![] });
    assert_eq!(host.check(), Ok(()));
}

/// Running out of the vectors reserved everywhere stopped the whole machine; here it is an answer.
#[test]
fn exhausted_notification_vectors_are_an_error() {
    let mut host = host(Policy::BelowDom0, DestinationModel::Physical);
    let all = CpuSet::first_n(4);
    let leases: Vec<Lease> =
        (0..8).map(|_| host.allocate(Owner::System, SourceKind::Notification, &all).unwrap()).collect();
    let refused = host.allocate(Owner::System, SourceKind::Notification, &all);
    assert_eq!(refused, Err(AllocateError::NotificationsExhausted { count: 8 }));
    host.release(leases[3]).unwrap();
    let again = host.allocate(Owner::System, SourceKind::Notification, &all).unwrap();
    assert_eq!(vector(&host, again), Vector::new(0xf4).unwrap());
}

/// an interrupt released while its old vector waited for cleanup; its next user met the leftovers.
#[test]
fn r92_what_a_released_move_left_behind_is_given_to_nobody_until_it_is_drained() {
    for policy in POLICIES {
        let mut host = host(policy, DestinationModel::Physical);
        let moving = lease(&mut host, &on(1));
        let old = vector(&host, moving);
        host.begin_move(moving, &on(2)).unwrap();
        assert_eq!(host.begin_move(moving, &on(3)), Err(MoveError::InFlight { lease: moving, draining: old }));
        let Ok(Drain::Waiting(waiting)) = host.finish_move(moving, &on(1)) else { panic!("it is pending on CPU 1") };
        assert_eq!(waiting.to_set(), on(1));
        assert_eq!(host.begin_move(moving, &on(3)), Err(MoveError::InFlight { lease: moving, draining: old }));
        host.release(moving).unwrap();
        assert_eq!(host.release(moving), Err(StaleLease { lease: moving }));
        let adopt = |host: &mut VectorAllocator| host.adopt(GUEST, SourceKind::EdgeMaskable, old, &on(1), CpuId(1));
        assert!(adopt(&mut host).is_err());
        assert_eq!(host.clean_up(CpuId(1), &one(old)), 0, "still pending in the IRR");
        assert!(adopt(&mut host).is_err());
        assert_eq!(host.clean_up(CpuId(1), &VectorSet::EMPTY), 1);
        assert!(adopt(&mut host).is_ok());
        let next = lease(&mut host, &on(1));
        assert!(host.begin_move(next, &on(2)).is_ok(), "the next user of the slot is not told to try again");
        assert_eq!(host.check(), Ok(()));
    }
}

/// AMD CPUs delivered spurious interrupts on the 8259's vectors to other CPUs than the first, where device
/// interrupts had been given those vectors. On the boot CPU they are never given out.
#[test]
fn r93_the_legacy_band_is_never_leased_on_the_boot_cpu() {
    for policy in POLICIES {
        let mut host = host(policy, DestinationModel::Physical);
        while let Ok(lease) = host.allocate(Owner::Dom0, SourceKind::EdgeMaskable, &on(0)) {
            assert!(vector(&host, lease).number() >= 0x30);
        }
        let legacy = Vector::new(0x28).unwrap();
        assert!(host.adopt(Owner::Dom0, SourceKind::EdgeMaskable, legacy, &on(0), CpuId(0)).is_err());
        assert!(host.adopt(Owner::Dom0, SourceKind::EdgeMaskable, legacy, &on(1), CpuId(1)).is_ok());
    }
}

/// the cleanup handler walked over all vectors and stumbled on those that no move had left behind.
#[test]
fn r94_cleanup_frees_nothing_that_no_move_left_behind() {
    for policy in POLICIES {
        let mut host = host(policy, DestinationModel::Physical);
        let settled = lease(&mut host, &on(1));
        let programmed = lease(&mut host, &on(1));
        host.begin_move(programmed, &on(2)).unwrap();
        for cpu in 0..4 {
            assert_eq!(host.clean_up(CpuId(cpu), &VectorSet::EMPTY), 0, "no first interrupt has come yet");
        }
        assert!(host.placement(programmed).unwrap().moving_from.is_some());
        assert_eq!(host.placement(settled).unwrap().target, CpuId(1));
        assert_eq!(host.clean_up(CpuId(4000), &VectorSet::EMPTY), 0);
    }
}

/// the HPET's broadcast had a vector per channel, above the timer's. It has one, the lowest of the pool's second
/// class, and the pool never gives it out while the HPET broadcasts.
#[test]
fn r95_the_hpet_broadcast_vector_is_nobody_elses() {
    let broadcast = Vector::new(0x30).unwrap();
    for policy in POLICIES {
        let mut host = host(policy, DestinationModel::Physical);
        while let Ok(lease) = host.allocate(GUEST, SourceKind::Level, &CpuSet::first_n(4)) {
            assert_ne!(vector(&host, lease), broadcast);
        }
    }
    let released = VectorLayout::xen(XenLayout { hpet_broadcast: false, ..XenLayout::default() });
    assert!(released.leasable(CpuId::BOOT).contains(broadcast));
    assert!(Vector::new(0xfa).unwrap().outranks(broadcast), "the timer's vector is far above");
}

/// a guest that does not EOI its level-triggered interrupt blocks its class and below. Under `below-dom0` no vector
/// of dom0's is among them, whatever was leased first.
#[test]
fn r97_no_vector_of_dom0_can_be_blocked_by_a_retaining_guest() {
    for ack in [IoApicAck::New, IoApicAck::Old] {
        let layout = VectorLayout::xen(XenLayout::default());
        let all = CpuSet::first_n(2);
        let mut host = VectorAllocator::new(layout, DestinationModel::FLAT, 2, &all, Policy::BelowDom0, ack).unwrap();
        let kinds = [SourceKind::Level, SourceKind::EdgeUnmaskable];
        // Until the two bands meet, in the middle of a class.
        let leases: Vec<Lease> = (0..240)
            .filter_map(|turn| {
                let owner = if turn % 3 == 0 { Owner::Dom0 } else { GUEST };
                host.allocate(owner, kinds[turn / 2 % 2], &all).ok()
            })
            .collect();
        let sources = || leases.iter().map(|lease| (host.tenant(*lease).unwrap(), vector(&host, *lease)));
        for ((owner, kind), retained) in sources() {
            if owner.is_guest() && kind.retains_in_service(ack) {
                assert!(
                    sources().filter(|((other, _), _)| !other.is_guest()).all(|(_, v)| !retained.blocks_in_service(v))
                );
            }
        }
        assert!(leases.len() > 150, "{}", leases.len());
    }
}

/// R-97, at the border: a vector above the retaining one is not enough, it takes a class above.
#[test]
fn r97_dom0_gets_nothing_in_the_class_of_a_retaining_guest() {
    let mut host = host(Policy::BelowDom0, DestinationModel::Physical);
    let retaining = Vector::new(0x45).unwrap();
    host.adopt(GUEST, SourceKind::Level, retaining, &on(1), CpuId(1)).unwrap();
    let mut leased = 0;
    while let Ok(lease) = host.allocate(Owner::Dom0, SourceKind::EdgeMaskable, &on(1)) {
        assert!(!retaining.blocks_in_service(vector(&host, lease)));
        leased += 1;
    }
    assert_eq!(leased, 158, "everything from 0x50 to 0xef but the two gates");
}

/// A plan or a caller can read from the refusal what to free.
#[test]
fn below_dom0_says_which_vector_stops_a_guest() {
    let mut host = host(Policy::BelowDom0, DestinationModel::Physical);
    let cpu = on(1);
    while host.allocate(Owner::Dom0, SourceKind::EdgeMaskable, &cpu).is_ok() {}
    assert!(matches!(host.allocate(GUEST, SourceKind::Level, &cpu), Err(AllocateError::Full { .. })));
    let lowest = Vector::new(0x23).unwrap();
    let bottom = host.leases().find(|lease| vector(&host, *lease) == lowest).unwrap();
    host.release(bottom).unwrap();
    let refused = host.allocate(GUEST, SourceKind::Level, &cpu).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a guest source that can retain its in-service bit finds no vector on CPUs {1}: on CPU 1 the free 23 is on the \
         wrong side of 24"
    );
    assert!(
        host.allocate(GUEST, SourceKind::EdgeMaskable, &cpu).is_ok(),
        "it may be just below, if it retains nothing"
    );
}

/// The host of the recordings holds an inversion; taking it over must neither fail nor hide new ones.
#[test]
fn adopted_disorder_is_inherited_and_ends_with_a_move() {
    let mut host = host(Policy::BelowDom0, DestinationModel::FLAT);
    let all = CpuSet::first_n(4);
    let at = |number| Vector::new(number).unwrap();
    host.adopt(Owner::Dom0, SourceKind::EdgeMaskable, at(0xc8), &all, CpuId(3)).unwrap();
    let nic = host.adopt(GUEST, SourceKind::EdgeMaskable, at(0xd8), &all, CpuId(0)).unwrap();
    assert_eq!(host.check(), Ok(()));
    host.release(nic).unwrap();
    let nic = host.allocate(GUEST, SourceKind::EdgeMaskable, &all).unwrap();
    assert!(at(0xc8).outranks(vector(&host, nic)));
}

/// A stranger's handle, or one of a bigger host, is refused like a stale one.
#[test]
fn leases_of_another_allocator_are_refused_by_name() {
    let mut other = host(Policy::Spread, DestinationModel::Physical);
    let foreign: Vec<Lease> = (0..3).map(|_| lease(&mut other, &CpuSet::first_n(4))).collect();
    let mut host = host(Policy::Spread, DestinationModel::Physical);
    assert_eq!(host.release(foreign[2]), Err(StaleLease { lease: foreign[2] }));
    assert_eq!(
        host.placement(foreign[2]).unwrap_err().to_string(),
        "lease 2.0 is stale: it was released, or is of another allocator"
    );
}

#[test]
fn a_move_that_is_turned_round_has_its_old_vector_again_and_drains_the_new_one() {
    for policy in POLICIES {
        let mut host = host(policy, DestinationModel::Physical);
        let moving = lease(&mut host, &on(1));
        let old = vector(&host, moving);
        assert_eq!(host.turn_back(moving, &on(1)), Err(TurnBackError::NotMoving { lease: moving }));
        let Ok(Move::Started { vector: new, .. }) = host.begin_move(moving, &on(2)) else { panic!("another CPU") };
        let back = Move::Started { vector: old, target: CpuId(1), from: new };
        assert_eq!(host.turn_back(moving, &on(1)), Ok(back));
        let taken = host.adopt(GUEST, SourceKind::EdgeMaskable, new, &on(2), CpuId(2));
        assert!(taken.is_err(), "the new vector may still wait on CPU 2");
        assert_eq!(host.finish_move(moving, &CpuSet::new()), Ok(Drain::Done));
        assert!(host.adopt(GUEST, SourceKind::EdgeMaskable, new, &on(2), CpuId(2)).is_ok());
        host.begin_move(moving, &on(3)).unwrap();
        host.finish_move(moving, &on(1)).unwrap();
        let given_up = TurnBackError::GivenUp { lease: moving, old };
        assert_eq!(host.turn_back(moving, &on(1)), Err(given_up), "it has been freed where nothing waited");
        assert_eq!(host.check(), Ok(()));
    }
}
