//! Delayed EOIs: of a storm, of spurious events, of ports that are closed meanwhile.

use std::num::NonZeroU32;

use guest_shim::Eoi;
use guest_shim::EoiMode;
use guest_shim::Round;
use guest_shim::Served;
use guest_shim::Span;
use guest_shim::Throttle;
use guest_shim::Time;
use guest_shim::Work;
use parking_lot::RawMutex;

use crate::events::take;
use crate::machine::Apic;
use crate::machine::Machine;
use crate::machine::PEER;
use crate::machine::V0;
use crate::machine::bring_up;
use crate::machine::guest;
use crate::machine::set_up;
use crate::with_both_abis;

const fn ms(milliseconds: u64) -> Time {
    Time(milliseconds * 1_000_000)
}

with_both_abis! {
    fn late_events_of_rounds_that_do_not_end_are_ended_later<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 64);
        let mut plan = set_up::<T, _>(&machine, V0);
        plan.throttle = Throttle { budget: NonZeroU32::new(2).unwrap(), ..Throttle::default() };
        let mut vcpu = guest.bring_up(plan, &Apic(true)).unwrap();
        let port = guest.offer(PEER, V0, EoiMode::Late).unwrap();
        let theirs = machine.connect(&guest, port);
        guest.unmask(port).unwrap();
        let mut flood = |now| {
            machine.send_from_peer(theirs);
            let mut count = 0;
            let round = vcpu.handle(&guest, now, |_| {
                count += 1;
                machine.send_from_peer(theirs);
                Served::Finished(Work::Done)
            });
            (round.unwrap(), count)
        };
        // Until the time-out each event ends at once, and the next one comes.
        for time in [0, 3, 7] {
            let (round, count) = flood(ms(time));
            assert_eq!(round, Round::More);
            assert!(count > 0);
        }
        // From then on the first one keeps its port masked.
        let (round, count) = flood(ms(8));
        assert_eq!((round, count), (Round::Done, 1));
        machine.calls();
        assert_eq!(flood(ms(9)), (Round::Done, 0));
        assert_eq!(machine.calls(), 0, "the flood calls nobody any more");
        assert_eq!(vcpu.end_due(&guest, ms(47)), Ok(Some(ms(48))));
        assert_eq!(take(&mut vcpu, &guest), []);
        assert_eq!(vcpu.end_due(&guest, ms(48)), Ok(None));
        assert_eq!(take(&mut vcpu, &guest), [port], "what came meanwhile, once");
        assert_eq!(take(&mut vcpu, &guest), []);
    }

    fn spurious_events_in_a_row_are_ended_later_and_later_and_a_real_one_makes_up_for_them<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 64);
        let mut vcpu = bring_up::<T, _>(&machine, &guest, V0);
        let port = guest.bind_ipi(V0, EoiMode::Late).unwrap();
        guest.unmask(port).unwrap();
        let mut serve = |now: Time, work| {
            guest.send(port).unwrap();
            let mut count = 0;
            let _ = vcpu
                .handle(&guest, now, |_| {
                    count += 1;
                    Served::Unfinished
                })
                .unwrap();
            assert_eq!(count, 1);
            let eoi = vcpu.eoi(&guest, port, now, work).unwrap();
            if let Eoi::Delayed { until } = eoi {
                assert_eq!(vcpu.eoi(&guest, port, now, work), Ok(eoi), "an EOI too many changes nothing");
                assert_eq!(vcpu.end_due(&guest, until), Ok(None));
            }
            eoi
        };
        let delayed = |from: u64, by| Eoi::Delayed { until: ms(from).after(Span::from_ms(by)) };
        assert_eq!(serve(ms(0), Work::None), Eoi::Ended);
        assert_eq!(serve(ms(10), Work::None), delayed(10, 4));
        assert_eq!(serve(ms(20), Work::None), delayed(20, 8));
        assert_eq!(serve(ms(40), Work::Done), Eoi::Ended);
        assert_eq!(serve(ms(50), Work::None), Eoi::Ended);
        assert_eq!(serve(ms(60), Work::None), delayed(60, 4));
    }

    fn a_port_closed_while_its_eoi_is_delayed_and_bound_again_is_not_ended_early<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 64);
        let mut vcpu = bring_up::<T, _>(&machine, &guest, V0);
        let port = guest.bind_ipi(V0, EoiMode::Late).unwrap();
        guest.unmask(port).unwrap();
        for _ in 0..2 {
            guest.send(port).unwrap();
            let _ = vcpu.handle(&guest, ms(0), |_| Served::Unfinished).unwrap();
            let _ = vcpu.eoi(&guest, port, ms(0), Work::None).unwrap();
        }
        guest.close(port).unwrap();
        assert_eq!(guest.bind_ipi(V0, EoiMode::Late), Ok(port));
        guest.unmask(port).unwrap();
        guest.send(port).unwrap();
        let _ = vcpu.handle(&guest, ms(0), |_| Served::Unfinished).unwrap();
        assert_eq!(vcpu.end_due(&guest, ms(1000)), Ok(None));
        guest.send(port).unwrap();
        assert_eq!(take(&mut vcpu, &guest), [], "the new owner's event has not ended");
        assert_eq!(vcpu.eoi(&guest, port, ms(1000), Work::Done), Ok(Eoi::Ended));
        assert_eq!(take(&mut vcpu, &guest), [port]);
    }
}
