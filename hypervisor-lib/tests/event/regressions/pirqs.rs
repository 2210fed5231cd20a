//! Physical IRQs.

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_lib::event::Action;
use hypervisor_lib::event::Sharing;
use hypervisor_lib::event::pirq_of_msi;

use super::errno;
use crate::host::TestHost;
use crate::host::domain;

#[test]
fn r33_an_msi_with_vector_0_names_a_physical_irq_whatever_its_delivery_mode() {
    let address = 0xfee0_0000_u64 | 0x37 << 12 | 0x0001_2300 << 32;
    assert_eq!(pirq_of_msi(address, 0x700), Some(0x0001_2337), "ExtINT");
    assert_eq!(pirq_of_msi(address, 0), Some(0x0001_2337));
    assert_eq!(pirq_of_msi(address, 0x41), None);
    assert_eq!(pirq_of_msi(0xfee0_0000 | 0xff << 12, 0x4000), Some(0xff));
}

#[test]
fn r34_a_physical_irq_is_given_up_once_by_close_and_none_is_left_behind_by_death() {
    let host = TestHost::new([domain(1)]);
    let guest = host.get(1);
    host.occupy_pirq(5);
    host.deny_pirq(6);
    assert_eq!(errno(guest.bind_pirq(&host, 64, Sharing::Shared)), Some(Errno::Invalid));
    assert_eq!(errno(guest.bind_pirq(&host, 6, Sharing::Shared)), Some(Errno::NotPermitted));
    assert_eq!(errno(guest.bind_pirq(&host, 5, Sharing::Exclusive)), Some(Errno::Busy));
    let port = guest.bind_pirq(&host, 5, Sharing::Shared).expect("a shared line");
    assert_eq!(errno(guest.bind_pirq(&host, 5, Sharing::Shared)), Some(Errno::Exists));
    guest.close(&host, port).expect("an open port");
    assert_eq!(errno(guest.close(&host, port)), Some(Errno::Invalid));
    let unbind = |pirq| Action::UnbindPirq { domain: DomainId(1), pirq };
    assert_eq!(host.take_actions(), [unbind(5)]);
    for pirq in [5, 7, 63] {
        guest.bind_pirq(&host, pirq, Sharing::Shared).expect("a line");
    }
    guest.destroy(&host).expect("nobody is preempted");
    assert_eq!(host.take_actions(), [5, 7, 63].map(unbind));
    guest.send_pirq(&host, 5);
    assert_eq!(host.take_actions(), []);
}
