//! One attempt on a host, from the first look to the end, whatever happens on the way.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use serde::Serialize;
use vector_allocator::Vector;
use vector_allocator::aim::Apply;
use vector_allocator::aim::Outcome;
use vector_allocator::aim::Progress;
use vector_allocator::aim::Refusal;

use super::carrier::Carrier;
use super::carrier::Change;
use super::carrier::Restored;
use super::toolstack::Toolstack;
use crate::failure::Failure;

/// How many looks and deeds may fail in a row before the rest is taken back without looking.
const FAILURES: u32 = 5;

/// Something that happened, as the log has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Entry {
    /// A deed was done.
    Deed {
        /// Which, by number.
        number: usize,
        /// What.
        what: String,
        /// Why.
        why: String,
        /// The vectors it was predicted to draw.
        predicted: Vec<String>,
    },
    /// Something was set for it.
    Changed(Change),
    /// A deed shows.
    Shows {
        /// Which, by number.
        number: usize,
        /// The vector its first interrupt has since.
        vector: Option<String>,
        /// Whether that is what was predicted.
        as_predicted: bool,
    },
    /// A look or a deed failed.
    Failed {
        /// Why.
        why: String,
    },
    /// Somebody asked for the end.
    Stopped,
    /// Everything was put back.
    PutBack(Restored),
    /// It is over.
    Over {
        /// What came of it.
        outcome: String,
        /// What a hypervisor would need so that it could be done.
        needs: Option<String>,
    },
}

/// How an attempt ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// What came of it.
    pub(crate) outcome: Outcome,
    /// How many deeds were done.
    pub(crate) deeds: usize,
    /// What could not be put back.
    pub(crate) stuck: Vec<String>,
}

/// Works until it is over; `stop` is looked at before each step, and every entry is told as it happens. Whatever the end is
/// but that the host is as it was wanted, every knob is put back.
pub(crate) fn carry_out<T: Toolstack>(
    mut apply: Apply,
    carrier: &mut Carrier<'_, T>,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Entry) -> Result<(), Failure>,
) -> Ended {
    let mut deeds = 0;
    let mut shown = 0;
    let mut failures = 0;
    let mut is_stopped = false;
    // What cannot be told ends the attempt like a wish to stop: nothing is changed that nobody can read of.
    let mut mute = false;
    let outcome = loop {
        if !is_stopped && (mute || stop.load(Ordering::Relaxed)) {
            is_stopped = true;
            apply.give_up();
            mute |= tell(Entry::Stopped).is_err();
        }
        let progress = apply.step(carrier);
        let mut entries = Vec::new();
        for done in &apply.done()[shown..] {
            shown += 1;
            let as_predicted =
                done.got.is_none_or(|got| done.task.expected.is_empty() || done.task.expected.contains(got));
            entries.push(Entry::Shows { number: shown, vector: done.got.map(|got| got.to_string()), as_predicted });
        }
        let mut is_over = None;
        match progress {
            Ok(Progress::Did(task)) => {
                failures = 0;
                deeds += 1;
                let predicted = task.expected.iter().map(|vector: Vector| vector.to_string()).collect();
                entries.push(Entry::Deed { number: deeds, what: task.deed.to_string(), why: task.why, predicted });
            }
            Ok(Progress::Waiting) => failures = 0,
            Ok(Progress::Over(outcome)) => is_over = Some(outcome),
            Err(failure) => {
                failures += 1;
                entries.push(Entry::Failed { why: failure.to_string() });
                if failures == FAILURES {
                    // No more is known than that it failed; what was changed is put back below.
                    is_over = Some(match deeds {
                        0 => Outcome::Refused(Refusal::GivenUp),
                        _ => Outcome::RolledBack { why: Refusal::GivenUp, more_harm: 0 },
                    });
                }
            }
        }
        entries.extend(carrier.take_changes().into_iter().map(Entry::Changed));
        for entry in entries {
            mute |= tell(entry).is_err();
        }
        if let Some(outcome) = is_over {
            break outcome;
        }
        carrier.pause();
    };
    let mut stuck = Vec::new();
    if outcome != Outcome::Mended {
        let restored = carrier.restore();
        stuck.clone_from(&restored.failed);
        if restored != Restored::default() {
            mute |= tell(Entry::PutBack(restored)).is_err();
        }
    }
    let needs = remedy(&outcome).map(str::to_owned);
    // There is nobody left to be told that nobody can be told.
    let _ = mute || tell(Entry::Over { outcome: outcome.to_string(), needs }).is_err();
    Ended { outcome, deeds, stuck }
}

/// What a hypervisor would need so that it could be done.
pub(crate) fn remedy(outcome: &Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Mended => None,
        Outcome::Refused(why) | Outcome::RolledBack { why, .. } => why.remedy(),
    }
}
