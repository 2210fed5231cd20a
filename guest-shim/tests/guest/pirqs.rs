//! Physical IRQs as events.

use guest_shim::EoiMode;
use guest_shim::Gfn;
use guest_shim::MsiMessage;
use guest_shim::PirqEois;
use guest_shim::Sharing;
use guest_shim::map_gsi;
use guest_shim::reserve_for_msi;
use guest_shim::unmap;
use hypervisor_abi::Errno;
use hypervisor_lib::event::EoiNeed;
use hypervisor_lib::event::LineWay;
use hypervisor_lib::event::MessageWay;
use parking_lot::RawMutex;

use crate::events::take;
use crate::machine::Machine;
use crate::machine::PIRQ_EOI_GFN;
use crate::machine::PIRQS;
use crate::machine::V0;
use crate::machine::V1;
use crate::machine::bring_up;
use crate::machine::guest;
use crate::with_both_abis;

with_both_abis! {
    fn a_message_reserved_composed_and_bound_reaches_its_vcpu<T>() {
        let machine = Machine::<RawMutex>::new(2, 63);
        let guest = guest::<T, _>(&machine, 64);
        let mut vcpus = [V0, V1].map(|vcpu| bring_up::<T, _>(&machine, &guest, vcpu));
        let pirq = reserve_for_msi(guest.hypercalls()).unwrap();
        let message = MsiMessage::of_pirq(pirq);
        assert_eq!(message.pirq(), Some(pirq));
        let port = guest.bind_pirq(pirq, Sharing::Exclusive, V1, EoiMode::Late).unwrap();
        guest.unmask(port).unwrap();
        let way = machine.guest().inject_message(&machine, message.address, message.data);
        assert_eq!(way, Ok(MessageWay::Event), "both sides compose alike");
        assert_eq!(take(&mut vcpus[0], &guest), []);
        assert_eq!(take(&mut vcpus[1], &guest), [port]);
        assert!(guest.bind_pirq(pirq, Sharing::Shared, V0, EoiMode::Late).is_err());
        let beyond = guest.bind_pirq(PIRQS, Sharing::Shared, V0, EoiMode::Late).unwrap_err();
        assert_eq!(beyond.to_string(), format!("EVTCHNOP_bind_pirq of physical IRQ {PIRQS} was refused: invalid argument"));
    }

    fn only_physical_irqs_that_need_it_are_ended_by_a_call<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 64);
        let _vcpu = bring_up::<T, _>(&machine, &guest, V0);
        let calls = guest.hypercalls();
        let without = PirqEois::by_call();
        assert!(without.end(calls, 3).unwrap_err().is(Errno::Invalid), "it is not bound");
        guest.bind_pirq(3, Sharing::Exclusive, V0, EoiMode::Late).unwrap();
        machine.hypercalls();
        without.end(calls, 3).unwrap();
        assert_eq!(machine.hypercalls(), ["Eoi Ok(3)"]);
        let eois = PirqEois::register(calls, machine.view(PIRQ_EOI_GFN, 0), Gfn(PIRQ_EOI_GFN)).unwrap();
        machine.guest().set_pirq_needs_eoi(&machine, 3, EoiNeed::Hypercall);
        for pirq in 0..PIRQS {
            assert_eq!(eois.needs_call(pirq), pirq == 3);
            eois.end(calls, pirq).unwrap();
        }
        assert_eq!(machine.hypercalls(), ["Eoi Ok(3)"]);
        assert!(eois.needs_call(u32::MAX), "beyond the page nothing is known");
        let twice = PirqEois::register(calls, machine.view(PIRQ_EOI_GFN, 0), Gfn(PIRQ_EOI_GFN)).unwrap_err();
        assert!(twice.to_string().starts_with("PHYSDEVOP_pirq_eoi_gmfn_v2 of frame 0x4 was refused: "));
    }

    fn lines_are_mapped_by_their_own_number_and_come_as_events<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 64);
        assert!(map_gsi(guest.hypercalls(), 9).unwrap_err().is(Errno::Invalid), "events do not come by a vector yet");
        let mut vcpu = bring_up::<T, _>(&machine, &guest, V0);
        assert_eq!(map_gsi(guest.hypercalls(), 9), Ok(9));
        assert!(map_gsi(guest.hypercalls(), -1).unwrap_err().is(Errno::Invalid));
        let port = guest.bind_pirq(9, Sharing::Shared, V0, EoiMode::Late).unwrap();
        guest.unmask(port).unwrap();
        assert_eq!(machine.guest().assert_line(&machine, 9), LineWay::Event);
        assert_eq!(take(&mut vcpu, &guest), [port]);
        unmap(guest.hypercalls(), 9).unwrap();
        assert_eq!(machine.guest().assert_line(&machine, 9), LineWay::Controller);
    }
}
