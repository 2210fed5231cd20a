//! Binding, masking, moving, priorities and turns.

use std::num::NonZeroU32;

use guest_shim::ChannelError;
use guest_shim::EoiMode;
use guest_shim::EventAbi;
use guest_shim::Round;
use guest_shim::Served;
use guest_shim::SetUpError;
use guest_shim::Throttle;
use guest_shim::Time;
use guest_shim::VcpuEvents;
use guest_shim::Work;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::Virq;
use hypervisor_abi::event::FifoPriority;
use hypervisor_lib::event::Binding;
use parking_lot::RawMutex;

use crate::machine::Apic;
use crate::machine::Bitmaps;
use crate::machine::Guest;
use crate::machine::Machine;
use crate::machine::PEER;
use crate::machine::Queues;
use crate::machine::V0;
use crate::machine::V1;
use crate::machine::bring_up;
use crate::machine::guest;
use crate::machine::info_place;
use crate::machine::set_up;
use crate::machine::try_bring_up;

/// Runs a test with both ABIs.
#[macro_export]
macro_rules! with_both_abis {
    ($($(#[$doc:meta])* fn $name:ident<$abi:ident>() $body:block)*) => {
        $(
            $(#[$doc])*
            #[test]
            fn $name() {
                fn run<$abi: $crate::machine::TestAbi>() $body
                run::<$crate::machine::Bitmaps>();
                run::<$crate::machine::Queues>();
            }
        )*
    };
}

/// What a vCPU takes now, all of it finished.
pub(crate) fn take<'m, A: EventAbi>(vcpu: &mut VcpuEvents<'m, A>, guest: &Guest<'m, A, RawMutex>) -> Vec<Port> {
    let mut taken = Vec::new();
    let round = vcpu.handle(guest, Time(0), |port| {
        taken.push(port);
        Served::Finished(Work::Done)
    });
    assert_eq!(round, Ok(Round::Done));
    taken
}

with_both_abis! {
    fn a_port_delivers_once_what_was_sent_any_number_of_times_before<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 64);
        let mut vcpu = bring_up::<T, _>(&machine, &guest, V0);
        for eoi in [EoiMode::Early, EoiMode::Late] {
            let port = guest.bind_ipi(V0, eoi).unwrap();
            guest.unmask(port).unwrap();
            assert_eq!(take(&mut vcpu, &guest), []);
            machine.calls();
            for _ in 0..3 {
                guest.send(port).unwrap();
            }
            assert!(guest.is_pending(port));
            assert_eq!(machine.calls(), 1, "one call for each edge");
            assert_eq!(take(&mut vcpu, &guest), [port]);
            assert_eq!(take(&mut vcpu, &guest), []);
            guest.send(port).unwrap();
            assert_eq!(take(&mut vcpu, &guest), [port]);
        }
    }

    fn an_event_sent_by_a_handler_to_its_own_port_is_delivered_in_the_same_call<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 64);
        let mut vcpu = bring_up::<T, _>(&machine, &guest, V0);
        let early = guest.bind_ipi(V0, EoiMode::Early).unwrap();
        let late = guest.bind_ipi(V0, EoiMode::Late).unwrap();
        for port in [early, late] {
            guest.unmask(port).unwrap();
            guest.send(port).unwrap();
            let mut taken = Vec::new();
            let round = vcpu.handle(&guest, Time(0), |taken_port| {
                if taken.is_empty() {
                    guest.send(taken_port).unwrap();
                }
                taken.push(taken_port);
                Served::Finished(Work::Done)
            });
            assert_eq!((round, taken), (Ok(Round::Done), vec![port, port]));
        }
    }

    fn a_late_port_stays_quiet_until_its_eoi_and_then_delivers_what_came<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 64);
        let mut vcpu = bring_up::<T, _>(&machine, &guest, V0);
        let port = guest.bind_ipi(V0, EoiMode::Late).unwrap();
        guest.unmask(port).unwrap();
        guest.send(port).unwrap();
        let _ = vcpu.handle(&guest, Time(0), |_| Served::Unfinished).unwrap();
        guest.send(port).unwrap();
        guest.send(port).unwrap();
        assert_eq!(take(&mut vcpu, &guest), []);
        assert_eq!(vcpu.eoi(&guest, port, Time(0), Work::Done), Ok(guest_shim::Eoi::Ended));
        assert_eq!(take(&mut vcpu, &guest), [port]);
        assert_eq!(vcpu.eoi(&guest, port, Time(0), Work::Done), Ok(guest_shim::Eoi::NotAwaited));
        assert_eq!(take(&mut vcpu, &guest), []);
    }

    fn a_handler_that_masks_another_port_keeps_it_from_being_delivered<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 64);
        let mut vcpu = bring_up::<T, _>(&machine, &guest, V0);
        let ports = [(); 2].map(|()| guest.bind_ipi(V0, EoiMode::Early).unwrap());
        for port in ports {
            guest.unmask(port).unwrap();
            guest.send(port).unwrap();
        }
        let mut taken = Vec::new();
        let _ = vcpu
            .handle(&guest, Time(0), |port| {
                let other = if port == ports[0] { ports[1] } else { ports[0] };
                guest.mask(other).unwrap();
                taken.push(port);
                Served::Finished(Work::Done)
            })
            .unwrap();
        assert_eq!(taken.len(), 1);
        let other = if taken[0] == ports[0] { ports[1] } else { ports[0] };
        assert!(guest.is_pending(other));
        guest.unmask(other).unwrap();
        assert_eq!(take(&mut vcpu, &guest), [other]);
    }

    fn a_port_moved_with_its_event_in_flight_is_delivered_by_its_new_vcpu_alone<T>() {
        let machine = Machine::<RawMutex>::new(2, 63);
        let guest = guest::<T, _>(&machine, 64);
        let mut vcpus = [V0, V1].map(|vcpu| bring_up::<T, _>(&machine, &guest, vcpu));
        let port = guest.offer(PEER, V0, EoiMode::Early).unwrap();
        let theirs = machine.connect(&guest, port);
        guest.unmask(port).unwrap();
        for (from, to) in [(0, V1), (1, V0)] {
            machine.send_from_peer(theirs);
            guest.move_to(port, to).unwrap();
            assert_eq!(take(&mut vcpus[from], &guest), []);
            assert_eq!(take(&mut vcpus[1 - from], &guest), [port]);
            assert_eq!(take(&mut vcpus[from], &guest), []);
        }
        let ipi = guest.bind_ipi(V1, EoiMode::Early).unwrap();
        assert_eq!(guest.move_to(ipi, V0), Err(ChannelError::FixedToVcpu(ipi)));
        assert!(matches!(guest.move_to(port, hypervisor_abi::VcpuId(7)), Err(ChannelError::Refused(_))));
        machine.send_from_peer(theirs);
        assert_eq!(take(&mut vcpus[0], &guest), [port], "a move that failed leaves the port where it was");
    }

    fn what_a_guest_has_no_memory_for_is_refused_and_closed_again<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 3);
        bring_up::<T, _>(&machine, &guest, V0);
        assert_eq!(guest.bind_ipi(V0, EoiMode::Early), Ok(Port(1)));
        assert_eq!(guest.bind_ipi(V0, EoiMode::Early), Ok(Port(2)));
        assert_eq!(guest.bind_ipi(V0, EoiMode::Early), Err(ChannelError::OutOfRange(Port(3))));
        assert_eq!(machine.guest().open_ports(), 2);
        assert_eq!(guest.adopt(Port(0), EoiMode::Early), Err(ChannelError::OutOfRange(Port(0))));
        assert_eq!(guest.mask(Port(3)), Err(ChannelError::NotBound(Port(3))));
        assert_eq!(guest.close(Port(0)), Err(ChannelError::NotBound(Port(0))));
        let refused = guest.bind_ipi(hypervisor_abi::VcpuId(9), EoiMode::Early).unwrap_err();
        assert_eq!(refused.to_string(), "EVTCHNOP_bind_ipi of vCPU 9 was refused: no such entry");
    }

    fn a_virtual_irq_reaches_the_vcpu_it_was_bound_for<T>() {
        let machine = Machine::<RawMutex>::new(2, 63);
        let guest = guest::<T, _>(&machine, 64);
        let mut vcpus = [V0, V1].map(|vcpu| bring_up::<T, _>(&machine, &guest, vcpu));
        let timer = guest.bind_virq(Virq::TIMER, V1, EoiMode::Early).unwrap();
        let argo = guest.bind_virq(Virq::ARGO, V1, EoiMode::Early).unwrap();
        for (port, virq) in [(timer, Virq::TIMER), (argo, Virq::ARGO)] {
            guest.unmask(port).unwrap();
            machine.guest().send_virq(&machine, V1, virq).unwrap();
            assert_eq!(take(&mut vcpus[0], &guest), []);
            assert_eq!(take(&mut vcpus[1], &guest), [port]);
        }
    }

    fn a_registered_block_serves_as_well_as_the_shared_pages<T>() {
        let machine = Machine::<RawMutex>::new(2, 63);
        let guest = guest::<T, _>(&machine, 64);
        bring_up::<T, _>(&machine, &guest, V0);
        let place = info_place(V1);
        let mut plan = set_up::<T, _>(&machine, V1);
        plan.info = machine.view(place.gfn.0, place.offset);
        plan.info_place = Some(place);
        let mut vcpu = guest.bring_up(plan, &Apic(true)).unwrap();
        let port = guest.bind_ipi(V1, EoiMode::Early).unwrap();
        guest.unmask(port).unwrap();
        guest.send(port).unwrap();
        assert_eq!(take(&mut vcpu, &guest), [port]);
    }

    fn a_port_is_masked_until_its_owner_is_ready_for_it<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 64);
        let mut vcpu = bring_up::<T, _>(&machine, &guest, V0);
        // A port with an event in it from the start.
        let theirs = machine.peer().alloc_unbound(&machine, PEER, crate::machine::GUEST).unwrap();
        let port = guest.bind_interdomain(PEER, theirs, V0, EoiMode::Late).unwrap();
        assert_eq!(take(&mut vcpu, &guest), []);
        guest.unmask(port).unwrap();
        assert_eq!(take(&mut vcpu, &guest), [port]);
        guest.close(port).unwrap();
        let unbound = machine.guest().status(&machine, hypervisor_abi::DomainId::SELF, port).unwrap();
        assert_eq!(unbound.binding, Binding::Free);
    }
}

#[test]
fn a_hypervisor_without_the_fifo_abi_says_so_and_the_other_one_works() {
    let machine = Machine::<RawMutex>::new(1, 63);
    machine.refuse_fifo();
    let fifo = guest::<Queues, _>(&machine, 64);
    let refused = try_bring_up::<Queues, _>(&machine, &fifo, V0).unwrap_err();
    assert!(matches!(refused, SetUpError::Refused(refused) if refused.is(Errno::NotImplemented)));
    let guest = guest::<Bitmaps, _>(&machine, 64);
    let mut vcpu = bring_up::<Bitmaps, _>(&machine, &guest, V0);
    let port = guest.bind_ipi(V0, EoiMode::Early).unwrap();
    guest.unmask(port).unwrap();
    guest.send(port).unwrap();
    assert_eq!(take(&mut vcpu, &guest), [port]);
    assert!(guest.set_priority(port, FifoPriority::HIGHEST).is_err());
}

#[test]
fn fifo_events_come_by_priority_then_by_age_even_if_sent_while_others_are_handled() {
    let machine = Machine::<RawMutex>::new(1, 63);
    let guest = guest::<Queues, _>(&machine, 64);
    let mut vcpu = bring_up::<Queues, _>(&machine, &guest, V0);
    let ports: Vec<Port> = [15, 7, 7, 0]
        .map(|number| {
            let port = guest.bind_ipi(V0, EoiMode::Early).unwrap();
            guest.set_priority(port, FifoPriority::new(number).unwrap()).unwrap();
            guest.unmask(port).unwrap();
            port
        })
        .to_vec();
    for port in [ports[0], ports[2], ports[1]] {
        guest.send(port).unwrap();
    }
    let mut taken = Vec::new();
    let _ = vcpu
        .handle(&guest, Time(0), |port| {
            if taken.is_empty() {
                guest.send(ports[3]).unwrap();
            }
            taken.push(port);
            Served::Finished(Work::Done)
        })
        .unwrap();
    assert_eq!(taken, [ports[2], ports[3], ports[1], ports[0]]);
}

#[test]
fn two_level_rounds_go_on_where_the_last_one_ended() {
    let machine = Machine::<RawMutex>::new(1, 200);
    let guest = guest::<Bitmaps, _>(&machine, 201);
    let mut vcpu = bring_up::<Bitmaps, _>(&machine, &guest, V0);
    for _ in 1..=200 {
        let port = guest.bind_ipi(V0, EoiMode::Early).unwrap();
        guest.unmask(port).unwrap();
    }
    let mut round = |ports: &[u32]| {
        for port in ports {
            guest.send(Port(*port)).unwrap();
        }
        take(&mut vcpu, &guest).into_iter().map(|port| port.0).collect::<Vec<u32>>()
    };
    assert_eq!(round(&[200, 70, 5]), [5, 70, 200]);
    assert_eq!(round(&[100]), [100]);
    // From 101 on: the rest of its word, the words above, those below, and the word again.
    assert_eq!(round(&[5, 66, 100, 101, 127, 128, 199]), [101, 127, 128, 199, 5, 66, 100]);
    assert_eq!(round(&[100, 101]), [101, 100]);
    assert_eq!(round(&[127]), [127]);
    assert_eq!(round(&[127, 128]), [128, 127]);
}

#[test]
fn two_level_rounds_go_round_all_64_words() {
    let machine = Machine::<RawMutex>::new(1, 4095);
    let guest = guest::<Bitmaps, _>(&machine, 4096);
    let mut vcpu = bring_up::<Bitmaps, _>(&machine, &guest, V0);
    for _ in 1..4096 {
        let port = guest.bind_ipi(V0, EoiMode::Early).unwrap();
        guest.unmask(port).unwrap();
    }
    for last in 0..64_u32 {
        let mut round = |words: &[u32]| {
            for word in words {
                guest.send(Port(word * 64 + 5)).unwrap();
            }
            take(&mut vcpu, &guest).into_iter().map(|port| port.0 / 64).collect::<Vec<u32>>()
        };
        assert_eq!(round(&[last]), [last]);
        let all: Vec<u32> = (0..64).collect();
        let in_turn: Vec<u32> = (1..=64).map(|step| (last + step) % 64).collect();
        assert_eq!(round(&all), in_turn);
    }
}

/// A guest that takes one port a round, while two events wait for another vCPU in the word it looks at: the rounds ended
/// never, because each found the word half visited and had all of it visited again.
#[test]
fn rounds_of_one_port_end_although_events_of_another_vcpu_wait_in_the_word() {
    let machine = Machine::<RawMutex>::new(2, 63);
    let guest = guest::<Bitmaps, _>(&machine, 64);
    let mut plan = set_up::<Bitmaps, _>(&machine, V0);
    plan.throttle = Throttle { budget: NonZeroU32::MIN, ..Throttle::default() };
    let mut vcpu = guest.bring_up(plan, &Apic(true)).unwrap();
    let mut other = bring_up::<Bitmaps, _>(&machine, &guest, V1);
    let ports = [V1, V0, V1, V1, V0].map(|vcpu| guest.bind_ipi(vcpu, EoiMode::Early).unwrap());
    for port in ports {
        guest.unmask(port).unwrap();
        guest.send(port).unwrap();
    }
    let mut taken = Vec::new();
    let is_over = |_: &usize| {
        let round = vcpu.handle(&guest, Time(0), |port| {
            taken.push(port);
            Served::Finished(Work::Done)
        });
        round.unwrap() == Round::Done
    };
    let rounds = (0..100).find(is_over).expect("the rounds end");
    assert!(rounds <= 2 * ports.len(), "{rounds} rounds");
    assert_eq!(taken, [ports[1], ports[4]]);
    assert_eq!(take(&mut other, &guest), [ports[0], ports[2], ports[3]]);
}
