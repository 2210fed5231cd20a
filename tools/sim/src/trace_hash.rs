//! A fingerprint of a run: every fact in order, folded into 64 bits.
//!
//! The function is fixed here, not borrowed, because its values are kept in tests and compared between machines and
//! versions: each word is xored in, and the state multiplied by an odd constant and rotated, which loses nothing; the end
//! is avalanched (the finalizer of MurmurHash3). It is no defence against anyone who wants a collision.

use carillon_machine::Fact;
use carillon_machine::RetentionEnd;
use carillon_machine::Time;
use carillon_machine::VcpuRef;

/// The fractional part of the golden ratio, odd.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The fingerprint of the facts so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceHash(u64);

impl TraceHash {
    /// The fingerprint of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(MULTIPLIER)
    }

    /// Adds a fact.
    pub fn add(&mut self, at: Time, fact: &Fact) {
        let (kind, who, detail) = words(fact);
        self.fold(at.0);
        self.fold(kind << 56 | who);
        self.fold(detail);
    }

    /// The fingerprint.
    #[must_use]
    pub const fn value(self) -> u64 {
        let mut value = self.0;
        value = (value ^ value >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        value = (value ^ value >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        value ^ value >> 33
    }

    const fn fold(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(MULTIPLIER).rotate_left(29);
    }
}

impl Default for TraceHash {
    fn default() -> Self {
        Self::new()
    }
}

/// A fact as numbers that never change their meaning: kind, whom it is about, the rest.
fn words(fact: &Fact) -> (u64, u64, u64) {
    let vcpu = |of: VcpuRef| u64::from(of.domain.0) << 32 | u64::from(of.vcpu);
    let at = |cpu: vector_allocator::CpuId| u64::from(cpu.0);
    match *fact {
        Fact::Raised { source } => (1, source.0.into(), 0),
        Fact::Coalesced { source } => (2, source.0.into(), 0),
        Fact::Dispatched { source, cpu, vector, entry } => {
            (3, source.0.into(), entry.0.rotate_left(40) ^ at(cpu) << 8 ^ u64::from(vector.number()))
        }
        Fact::HostHandlerDone { source, cpu } => (4, source.0.into(), at(cpu)),
        Fact::HandlerEntered { source, vcpu: of, cpu } => (5, source.0.into(), vcpu(of) ^ at(cpu) << 48),
        Fact::Completed { source } => (6, source.0.into(), 0),
        Fact::RetentionBegan { source, cpu } => (7, source.0.into(), at(cpu)),
        Fact::RetentionEnded { source, cpu, by } => {
            (8, source.0.into(), at(cpu) << 8 | u64::from(by == RetentionEnd::Forced))
        }
        Fact::Blocked { victim, by, cpu, cause } => {
            (9, victim.0.into(), u64::from(by.0) << 32 | at(cpu) << 8 | cause as u64)
        }
        Fact::Unblocked { victim, by, cpu, cause } => {
            (10, victim.0.into(), u64::from(by.0) << 32 | at(cpu) << 8 | cause as u64)
        }
        Fact::VcpuWaits { vcpu: of, behind, cpu } => (11, vcpu(of), vcpu(behind) ^ at(cpu) << 48),
        Fact::VcpuRuns { vcpu: of, cpu } => (12, vcpu(of), at(cpu)),
        Fact::VcpuStops { vcpu: of, cpu } => (13, vcpu(of), at(cpu)),
        Fact::Exit { cpu, cause, .. } => (14, at(cpu), cause as u64),
        Fact::Throttled { source } => (15, source.0.into(), 0),
        Fact::Moved { source, cpu, vector } => (16, source.0.into(), at(cpu) << 8 | u64::from(vector.number())),
        Fact::MoveFailed { source, cpu } => (17, source.0.into(), at(cpu)),
        Fact::EoiDelayed { source, until } => (18, source.0.into(), until.0),
    }
}

#[cfg(test)]
mod tests {
    use carillon_machine::Fact;
    use carillon_machine::SourceIndex;
    use carillon_machine::Time;

    use super::TraceHash;

    fn hash(facts: &[(u64, Fact)]) -> u64 {
        let mut hash = TraceHash::new();
        facts.iter().for_each(|(at, fact)| hash.add(Time(*at), fact));
        hash.value()
    }

    #[test]
    fn the_order_the_time_and_the_fact_all_count() {
        let raised = Fact::Raised { source: SourceIndex(1) };
        let completed = Fact::Completed { source: SourceIndex(1) };
        let other = Fact::Raised { source: SourceIndex(2) };
        let traces = [
            vec![],
            vec![(5, raised)],
            vec![(6, raised)],
            vec![(5, other)],
            vec![(5, raised), (5, completed)],
            vec![(5, completed), (5, raised)],
        ];
        let mut hashes: Vec<u64> = traces.iter().map(|trace| hash(trace)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), traces.len());
    }
}
