//! Where each vCPU was, and what it did there.

use std::collections::BTreeMap;

use carillon_machine::VcpuRef;
use serde::Serialize;

use crate::import::IDLE_DOMAIN;
use crate::import::RunState;
use crate::import::encode;

/// One vCPU's track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VcpuActivity {
    /// Which.
    #[serde(serialize_with = "encode::vcpu")]
    pub vcpu: VcpuRef,
    /// What it did, without gaps from the trace's beginning to its end.
    pub stays: Vec<Stay>,
    /// When it was woken, ns.
    pub wakes_ns: Vec<u64>,
    /// When it blocked, ns.
    pub blocks_ns: Vec<u64>,
}

/// A time a vCPU spent in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stay {
    /// From, ns.
    pub from_ns: u64,
    /// To, ns.
    pub to_ns: u64,
    /// What it did.
    pub state: StayState,
}

/// What a vCPU did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum StayState {
    /// It ran.
    Running {
        /// Where.
        cpu: u32,
    },
    /// It could run, but another ran.
    Runnable,
    /// It waited for an event.
    Blocked,
    /// It was off or paused.
    Offline,
}

impl VcpuActivity {
    /// How long it ran, ns.
    #[must_use]
    pub fn ran_ns(&self) -> u64 {
        let running = self.stays.iter().filter(|stay| matches!(stay.state, StayState::Running { .. }));
        running.map(|stay| stay.to_ns - stay.from_ns).sum()
    }

    /// How long it waited for a CPU, ns.
    #[must_use]
    pub fn waited_ns(&self) -> u64 {
        self.stays.iter().filter(|stay| stay.state == StayState::Runnable).map(|stay| stay.to_ns - stay.from_ns).sum()
    }

    /// Applies `scale` to every time.
    pub(super) fn scale(&mut self, scale: impl Fn(u64) -> u64) {
        for stay in &mut self.stays {
            (stay.from_ns, stay.to_ns) = (scale(stay.from_ns), scale(stay.to_ns));
        }
        for at in self.wakes_ns.iter_mut().chain(&mut self.blocks_ns) {
            *at = scale(*at);
        }
    }
}

/// Builds tracks from events in order of time.
#[derive(Debug, Default)]
pub(super) struct VcpuTracks(BTreeMap<(u16, u32), VcpuActivity>);

impl VcpuTracks {
    /// A change of state on `cpu`. What came before the first one is known from its old state.
    pub(super) fn change(&mut self, vcpu: VcpuRef, from: RunState, to: RunState, at_ns: u64, cpu: u32) {
        let Some(track) = self.track(vcpu) else { return };
        match track.stays.last_mut() {
            Some(last) => last.to_ns = at_ns,
            None => track.stays.push(Stay { from_ns: 0, to_ns: at_ns, state: state(from, cpu) }),
        }
        track.stays.push(Stay { from_ns: at_ns, to_ns: at_ns, state: state(to, cpu) });
    }

    pub(super) fn wake(&mut self, vcpu: VcpuRef, at_ns: u64) {
        if let Some(track) = self.track(vcpu) {
            track.wakes_ns.push(at_ns);
        }
    }

    pub(super) fn block(&mut self, vcpu: VcpuRef, at_ns: u64) {
        if let Some(track) = self.track(vcpu) {
            track.blocks_ns.push(at_ns);
        }
    }

    /// The tracks of a trace that ends at `end_ns`, by domain and number.
    pub(super) fn finish(self, end_ns: u64) -> Vec<VcpuActivity> {
        let mut tracks: Vec<VcpuActivity> = self.0.into_values().collect();
        for last in tracks.iter_mut().filter_map(|track| track.stays.last_mut()) {
            last.to_ns = end_ns;
        }
        tracks
    }

    /// A vCPU's track; none for the idle ones.
    fn track(&mut self, vcpu: VcpuRef) -> Option<&mut VcpuActivity> {
        (vcpu.domain != IDLE_DOMAIN).then(|| {
            self.0.entry((vcpu.domain.0, vcpu.vcpu)).or_insert_with(|| VcpuActivity {
                vcpu,
                stays: Vec::new(),
                wakes_ns: Vec::new(),
                blocks_ns: Vec::new(),
            })
        })
    }
}

const fn state(state: RunState, cpu: u32) -> StayState {
    match state {
        RunState::Running => StayState::Running { cpu },
        RunState::Runnable => StayState::Runnable,
        RunState::Blocked => StayState::Blocked,
        RunState::Offline => StayState::Offline,
    }
}

#[cfg(test)]
mod tests {
    use carillon_machine::VcpuRef;
    use vector_allocator::DomainId;

    use super::StayState;
    use super::VcpuTracks;
    use crate::import::IDLE_DOMAIN;
    use crate::import::RunState;

    #[test]
    fn stays_follow_each_other_from_beginning_to_end_and_idle_vcpus_have_none() {
        let vcpu = VcpuRef { domain: DomainId(1), vcpu: 0 };
        let mut tracks = VcpuTracks::default();
        tracks.change(vcpu, RunState::Running, RunState::Blocked, 10, 3);
        tracks.block(vcpu, 10);
        tracks.change(vcpu, RunState::Blocked, RunState::Runnable, 30, 2);
        tracks.change(vcpu, RunState::Runnable, RunState::Running, 45, 2);
        tracks.change(VcpuRef { domain: IDLE_DOMAIN, vcpu: 2 }, RunState::Running, RunState::Runnable, 45, 2);
        let finished = tracks.finish(100);
        assert_eq!(finished.len(), 1);
        let stays: Vec<_> = finished[0].stays.iter().map(|stay| (stay.from_ns, stay.to_ns, stay.state)).collect();
        assert_eq!(
            stays,
            [
                (0, 10, StayState::Running { cpu: 3 }),
                (10, 30, StayState::Blocked),
                (30, 45, StayState::Runnable),
                (45, 100, StayState::Running { cpu: 2 }),
            ]
        );
        assert_eq!((finished[0].ran_ns(), finished[0].waited_ns()), (65, 15));
    }
}
