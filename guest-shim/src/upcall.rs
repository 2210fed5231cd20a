//! The upcall: taking a vCPU's events until there are none.

use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::sync::Ordering;

use crate::abi::Admission;
use crate::abi::Duty;
use crate::abi::EventAbi;
use crate::abi::Found;
use crate::abi::VcpuInfoOf;
use crate::abi::Visit;
use crate::channels::ChannelError;
use crate::channels::EventChannels;
use crate::hypercall::Hypercalls;
use crate::layout::VcpuBlock;
use crate::throttle::Delayed;
use crate::throttle::Throttle;
use crate::time::Time;

/// A vCPU's side of its events: how far it has taken them, and which of them end later.
///
/// It belongs to the vCPU, which calls [`handle`](Self::handle) from its interrupt handler and
/// [`end_due`](Self::end_due) from its timer.
#[derive(Debug)]
pub struct VcpuEvents<'a, A: EventAbi> {
    vcpu: VcpuId,
    info: &'a VcpuInfoOf<A>,
    queues: A::Queues,
    throttle: Throttle,
    /// When the rounds began that have not ended yet.
    began: Option<Time>,
    delayed: Delayed,
}

/// What a handler says about a late event. An early one has ended before the handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Served {
    /// It is over.
    Finished(Work),
    /// The work goes on elsewhere; [`VcpuEvents::eoi`] ends it.
    Unfinished,
}

/// What an event was good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// There was something to do.
    Done,
    /// There was nothing to do.
    None,
}

/// Whether the vCPU has taken all its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "the hypervisor does not call again for events that are left"]
pub enum Round {
    /// It has; the next one interrupts.
    Done,
    /// The budget is spent. [`VcpuEvents::handle`] must be called again soon, after other work.
    More,
}

/// What became of an EOI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Eoi {
    /// The port's next event may come.
    Ended,
    /// It may come after this moment, when [`VcpuEvents::end_due`] is called.
    Delayed {
        /// The moment.
        until: Time,
    },
    /// The port has no event that waits for an EOI.
    NotAwaited,
}

impl<'a, A: EventAbi> VcpuEvents<'a, A> {
    pub(crate) fn new(vcpu: VcpuId, info: &'a VcpuInfoOf<A>, queues: A::Queues, throttle: Throttle) -> Self {
        Self { vcpu, info, queues, throttle, began: None, delayed: Delayed::default() }
    }

    /// Which vCPU it is.
    pub const fn vcpu(&self) -> VcpuId {
        self.vcpu
    }

    /// Whether the hypervisor has announced events since the last call.
    pub fn is_upcall_pending(&self) -> bool {
        self.info.upcall_pending().load(Ordering::Acquire) != 0
    }

    /// Takes the vCPU's events: calls `handler` once for each, most urgent first with the FIFO ABI, in turn with the
    /// other. It visits [`Throttle::budget`] ports at most, so that a flood of events leaves the guest time for other work
    /// and looks at no clock: `now` is the time of this call.
    ///
    /// # Errors
    /// The hypervisor refused to unmask a port; no event is lost, and the call can be repeated.
    pub fn handle<H: Hypercalls>(
        &mut self,
        channels: &EventChannels<'a, A, H>,
        now: Time,
        mut handler: impl FnMut(Port) -> Served,
    ) -> Result<Round, ChannelError> {
        let began = *self.began.get_or_insert(now);
        let until = if now.since(began) >= self.throttle.loop_timeout {
            now.after(self.throttle.storm_delay)
        } else {
            Time::default()
        };
        let vcpu = self.vcpu;
        let mut budget = self.throttle.budget.get();
        while budget > 0 {
            // Before what is ready is looked at: an event that comes after that look sets it again.
            self.info.upcall_pending().store(0, Ordering::Relaxed);
            channels.abi().begin(self.info, &mut self.queues);
            while let Some(visit) = channels.abi().next(&mut self.queues, |port| channels.admit(port, vcpu)) {
                self.visit(channels, visit, now, until, &mut handler)?;
                budget -= 1;
                if budget == 0 {
                    return Ok(Round::More);
                }
            }
            if !self.is_upcall_pending() {
                self.began = None;
                return Ok(Round::Done);
            }
            // An upcall without an event costs as much as one with.
            budget -= 1;
        }
        Ok(Round::More)
    }

    #[inline]
    fn visit<H: Hypercalls>(
        &mut self,
        channels: &EventChannels<'a, A, H>,
        Visit { port, admission, event }: Visit,
        now: Time,
        until: Time,
        handler: &mut impl FnMut(Port) -> Served,
    ) -> Result<(), ChannelError> {
        match (admission, event) {
            (Admission::Early, Found::Event) => {
                handler(port);
                Ok(())
            }
            (Admission::Early | Admission::Aside, Found::Nothing) => Ok(()),
            (Admission::Aside, Found::Event) => channels.pass_on(port),
            (Admission::Late { duty }, event) => self.visit_late(channels, port, duty, event, (now, until), handler),
        }
    }

    /// Apart from early events, which it would cost registers.
    #[inline(never)]
    fn visit_late<H: Hypercalls>(
        &mut self,
        channels: &EventChannels<'a, A, H>,
        port: Port,
        duty: Duty,
        event: Found,
        (now, until): (Time, Time),
        handler: &mut impl FnMut(Port) -> Served,
    ) -> Result<(), ChannelError> {
        match event {
            Found::Nothing => channels.end(port, duty),
            Found::Event => {
                if let Some(record) = channels.ports().get(port.index()) {
                    record.set_due(until);
                }
                // The event was taken: it is handled even if the hypervisor refuses what the mask needs.
                let kept = channels.keep_masked(port, duty);
                let served = handler(port);
                kept?;
                match served {
                    Served::Unfinished => Ok(()),
                    Served::Finished(work) => self.eoi(channels, port, now, work).map(drop),
                }
            }
        }
    }

    /// Ends the late event of a port whose handler left it unfinished. On whichever vCPU the work was finished, its own
    /// value serves.
    ///
    /// # Errors
    /// The hypervisor refused to unmask the port.
    pub fn eoi<H: Hypercalls>(
        &mut self,
        channels: &EventChannels<'a, A, H>,
        port: Port,
        now: Time,
        work: Work,
    ) -> Result<Eoi, ChannelError> {
        let record = channels.ports().get(port.index()).filter(|record| record.awaits_eoi());
        let Some(record) = record else { return Ok(Eoi::NotAwaited) };
        if record.is_delayed() {
            return Ok(Eoi::Delayed { until: record.due() });
        }
        let mut due = record.due();
        match work {
            Work::Done => record.clear_spurious(),
            Work::None => {
                let delay = self.throttle.delay_of_spurious(record.count_spurious());
                due = due.max(now.after(delay));
            }
        }
        if due <= now {
            channels.end(port, Duty::None)?;
            return Ok(Eoi::Ended);
        }
        record.set_due(due);
        if record.delay() {
            self.delayed.insert(channels.ports(), port);
        }
        Ok(Eoi::Delayed { until: due })
    }

    /// Ends all delayed events now.
    pub(crate) fn end_all<H: Hypercalls>(&mut self, channels: &EventChannels<'a, A, H>) -> Result<(), ChannelError> {
        self.began = None;
        self.end_due(channels, Time(u64::MAX)).map(drop)
    }

    /// The parts a search of the queues needs.
    pub(crate) fn parts(&mut self) -> (&'a VcpuInfoOf<A>, &mut A::Queues) {
        (self.info, &mut self.queues)
    }

    /// Ends the events whose delay is over. Returns when the next one is, for which the guest sets its timer.
    ///
    /// # Errors
    /// The hypervisor refused to unmask a port; the others are ended by the next call.
    pub fn end_due<H: Hypercalls>(
        &mut self,
        channels: &EventChannels<'a, A, H>,
        now: Time,
    ) -> Result<Option<Time>, ChannelError> {
        let ports = channels.ports();
        while self.delayed.next_due(ports).is_some_and(|due| due <= now) {
            let Some((port, record)) = self.delayed.pop(ports) else { break };
            if record.unlist() {
                channels.end(port, Duty::None)?;
            }
        }
        Ok(self.delayed.next_due(ports))
    }
}
