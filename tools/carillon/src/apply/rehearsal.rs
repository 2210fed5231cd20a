//! What would be done to a host: the deeds in order, worked out on a model of it.

use carillon_sim::snapshot::HostSnapshot;
use carillon_sim::snapshot::SourceName;
use serde::Serialize;
use vector_allocator::Assignment;
use vector_allocator::Goal;
use vector_allocator::Vector;
use vector_allocator::aim::Apply;
use vector_allocator::aim::Consent;
use vector_allocator::aim::Deed;
use vector_allocator::aim::Host as _;
use vector_allocator::aim::Limits;
use vector_allocator::aim::Model;
use vector_allocator::aim::Mover;
use vector_allocator::aim::Outcome;
use vector_allocator::aim::Progress;
use vector_allocator::aim::Sight;
use vector_allocator::aim::Task;
use vector_allocator::inversions;

use super::attempt::remedy;
use super::carrier::commands;
use super::levers;
use super::toolstack::Fired;
use crate::failure::Verdict;
use crate::page::Page;
use crate::page::Tone;

/// What would be done to a host, and what would come of it.
#[derive(Debug, Serialize)]
pub(crate) struct Rehearsal {
    /// Where the cursor is supposed to stand, which it need not; none if that is known or does not matter.
    supposed: Option<String>,
    deeds: Vec<Planned>,
    /// Interrupts that follow a vCPU that may be moved, and do not fire.
    silent: Vec<SourceName>,
    /// How many inversions of the kinds to mend there are, would be left, and are left by the plan too.
    inversions_before: usize,
    inversions_after: usize,
    beyond_any_plan: usize,
    outcome: String,
    /// What a hypervisor would need so that it could be done.
    needs: Option<String>,
    #[serde(skip)]
    pub(crate) result: Outcome,
}

/// A deed that would be done.
#[derive(Debug, Serialize)]
struct Planned {
    what: String,
    why: String,
    /// The vectors its interrupts would draw: one of these each.
    draws: Vec<String>,
    /// What hangs on it and fires.
    moves: Vec<SourceName>,
    commands: Vec<String>,
    interrupts_traffic: bool,
}

/// What is to be done, with what it takes.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// The order that is wanted.
    pub(crate) goal: Goal,
    /// The levers.
    pub(crate) movers: Vec<Mover>,
    /// Whether traffic may be interrupted.
    pub(crate) consent: Consent,
    /// What is known of the cursor.
    pub(crate) sight: Sight,
}

impl Work {
    /// All levers of a host for a goal. From two looks at it, if there were two, it is known where the cursor stands.
    pub(crate) fn new(host: &HostSnapshot, fired: &Fired, goal: Goal, consent: Consent) -> Self {
        let sight = Sight::unknown(&host.assignment().layout);
        Self { goal, movers: levers::movers(host, fired, &goal), consent, sight }
    }

    /// The attempt on it.
    pub(crate) fn apply(&self) -> Apply {
        Apply::new(self.goal, self.movers.clone(), self.consent, Limits::default()).with_sight(self.sight)
    }

    /// What would be done to the host.
    pub(crate) fn rehearse(&self, host: &HostSnapshot, fired: &Fired) -> Rehearsal {
        let origin = levers::assignment(host, fired);
        let drawn = self.sight.known().unwrap_or_else(|| last_drawn(&origin, &self.sight));
        let mut model = Model::new(&origin, drawn, &self.movers);
        let mut apply = self.apply();
        let mut tasks: Vec<Task> = Vec::new();
        let result = loop {
            let Ok(progress) = apply.step(&mut model);
            match progress {
                Progress::Did(task) => tasks.push(task),
                Progress::Waiting => {}
                Progress::Over(outcome) => break outcome,
            }
        };
        // What would be taken back again is not worth a rehearsal.
        if result != Outcome::Mended {
            tasks.clear();
        }
        let Ok(last) = model.read();
        let count = |host: &Assignment| inversions(host).filter(|one| self.goal.mend.include(one.kind)).count();
        let draws = tasks.iter().any(|task| !task.expected.is_empty());
        let supposed = (draws && self.sight.known().is_none()).then(|| drawn.to_string());
        let silent = self.movers.iter().flat_map(|mover| &mover.silent);
        Rehearsal {
            supposed,
            silent: silent.map(|id| SourceName::of(&origin, *id)).collect(),
            inversions_before: count(&origin),
            inversions_after: if result == Outcome::Mended { count(&last) } else { count(&origin) },
            beyond_any_plan: apply.beyond(),
            outcome: in_words(&result).to_owned(),
            needs: remedy(&result).map(str::to_owned),
            deeds: tasks.into_iter().map(|task| self.planned(host, &origin, task)).collect(),
            result,
        }
    }

    fn planned(&self, host: &HostSnapshot, origin: &Assignment, task: Task) -> Planned {
        let mover = self.movers.iter().find(|mover| mover.lever == task.deed.lever());
        let sources = mover.map(|mover| mover.sources.as_slice()).unwrap_or_default();
        Planned {
            what: task.deed.to_string(),
            why: task.why,
            draws: task.expected.iter().map(|vector| vector.to_string()).collect(),
            moves: sources.iter().map(|id| SourceName::of(origin, *id)).collect(),
            commands: commands(host, &task.deed),
            interrupts_traffic: matches!(task.deed, Deed::Reattach { .. }),
        }
    }
}

/// The vector that was probably drawn last, if that is not known: that of the highest interrupt, which was set up last.
fn last_drawn(host: &Assignment, sight: &Sight) -> Vector {
    let drawn = host.sources.iter().filter(|source| sight.candidates().contains(source.vector));
    let last = drawn.max_by_key(|source| source.id).map(|source| source.vector);
    last.or_else(|| sight.candidates().lowest()).unwrap_or(Vector::LOWEST)
}

fn in_words(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Mended => "would be done",
        Outcome::Refused(_) => "refused",
        Outcome::RolledBack { .. } => "would fail",
    }
}

impl Rehearsal {
    /// Whether there is anything to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.result == Outcome::Mended && self.deeds.is_empty()
    }

    /// The deeds, in words.
    pub(crate) fn deeds(&self) -> Vec<String> {
        self.deeds.iter().map(|deed| deed.what.clone()).collect()
    }

    /// How many inversions of the kinds to mend there are.
    pub(crate) fn inversions(&self) -> usize {
        self.inversions_before
    }

    /// The exit code's word for it.
    pub(crate) fn verdict(&self) -> Verdict {
        match &self.result {
            Outcome::Mended if self.deeds.is_empty() => Verdict::NothingToDo,
            Outcome::Mended => Verdict::Fine,
            Outcome::Refused(_) | Outcome::RolledBack { .. } => Verdict::No,
        }
    }

    /// Writes it to a page.
    pub(crate) fn show(&self, page: &mut Page) {
        page.heading("What apply would do");
        for (number, deed) in (1..).zip(&self.deeds) {
            deed.show(page, number);
        }
        if let Some(supposed) = &self.supposed {
            let text = format!(
                "Where the cursor stands is not known before the first move shows it. Supposed was {supposed}: the vectors, and how \
                 many moves it takes, depend on it."
            );
            page.line(Tone::Faint, &text);
        }
        let (before, after, beyond) = (self.inversions_before, self.inversions_after, self.beyond_any_plan);
        match &self.result {
            Outcome::Mended if self.deeds.is_empty() => page.line(Tone::Good, "There is nothing to do."),
            Outcome::Mended => {
                let text = format!("Moves: {}. Inversions: {before} before, {after} after.", self.deeds.len());
                page.line(Tone::Good, &text);
            }
            Outcome::Refused(why) | Outcome::RolledBack { why, .. } => {
                page.line(Tone::Warn, &format!("Nothing: {why}."));
                if let Some(remedy) = why.remedy() {
                    page.line(Tone::Plain, &format!("A hypervisor would need {remedy}."));
                }
            }
        }
        if beyond > 0 {
            let text = format!("Of the inversions {beyond} are beyond any plan: `carillon plan` says why.");
            page.line(Tone::Warn, &text);
        }
        if !self.silent.is_empty() {
            let names: Vec<String> = self.silent.iter().map(ToString::to_string).collect();
            let text = format!("Not heard, so Xen would not move them: {}.", names.join(", "));
            page.line(Tone::Faint, &text);
        }
        if self.deeds.iter().any(|deed| deed.interrupts_traffic) {
            page.line(Tone::Bad, "This interrupts the traffic of a device.");
        }
    }
}

impl Planned {
    fn show(&self, page: &mut Page, number: usize) {
        page.line(Tone::Good, &format!("{number:>3}. {}", self.what));
        let draws = match self.draws.as_slice() {
            [] => String::new(),
            [vector] => format!("; it draws {vector}"),
            few if few.len() <= self.moves.len() => format!("; they draw {}", few.join(", ")),
            many => format!("; it draws one of {} vectors", many.len()),
        };
        page.line(Tone::Plain, &format!("     {}{draws}", self.why));
        let names: Vec<String> = self.moves.iter().map(ToString::to_string).collect();
        page.line(Tone::Faint, &format!("     moves {}", names.join(", ")));
        for command in &self.commands {
            page.line(Tone::Plain, &format!("     {command}"));
        }
    }
}
