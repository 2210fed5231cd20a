//! One call into the machine: the time it happens at, and the way out.

use crate::Fact;
use crate::Host;
use crate::Span;
use crate::Time;
use crate::Timer;
use crate::timer::Alarm;

/// The time of the call and the host that made it.
#[derive(Debug)]
pub(crate) struct Out<'a, H> {
    pub(crate) now: Time,
    host: &'a mut H,
}

impl<'a, H: Host> Out<'a, H> {
    pub(crate) const fn new(now: Time, host: &'a mut H) -> Self {
        Self { now, host }
    }

    pub(crate) fn observe(&mut self, fact: Fact) {
        self.host.observe(self.now, fact);
    }

    pub(crate) fn after(&mut self, span: Span, alarm: Alarm) {
        self.host.schedule(self.now + span, Timer(alarm));
    }

    pub(crate) fn at(&mut self, time: Time, alarm: Alarm) {
        self.host.schedule(time.max(self.now), Timer(alarm));
    }
}
