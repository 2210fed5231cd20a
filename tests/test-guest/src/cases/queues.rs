//! What only the FIFO ABI has: priorities and order.

use guest_shim::ChannelError;
use guest_shim::EoiMode;
use guest_shim::Served;
use guest_shim::Work;
use heapless::Vec;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::event::FIFO_QUEUES;
use hypervisor_abi::event::FifoPriority;

use crate::bed;
use crate::bed::Channels;
use crate::bed::FIRST;
use crate::bed::FifoAbi;
use crate::bed::TwoLevelAbi;
use crate::bed::Vcpu;

/// A port of each priority: the lowest first.
fn port_of_each_priority(channels: &Channels<FifoAbi>) -> Vec<Port, FIFO_QUEUES> {
    let priorities = (0..=FifoPriority::LOWEST.number()).rev().map(FifoPriority::from_low_bits);
    priorities
        .map(|priority| {
            let port = channels.bind_ipi(FIRST, EoiMode::Early).expect("a port");
            channels.set_priority(port, priority).expect("a port");
            channels.unmask(port).expect("a port");
            port
        })
        .collect()
}

/// Events of all 16 priorities are taken from the highest to the lowest, whatever the order they were sent in.
pub(super) fn every_priority() {
    let channels = bed::channels::<FifoAbi>();
    let mut vcpu = Vcpu::bring_up(&channels, FIRST);
    let ports = port_of_each_priority(&channels);
    let from_highest: Vec<Port, FIFO_QUEUES> = ports.iter().rev().copied().collect();
    for port in &ports {
        channels.send(*port).expect("an IPI port");
    }
    assert_eq!(vcpu.wait(&channels), from_highest);
    for port in &from_highest {
        channels.send(*port).expect("an IPI port");
    }
    assert_eq!(vcpu.wait(&channels), from_highest);
}

/// Events of one priority are taken in the order they were sent in.
pub(super) fn first_in_first_out() {
    let channels = bed::channels::<FifoAbi>();
    let mut vcpu = Vcpu::bring_up(&channels, FIRST);
    let ports: Vec<Port, FIFO_QUEUES> = (0..FIFO_QUEUES)
        .map(|_| {
            let port = channels.bind_ipi(FIRST, EoiMode::Early).expect("a port");
            channels.unmask(port).expect("a port");
            port
        })
        .collect();
    // 7 and 16 have no common divisor: each port once.
    let order: Vec<Port, FIFO_QUEUES> = (0..FIFO_QUEUES).map(|turn| ports[turn * 7 % FIFO_QUEUES]).collect();
    for port in &order {
        channels.send(*port).expect("an IPI port");
    }
    assert_eq!(vcpu.wait(&channels), order);
}

/// What is sent while a handler runs goes before what is waiting if it outranks that.
pub(super) fn a_higher_priority_overtakes() {
    let channels = bed::channels::<FifoAbi>();
    let mut vcpu = Vcpu::bring_up(&channels, FIRST);
    let ports = port_of_each_priority(&channels);
    let (lowest, low, highest) = (ports[0], ports[1], ports[FIFO_QUEUES - 1]);
    channels.send(low).expect("an IPI port");
    channels.send(lowest).expect("an IPI port");
    let taken = vcpu.wait_and(&channels, |port| {
        if port == low {
            channels.send(highest).expect("an IPI port");
        }
        Served::Finished(Work::Done)
    });
    assert_eq!(taken, [low, highest, lowest]);
}

/// A priority is refused to a port that is not bound; the 2-level ABI knows none at all.
pub(super) fn refused_priorities() {
    let refusal = |error| match error {
        Err(ChannelError::Refused(refused)) => Some(refused),
        _ => None,
    };
    let channels = bed::channels::<FifoAbi>();
    let _vcpu = Vcpu::bring_up(&channels, FIRST);
    let refused = refusal(channels.set_priority(Port(9), FifoPriority::HIGHEST)).expect("it is not bound");
    assert!(refused.is(Errno::AccessDenied), "{refused}");
    let channels = bed::channels::<TwoLevelAbi>();
    let port = channels.bind_ipi(FIRST, EoiMode::Early).expect("a port");
    let refused = refusal(channels.set_priority(port, FifoPriority::HIGHEST)).expect("there are none");
    assert!(refused.is(Errno::NotImplemented), "{refused}");
}
