//! A guest is saved, and goes on where it was or in a new domain.

use guest_shim::EoiMode;
use guest_shim::Restored;
use guest_shim::Resumed;
use guest_shim::Served;
use guest_shim::Time;
use guest_shim::Untaken;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::Virq;
use parking_lot::RawMutex;

use crate::events::take;
use crate::machine::Machine;
use crate::machine::PEER;
use crate::machine::Suspension;
use crate::machine::V0;
use crate::machine::V1;
use crate::machine::bring_up;
use crate::machine::guest;
use crate::with_both_abis;

/// What a restored guest was told: the port of before, the one of now, and whether an event was waiting.
fn told(restored: Restored) -> (Port, Option<Port>, Untaken) {
    match restored {
        Restored::Rebound { old, new, event } => (old, Some(new), event),
        Restored::Lost { old, event, .. } => (old, None, event),
    }
}

with_both_abis! {
    fn a_restored_guest_is_told_of_each_event_that_was_waiting<T>() {
        let machine = Machine::<RawMutex>::new(2, 63);
        let guest = guest::<T, _>(&machine, 64);
        let [mut vcpu, other] = [V0, V1].map(|vcpu| bring_up::<T, _>(&machine, &guest, vcpu));
        let offered = guest.offer(PEER, V0, EoiMode::Late).unwrap();
        let theirs = machine.connect(&guest, offered);
        let quiet = guest.bind_ipi(V0, EoiMode::Early).unwrap();
        let waiting = guest.bind_ipi(V1, EoiMode::Early).unwrap();
        let masked = guest.bind_ipi(V0, EoiMode::Early).unwrap();
        let unfinished = guest.bind_ipi(V0, EoiMode::Late).unwrap();
        let timer = guest.bind_virq(Virq::TIMER, V0, EoiMode::Early).unwrap();
        for port in [offered, quiet, waiting, unfinished, timer] {
            guest.unmask(port).unwrap();
        }
        guest.send(unfinished).unwrap();
        let _ = vcpu.handle(&guest, Time(0), |_| Served::Unfinished).unwrap();
        machine.send_from_peer(theirs);
        guest.send(waiting).unwrap();
        guest.send(masked).unwrap();
        machine.guest().send_virq(&machine, V0, Virq::TIMER).unwrap();

        drop((vcpu, other));
        machine.on_suspend(Suspension::Restored);
        assert_eq!(guest.suspend(), Ok(Resumed::Restored));
        guest.restart();
        let [mut vcpu, mut other] = [V0, V1].map(|vcpu| bring_up::<T, _>(&machine, &guest, vcpu));
        let mut ports = Vec::new();
        guest.rebind_all(|restored| ports.push(told(restored))).unwrap();
        ports.sort_by_key(|(old, ..)| *old);
        let events: Vec<(Port, Untaken)> = ports.iter().map(|(old, _, event)| (*old, *event)).collect();
        let expected = [
            (offered, Untaken::Event),
            (quiet, Untaken::Nothing),
            (waiting, Untaken::Event),
            (masked, Untaken::Event),
            (unfinished, Untaken::Nothing),
            (timer, Untaken::Event),
        ];
        assert_eq!(events, expected);
        assert_eq!(ports[0].1, None, "its owner connects it anew");

        // Nothing comes of the old domain's events, and everything of the new one's.
        assert_eq!((take(&mut vcpu, &guest), take(&mut other, &guest)), (vec![], vec![]));
        let [quiet, waiting, unfinished] = [1, 2, 4].map(|index| ports[index].1.expect("bound again"));
        for port in [quiet, waiting, unfinished] {
            guest.send(port).unwrap();
        }
        assert_eq!(take(&mut vcpu, &guest), [quiet, unfinished]);
        assert_eq!(take(&mut other, &guest), [waiting]);
    }

    fn a_guest_that_goes_on_in_place_has_lost_nothing<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 64);
        let mut vcpu = bring_up::<T, _>(&machine, &guest, V0);
        let port = guest.bind_ipi(V0, EoiMode::Early).unwrap();
        guest.unmask(port).unwrap();
        for (suspension, resumed) in [(Suspension::Refused, None), (Suspension::InPlace, Some(Resumed::InPlace))] {
            machine.on_suspend(suspension);
            guest.send(port).unwrap();
            match resumed {
                Some(resumed) => assert_eq!(guest.suspend(), Ok(resumed)),
                None => assert!(guest.suspend().unwrap_err().is(Errno::NotPermitted)),
            }
            assert_eq!(take(&mut vcpu, &guest), [port]);
        }

        // Of that event nothing is told after a restore that found none.
        machine.on_suspend(Suspension::Restored);
        drop(vcpu);
        assert_eq!(guest.suspend(), Ok(Resumed::Restored));
        guest.restart();
        let _vcpu = bring_up::<T, _>(&machine, &guest, V0);
        guest.rebind_all(|restored| assert_eq!(told(restored).2, Untaken::Nothing)).unwrap();
    }

    /// A domain that resets itself does not go through a suspension: what an earlier one noted is not told then.
    fn what_a_suspension_in_place_noted_is_forgotten<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 64);
        let mut vcpu = bring_up::<T, _>(&machine, &guest, V0);
        let port = guest.bind_ipi(V0, EoiMode::Early).unwrap();
        guest.unmask(port).unwrap();
        guest.send(port).unwrap();
        machine.on_suspend(Suspension::InPlace);
        assert_eq!(guest.suspend(), Ok(Resumed::InPlace));
        assert_eq!(take(&mut vcpu, &guest), [port]);
        drop(vcpu);
        machine.reset_guest();
        guest.restart();
        let _vcpu = bring_up::<T, _>(&machine, &guest, V0);
        guest.rebind_all(|restored| assert_eq!(told(restored).2, Untaken::Nothing)).unwrap();
    }
}
