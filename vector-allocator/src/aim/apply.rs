//! Brings a host to the wanted order, deed by deed, and looks after each what came of it.
//!
//! ```text
//!             ┌──────────── read back, correct the prediction ────────────┐
//!             ▼                                                           │
//!   read ──► ahead: pins, a probe, walks ──► deed ──► wait until it shows ┘
//!             │ refusal                                    │ never shows, or missed too often
//!             ▼                                            ▼
//!        nothing done: refused                    back: homewards, unpin ──► rolled back
//! ```

use alloc::format;
use alloc::string::String;
use alloc::string::ToString;
use alloc::vec::Vec;

use crate::AssignedSource;
use crate::Assignment;
use crate::Change;
use crate::CpuId;
use crate::CpuSet;
use crate::DestinationModel;
use crate::Goal;
use crate::Harms;
use crate::Retarget;
use crate::SourceId;
use crate::Vector;
use crate::VectorSet;
use crate::aim::board::Board;
use crate::aim::board::of_lever;
use crate::aim::board::place;
use crate::aim::deed::Deed;
use crate::aim::deed::Lever;
use crate::aim::deed::Mover;
use crate::aim::deed::Task;
use crate::aim::host::Host;
use crate::aim::host::Model;
use crate::aim::refusal::Outcome;
use crate::aim::refusal::Refusal;
use crate::aim::sight::Sight;
use crate::aim::walk;
use crate::aim::walk::Walk;
use crate::aim::walk::Wanted;
use crate::aim::walk::is_away;
use crate::plan;

/// How much may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most deeds on the way ahead.
    pub deeds: u32,
    /// The longest walk that is looked for.
    pub walk: usize,
    /// How many readings a deed may take to show.
    pub patience: u32,
    /// How many predictions may fail.
    pub misses: u32,
}

impl Default for Limits {
    /// A walk once through all vectors of a stride, twice; a reading each tenth of a second would wait for 5 s.
    fn default() -> Self {
        Self { deeds: 64, walk: 56, patience: 50, misses: 3 }
    }
}

/// Whether deeds that interrupt traffic are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// They are not.
    KeepTraffic,
    /// They are.
    InterruptTraffic,
}

/// What a step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It did this; look again in a while.
    Did(Task),
    /// What was done last does not show yet; look again in a while.
    Waiting,
    /// There is nothing more to do.
    Over(Outcome),
}

/// A deed that showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// What was done, and what was expected.
    pub task: Task,
    /// The vector that its first source has since.
    pub got: Option<Vector>,
}

/// The work on one host. Nothing is done but by [`step`](Self::step).
#[derive(Clone, Debug)]
pub struct Apply {
    goal: Goal,
    movers: Vec<Mover>,
    consent: Consent,
    limits: Limits,
    sight: Option<Sight>,
    origin: Option<Assignment>,
    /// How much of what is to be mended no plan mends.
    beyond: usize,
    seen: Option<Assignment>,
    pending: Option<Pending>,
    phase: Phase,
    done: Vec<Done>,
    misses: u32,
}

/// A deed that does not show yet.
#[derive(Clone, Debug)]
struct Pending {
    task: Task,
    before: Assignment,
    looks: u32,
}

#[derive(Clone, Debug)]
enum Phase {
    Ahead,
    Back { why: Refusal, deeds: u32 },
    Over(Outcome),
}

impl Apply {
    /// Work towards `goal`, by these movers alone.
    #[must_use]
    pub fn new(goal: Goal, movers: Vec<Mover>, consent: Consent, limits: Limits) -> Self {
        Self {
            goal,
            movers,
            consent,
            limits,
            sight: None,
            origin: None,
            beyond: 0,
            seen: None,
            pending: None,
            phase: Phase::Ahead,
            done: Vec::new(),
            misses: 0,
        }
    }

    /// The same where something is known of the cursor, from earlier readings.
    #[must_use]
    pub fn with_sight(mut self, sight: Sight) -> Self {
        self.sight = Some(sight);
        self
    }

    /// What was done, in order, and what came of it.
    #[must_use]
    pub fn done(&self) -> &[Done] {
        &self.done
    }

    /// What is known of the cursor.
    #[must_use]
    pub const fn sight(&self) -> Option<&Sight> {
        self.sight.as_ref()
    }

    /// How many harms of those to mend are left to stand, since no plan mends them; known from the first step on.
    #[must_use]
    pub const fn beyond(&self) -> usize {
        self.beyond
    }

    /// Takes back what was done, from the next step on.
    pub fn give_up(&mut self) {
        self.fail(Refusal::GivenUp);
    }

    /// What would be done to a host that was read so, if its last draw was `drawn` and nobody else draws. Nothing is done.
    #[must_use]
    pub fn rehearse(&self, host: &Assignment, drawn: Vector) -> (Vec<Task>, Outcome) {
        let mut model = Model::new(host, drawn, &self.movers);
        let mut rehearsed = self.clone().with_sight(Sight::on(&host.layout, drawn));
        let mut tasks = Vec::new();
        loop {
            let Ok(progress) = rehearsed.step(&mut model);
            match progress {
                Progress::Did(task) => tasks.push(task),
                Progress::Waiting => {}
                Progress::Over(outcome) => return (tasks, outcome),
            }
        }
    }

    /// Looks at the host, and does at most one thing. Call it again, after a while, until it is over: that takes at most
    /// (deeds ahead and back) × (patience + 1) steps.
    ///
    /// # Errors
    /// The host's. If it could not be read the step can be repeated; if a deed failed what was done is taken back from the
    /// next step on.
    pub fn step<H: Host>(&mut self, host: &mut H) -> Result<Progress, H::Error> {
        if let Phase::Over(outcome) = &self.phase {
            return Ok(Progress::Over(outcome.clone()));
        }
        let now = host.read()?;
        self.look(&now);
        if let Some(pending) = self.pending.take()
            && let Some(still) = self.judge(pending, &now)
        {
            self.pending = Some(still);
            return Ok(Progress::Waiting);
        }
        let Some(task) = self.next(&now) else {
            return Ok(match &self.phase {
                Phase::Over(outcome) => Progress::Over(outcome.clone()),
                Phase::Ahead | Phase::Back { .. } => Progress::Waiting,
            });
        };
        if let Err(error) = host.carry_out(&task.deed) {
            self.fail(Refusal::Failed(task.deed));
            return Err(error);
        }
        self.pending = Some(Pending { task: task.clone(), before: now, looks: 0 });
        Ok(Progress::Did(task))
    }

    /// Learns from a reading where the cursor is.
    fn look(&mut self, now: &Assignment) {
        let sight = self.sight.unwrap_or_else(|| Sight::unknown(&now.layout));
        self.sight = Some(self.seen.as_ref().map_or(sight, |before| sight.after(before, now)));
        if self.origin.is_none() {
            let planned = plan(now, &self.goal).apply(now);
            self.beyond = self.wanted(self.goal.mend, 0, None).cost(&planned, &self.movers);
            self.origin = Some(now.clone());
        }
        self.seen = Some(now.clone());
    }

    /// Judges what was done last: it is given back while it does not show.
    fn judge(&mut self, mut pending: Pending, now: &Assignment) -> Option<Pending> {
        let mover = of_lever(&self.movers, pending.task.deed.lever())?;
        let find = |id: &SourceId| now.sources.iter().find(|source| source.id == *id);
        let late = mover.sources.iter().filter_map(find).find(|source| !arrived(source, &pending));
        let first = mover.sources.iter().find_map(find);
        let shows = late.is_none();
        if !shows && pending.looks < self.limits.patience {
            pending.looks += 1;
            return Some(pending);
        }
        let got = first.map(|first| first.vector);
        let (source, expected) = (late.map(|late| late.id), pending.task.expected);
        self.done.push(Done { task: pending.task, got });
        if let Some(irq) = source {
            self.fail(Refusal::Silent { irq });
        } else if got.is_some_and(|got| !expected.is_empty() && !expected.contains(got)) {
            self.misses += 1;
            if self.misses > self.limits.misses {
                self.fail(Refusal::Contended { misses: self.misses });
            }
        }
        None
    }

    /// From here on only back; on the way back nothing is a reason to turn round.
    fn fail(&mut self, why: Refusal) {
        if matches!(self.phase, Phase::Ahead) {
            self.phase = Phase::Back { why, deeds: 0 };
        }
    }

    fn next(&mut self, now: &Assignment) -> Option<Task> {
        if matches!(self.phase, Phase::Ahead) {
            match self.ahead(now) {
                Ok(None) => self.phase = Phase::Over(Outcome::Mended),
                Ok(task) => return task,
                Err(why) if self.done.is_empty() => self.phase = Phase::Over(Outcome::Refused(why)),
                Err(why) => self.fail(why),
            }
        }
        let Phase::Back { why, deeds } = &self.phase else { return None };
        let (why, deeds) = (why.clone(), *deeds);
        if deeds < self.limits.deeds
            && let Some(task) = self.back(now)
        {
            self.phase = Phase::Back { why, deeds: deeds + 1 };
            return Some(task);
        }
        let more_harm = self.origin.as_ref().map_or(0, |origin| {
            let harm = |host| self.wanted(Harms::All, 0, None).cost(host, &self.movers);
            harm(now).saturating_sub(harm(origin))
        });
        self.phase = Phase::Over(match self.done.is_empty() {
            true => Outcome::Refused(why),
            false => Outcome::RolledBack { why, more_harm },
        });
        None
    }

    /// What to do next towards the goal; none if it is reached.
    fn ahead(&self, now: &Assignment) -> Result<Option<Task>, Refusal> {
        let home = if self.goal.retarget == Retarget::Forbidden { self.origin.as_ref() } else { None };
        let wanted = self.wanted(self.goal.mend, self.beyond, home);
        let left = wanted.cost(now, &self.movers);
        if left == 0 {
            return Ok(None);
        }
        let draws = u32::try_from(self.done.len()).unwrap_or(u32::MAX);
        if draws >= self.limits.deeds {
            return Err(Refusal::Exhausted { draws, left });
        }
        if let Some(task) = self.pin(now)? {
            return Ok(Some(task));
        }
        let why = format!("leaves fewer than the {left} to mend");
        self.first_of_walk(now, &wanted, why).ok_or_else(|| self.refusal(now, &wanted, left)).map(Some)
    }

    /// The first pin the planner asks for that is not there yet.
    fn pin(&self, now: &Assignment) -> Result<Option<Task>, Refusal> {
        let pins = plan(now, &self.goal).moves.into_iter().filter_map(|planned| {
            let Change::Pin { ref to, .. } = planned.change else { return None };
            Some((planned.source, to.clone(), planned.reason()))
        });
        let mut missing = None;
        for (source, cpus, why) in pins {
            match self.movers.iter().find(|mover| mover.can_keep(source, &cpus)) {
                Some(mover) => {
                    let deed = Deed::Keep { lever: mover.lever, cpus };
                    return Ok(Some(Task { deed, why, expected: VectorSet::EMPTY }));
                }
                None => missing = missing.or(Some(source)),
            }
        }
        missing.map_or(Ok(None), |irq| Err(Refusal::NoLever { irq }))
    }

    /// The first deed of a walk that leaves less to be wanted, or a probe if the cursor is not known.
    fn first_of_walk(&self, now: &Assignment, wanted: &Wanted<'_>, why: String) -> Option<Task> {
        let sight = self.sight?;
        let movers = self.usable();
        let drawn = sight.known().or_else(|| sight.candidates().lowest())?;
        let found = walk::find(&Board::new(now, drawn), &movers, wanted, self.limits.walk);
        // Without knowing the cursor only a walk that draws nothing can be told in advance.
        let is_sure = |walk: &Walk| sight.known().is_some() || walk.deeds.iter().all(|(_, drawn)| drawn.is_empty());
        let Some(Walk { deeds, .. }) = found.filter(is_sure) else {
            return if sight.known().is_none() { self.probe(now, &sight, &movers) } else { None };
        };
        let count = deeds.len();
        let (deed, expected) = deeds.into_iter().next()?;
        Some(Task { deed, why: format!("the first of {count}; {why}"), expected })
    }

    /// Sends something of dom0's, or else of a guest's, elsewhere, to see where the cursor is.
    fn probe(&self, now: &Assignment, sight: &Sight, movers: &[Mover]) -> Option<Task> {
        let order = |mover: &&Mover| match mover.lever {
            Lever::Interrupt(_) => 0,
            Lever::Vcpu { .. } => 1,
            Lever::Device { .. } => 2,
        };
        let is_drawing = |mover: &&Mover| match mover.lever {
            Lever::Device { .. } => true,
            _ => {
                let draws = now.model == DestinationModel::Physical && !mover.sources.is_empty();
                draws && self.elsewhere(now, mover).is_some()
            }
        };
        let mover = movers.iter().filter(is_drawing).min_by_key(order)?;
        let (deed, cpu) = match mover.lever {
            lever @ Lever::Device { .. } => (Deed::Reattach { lever }, place(now, mover)?),
            lever => {
                let to = self.elsewhere(now, mover)?;
                (Deed::Send { lever, to }, to)
            }
        };
        Some(Task { deed, why: "shows where the cursor is".to_string(), expected: sight.predict(now, cpu) })
    }

    fn elsewhere(&self, now: &Assignment, mover: &Mover) -> Option<CpuId> {
        let at = place(now, mover);
        mover.cpus.iter().find(|cpu| Some(*cpu) != at)
    }

    /// The movers that may be used.
    fn usable(&self) -> Vec<Mover> {
        let is_usable =
            |mover: &&Mover| self.consent == Consent::InterruptTraffic || !matches!(mover.lever, Lever::Device { .. });
        self.movers.iter().filter(is_usable).cloned().collect()
    }

    /// Why there is no walk.
    fn refusal(&self, now: &Assignment, wanted: &Wanted<'_>, left: usize) -> Refusal {
        let harmed = crate::inversions(now).find(|one| wanted.harms.include(one.kind));
        let moves = |source| self.movers.iter().any(|mover| mover.moves(source));
        let device = self.movers.iter().find(|mover| matches!(mover.lever, Lever::Device { .. }));
        match (harmed, device) {
            (Some(one), _) if !moves(one.guest) && !moves(one.dom0) => Refusal::NoLever { irq: one.guest },
            (_, Some(device)) if self.consent == Consent::KeepTraffic => Refusal::NotAllowed { lever: device.lever },
            _ => Refusal::OutOfReach { longest: self.limits.walk, left },
        }
    }

    /// What to do next towards the beginning; none if it is reached.
    fn back(&self, now: &Assignment) -> Option<Task> {
        let origin = self.origin.as_ref()?;
        // What is at home, or never left it, may go no farther than it could; that is sure to do no harm.
        let strays = |mover: &&Mover| {
            let (Some(before), Some(since)) = (reach(origin, mover), reach(now, mover)) else { return false };
            !is_away(now, origin, mover) && !since.is_subset(before)
        };
        if let Some(task) = self.movers.iter().find(strays).and_then(|mover| as_before(origin, mover)) {
            return Some(task);
        }
        let harms = self.wanted(Harms::All, 0, None).cost(origin, &self.movers);
        let wanted = self.wanted(Harms::All, harms, Some(origin));
        if wanted.cost(now, &self.movers) > 0 {
            if let Some(task) = self.first_of_walk(now, &wanted, "back to where it began".to_string()) {
                return Some(task);
            }
            let astray = self.movers.iter().find(|mover| is_away(now, origin, mover));
            if let Some((mover, to)) = astray.and_then(|mover| Some((mover, place(origin, mover)?))) {
                let deed = Deed::Send { lever: mover.lever, to };
                let why = "back to where it began, with whatever vector it gets".to_string();
                return Some(Task { deed, why, expected: VectorSet::EMPTY });
            }
        }
        // At last what was kept to fewer CPUs is let go.
        let is_kept = |mover: &&Mover| reach(origin, mover) != reach(now, mover);
        self.movers.iter().find(is_kept).and_then(|mover| as_before(origin, mover))
    }

    const fn wanted<'a>(&self, harms: Harms, tolerated: usize, home: Option<&'a Assignment>) -> Wanted<'a> {
        Wanted { harms, tolerated, home }
    }
}

/// Whether a source shows what was done to it.
fn arrived(source: &AssignedSource, pending: &Pending) -> bool {
    match &pending.task.deed {
        Deed::Keep { cpus, .. } => source.reachable == *cpus && source.target.intersects(cpus),
        Deed::Send { to, .. } => source.target.contains(*to) && source.reachable == CpuSet::single(*to),
        Deed::Reattach { .. } => {
            let before = pending.before.sources.iter().find(|then| then.id == source.id);
            before.is_none_or(|then| then.vector != source.vector)
        }
    }
}

/// The CPUs a mover may come to: those of the first that hangs on it.
fn reach<'a>(host: &'a Assignment, mover: &Mover) -> Option<&'a CpuSet> {
    let find = |id| host.sources.iter().find(|source| source.id == id);
    mover.followers().find_map(find).map(|first| &first.reachable)
}

/// Lets a mover go where it could in the beginning.
fn as_before(origin: &Assignment, mover: &Mover) -> Option<Task> {
    let deed = Deed::Keep { lever: mover.lever, cpus: reach(origin, mover)?.clone() };
    Some(Task { deed, why: "as it was in the beginning".to_string(), expected: VectorSet::EMPTY })
}
