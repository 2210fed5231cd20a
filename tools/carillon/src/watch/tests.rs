//! A watch on a virtual clock, over a host that is broken again and again.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use carillon_sim::snapshot::HostSnapshot;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DomainId;
use vector_allocator::Goal;
use vector_allocator::Harms;
use vector_allocator::aim::Pace;

use super::Clock;
use super::End;
use super::Mode;
use super::News;
use super::Task;
use super::watch;
use crate::apply::Entry;
use crate::apply::Fired;
use crate::apply::Knob;
use crate::apply::Toolstack;
use crate::apply::fake::Addressing;
use crate::apply::fake::FakeHost;
use crate::apply::fake::Fault;
use crate::failure::Failure;
use crate::failure::Verdict;

const TASK: Task = Task {
    goal: Goal {
        mend: Harms::Present,
        movers: vector_allocator::Movers::Anyone,
        retarget: vector_allocator::Retarget::Allowed,
        pin: vector_allocator::Pinning::Anyone,
    },
    pace: Pace {
        interval: Duration::from_secs(10),
        deeds: 4,
        per: Duration::from_secs(60),
        rest: Duration::from_secs(30),
        longest_rest: Duration::from_secs(3600),
    },
    mode: Mode::Execute,
    end: End::Stopped,
};

/// Time goes only where a watch waits for it; the end is a signal.
struct Virtual {
    now: Duration,
    end: Duration,
    /// When it was waited for.
    waits: Vec<u64>,
    /// A host that is broken while it is waited.
    breaks: Option<Rc<Cell<bool>>>,
}

impl Virtual {
    fn until(seconds: u64) -> Self {
        Self { now: Duration::ZERO, end: Duration::from_secs(seconds), waits: Vec::new(), breaks: None }
    }
}

impl Clock for Virtual {
    fn now(&mut self) -> Duration {
        self.now
    }

    fn wait_until(&mut self, then: Duration, stop: &AtomicBool) {
        assert!(then > self.now, "a watch that does not wait is a loop");
        self.now = then;
        self.waits.push(then.as_secs());
        self.breaks.iter().for_each(|is_broken| is_broken.set(true));
        stop.fetch_or(self.now >= self.end, Ordering::Relaxed);
    }
}

/// A host where somebody takes the guest back to the disk's pCPU, before every look of these numbers or when it is asked to.
struct Broken {
    fake: FakeHost,
    origin: FakeHost,
    looks: u32,
    at: fn(u32) -> bool,
    is_broken: Rc<Cell<bool>>,
}

impl Broken {
    fn new(at: fn(u32) -> bool) -> Self {
        let fake = FakeHost::inverted(Addressing::Physical);
        Self { origin: fake.clone(), fake, looks: 0, at, is_broken: Rc::default() }
    }
}

impl Toolstack for Broken {
    fn look(&mut self) -> Result<HostSnapshot, Failure> {
        if (self.at)(self.looks) || self.is_broken.take() {
            self.fake.host = self.origin.host.clone();
        }
        self.looks += 1;
        self.fake.look()
    }
    fn listen(&mut self) -> Result<Fired, Failure> {
        self.fake.listen()
    }
    fn setting(&mut self, knob: Knob) -> Result<CpuSet, Failure> {
        self.fake.setting(knob)
    }
    fn set(&mut self, knob: Knob, to: &CpuSet) -> Result<(), Failure> {
        self.fake.set(knob, to)
    }
    fn reattach(&mut self, guest: DomainId, function: &str) -> Result<(), Failure> {
        self.fake.reattach(guest, function)
    }
    fn pause(&mut self) {
        self.fake.pause();
    }
}

fn run(host: &mut Broken, task: &Task, clock: &mut Virtual) -> (Verdict, Vec<News>) {
    let mut news = Vec::new();
    let verdict = watch(host, task, clock, &AtomicBool::new(false), &mut |one| {
        news.push(one);
        Ok(())
    });
    (verdict.expect("it watches"), news)
}

fn found(news: &[News]) -> Vec<(u64, &str)> {
    let look = |one| match one {
        &News::Look { at, ref found, .. } => Some((at, found.as_str())),
        News::Step { .. } => None,
    };
    news.iter().filter_map(look).collect()
}

#[test]
fn a_broken_host_is_mended_once_and_then_told_to_be_in_order_once() {
    let mut host = Broken::new(|_| false);
    let (verdict, news) = run(&mut host, &TASK, &mut Virtual::until(60));
    assert_eq!(verdict, Verdict::Fine);
    let changes = news.iter().filter(|one| matches!(one, News::Step { entry: Entry::Changed(_), .. })).count();
    assert!(changes > 0 && changes == host.fake.changes as usize, "every change is told: {news:#?}");
    let found = found(&news);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].1.contains("inversions") && found[1] == (10, "in order"), "{found:?}");
}

#[test]
fn a_host_that_is_broken_before_every_look_is_changed_no_more_often_than_the_rate_allows() {
    let mut host = Broken::new(|_| false);
    let mut clock = Virtual::until(600);
    clock.breaks = Some(Rc::clone(&host.is_broken));
    let (_, news) = run(&mut host, &TASK, &mut clock);
    let deeds: Vec<u64> = news
        .iter()
        .filter_map(|one| match one {
            News::Step { at, entry: Entry::Deed { .. } } => Some(*at),
            _ => None,
        })
        .collect();
    assert!(deeds.len() >= 10, "{deeds:?}");
    // What an attempt took beyond its forecast counts for the next one: none begins within a minute of four deeds.
    for begin in &deeds {
        let before = deeds.iter().filter(|at| **at < *begin && **at + 60 > *begin).count();
        assert!(before < 4, "{before} deeds in the minute before {begin} s: {deeds:?}");
    }
    assert!(found(&news).iter().any(|(_, found)| found.ends_with("too much was done lately")), "{news:#?}");
}

#[test]
fn after_an_attempt_that_failed_it_rests_longer_and_longer_and_says_so() {
    let mut host = Broken::new(|_| false);
    // Whatever is set is taken back at once by somebody else.
    host.at = |look| look > 0;
    let mut clock = Virtual::until(400);
    let (_, news) = run(&mut host, &TASK, &mut clock);
    let attempts: Vec<u64> = news
        .iter()
        .filter_map(|one| match one {
            News::Step { at, entry: Entry::Over { .. } } => Some(*at),
            _ => None,
        })
        .collect();
    assert!(attempts.len() >= 3, "{attempts:?}");
    assert!(attempts.windows(3).all(|three| three[2] - three[1] >= three[1] - three[0]), "{attempts:?}");
    assert_eq!(host.fake.host.vcpus(DomainId(1))[0].affinity, CpuSet::single(CpuId(0)));
}

#[test]
fn without_leave_nothing_is_changed_and_what_would_be_done_is_told_once() {
    let mut host = Broken::new(|_| false);
    let task = Task { mode: Mode::Say, ..TASK };
    let (verdict, news) = run(&mut host, &task, &mut Virtual::until(100));
    assert_eq!((verdict, host.fake.changes), (Verdict::Fine, 0));
    let [News::Look { at: 0, would, .. }] = news.as_slice() else { panic!("{news:#?}") };
    assert!(!would.is_empty());
}

#[test]
fn one_look_ends_with_what_it_found() {
    let task = Task { mode: Mode::Say, end: End::FirstLook, ..TASK };
    let mut host = Broken::new(|_| false);
    let mut clock = Virtual::until(1000);
    assert_eq!(run(&mut host, &task, &mut clock).0, Verdict::Fine);
    let execute = Task { end: End::FirstLook, ..TASK };
    assert_eq!(run(&mut host, &execute, &mut clock).0, Verdict::Fine);
    assert_eq!(run(&mut host, &task, &mut clock).0, Verdict::NothingToDo);
    assert!(clock.waits.is_empty());
}

#[test]
fn a_host_that_cannot_be_read_is_told_once_and_looked_at_again() {
    let mut host = Broken::new(|_| false);
    host.fake.fault = Fault::Blind(0);
    let mut clock = Virtual::until(50);
    let (_, news) = run(&mut host, &TASK, &mut clock);
    assert_eq!(found(&news), [(0, "it cannot be read: nothing can be seen")]);
    assert_eq!(clock.waits, [10, 20, 30, 40, 50]);
}
