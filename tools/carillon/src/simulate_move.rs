//! `carillon simulate move`: a vCPU's move carried out step by step, and what becomes of the interrupts that come meanwhile.

use carillon_sim::moving::Arrivals;
use carillon_sim::moving::Effect;
use carillon_sim::moving::Fault;
use carillon_sim::moving::Moments;
use carillon_sim::moving::Move;
use carillon_sim::moving::MoveFault;
use carillon_sim::moving::MoveRun;
use carillon_sim::moving::Passage;
use carillon_sim::moving::Sent;
use carillon_sim::moving::Way;
use hypervisor_lib::migration::Outcome;
use hypervisor_lib::migration::Stopped;
use serde::Serialize;
use vector_allocator::CpuId;

use crate::cli::SimulateMoveArgs;
use crate::failure::Failure;
use crate::failure::Verdict;
use crate::output::Answer;
use crate::output::Output;
use crate::page::Page;
use crate::page::Tone;

/// A move that was carried out, as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    engine: &'static str,
    #[serde(skip)]
    long_name: &'static str,
    from: u32,
    to: u32,
    /// None if the moments were given.
    seed: Option<u64>,
    passages: Vec<ShownPassage>,
    ends_on: u32,
    sent: usize,
    taken: usize,
    lost: Vec<ShownSent>,
}

/// A piece of the move.
#[derive(Debug, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
enum ShownPassage {
    /// Somebody interrupts the vCPU.
    Interrupt {
        #[serde(flatten)]
        sent: ShownSent,
        effects: Vec<String>,
    },
    /// A step.
    Step { way: &'static str, number: usize, stage: String, step: String, outcome: &'static str, effects: Vec<String> },
    /// A step fails.
    Failure {
        way: &'static str,
        number: usize,
        step: String,
        why: String,
        standing: &'static str,
        remedy: &'static str,
    },
    /// A CPU takes what waits.
    Host { cpu: u32, effects: Vec<String> },
    /// The vCPU runs.
    Run { cpu: u32, effects: Vec<String> },
}

/// An interrupt.
#[derive(Debug, Serialize)]
struct ShownSent {
    sender: String,
    moment: String,
    way: &'static str,
}

/// Simulates the move the command line asks for.
pub(crate) fn run(args: &SimulateMoveArgs, out: Output) -> Result<Verdict, Failure> {
    let (from, to) = (CpuId(args.from), CpuId(args.to));
    let moved = Move { engine: args.engine, from, to, interrupts: args.interrupts };
    let moments = match (args.every_step, &args.interrupt_at[..]) {
        (true, _) => Moments::Every,
        (false, []) => Moments::Drawn(args.seed),
        (false, moments) => Moments::At(moments.to_vec()),
    };
    let senders = moved.senders().into_iter().filter(|sender| args.sender.is_meant(*sender)).collect();
    let arrivals = Arrivals { moments, senders };
    let fault = args.fail_at.map(Fault::Fails).or(args.without.map(Fault::LeftOut));
    let run = moved.run(&arrivals, fault).map_err(|fault| failure(&fault))?;
    let seed = matches!(arrivals.moments, Moments::Drawn(_)).then_some(args.seed);
    out.print(&shown(&moved, seed, &run), args.output.format())?;
    Ok(Verdict::no_if(!run.lost.is_empty()))
}

fn failure(fault: &MoveFault) -> Failure {
    let failure = Failure::caused(fault);
    match fault {
        MoveFault::SameCpu(_) => failure.hint("--from and --to name two CPUs, as in --from 0 --to 3"),
        MoveFault::NoStep { .. } | MoveFault::NoMoment { .. } | MoveFault::CannotFail { .. } => {
            failure.hint("`carillon explain move` with the same engine and number of interrupts lists the steps")
        }
        _ => failure,
    }
}

fn shown(moved: &Move, seed: Option<u64>, run: &MoveRun) -> Shown {
    Shown {
        engine: moved.engine.name(),
        long_name: moved.engine.long_name(),
        from: moved.from.0,
        to: moved.to.0,
        seed,
        passages: run.passages.iter().map(ShownPassage::of).collect(),
        ends_on: run.cpu.0,
        sent: run.sent,
        taken: run.delivered.len(),
        lost: run.lost.iter().map(ShownSent::of).collect(),
    }
}

impl ShownPassage {
    fn of(passage: &Passage) -> Self {
        match passage {
            Passage::Sent(sent, effects) => Self::Interrupt { sent: ShownSent::of(sent), effects: texts(effects) },
            Passage::Step { way, number, planned, outcome, effects } => Self::Step {
                way: way_name(*way),
                number: *number,
                stage: planned.stage.to_string(),
                step: planned.step.to_string(),
                outcome: match outcome {
                    Some(Outcome::Done) => "done",
                    Some(Outcome::Found) => "found something",
                    None => "left out",
                },
                effects: texts(effects),
            },
            Passage::Stopped(way, stopped) => {
                let Stopped { number, step, stage, error, .. } = &**stopped;
                Self::Failure {
                    way: way_name(*way),
                    number: *number,
                    step: step.to_string(),
                    why: error.to_string(),
                    standing: stage.standing(),
                    remedy: stage.remedy(),
                }
            }
            Passage::Host(cpu, effects) => Self::Host { cpu: cpu.0, effects: texts(effects) },
            Passage::Entered(cpu, effects) => Self::Run { cpu: cpu.0, effects: texts(effects) },
        }
    }
}

impl ShownSent {
    fn of(sent: &Sent) -> Self {
        Self { sender: sent.sender.to_string(), moment: sent.moment.to_string(), way: way_name(sent.way) }
    }
}

fn texts(effects: &[Effect]) -> Vec<String> {
    effects.iter().map(Effect::to_string).collect()
}

const fn way_name(way: Way) -> &'static str {
    match way {
        Way::There => "there",
        Way::Back => "back",
    }
}

impl Answer for Shown {
    fn show(&self, page: &mut Page) {
        page.title(&format!("A vCPU moves from CPU {} to CPU {}: {}", self.from, self.to, self.long_name));
        if let Some(seed) = self.seed {
            page.line(Tone::Faint, &format!("who interrupts when is drawn by seed {seed}"));
        }
        let mut part = String::new();
        for passage in &self.passages {
            let heading = passage.heading();
            if let Some(heading) = heading.filter(|heading| *heading != part) {
                page.heading(&heading);
                part = heading;
            }
            passage.show(page);
        }
        page.heading("in the end");
        page.line(Tone::Plain, &format!("  vCPU 0 runs on CPU {}.", self.ends_on));
        if self.lost.is_empty() {
            let text = format!("  None of {} interrupts is lost; it took {}.", self.sent, self.taken);
            page.line(Tone::Good, &text);
            let coalesced = self.sent - self.taken;
            if coalesced > 0 {
                let text =
                    format!("  The other {coalesced} came while one of the same sender's waited, and are one with it.");
                page.line(Tone::Faint, &text);
            }
        } else {
            page.line(Tone::Bad, &format!("  {} of {} interrupts are lost:", self.lost.len(), self.sent));
            for lost in &self.lost {
                let back = if lost.way == "back" { " of the way back" } else { "" };
                page.line(Tone::Bad, &format!("  • {}, sent {}{back}", lost.sender, lost.moment));
            }
        }
    }
}

impl ShownPassage {
    /// The part of the move it belongs to; none if it belongs to whichever it stands in.
    fn heading(&self) -> Option<String> {
        match self {
            Self::Step { way: "back", stage, .. } => Some(format!("back: {stage}")),
            Self::Step { stage, .. } => Some(stage.clone()),
            Self::Run { cpu, .. } => Some(format!("on CPU {cpu}")),
            Self::Interrupt { .. } | Self::Failure { .. } | Self::Host { .. } => None,
        }
    }

    fn show(&self, page: &mut Page) {
        match self {
            Self::Interrupt { sent, effects } => {
                page.line(Tone::Warn, &format!("     ↯ {}: {}", sent.sender, effects.join("; ")));
            }
            Self::Step { number, step, outcome, effects, .. } => {
                let tone = if *outcome == "left out" { Tone::Bad } else { Tone::Plain };
                let outcome = if *outcome == "done" { String::new() } else { format!(" — {outcome}") };
                page.verbatim(tone, &format!("{number:>3}. {step}{outcome}"));
                effects.iter().for_each(|effect| page.line(Tone::Faint, &format!("     {effect}")));
            }
            Self::Failure { number, why, standing, remedy, .. } => {
                page.line(Tone::Bad, &format!("     step {number} fails: {why}"));
                page.line(Tone::Plain, &format!("     {standing}; {remedy}"));
            }
            Self::Host { effects, .. } | Self::Run { effects, .. } => {
                let nothing = "nothing to take".to_owned();
                let lines = if effects.is_empty() { std::slice::from_ref(&nothing) } else { &effects[..] };
                lines.iter().for_each(|effect| page.line(Tone::Plain, &format!("     {effect}")));
            }
        }
    }
}
