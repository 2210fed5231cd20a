//! Bugs that shipped elsewhere, replayed on the guest's side; the ids are those of the project's list.

use guest_shim::EoiMode;
use guest_shim::EventChannels;
use guest_shim::MsiMessage;
use guest_shim::PortRecord;
use guest_shim::Restored;
use guest_shim::Round;
use guest_shim::Served;
use guest_shim::SetUpError;
use guest_shim::Sharing;
use guest_shim::Source;
use guest_shim::Time;
use guest_shim::TwoLevel;
use guest_shim::Work;
use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::SharedInfo32;
use hypervisor_abi::VcpuId;
use hypervisor_abi::Virq;
use hypervisor_abi::sync::Ordering;
use parking_lot::RawMutex;

use crate::events::take;
use crate::machine::Apic;
use crate::machine::Bitmaps;
use crate::machine::GUEST;
use crate::machine::Machine;
use crate::machine::PEER;
use crate::machine::Queues;
use crate::machine::V0;
use crate::machine::V1;
use crate::machine::bring_up;
use crate::machine::guest;
use crate::machine::info_place;
use crate::machine::set_up;
use crate::with_both_abis;

/// A port the toolstack opened for the guest before it ran, and the peer's end of it.
fn port_of_toolstack(machine: &Machine<RawMutex>) -> (Port, Port) {
    let port = machine.guest().alloc_unbound(machine, DomainId::SELF, PEER).unwrap();
    (port, machine.peer().bind_interdomain(machine, GUEST, port).unwrap())
}

/// XSA-107: events before the switch to the FIFO ABI, then a control block for one vCPU while the other has events.
#[test]
fn r01_a_port_raised_before_and_between_the_control_blocks_is_delivered() {
    let machine = Machine::<RawMutex>::new(2, 63);
    let (port, theirs) = port_of_toolstack(&machine);
    machine.send_from_peer(theirs);
    let guest = guest::<Queues, _>(&machine, 64);
    let mut vcpu = bring_up::<Queues, _>(&machine, &guest, V0);
    machine.send_from_peer(theirs);
    bring_up::<Queues, _>(&machine, &guest, V1);
    guest.adopt(port, EoiMode::Early).unwrap();
    guest.unmask(port).unwrap();
    assert_eq!(take(&mut vcpu, &guest), [port]);
    guest.move_to(port, V1).unwrap();
    assert_eq!(guest.bound(port).unwrap().vcpu, V1);
}

with_both_abis! {
    /// Linux 917c123029: the event of a port that had no event word yet waits for whoever adopts the port.
    fn r06_an_event_from_before_the_set_up_is_delivered_once_the_port_is_adopted<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let (port, theirs) = port_of_toolstack(&machine);
        let guest = guest::<T, _>(&machine, 64);
        machine.send_from_peer(theirs);
        let mut vcpu = bring_up::<T, _>(&machine, &guest, V0);
        assert_eq!(take(&mut vcpu, &guest), []);
        guest.adopt(port, EoiMode::Late).unwrap();
        assert_eq!(take(&mut vcpu, &guest), []);
        guest.unmask(port).unwrap();
        assert_eq!(take(&mut vcpu, &guest), [port]);
    }

    /// XSA-332: an event comes while its port is unmasked twice.
    fn r22_two_unmasks_of_one_event_deliver_it_once<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 64);
        let mut vcpu = bring_up::<T, _>(&machine, &guest, V0);
        let port = guest.bind_ipi(V0, EoiMode::Early).unwrap();
        guest.send(port).unwrap();
        guest.unmask(port).unwrap();
        guest.unmask(port).unwrap();
        assert_eq!(take(&mut vcpu, &guest), [port]);
        guest.unmask(port).unwrap();
        assert_eq!(take(&mut vcpu, &guest), []);
    }

    /// XSA-331: a port is closed while its event is on its way, and its number is given to somebody else.
    fn r23_a_closed_ports_event_reaches_neither_its_owner_nor_the_next_one<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 64);
        let mut vcpu = bring_up::<T, _>(&machine, &guest, V0);
        let ports = [(); 3].map(|()| guest.bind_ipi(V0, EoiMode::Early).unwrap());
        for port in ports {
            guest.unmask(port).unwrap();
            guest.send(port).unwrap();
        }
        guest.close(ports[0]).unwrap();
        let mut taken = Vec::new();
        let _ = vcpu
            .handle(&guest, Time(0), |port| {
                if taken.is_empty() {
                    guest.close(ports[2]).unwrap();
                }
                taken.push(port);
                Served::Finished(Work::Done)
            })
            .unwrap();
        assert_eq!(taken, [ports[1]]);
        for _ in 0..2 {
            let next = guest.bind_ipi(V0, EoiMode::Early).unwrap();
            assert!([ports[0], ports[2]].contains(&next), "the numbers are given out again: {next}");
            guest.unmask(next).unwrap();
        }
        assert_eq!(take(&mut vcpu, &guest), []);
    }

    /// XSA-391: whoever sends without end gets no more than the budget at a time.
    fn r24_a_flood_of_events_leaves_the_vcpu_after_its_budget<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 64);
        let mut vcpu = bring_up::<T, _>(&machine, &guest, V0);
        let [flood, other] = [(); 2].map(|()| guest.bind_ipi(V0, EoiMode::Early).unwrap());
        for port in [flood, other] {
            guest.unmask(port).unwrap();
            guest.send(port).unwrap();
        }
        let mut counts = [0_u32; 2];
        for call in 1..=3 {
            let round = vcpu.handle(&guest, Time(0), |port| {
                counts[usize::from(port == other)] += 1;
                guest.send(flood).unwrap();
                Served::Finished(Work::Done)
            });
            assert_eq!(round, Ok(Round::More));
            assert!(counts[0] <= 256 * call, "{counts:?}");
        }
        assert!(counts[0] > 3 * 100, "the flood was served: {counts:?}");
        assert_eq!(counts[1], 1, "and the other port in its turn");
    }

    /// XSA-441: a handler closes and opens ports on the vCPU whose upcall it runs in.
    fn r25_a_handler_may_close_its_own_port_and_bind_another<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 64);
        let mut vcpu = bring_up::<T, _>(&machine, &guest, V0);
        for eoi in [EoiMode::Early, EoiMode::Late] {
            let port = guest.bind_ipi(V0, eoi).unwrap();
            guest.unmask(port).unwrap();
            guest.send(port).unwrap();
            let mut taken = Vec::new();
            let round = vcpu.handle(&guest, Time(0), |port| {
                if taken.is_empty() {
                    guest.close(port).unwrap();
                    let next = guest.bind_ipi(V0, eoi).unwrap();
                    guest.unmask(next).unwrap();
                    guest.send(next).unwrap();
                }
                taken.push(port);
                Served::Finished(Work::Done)
            });
            assert_eq!((round, taken.len()), (Ok(Round::Done), 2), "{eoi:?}");
        }
    }

    fn r27_what_is_raised_while_masked_is_delivered_exactly_once<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 64);
        let mut vcpu = bring_up::<T, _>(&machine, &guest, V0);
        let port = guest.bind_ipi(V0, EoiMode::Early).unwrap();
        guest.unmask(port).unwrap();
        for raises in 1..=2 {
            guest.mask(port).unwrap();
            for _ in 0..raises {
                guest.send(port).unwrap();
            }
            assert_eq!(take(&mut vcpu, &guest), []);
            guest.unmask(port).unwrap();
            assert_eq!(take(&mut vcpu, &guest), [port]);
            assert_eq!(take(&mut vcpu, &guest), []);
        }
        // Masked after it was raised and queued, before it was taken.
        guest.send(port).unwrap();
        guest.mask(port).unwrap();
        assert_eq!(take(&mut vcpu, &guest), []);
        guest.unmask(port).unwrap();
        assert_eq!(take(&mut vcpu, &guest), [port]);
    }

    /// Xen f5d0279839: a vector set while the local APIC is off; and the order in which a vCPU is told of.
    fn r30_a_vcpu_is_brought_up_only_behind_an_enabled_local_apic_and_its_vector_last<T>() {
        let machine = Machine::<RawMutex>::new(2, 63);
        let guest = guest::<T, _>(&machine, 64);
        let plan = || {
            let place = info_place(V1);
            let mut plan = set_up::<T, _>(&machine, V1);
            plan.info = machine.view(place.gfn.0, place.offset);
            plan.info_place = Some(place);
            plan
        };
        let refused = guest.bring_up(plan(), &Apic(false)).unwrap_err();
        assert_eq!(refused, SetUpError::LocalApicOff(V1));
        assert_eq!(refused.to_string(), "the local APIC of v1 is not software-enabled");
        assert_eq!(machine.hypercalls(), [""; 0], "nothing was asked of the hypervisor");
        guest.bring_up(plan(), &Apic(true)).unwrap();
        let calls = machine.hypercalls();
        assert_eq!(calls.first().map(String::as_str), Some("RegisterVcpuInfo v1"));
        assert_eq!(calls.last().map(String::as_str), Some("SetUpcallVector v1 0xf3"));
        let between: Vec<&str> = calls[1..calls.len() - 1].iter().map(String::as_str).collect();
        assert!(between.is_empty() || between == ["InitControl", "ExpandArray"], "{between:?}");
    }

    /// After a restore the upcall vectors are set again, and every port is bound anew or told to its owner as lost.
    fn r32_a_restored_guest_has_its_vectors_and_what_it_can_bind_itself<T>() {
        let machine = Machine::<RawMutex>::new(2, 63);
        let guest = guest::<T, _>(&machine, 64);
        let vcpus = [V0, V1].map(|vcpu| bring_up::<T, _>(&machine, &guest, vcpu));
        let lost = guest.offer(PEER, V0, EoiMode::Late).unwrap();
        let ipi = guest.bind_ipi(V1, EoiMode::Early).unwrap();
        let virq = guest.bind_virq(Virq::TIMER, V0, EoiMode::Late).unwrap();
        let masked = guest.bind_ipi(V0, EoiMode::Early).unwrap();
        for port in [lost, ipi, virq] {
            guest.unmask(port).unwrap();
        }
        guest.send(ipi).unwrap();
        drop(vcpus);
        machine.reset_guest();
        // The toolstack has opened ports under two of the old numbers.
        let [(store, _), _] = [(); 2].map(|()| port_of_toolstack(&machine));
        machine.hypercalls();

        guest.restart();
        let mut vcpus = [V0, V1].map(|vcpu| bring_up::<T, _>(&machine, &guest, vcpu));
        let calls = machine.hypercalls();
        for vector in ["SetUpcallVector v0 0xf3", "SetUpcallVector v1 0xf3"] {
            assert!(calls.iter().any(|call| call == vector), "{calls:?}");
        }
        let mut told = Vec::new();
        guest.rebind_all(|restored| told.push(restored)).unwrap();
        let new_of = |wanted: Port| {
            told.iter().find_map(|restored| match restored {
                Restored::Rebound { old, new, .. } if *old == wanted => Some(*new),
                _ => None,
            })
        };
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(matches!(told[0], Restored::Lost { old, bound, .. } if old == lost && bound.source == Source::Interdomain));
        let [ipi, virq, masked] = [ipi, virq, masked].map(|old| new_of(old).expect("bound again"));
        assert_eq!(guest.bound(ipi).unwrap().vcpu, V1);
        assert_eq!(guest.bound(virq).unwrap().eoi, EoiMode::Late);
        assert_eq!([ipi, virq, masked], [Port(3), Port(4), Port(5)], "each new number was another port's old one");
        assert_eq!(guest.bound(store), None);
        for port in [ipi, masked] {
            guest.send(port).unwrap();
        }
        machine.guest().send_virq(&machine, V0, Virq::TIMER).unwrap();
        assert_eq!(take(&mut vcpus[1], &guest), [ipi]);
        assert_eq!(take(&mut vcpus[0], &guest), [virq]);
        guest.unmask(masked).unwrap();
        assert_eq!(take(&mut vcpus[0], &guest), [masked]);
    }

    /// Xen 8c97eb6551: a message is bound, unbound and bound again.
    fn r38_binding_a_physical_irq_again_finds_the_same_mask_state<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 64);
        let mut vcpu = bring_up::<T, _>(&machine, &guest, V0);
        for _ in 0..3 {
            let port = guest.bind_pirq(17, Sharing::Exclusive, V0, EoiMode::Late).unwrap();
            machine.guest().send_pirq(&machine, 17);
            assert_eq!(take(&mut vcpu, &guest), [], "masked until unmasked, each time");
            guest.unmask(port).unwrap();
            assert_eq!(take(&mut vcpu, &guest), [port]);
            guest.close(port).unwrap();
        }
    }

    /// QEMU's bugs when this call was new: the vCPU or the vector arrived as something else.
    fn r98_the_upcall_vector_arrives_as_it_was_given_for_each_vcpu<T>() {
        let machine = Machine::<RawMutex>::new(3, 63);
        let guest = guest::<T, _>(&machine, 64);
        for (vcpu, vector) in [(0, 0x10), (1, 0xf3), (2, 0xff)] {
            let mut plan = set_up::<T, _>(&machine, VcpuId(vcpu));
            plan.upcall = guest_shim::Upcall::OwnVector(vector);
            guest.bring_up(plan, &Apic(true)).unwrap();
            assert_eq!(machine.guest().upcall_vector(VcpuId(vcpu)), Some(vector));
        }
        let illegal = guest_shim::set_upcall(guest.hypercalls(), V0, guest_shim::Upcall::OwnVector(0xf));
        assert_eq!(
            illegal.unwrap_err().to_string(),
            "HVMOP_set_evtchn_upcall_vector of vCPU 0 was refused: invalid argument"
        );
    }
}

/// XSA-332: whoever sends on while its event is being worked on meets a masked port and raises no upcall.
#[test]
fn r22_a_storm_on_a_late_port_raises_one_upcall_for_each_eoi() {
    let machine = Machine::<RawMutex>::new(1, 63);
    let guest = guest::<Queues, _>(&machine, 64);
    let mut vcpu = bring_up::<Queues, _>(&machine, &guest, V0);
    let port = guest.offer(PEER, V0, EoiMode::Late).unwrap();
    let theirs = machine.connect(&guest, port);
    guest.unmask(port).unwrap();
    assert_eq!(take(&mut vcpu, &guest), []);
    machine.calls();
    for _ in 0..10 {
        machine.send_from_peer(theirs);
        let _ = vcpu.handle(&guest, Time(0), |_| Served::Unfinished).unwrap();
        for _ in 0..100 {
            machine.send_from_peer(theirs);
        }
        assert_eq!(machine.calls(), 1);
        let _ = vcpu.eoi(&guest, port, Time(0), Work::Done).unwrap();
        assert_eq!(machine.calls(), 1);
        let _ = vcpu.handle(&guest, Time(0), |_| Served::Finished(Work::Done)).unwrap();
    }
}

/// Zephyr 44969: a 32-bit shift in a 64-bit word.
#[test]
fn r28_every_port_of_the_64_bit_bitmaps_is_delivered_as_itself() {
    let machine = Machine::<RawMutex>::new(1, 4095);
    let guest = guest::<Bitmaps, _>(&machine, 4096);
    let mut vcpu = bring_up::<Bitmaps, _>(&machine, &guest, V0);
    for number in 1..4096 {
        assert_eq!(guest.bind_ipi(V0, EoiMode::Early), Ok(Port(number)));
        guest.unmask(Port(number)).unwrap();
        guest.send(Port(number)).unwrap();
        assert_eq!(take(&mut vcpu, &guest), [Port(number)]);
    }
    let refused = guest.bind_ipi(V0, EoiMode::Early).unwrap_err();
    assert_eq!(refused.to_string(), "EVTCHNOP_bind_ipi of vCPU 0 was refused: no space left");
}

/// Qubes 7971: a message for a physical IRQ has delivery mode ExtINT and vector 0.
#[test]
fn r33_a_physical_irqs_message_is_recognised_by_its_vector_whatever_its_delivery_mode() {
    for pirq in [0, 1, 0x37, 0xff, 0x100, 0x1234, 0x00ff_ffff, u32::MAX] {
        let message = MsiMessage::of_pirq(pirq);
        assert_eq!(message.data, 0x700);
        assert_eq!(message.address & 0xfff0_0000, 0xfee0_0000);
        for mode in 0..8 {
            assert_eq!(MsiMessage { data: mode << 8, ..message }.pirq(), Some(pirq), "{message:x?}");
        }
        assert_eq!(MsiMessage { data: 0x731, ..message }.pirq(), None);
    }
    assert_eq!(MsiMessage::of_pirq(0x1234).address, 0x0000_1200_fee3_4000);
}

/// KVM: the words of a 32-bit guest lie elsewhere.
#[test]
fn r101_a_32_bit_guest_finds_its_1024_ports_in_its_own_layout() {
    let (machine, shared) = (Machine::<RawMutex>::new(1, 63), SharedInfo32::default());
    let records: Vec<PortRecord> = (0..1100).map(|_| PortRecord::new()).collect();
    let door = guest::<Bitmaps, _>(&machine, 1);
    let guest = EventChannels::new(TwoLevel::new(&shared), door.hypercalls(), &records);
    let plan = guest_shim::VcpuSetUp {
        vcpu: V0,
        info: &shared.vcpu_info[0],
        info_place: None,
        pages: (),
        upcall: guest_shim::Upcall::OwnVector(0x40),
        throttle: guest_shim::Throttle::default(),
    };
    let mut vcpu = guest.bring_up(plan, &Apic(true)).unwrap();
    for number in 1..1024 {
        guest.adopt(Port(number), EoiMode::Early).unwrap();
        guest.unmask(Port(number)).unwrap();
    }
    assert!(guest.adopt(Port(1024), EoiMode::Early).is_err());
    let mut taken = Vec::new();
    for number in 1..1024 {
        let (word, bit) = (Port(number / 32).index(), number % 32);
        shared.evtchn_pending[word].fetch_or(1 << bit, Ordering::SeqCst);
        shared.vcpu_info[0].evtchn_pending_sel.fetch_or(1 << word, Ordering::SeqCst);
        shared.vcpu_info[0].evtchn_upcall_pending.store(1, Ordering::SeqCst);
        let round = vcpu.handle(&guest, Time(0), |port| {
            taken.push(port.0);
            Served::Finished(Work::Done)
        });
        assert_eq!(round, Ok(Round::Done));
    }
    assert!(taken.into_iter().eq(1..1024));
}
