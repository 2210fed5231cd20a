//! `carillon apply`: carries a plan out with what stock Xen offers, or says what it would do.

mod attempt;
mod carrier;
#[cfg(test)]
pub(crate) mod fake;
mod levers;
mod live;
mod log;
mod rehearsal;
#[cfg(test)]
mod tests;
mod toolstack;

use std::io;
use std::io::BufRead as _;
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use carillon_sim::snapshot::HostSnapshot;
use serde::Serialize;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;
use vector_allocator::Goal;
use vector_allocator::aim::Consent;
use vector_allocator::aim::Outcome;
use vector_allocator::aim::Refusal;
use vector_allocator::aim::Sight;

use crate::cli::ApplyArgs;
use crate::failure::Failure;
use crate::failure::Verdict;
use crate::hosts;
use crate::output::Answer;
use crate::output::Output;
use crate::page::Page;
use crate::page::Tone;

pub(crate) use attempt::Ended;
pub(crate) use attempt::Entry;
pub(crate) use carrier::Carrier;
pub(crate) use live::LiveHost;
pub(crate) use live::irqbalance_runs;
pub(crate) use log::Log;
pub(crate) use rehearsal::Rehearsal;
pub(crate) use rehearsal::Work;
pub(crate) use toolstack::Fired;
#[cfg(test)]
pub(crate) use toolstack::Knob;
pub(crate) use toolstack::Toolstack;

/// What would be done to the hosts, as an answer.
#[derive(Debug, Serialize)]
struct Rehearsed {
    name: String,
    #[serde(flatten)]
    rehearsal: Rehearsal,
    /// What may get in the way.
    warnings: Vec<String>,
}

/// Carries out, or says what it would do.
pub(crate) fn run(args: &ApplyArgs, out: Output) -> Result<Verdict, Failure> {
    let goal = args.goal.goal();
    let consent = if args.interrupt_traffic { Consent::InterruptTraffic } else { Consent::KeepTraffic };
    if let Some(recording) = args.instead.host() {
        let mut verdict = Verdict::NothingToDo;
        for host in hosts::load(&recording)? {
            let rehearsal = Work::new(&host, &Fired::Guessed, goal, consent).rehearse(&host, &Fired::Guessed);
            verdict = rehearsal.verdict();
            out.print(&Rehearsed { name: host.name, rehearsal, warnings: Vec::new() }, args.output.format())?;
        }
        return Ok(verdict);
    }
    let xen = crate::live::hypervisor()?;
    let mut tools = LiveHost::new(&xen, Duration::from_nanos(args.listen_ns));
    let mut warnings = Vec::new();
    let read = read(&mut tools, &mut warnings)?;
    if irqbalance_runs() {
        warnings.push("irqbalance runs in dom0 and moves interrupts of its own accord: stop it first".to_owned());
    }
    if !args.execute {
        let rehearsal = read.work(goal, consent).rehearse(&read.host, &read.fired);
        let verdict = rehearsal.verdict();
        let answer = Rehearsed { name: read.host.name, rehearsal, warnings };
        out.print(&answer, args.output.format())?;
        return Ok(verdict);
    }
    let mut log = Log::open(args.output.format(), args.log.as_deref())?;
    for warning in &warnings {
        log.line(&Warning { event: "warning", warning }, || format!("warning: {warning}"))?;
    }
    let stop = stop_flag()?;
    execute(&mut tools, &read, goal, consent, &mut Person, &stop, &mut |entry| log.tell(&entry))
}

/// A warning in the log.
#[derive(Debug, Serialize)]
struct Warning<'a> {
    event: &'static str,
    warning: &'a str,
}

/// A host as it was read, with what was heard and seen of it meanwhile.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) host: HostSnapshot,
    pub(crate) fired: Fired,
    sight: Sight,
}

/// Looks, listens, and looks again: what drew meanwhile shows where the cursor stands.
pub(crate) fn read<T: Toolstack>(tools: &mut T, warnings: &mut Vec<String>) -> Result<Reading, Failure> {
    let before = tools.look()?.assignment();
    let fired = tools.listen().unwrap_or_else(|failure| {
        warnings.push(format!("which interrupts come is not known: {failure}"));
        Fired::Guessed
    });
    let host = tools.look()?;
    let sight = Sight::unknown(&before.layout).after(&before, &host.assignment());
    Ok(Reading { host, fired, sight })
}

impl Reading {
    /// One look, without listening.
    pub(crate) fn glance<T: Toolstack>(tools: &mut T) -> Result<Self, Failure> {
        let host = tools.look()?;
        let sight = Sight::unknown(&host.assignment().layout);
        Ok(Self { host, fired: Fired::Guessed, sight })
    }

    /// What it takes to reach a goal.
    pub(crate) fn work(&self, goal: Goal, consent: Consent) -> Work {
        Work { sight: self.sight, ..Work::new(&self.host, &self.fired, goal, consent) }
    }
}

/// Whoever can be asked.
pub(crate) trait Ask {
    /// Whether that is wanted; none if nobody is there to answer.
    fn ask(&mut self, question: &str) -> Option<bool>;
}

/// The person at the terminal.
struct Person;

impl Ask for Person {
    fn ask(&mut self, question: &str) -> Option<bool> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return None;
        }
        let mut answer = String::new();
        write!(io::stderr(), "{question} [y/N] ").ok()?;
        io::stdin().lock().read_line(&mut answer).ok()?;
        Some(matches!(answer.trim(), "y" | "Y" | "yes"))
    }
}

/// Carries the work out, if it can be done and what it takes is allowed.
pub(crate) fn execute<T: Toolstack>(
    tools: &mut T,
    read: &Reading,
    goal: Goal,
    consent: Consent,
    person: &mut impl Ask,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Entry) -> Result<(), Failure>,
) -> Result<Verdict, Failure> {
    let mut work = read.work(goal, consent);
    let mut rehearsal = work.rehearse(&read.host, &read.fired);
    // It may come to that only after other levers were tried.
    if let Outcome::Refused(Refusal::NotAllowed { lever })
    | Outcome::RolledBack { why: Refusal::NotAllowed { lever }, .. } = &rehearsal.result
    {
        let daring = read.work(goal, Consent::InterruptTraffic);
        let with_leave = daring.rehearse(&read.host, &read.fired);
        if with_leave.result == Outcome::Mended {
            let question =
                format!("{lever} has to be detached and attached again, which interrupts its traffic. Do it?");
            match person.ask(&question) {
                Some(true) => (work, rehearsal) = (daring, with_leave),
                Some(false) => {}
                None => {
                    return Err(Failure::new(format!("{lever} would have to be detached and attached again"))
                        .hint("nobody is there to be asked: --interrupt-traffic allows it; nothing was changed"));
                }
            }
        }
    }
    if rehearsal.is_empty() || rehearsal.result != Outcome::Mended {
        let outcome = match &rehearsal.result {
            Outcome::Mended => "there is nothing to do".to_owned(),
            Outcome::Refused(why) | Outcome::RolledBack { why, .. } => format!("refused, nothing was changed: {why}"),
        };
        let needs = attempt::remedy(&rehearsal.result).map(str::to_owned);
        tell(Entry::Over { outcome, needs })?;
        return Ok(rehearsal.verdict());
    }
    let mut carrier = Carrier::new(tools, read.host.clone(), read.fired.clone());
    let ended = attempt::carry_out(work.apply(), &mut carrier, stop, tell);
    if !ended.stuck.is_empty() {
        return Err(Failure::new("not everything could be put back").hint(ended.stuck.join("\n  ")));
    }
    Ok(verdict_of(&ended))
}

/// The exit code's word for an attempt.
pub(crate) fn verdict_of(ended: &Ended) -> Verdict {
    match (&ended.outcome, ended.deeds) {
        (Outcome::Mended, 0) => Verdict::NothingToDo,
        (Outcome::Mended, _) => Verdict::Fine,
        (Outcome::Refused(_), _) => Verdict::No,
        (Outcome::RolledBack { .. }, _) => Verdict::TakenBack,
    }
}

/// A flag that is set when somebody wants the end: control-C, or the end of a service.
pub(crate) fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag))
            .map_err(|error| Failure::new(format!("signals cannot be caught: {error}")))?;
    }
    Ok(flag)
}

impl Answer for Rehearsed {
    fn show(&self, page: &mut Page) {
        page.title(&self.name);
        for warning in &self.warnings {
            page.line(Tone::Warn, warning);
        }
        self.rehearsal.show(page);
        let tone = Tone::Faint;
        match self.rehearsal.verdict() {
            Verdict::Fine => page.line(tone, "Nothing was changed: that is what `carillon apply --execute` is for."),
            _ => page.line(tone, "Nothing was changed."),
        }
    }
}
