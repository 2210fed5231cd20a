//! How a guest keeps a peer from occupying it with events (XSA-332): ends of events are put off.
//!
//! Two things delay the EOI of a late port: that its event came in a round of upcalls that has lasted too long, and that its
//! events were spurious several times in a row. While the EOI is out the port is masked, and the peer cannot interrupt.

use core::num::NonZeroU32;

use hypervisor_abi::Port;
use hypervisor_abi::sync::Ordering;

use crate::port::PortRecord;
use crate::time::Span;
use crate::time::Time;

/// The limits from which on events are delayed. The defaults are Linux's, at 250 ticks a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// How many ports one call of the upcall loop visits at most.
    pub budget: NonZeroU32,
    /// How long calls may go on without an end before late events count as a storm.
    pub loop_timeout: Span,
    /// How long after its delivery a late event of a storm ends at the earliest.
    pub storm_delay: Span,
    /// How many spurious events in a row cost nothing.
    pub spurious_free: u32,
    /// How long the first spurious event beyond these is delayed; each one after it twice as long.
    pub spurious_delay: Span,
    /// The longest delay of a spurious event.
    pub spurious_delay_limit: Span,
}

impl Throttle {
    /// How long the EOI of the `count`th spurious event in a row is delayed.
    #[must_use]
    pub const fn delay_of_spurious(&self, count: u32) -> Span {
        let Some(doublings) = count.saturating_sub(self.spurious_free).checked_sub(1) else { return Span(0) };
        let factor = match 1_u64.checked_shl(doublings) {
            Some(factor) => factor,
            None => u64::MAX,
        };
        let delay = self.spurious_delay.0.saturating_mul(factor);
        if delay < self.spurious_delay_limit.0 { Span(delay) } else { self.spurious_delay_limit }
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            budget: NonZeroU32::MIN.saturating_add(255),
            loop_timeout: Span::from_ms(8),
            storm_delay: Span::from_ms(40),
            spurious_free: 1,
            spurious_delay: Span::from_ms(4),
            spurious_delay_limit: Span::from_ms(1000),
        }
    }
}

/// The ports whose events end later, by the time they end; linked through their records.
#[derive(Debug, Default)]
pub(crate) struct Delayed {
    first: Port,
    last: Port,
}

impl Delayed {
    /// When the first event ends.
    pub(crate) fn next_due(&self, ports: &[PortRecord]) -> Option<Time> {
        record(ports, self.first).map(PortRecord::due)
    }

    /// Puts in a port that is in no list.
    pub(crate) fn insert(&mut self, ports: &[PortRecord], port: Port) {
        let Some(own) = record(ports, port) else { return };
        let is_after = |other: Port| record(ports, other).is_some_and(|other| other.due() <= own.due());
        // Most delays are equally long, so most ports go to the end.
        let mut before = if is_after(self.last) { self.last } else { Port(0) };
        if before == Port(0) {
            let mut other = self.first;
            while is_after(other) {
                before = other;
                other = next(ports, other);
            }
        }
        let after = if before == Port(0) { self.first } else { next(ports, before) };
        own.next.store(after.0, Ordering::Relaxed);
        match record(ports, before) {
            Some(before) => before.next.store(port.0, Ordering::Relaxed),
            None => self.first = port,
        }
        if after == Port(0) {
            self.last = port;
        }
    }

    /// Takes out the first port.
    pub(crate) fn pop<'p>(&mut self, ports: &'p [PortRecord]) -> Option<(Port, &'p PortRecord)> {
        let port = self.first;
        let own = record(ports, port)?;
        self.first = next(ports, port);
        if self.first == Port(0) {
            self.last = Port(0);
        }
        Some((port, own))
    }
}

fn record(ports: &[PortRecord], port: Port) -> Option<&PortRecord> {
    if port == Port(0) { None } else { ports.get(port.index()) }
}

fn next(ports: &[PortRecord], port: Port) -> Port {
    Port(record(ports, port).map_or(0, |record| record.next.load(Ordering::Relaxed)))
}

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use hypervisor_abi::Port;
    use proptest::collection::vec;
    use proptest::prelude::any;
    use proptest::proptest;

    use super::Delayed;
    use super::Throttle;
    use crate::port::PortRecord;
    use crate::time::Span;
    use crate::time::Time;

    #[test]
    fn spurious_events_cost_twice_as_long_each_up_to_a_second() {
        let throttle = Throttle::default();
        let delays: Vec<u64> = (0..13).map(|count| throttle.delay_of_spurious(count).0 / 1_000_000).collect();
        assert_eq!(delays, [0, 0, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 1000, 1000]);
        assert_eq!(throttle.delay_of_spurious(u32::MAX), Span::from_ms(1000));
    }

    proptest! {
        #[test]
        fn delayed_ports_come_out_in_the_order_of_their_times(dues in vec(any::<u8>(), 1..40)) {
            let ports: Vec<PortRecord> = (0..=dues.len()).map(|_| PortRecord::new()).collect();
            let mut delayed = Delayed::default();
            for (port, due) in (1..).zip(&dues) {
                ports[Port(port).index()].set_due(Time(u64::from(*due)));
                delayed.insert(&ports, Port(port));
            }
            let mut expected: Vec<(u8, u32)> = dues.iter().copied().zip(1..).collect();
            expected.sort_unstable();
            let mut taken = Vec::new();
            while let Some((port, record)) = delayed.pop(&ports) {
                taken.push((u8::try_from(record.due().0).unwrap(), port.0));
            }
            assert_eq!(taken, expected);
            assert_eq!(delayed.next_due(&ports), None);
        }
    }
}
