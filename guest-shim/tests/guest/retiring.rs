//! A vCPU goes offline and comes back.

use guest_shim::EoiMode;
use guest_shim::Retired;
use guest_shim::Served;
use guest_shim::Source;
use guest_shim::Time;
use guest_shim::Work;
use hypervisor_abi::Virq;
use parking_lot::RawMutex;

use crate::events::take;
use crate::machine::Machine;
use crate::machine::PEER;
use crate::machine::V0;
use crate::machine::V1;
use crate::machine::bring_up;
use crate::machine::guest;
use crate::with_both_abis;

with_both_abis! {
    fn what_a_dead_vcpu_had_in_its_queues_is_delivered_by_its_heir<T>() {
        let machine = Machine::<RawMutex>::new(2, 63);
        let guest = guest::<T, _>(&machine, 64);
        let [mut heir, mut dead] = [V0, V1].map(|vcpu| bring_up::<T, _>(&machine, &guest, vcpu));
        let ports = [EoiMode::Early, EoiMode::Late, EoiMode::Late].map(|eoi| {
            let port = guest.offer(PEER, V1, eoi).unwrap();
            guest.unmask(port).unwrap();
            (port, machine.connect(&guest, port))
        });
        let ipi = guest.bind_ipi(V1, EoiMode::Early).unwrap();
        let timer = guest.bind_virq(Virq::TIMER, V1, EoiMode::Early).unwrap();
        for port in [ipi, timer] {
            guest.unmask(port).unwrap();
        }
        // One event is spurious for the second time and waits for its delayed EOI.
        for _ in 0..2 {
            machine.send_from_peer(ports[2].1);
            let _ = dead.handle(&guest, Time(0), |_| Served::Finished(Work::None)).unwrap();
        }
        for (_, theirs) in ports {
            machine.send_from_peer(theirs);
        }
        guest.send(ipi).unwrap();

        let mut closed = Vec::new();
        let retired = dead.retire(&guest, V0, |port, source| closed.push((port, source))).unwrap();
        assert_eq!(closed, [(ipi, Source::Ipi), (timer, Source::Virq(Virq::TIMER))]);
        assert_eq!((retired.moved, retired.closed), (3, 2));
        let mut taken = take(&mut heir, &guest);
        taken.sort_unstable();
        assert_eq!(taken, ports.map(|(port, _)| port));
        for (port, theirs) in ports {
            machine.send_from_peer(theirs);
            assert_eq!(take(&mut heir, &guest), [port]);
        }

        // It comes back, with the pages it had.
        let ipi = guest.bind_ipi(V1, EoiMode::Early).unwrap();
        guest.move_to(ports[0].0, V1).unwrap();
        guest.unmask(ipi).unwrap();
        guest.send(ipi).unwrap();
        machine.send_from_peer(ports[0].1);
        let mut taken = take(&mut dead, &guest);
        taken.sort_unstable();
        assert_eq!(taken, [ports[0].0, ipi]);
        assert_eq!(dead.retire(&guest, V0, |_, _| ()), Ok(Retired { moved: 1, closed: 1, passed_on: 0 }));
    }
}
