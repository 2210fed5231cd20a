//! `carillon watch`: keeps this host in order, or says what it would do for that.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use serde::Serialize;
use vector_allocator::Goal;
use vector_allocator::aim::Consent;
use vector_allocator::aim::Outcome;
use vector_allocator::aim::Pace;
use vector_allocator::aim::Seen;
use vector_allocator::aim::Tried;
use vector_allocator::aim::Verdict as What;
use vector_allocator::aim::Watch;

use crate::apply;
use crate::apply::Ask;
use crate::apply::Entry;
use crate::apply::LiveHost;
use crate::apply::Log;
use crate::apply::Reading;
use crate::apply::Rehearsal;
use crate::apply::Toolstack;
use crate::cli::WatchArgs;
use crate::failure::Failure;
use crate::failure::Verdict;
use crate::live;

/// The longest sleep in one piece: a signal is noticed after it.
const NAP: Duration = Duration::from_millis(200);

/// Something to tell of a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum News {
    /// What a look showed, and what is done about it.
    Look {
        /// Since the watch began, seconds.
        at: u64,
        /// What it is: `look`.
        event: &'static str,
        /// What it showed.
        found: String,
        /// What would be done, where it is only said.
        would: Vec<String>,
    },
    /// A step of an attempt.
    Step {
        /// Since the watch began, seconds.
        at: u64,
        /// Which.
        #[serde(flatten)]
        entry: Entry,
    },
}

/// How the time goes.
pub(crate) trait Clock {
    /// Since the watch began.
    fn now(&mut self) -> Duration;

    /// Waits until then, or until somebody wants the end.
    fn wait_until(&mut self, then: Duration, stop: &AtomicBool);
}

/// What is watched for, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task {
    /// The order that is wanted.
    pub(crate) goal: Goal,
    /// How often.
    pub(crate) pace: Pace,
    /// Whether anything is done.
    pub(crate) mode: Mode,
    /// When it ends.
    pub(crate) end: End,
}

/// Whether a watch does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It mends.
    Execute,
    /// It says what it would do.
    Say,
}

/// When a watch ends of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// After one look, and what is to be done about it.
    FirstLook,
    /// When somebody stops it.
    Stopped,
}

/// Watches this host.
pub(crate) fn run(args: &WatchArgs) -> Result<Verdict, Failure> {
    let xen = live::hypervisor()?;
    let mut tools = LiveHost::new(&xen, Duration::from_nanos(args.listen_ns));
    let mut log = Log::open(args.output.format(), args.log.as_deref())?;
    let stop = apply::stop_flag()?;
    let mut clock = Monotonic(Instant::now());
    watch(&mut tools, &args.task(), &mut clock, &stop, &mut |news| log.line(&news, || news.to_string()))
}

/// The time since the watch began.
struct Monotonic(Instant);

impl Clock for Monotonic {
    fn now(&mut self) -> Duration {
        self.0.elapsed()
    }

    fn wait_until(&mut self, then: Duration, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let left = then.saturating_sub(self.0.elapsed());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(NAP));
        }
    }
}

/// Nobody is at a terminal: what interrupts traffic is not done.
struct Nobody;

impl Ask for Nobody {
    fn ask(&mut self, _: &str) -> Option<bool> {
        Some(false)
    }
}

/// Looks again and again, and mends what is to be mended. What is the same as before is told once.
pub(crate) fn watch<T: Toolstack>(
    tools: &mut T,
    task: &Task,
    clock: &mut impl Clock,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(News) -> Result<(), Failure>,
) -> Result<Verdict, Failure> {
    let mut watch = Watch::new(task.pace, clock.now());
    let mut told = None;
    while !stop.load(Ordering::Relaxed) {
        let looked = look(tools, task.goal);
        let now = clock.now();
        let (seen, mut found) = match &looked {
            Ok((_, rehearsal)) => seen(rehearsal),
            Err(failure) => (Seen::BeyondMending, format!("it cannot be read: {failure}")),
        };
        let what = watch.looked(now, seen);
        found.push_str(match what {
            What::TooOften => "; too much was done lately",
            What::Resting => "; the last attempt failed, so it rests",
            What::Leave | What::Mend | What::GiveUp => "",
        });
        let is_to_mend = what == What::Mend;
        let would = match &looked {
            Ok((_, rehearsal)) if is_to_mend && task.mode == Mode::Say => rehearsal.deeds(),
            _ => Vec::new(),
        };
        let news = (found, would);
        if told.as_ref() != Some(&news) {
            let (found, would) = news.clone();
            tell(News::Look { at: now.as_secs(), event: "look", found, would })?;
            told = Some(news);
        }
        let mut verdict = verdict_of(seen);
        if let (Ok((reading, _)), true, Mode::Execute) = (&looked, is_to_mend, task.mode) {
            verdict = mend(tools, reading, task, clock, &mut watch, stop, tell)?;
            told = None;
        }
        if task.end == End::FirstLook {
            return Ok(verdict);
        }
        clock.wait_until(watch.next_look(), stop);
    }
    Ok(Verdict::Fine)
}

/// What the host looks like, and what would be done. Only one that seems not to be in order is listened to.
fn look<T: Toolstack>(tools: &mut T, goal: Goal) -> Result<(Reading, Rehearsal), Failure> {
    let rehearse = |reading: &Reading| reading.work(goal, Consent::KeepTraffic).rehearse(&reading.host, &reading.fired);
    let glance = Reading::glance(tools)?;
    let rehearsal = rehearse(&glance);
    if rehearsal.is_empty() {
        return Ok((glance, rehearsal));
    }
    let reading = apply::read(tools, &mut Vec::new())?;
    let rehearsal = rehearse(&reading);
    Ok((reading, rehearsal))
}

/// Mends the host, and lets the watch know what came of it.
fn mend<T: Toolstack>(
    tools: &mut T,
    reading: &Reading,
    task: &Task,
    clock: &mut impl Clock,
    watch: &mut Watch,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(News) -> Result<(), Failure>,
) -> Result<Verdict, Failure> {
    let at = clock.now().as_secs();
    let mut deeds = 0;
    let mut step = |entry: Entry| {
        deeds += u32::from(matches!(entry, Entry::Deed { .. }));
        tell(News::Step { at, entry })
    };
    let verdict = apply::execute(tools, reading, task.goal, Consent::KeepTraffic, &mut Nobody, stop, &mut step)?;
    let tried = match verdict {
        Verdict::Fine | Verdict::NothingToDo => Tried::Mended { deeds },
        Verdict::No | Verdict::TakenBack => Tried::Failed { deeds },
    };
    watch.tried(clock.now(), tried);
    Ok(verdict)
}

/// What a look showed, for the watch and for people.
fn seen(rehearsal: &Rehearsal) -> (Seen, String) {
    match &rehearsal.result {
        Outcome::Mended if rehearsal.is_empty() => (Seen::InOrder, "in order".to_owned()),
        Outcome::Mended => {
            let deeds = rehearsal.deeds().len();
            let found = format!("{} inversions; {deeds} moves mend what can be mended", rehearsal.inversions());
            (Seen::ToMend { deeds: u32::try_from(deeds).unwrap_or(u32::MAX) }, found)
        }
        Outcome::Refused(why) | Outcome::RolledBack { why, .. } => {
            (Seen::BeyondMending, format!("{} inversions; {why}", rehearsal.inversions()))
        }
    }
}

fn verdict_of(seen: Seen) -> Verdict {
    match seen {
        Seen::InOrder => Verdict::NothingToDo,
        Seen::ToMend { .. } => Verdict::Fine,
        Seen::BeyondMending => Verdict::No,
    }
}

impl std::fmt::Display for News {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Look { at, found, would, .. } => {
                write!(f, "{at:>6} s: {found}")?;
                would.iter().try_for_each(|deed| write!(f, "\n          would {deed}"))
            }
            Self::Step { at, entry } => write!(f, "{at:>6} s: {entry}"),
        }
    }
}

#[cfg(test)]
mod tests;
