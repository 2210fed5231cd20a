//! The command on a host that behaves as Xen does and fails when it is asked to.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use vector_allocator::Goal;
use vector_allocator::Harms;
use vector_allocator::Pinning;
use vector_allocator::Retarget;
use vector_allocator::SourceId;
use vector_allocator::aim::Consent;
use vector_allocator::inversions;

use super::Ask;
use super::Entry;
use super::Toolstack;
use super::execute;
use super::fake::Addressing;
use super::fake::CARD;
use super::fake::DISK;
use super::fake::FakeHost;
use super::fake::Fault;
use super::fake::is_physical;
use super::read;
use crate::failure::Failure;
use crate::failure::Verdict;

/// Where everything is stays; only vectors may change.
const IN_PLACE: Goal = Goal {
    retarget: Retarget::Forbidden,
    mend: Harms::Present,
    movers: vector_allocator::Movers::Anyone,
    pin: Pinning::Anyone,
};

/// An interrupt of dom0's, alone on the third CPU.
const KEYBOARD: u32 = 1;

/// Somebody who answers always the same.
struct Answers(Option<bool>, u32);

impl Ask for Answers {
    fn ask(&mut self, _: &str) -> Option<bool> {
        self.1 += 1;
        self.0
    }
}

/// Runs the command to its end, with a log.
fn run(fake: &mut FakeHost, goal: Goal) -> (Result<Verdict, Failure>, Vec<Entry>) {
    run_with(fake, goal, &mut Answers(None, 0), &AtomicBool::new(false))
}

fn run_with(
    fake: &mut FakeHost,
    goal: Goal,
    answers: &mut Answers,
    stop: &AtomicBool,
) -> (Result<Verdict, Failure>, Vec<Entry>) {
    let mut entries = Vec::new();
    let reading = match read(fake, &mut Vec::new()) {
        Ok(reading) => reading,
        Err(failure) => return (Err(failure), entries),
    };
    let verdict = execute(fake, &reading, goal, Consent::KeepTraffic, answers, stop, &mut |entry| {
        entries.push(entry);
        Ok(())
    });
    (verdict, entries)
}

/// Whether the card still outranks the disk.
fn is_inverted(fake: &FakeHost) -> bool {
    let host = fake.host.assignment();
    inversions(&host)
        .any(|one| one.guest == SourceId(CARD) && one.dom0 == SourceId(DISK) && Harms::Present.include(one.kind))
}

#[test]
fn the_inversion_is_mended_in_place_with_every_vector_but_the_first_predicted() {
    let mut fake = FakeHost::inverted(Addressing::Physical);
    assert!(is_physical(&fake) && is_inverted(&fake));
    let (_, bound, _) = fake.knobs();
    let (verdict, entries) = run(&mut fake, IN_PLACE);
    assert_eq!(verdict.expect("it works"), Verdict::Fine, "{entries:#?}");
    assert!(!is_inverted(&fake));
    assert!(fake.vector(DISK).outranks(fake.vector(CARD)));
    assert_eq!(fake.knobs().1, bound, "everything is handled where it was");
    let misses = entries.iter().filter(|entry| matches!(entry, Entry::Shows { as_predicted: false, .. }));
    assert_eq!(misses.count(), 0, "{entries:#?}");
    let known = entries.iter().filter(|entry| matches!(entry, Entry::Deed { predicted, .. } if predicted.len() == 1));
    let deeds = entries.iter().filter(|entry| matches!(entry, Entry::Deed { .. })).count();
    assert_eq!(known.count() + 1, deeds, "after the probe each vector is told in advance: {entries:#?}");
    let changes = entries.iter().filter(|entry| matches!(entry, Entry::Changed(_))).count();
    assert_eq!(changes, deeds, "every change is in the log");
    // A second time there is nothing to do.
    let (verdict, entries) = run(&mut fake, IN_PLACE);
    assert_eq!(verdict.expect("it works"), Verdict::NothingToDo, "{entries:#?}");
}

#[test]
fn where_places_may_change_the_guest_or_the_disk_goes_elsewhere() {
    let mut fake = FakeHost::inverted(Addressing::Physical);
    let goal = Goal { mend: Harms::Present, ..Goal::default() };
    let (verdict, entries) = run(&mut fake, goal);
    assert_eq!(verdict.expect("it works"), Verdict::Fine, "{entries:#?}");
    assert!(!is_inverted(&fake));
    assert_eq!(fake.reattached, 0);
}

#[test]
fn with_logical_destinations_the_guest_goes_to_a_cpu_where_it_outranks_nothing_of_dom0s() {
    let mut fake = FakeHost::inverted(Addressing::Logical);
    let goal = Goal { mend: Harms::Present, ..Goal::default() };
    // Wherever the guest goes it meets a keyboard or a disk of dom0's. None of these fires, so none can make room.
    let before = fake.clone();
    let (verdict, entries) = run(&mut fake, goal);
    assert_eq!(verdict.expect("it ends"), Verdict::No, "{entries:#?}");
    assert_as_before(&fake, &before, &entries, "every CPU has a source of dom0's");
    // A CPU with nothing of dom0's on it is all it takes: the vectors stay.
    let card = fake.vector(CARD);
    fake.hand_over(KEYBOARD, 1);
    let (verdict, entries) = run(&mut fake, goal);
    assert_eq!(verdict.expect("it works"), Verdict::Fine, "{entries:#?}");
    assert!(!is_inverted(&fake));
    assert_eq!((fake.vector(CARD), fake.reattached), (card, 0));
}

#[test]
fn a_guest_that_roams_is_pinned_and_its_lottery_ends() {
    let mut fake = FakeHost::new(Addressing::Physical);
    let goal = Goal { pin: Pinning::Anyone, ..Goal::default() };
    let (verdict, entries) = run(&mut fake, goal);
    assert_eq!(verdict.expect("it works"), Verdict::Fine, "{entries:#?}");
    let host = fake.host.assignment();
    let reach = |irq| &host.sources.iter().find(|source| source.id == SourceId(irq)).expect("a source").reachable;
    let both = reach(CARD).intersection(reach(DISK));
    assert!(both.is_empty() || both.len() == 1 && reach(CARD).len() == 1 && reach(DISK).len() == 1, "{entries:#?}");
}

/// Whether a host is as it was but for its vectors, and what may handle an interrupt is what might or what does.
fn assert_as_before(fake: &FakeHost, before: &FakeHost, entries: &[Entry], what: &str) {
    assert_eq!(fake.knobs(), before.knobs(), "{what}: {entries:#?}");
}

#[test]
fn whatever_request_fails_the_host_is_mended_or_exactly_as_it_was() {
    let before = FakeHost::inverted(Addressing::Physical);
    let mut counted = before.clone();
    run(&mut counted, IN_PLACE).0.expect("it works");
    let (requests, changes) = (counted.requests, counted.changes);
    assert!(requests > 10 && changes > 3, "{requests} requests, {changes} changes");
    let mut taken_back = 0;
    for fault in (0..requests)
        .map(Fault::Request)
        .chain((0..changes).map(Fault::Ignored))
        .chain((0..requests).step_by(4).map(Fault::Blind))
    {
        let mut fake = before.clone();
        fake.fault = fault;
        let (verdict, entries) = run(&mut fake, IN_PLACE);
        let what = format!("{fault:?}: {verdict:?}");
        match verdict {
            Ok(Verdict::Fine) => assert!(!is_inverted(&fake), "{what}: {entries:#?}"),
            Ok(Verdict::TakenBack | Verdict::No) | Err(_) => {
                taken_back += 1;
                assert_as_before(&fake, &before, &entries, &what);
            }
            Ok(Verdict::NothingToDo) => panic!("{what}"),
        }
    }
    assert!(taken_back > changes, "{taken_back}");
}

#[test]
fn a_setting_that_is_taken_and_not_done_is_noticed_when_it_is_read_back() {
    let before = FakeHost::inverted(Addressing::Physical);
    let mut counted = before.clone();
    run(&mut counted, IN_PLACE).0.expect("it works");
    for number in 0..counted.changes {
        let mut fake = before.clone();
        fake.fault = Fault::Ignored(number);
        let (_, entries) = run(&mut fake, IN_PLACE);
        let is_said = |entry: &Entry| matches!(entry, Entry::Failed { why } if why.contains("were set to"));
        assert!(entries.iter().any(is_said), "change {number}: {entries:#?}");
    }
}

#[test]
fn a_wish_to_stop_takes_everything_back_from_whatever_step() {
    /// A host on which somebody presses control-C while it is paused for the nth time.
    struct Stopped<'a>(FakeHost, u32, &'a AtomicBool);
    impl Toolstack for Stopped<'_> {
        fn look(&mut self) -> Result<carillon_sim::snapshot::HostSnapshot, Failure> {
            self.0.look()
        }
        fn listen(&mut self) -> Result<super::Fired, Failure> {
            self.0.listen()
        }
        fn setting(&mut self, knob: super::toolstack::Knob) -> Result<vector_allocator::CpuSet, Failure> {
            self.0.setting(knob)
        }
        fn set(&mut self, knob: super::toolstack::Knob, to: &vector_allocator::CpuSet) -> Result<(), Failure> {
            self.0.set(knob, to)
        }
        fn reattach(&mut self, guest: vector_allocator::DomainId, function: &str) -> Result<(), Failure> {
            self.0.reattach(guest, function)
        }
        fn pause(&mut self) {
            self.0.pause();
            if self.0.pauses == self.1 {
                self.2.store(true, Ordering::Relaxed);
            }
        }
    }

    let before = FakeHost::inverted(Addressing::Physical);
    let mut counted = before.clone();
    run(&mut counted, IN_PLACE).0.expect("it works");
    assert!(counted.pauses > 3);
    for nth in 1..=counted.pauses {
        let stop = AtomicBool::new(false);
        let mut host = Stopped(before.clone(), nth, &stop);
        let reading = read(&mut host, &mut Vec::new()).expect("a reading");
        let mut entries = Vec::new();
        let verdict =
            execute(&mut host, &reading, IN_PLACE, Consent::KeepTraffic, &mut Answers(None, 0), &stop, &mut |entry| {
                entries.push(entry);
                Ok(())
            });
        assert_eq!(verdict.expect("it can be stopped"), Verdict::TakenBack, "{nth}: {entries:#?}");
        assert!(entries.contains(&Entry::Stopped));
        assert_as_before(&host.0, &before, &entries, &format!("stopped at pause {nth}"));
    }
}

#[test]
fn a_log_that_cannot_be_written_ends_the_attempt_and_everything_goes_back() {
    let before = FakeHost::inverted(Addressing::Physical);
    let mut fake = before.clone();
    let reading = read(&mut fake, &mut Vec::new()).expect("a reading");
    let (stop, mut told) = (AtomicBool::new(false), 0);
    let verdict =
        execute(&mut fake, &reading, IN_PLACE, Consent::KeepTraffic, &mut Answers(None, 0), &stop, &mut |_| {
            told += 1;
            if told > 2 { Err(Failure::new("the disk is full")) } else { Ok(()) }
        });
    assert_eq!(verdict.expect("it ends"), Verdict::TakenBack);
    assert_as_before(&fake, &before, &[], "the disk is full");
}

#[test]
fn somebody_else_who_draws_all_the_time_is_noticed_and_everything_goes_back() {
    let before = FakeHost::inverted(Addressing::Physical);
    let mut fake = before.clone();
    fake.rival = 61;
    let (verdict, entries) = run(&mut fake, IN_PLACE);
    match verdict.expect("it ends") {
        Verdict::Fine => assert!(!is_inverted(&fake)),
        Verdict::TakenBack => assert_as_before(&fake, &before, &entries, "a rival"),
        other => panic!("{other:?}: {entries:#?}"),
    }
    assert!(entries.iter().any(|entry| matches!(entry, Entry::Shows { as_predicted: false, .. })), "{entries:#?}");
}

#[test]
fn what_does_not_fire_is_not_moved_and_the_refusal_says_so() {
    let mut fake = FakeHost::inverted(Addressing::Physical);
    fake.firing.clear();
    let before = fake.clone();
    let (verdict, entries) = run(&mut fake, IN_PLACE);
    // No plan mends what cannot be moved, so nothing is left to be done.
    assert_eq!(verdict.expect("it ends"), Verdict::NothingToDo, "{entries:#?}");
    assert!(is_inverted(&fake));
    assert_eq!(fake.changes, 0);
    assert_as_before(&fake, &before, &entries, "silence");
}

#[test]
fn with_logical_destinations_a_device_is_attached_again_only_with_leave() {
    let mut host = FakeHost::inverted(Addressing::Logical);
    // One function is the guest's, which names its interrupts.
    for function in host.host.functions.iter_mut().flatten() {
        function.assigned = function.address.ends_with("00:04.0").then_some(1);
    }
    let goal = IN_PLACE;
    for (answer, asked) in [(None, "nobody"), (Some(false), "no")] {
        let mut fake = host.clone();
        let mut answers = Answers(answer, 0);
        let (verdict, entries) = run_with(&mut fake, goal, &mut answers, &AtomicBool::new(false));
        assert_eq!((answers.1, fake.reattached, fake.changes), (1, 0, 0), "{asked}: {entries:#?}");
        match verdict {
            Err(failure) => {
                assert!(answer.is_none() && failure.to_string().contains("--interrupt-traffic"), "{failure}")
            }
            Ok(verdict) => assert_eq!((answer, verdict), (Some(false), Verdict::No)),
        }
    }
    let mut answers = Answers(Some(true), 0);
    let (verdict, entries) = run_with(&mut host, goal, &mut answers, &AtomicBool::new(false));
    assert_eq!(verdict.expect("it works"), Verdict::Fine, "{entries:#?}");
    assert!(host.reattached > 0 && !is_inverted(&host), "{entries:#?}");
}

#[test]
fn a_rehearsal_changes_nothing_and_tells_the_deeds_with_their_commands() {
    let mut fake = FakeHost::inverted(Addressing::Physical);
    let reading = read(&mut fake, &mut Vec::new()).expect("a reading");
    let rehearsal = reading.work(IN_PLACE, Consent::KeepTraffic).rehearse(&reading.host, &reading.fired);
    assert_eq!(fake.changes, 0);
    assert_eq!(rehearsal.verdict(), Verdict::Fine);
    let json = serde_json::to_value(&rehearsal).expect("JSON");
    let commands = json["deeds"].as_array().expect("deeds").iter().map(|deed| deed["commands"][0].to_string());
    let commands: Vec<String> = commands.collect();
    assert!(!commands.is_empty());
    for command in &commands {
        assert!(
            command.contains("xl vcpu-pin 1 0 ") || command.contains("/proc/irq/54/smp_affinity_list"),
            "{command}"
        );
    }
    assert!(json["supposed"].is_string(), "nothing was seen of the cursor yet");
}
