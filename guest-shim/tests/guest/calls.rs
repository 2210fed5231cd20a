//! The calls of set-up and waiting that are not about a port.

use guest_shim::EoiMode;
use guest_shim::Gfn;
use guest_shim::Hypercalls;
use guest_shim::Time;
use guest_shim::map_shared_info;
use guest_shim::poll;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::EventOp;
use parking_lot::RawMutex;

use crate::machine::END_GFN;
use crate::machine::Machine;
use crate::machine::V0;
use crate::machine::bring_up;
use crate::machine::guest;
use crate::with_both_abis;

with_both_abis! {
    fn a_poll_waits_for_the_ports_it_names_and_finds_what_is_pending<T>() {
        let machine = Machine::<RawMutex>::new(1, 63);
        let guest = guest::<T, _>(&machine, 64);
        let _vcpu = bring_up::<T, _>(&machine, &guest, V0);
        let ports = [(); 2].map(|()| guest.bind_ipi(V0, EoiMode::Early).unwrap());
        machine.lend(&ports);
        machine.hypercalls();
        poll(guest.hypercalls(), &ports, Some(Time(77))).unwrap();
        guest.send(ports[1]).unwrap();
        poll(guest.hypercalls(), &ports, None).unwrap();
        poll(guest.hypercalls(), &ports[..1], None).unwrap();
        assert_eq!(machine.hypercalls(), ["Blocked until 77", "Send", "Ready until 0", "Blocked until 0"]);
        let stranger = [Port(9)];
        machine.lend(&stranger);
        let refused = poll(guest.hypercalls(), &stranger, None).unwrap_err();
        assert_eq!(refused.to_string(), "SCHEDOP_poll of port 9 was refused: invalid argument");
        let many = vec![ports[0]; 129];
        machine.lend(&many);
        assert!(poll(guest.hypercalls(), &many, None).unwrap_err().is(Errno::Invalid));
        poll(guest.hypercalls(), &many[..128], None).unwrap();
    }
}

#[test]
fn the_shared_page_is_put_where_the_guest_wants_it() {
    let machine = Machine::<RawMutex>::new(1, 63);
    let guest = guest::<crate::machine::Bitmaps, _>(&machine, 64);
    map_shared_info(guest.hypercalls(), Gfn(0x1f)).unwrap();
    assert_eq!(machine.hypercalls(), ["AddToPhysmap 0x1f"]);
    let refused = map_shared_info(guest.hypercalls(), Gfn(END_GFN)).unwrap_err();
    assert_eq!(refused.to_string(), "XENMEM_add_to_physmap of frame 0x200 was refused: invalid argument");
}

#[test]
fn a_guest_that_left_these_calls_out_is_told_that_they_do_not_exist() {
    /// Has only the calls it must have.
    struct Bare;

    impl Hypercalls for Bare {
        fn event_channel_op(&self, _: EventOp, _: &mut [u8]) -> i64 {
            0
        }

        fn vcpu_op(&self, _: u32, _: VcpuId, _: &mut [u8]) -> i64 {
            0
        }

        fn hvm_op(&self, _: u32, _: &mut [u8]) -> i64 {
            0
        }

        fn physdev_op(&self, _: u32, _: &mut [u8]) -> i64 {
            0
        }

        fn xen_version(&self, _: u32, _: &mut [u8]) -> i64 {
            0
        }
    }

    assert!(map_shared_info(&&Bare, Gfn(1)).unwrap_err().is(Errno::NotImplemented));
    assert!(poll(&&Bare, &[Port(1)], None).unwrap_err().is(Errno::NotImplemented));
}
