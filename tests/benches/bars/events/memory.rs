//! E7: what a port and a vCPU cost the host, counted by the allocator. The guest's pages are not counted.

use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::FIFO_CHANNELS;
use hypervisor_lib::event::GuestPlace;
use spinning_top::RawSpinlock;

use super::counting::bytes_of;
use super::hypervisor::Hypervisor;
use super::hypervisor::Size;
use crate::harness::Bar;
use crate::harness::Limit;

/// The bytes of a guest of this size on the FIFO ABI with all its ports open, and of a sender with none.
fn bytes(size: Size) -> f64 {
    let (hypervisor, all) = bytes_of(|| {
        let hypervisor = Hypervisor::<RawSpinlock>::new(size);
        let guest = hypervisor.guest();
        for vcpu in 0..size.vcpus {
            let place = GuestPlace::frame(u64::from(vcpu));
            guest.init_control(&hypervisor, VcpuId(vcpu), place).expect("a frame of the guest");
        }
        for gfn in (0..).take(hypervisor.arrays().len()) {
            guest.expand_array(&hypervisor, gfn).expect("a frame of the guest");
        }
        for number in 1..size.ports {
            assert_eq!(guest.bind_ipi(&hypervisor, VcpuId(number % size.vcpus)), Ok(Port(number)));
        }
        hypervisor
    });
    (all - hypervisor.guest_bytes()) as f64
}

/// The bars about memory.
pub(crate) fn measure() -> Vec<Bar> {
    let small = Size { vcpus: 1, ports: 1024 };
    let many_ports = Size { ports: FIFO_CHANNELS, ..small };
    let many_vcpus = Size { vcpus: 4096, ..small };
    let a_vcpu = (bytes(many_vcpus) - bytes(small)) / f64::from(many_vcpus.vcpus - small.vcpus);
    vec![
        // All that the host has allocated for the domain, whatever it is for.
        Bar::new("E7-bytes-per-port", bytes(many_ports) / f64::from(FIFO_CHANNELS), Limit::AtMost(16.0)),
        Bar::new("E7-kib-per-vcpu", a_vcpu / 1024.0, Limit::AtMost(2.25)),
    ]
}
