//! How well the simulator tells what a recorded host does next: it is given one part of a recording, and its counts are
//! compared with those of the rest.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde::Serialize;

use crate::Fault;
use crate::Replayed;
use crate::Run;
use crate::snapshot::Activity;
use crate::snapshot::HostSnapshot;

/// Interrupts told in advance, and counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// How much of the recording the simulator was given, ns from its beginning.
    pub learned_ns: u64,
    /// How much was predicted, ns: the rest.
    pub predicted_ns: u64,
    /// Per source that came in either part, by IRQ.
    pub sources: Vec<PredictedCount>,
}

/// One source's interrupts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PredictedCount {
    /// Xen's number of the interrupt.
    pub irq: u32,
    /// What a person calls it.
    pub label: String,
    /// How often it came in the part the simulator was given.
    pub learned: u64,
    /// How often it is handled in the simulation of the rest.
    pub predicted: u64,
    /// How often it was handled in the rest.
    pub recorded: u64,
}

/// Nothing can be predicted.
#[derive(Debug, thiserror::Error)]
pub enum PredictionError {
    /// No trace, or one too short to be divided.
    #[error("the trace is {duration_ns} ns long, too short to learn from one part and predict another")]
    TooShort {
        /// How long it is, ns.
        duration_ns: u64,
    },
    /// The host cannot be simulated.
    #[error("the recorded host cannot be simulated")]
    Scenario(#[from] Fault),
}

impl PredictedCount {
    /// How far the prediction is off, as a share of what was recorded: 0.05 is 5 %.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share is an estimate")]
    pub fn error(&self) -> f64 {
        match (self.predicted, self.recorded) {
            (0, 0) => 0.0,
            (_, 0) => f64::INFINITY,
            (predicted, recorded) => predicted.abs_diff(recorded) as f64 / recorded as f64,
        }
    }
}

/// Simulates the host as it was during the first half of its recording, for as long as the second half took, as fast as it
/// was recorded. Nothing of the second half is used but its length.
///
/// # Errors
/// [`PredictionError`] says why there is nothing to learn from.
pub fn predict(host: &HostSnapshot, activity: &Activity) -> Result<Prediction, PredictionError> {
    let middle = activity.duration_ns / 2;
    if middle == 0 {
        return Err(PredictionError::TooShort { duration_ns: activity.duration_ns });
    }
    let (learned, rest) = (activity.part(0..middle), activity.part(middle..u64::MAX));
    let replayed = Replayed { speedup: NonZeroU32::MIN, ..Replayed::default() };
    let mut scenario = replayed.scenario(host, &learned);
    #[expect(clippy::cast_precision_loss, reason = "a duration of hours is exact to the microsecond")]
    {
        scenario.duration_ms = rest.duration_ns as f64 / 1e6;
    }
    let result = Run::new(&scenario)?.to_end(|_| {});
    let count = |activity: &Activity, irq| activity.source(irq).map_or(0, |source| source.arrivals.len() as u64);
    // Only what is part of the pool is simulated; of a line that is shared, the ends are counted together.
    let mut sources: BTreeMap<u32, PredictedCount> = BTreeMap::new();
    for source in result.sources {
        let (learned, recorded) = (count(&learned, source.id), count(&rest, source.id));
        let entry = sources.entry(source.id).or_insert_with(|| PredictedCount {
            irq: source.id,
            label: source.label.clone(),
            learned,
            predicted: 0,
            recorded,
        });
        entry.predicted += source.completed;
    }
    let came = |source: &PredictedCount| source.learned + source.predicted + source.recorded > 0;
    let sources = sources.into_values().filter(came).collect();
    Ok(Prediction { learned_ns: learned.duration_ns, predicted_ns: rest.duration_ns, sources })
}
