//! Every move on every engine, with interrupts at every moment and every write failing: nothing is lost, and what a step is for
//! shows when it is left out.

use carillon_sim::moving::Arrivals;
use carillon_sim::moving::Delivered;
use carillon_sim::moving::Effect;
use carillon_sim::moving::Fault;
use carillon_sim::moving::Moment;
use carillon_sim::moving::Moments;
use carillon_sim::moving::Move;
use carillon_sim::moving::MoveEngine;
use carillon_sim::moving::MoveFault;
use carillon_sim::moving::MoveRun;
use carillon_sim::moving::Passage;
use carillon_sim::moving::Sender;
use carillon_sim::moving::Way;
use hypervisor_lib::migration::Stage;
use hypervisor_lib::migration::Step;
use proptest::prelude::any;
use proptest::prelude::prop;
use proptest::proptest;
use vector_allocator::CpuId;

const HERE: CpuId = CpuId(0);
const THERE: CpuId = CpuId(3);

fn moved(engine: MoveEngine, interrupts: u16) -> Move {
    Move { engine, from: HERE, to: THERE, interrupts }
}

/// A move during which everyone interrupts.
fn run(engine: MoveEngine, interrupts: u16, moments: &Moments, fault: Option<Fault>) -> MoveRun {
    let moved = moved(engine, interrupts);
    let arrivals = Arrivals { moments: moments.clone(), senders: moved.senders() };
    moved.run(&arrivals, fault).expect("it can be simulated")
}

const QUIET: Arrivals = Arrivals { moments: Moments::At(vec![]), senders: vec![] };

/// The plan's steps.
fn steps(engine: MoveEngine, interrupts: u16) -> Vec<Step> {
    let quiet = run(engine, interrupts, &QUIET.moments, None);
    quiet.plan.iter().map(|planned| planned.step).collect()
}

/// Every step that can fail.
fn failing(engine: MoveEngine, interrupts: u16) -> Vec<usize> {
    let can_fail = |number: &usize| {
        let tried = moved(engine, interrupts).run(&QUIET, Some(Fault::Fails(*number)));
        !matches!(tried, Err(MoveFault::CannotFail { .. }))
    };
    (1..=steps(engine, interrupts).len()).filter(can_fail).collect()
}

#[test]
fn no_interrupt_is_lost_whatever_the_moment_and_whichever_write_fails() {
    for engine in MoveEngine::ALL {
        for interrupts in 0..=2 {
            let faults = failing(engine, interrupts).into_iter().map(|number| Some(Fault::Fails(number)));
            for fault in faults.chain([None]) {
                let moments = (0..=steps(engine, interrupts).len() + 2).map(|moment| Moments::At(vec![moment]));
                for moments in moments.chain([Moments::Every]) {
                    let run = run(engine, interrupts, &moments, fault);
                    assert_eq!(run.lost, [], "{engine:?}, {interrupts} interrupts, {fault:?}, {moments:?}");
                    assert_eq!(run.cpu, if fault.is_some() { HERE } else { THERE });
                }
            }
        }
    }
}

#[test]
fn an_interrupt_at_one_moment_is_taken_exactly_once_and_where_the_vcpu_runs_then() {
    for engine in MoveEngine::ALL {
        let last = steps(engine, 2).len() + 2;
        for moment in 0..=last {
            let run = run(engine, 2, &Moments::At(vec![moment]), None);
            let cpu = if moment == 0 { HERE } else { THERE };
            let mut delivered = run.delivered.clone();
            delivered.sort_by_key(|one| one.sender);
            let expected = moved(engine, 2).senders().into_iter().map(|sender| Delivered { sender, cpu });
            assert_eq!(delivered, expected.collect::<Vec<_>>(), "{engine:?}, moment {moment}");
            assert_eq!((run.sent, run.lost.len()), (3, 0));
        }
    }
}

proptest! {
    #[test]
    fn no_seed_loses_an_interrupt(
        engine in prop::sample::select(&MoveEngine::ALL[..]), interrupts in 0_u16..=8, seed in any::<u64>(), fails in any::<usize>(),
    ) {
        let failing = failing(engine, interrupts);
        // One more than there are: nothing fails.
        let fault = failing.get(fails % (failing.len() + 1)).map(|number| Fault::Fails(*number));
        let run = run(engine, interrupts, &Moments::Drawn(seed), fault);
        assert_eq!(run.lost, []);
        assert_eq!(run, self::run(engine, interrupts, &Moments::Drawn(seed), fault), "a seed decides everything");
    }
}

#[test]
fn seeds_draw_about_half_of_the_moments_and_each_its_own() {
    let sent = |seed| -> Vec<bool> {
        let run = run(MoveEngine::Avic, 0, &Moments::Drawn(seed), None);
        let last = run.plan.len() + 2;
        let at = |moment: Moment| {
            run.passages.iter().any(|one| matches!(one, Passage::Sent(sent, _) if sent.moment == moment))
        };
        let steps = (1..=run.plan.len()).map(Moment::Before);
        let moments = steps.chain([Moment::RunsThere(HERE), Moment::BeforeEntry, Moment::RunsHere(THERE)]);
        let drawn: Vec<bool> = moments.map(at).collect();
        assert_eq!((drawn.len(), drawn.iter().filter(|is_drawn| **is_drawn).count()), (last + 1, run.sent));
        drawn
    };
    let runs: Vec<Vec<bool>> = (0..64).map(sent).collect();
    let count = runs.iter().flatten().filter(|is_drawn| **is_drawn).count();
    let share = count as f64 / runs.iter().flatten().count() as f64;
    assert!((0.4..0.6).contains(&share), "{share}");
    assert!(runs.iter().any(|other| *other != runs[0]));
}

/// What each step is for, by whose interrupts may be lost without it. Steps that are not named lose nothing: what they write
/// saves a notification, or keeps a vector.
#[test]
fn the_steps_that_keep_interrupts_from_being_lost_are_those_without_which_some_are() {
    let losing = |engine| -> Vec<(String, Vec<Sender>)> {
        let moved = moved(engine, 1);
        let last = steps(engine, 1).len() + 2;
        let is_lost = |sender: &Sender, number| {
            let moments = (0..=last).map(|moment| Moments::At(vec![moment])).chain([Moments::Every]);
            moments.into_iter().any(|moments| {
                let arrivals = Arrivals { moments, senders: vec![*sender] };
                !moved.run(&arrivals, Some(Fault::LeftOut(number))).expect("it can be simulated").lost.is_empty()
            })
        };
        let without = |(number, step): (usize, Step)| {
            let lost: Vec<Sender> = moved.senders().into_iter().filter(|sender| is_lost(sender, number)).collect();
            (!lost.is_empty()).then(|| (step.to_string(), lost))
        };
        (1..).zip(steps(engine, 1)).filter_map(without).collect()
    };
    let (device, vcpu) = (Sender::Device(48), Sender::Vcpu);
    let step = |step: &str, lost: &[Sender]| (step.to_owned(), lost.to_vec());
    let aim = "NDST := CPU 3, NV := notification vector, SN := 0";
    let program = step("program IRQ 48: vector and destination of its entry", &[device]);
    assert_eq!(losing(MoveEngine::Posted), [step(aim, &[device, vcpu]), step("look at PIR", &[device, vcpu])]);
    // What a remapped device sends meanwhile, the host posts once the vCPU has been entered.
    let remapped = [step(aim, &[device, vcpu]), step("look at PIR", &[vcpu]), program.clone()];
    assert_eq!(losing(MoveEngine::Remapped), remapped);
    let avic = [
        step("host ID := CPU 3, IsRunning := 1", &[vcpu]),
        step("entry 03:00.0#0: is_run := 1, destination := CPU 3", &[device]),
        step("invalidate the IOMMU's copies, and wait", &[device]),
    ];
    assert_eq!(losing(MoveEngine::Avic), avic);
    let event = [step("kicks go to CPU 3", &[device, vcpu]), step("look at what is pending", &[vcpu]), program];
    assert_eq!(losing(MoveEngine::EventChannel), event);
}

/// the vector of a source that is posted was moved, too, and one was taken on the new CPU that nobody needed.
#[test]
fn r48_a_posted_device_gets_no_host_vector_on_the_way_and_a_remapped_one_a_new_one() {
    let host_vectors = |engine| {
        let run = run(engine, 1, &Moments::Every, None);
        let effects = run.passages.iter().flat_map(|passage| match passage {
            Passage::Sent(_, effects) => effects.clone(),
            _ => vec![],
        });
        let cpus = effects.filter_map(|effect| match effect {
            Effect::Interrupted(_, cpu) => Some(cpu),
            _ => None,
        });
        let mut cpus: Vec<CpuId> = cpus.collect();
        cpus.dedup();
        cpus
    };
    assert_eq!(host_vectors(MoveEngine::Posted), []);
    assert_eq!(host_vectors(MoveEngine::Remapped), [HERE, THERE]);
    assert_eq!(host_vectors(MoveEngine::EventChannel), [HERE, THERE]);
}

#[test]
fn an_old_vector_that_still_waits_stops_its_drain_until_the_old_cpu_has_taken_it() {
    let run = run(MoveEngine::Remapped, 1, &Moments::At(vec![3]), None);
    let passages = &run.passages;
    let stopped = passages.iter().position(|passage| match passage {
        Passage::Stopped(Way::There, stopped) => stopped.stage == Stage::Settle,
        _ => false,
    });
    let [_, Passage::Host(cpu, effects), Passage::Step { planned, .. }, ..] = &passages[stopped.expect("it stops")..]
    else {
        panic!("{passages:?}");
    };
    assert_eq!(*cpu, HERE);
    // It is posted now, and the vCPU is notified where it will run.
    let [Effect::Handled(_, HERE, 48), Effect::Posted(_), Effect::Notified(_, THERE)] = effects[..] else {
        panic!("{effects:?}");
    };
    assert!(matches!(planned.step, Step::Drain(_)));
    assert_eq!(run.lost, []);
}

#[test]
fn a_write_that_fails_names_where_things_stand_and_the_way_back_ends_where_it_began() {
    for engine in MoveEngine::ALL {
        for number in failing(engine, 2) {
            let run = run(engine, 2, &Moments::Every, Some(Fault::Fails(number)));
            let stage = run.plan[number - 1].stage;
            let stops: Vec<Stage> = run
                .passages
                .iter()
                .filter_map(|passage| match passage {
                    Passage::Stopped(Way::There, stopped) => Some(stopped.stage),
                    _ => None,
                })
                .collect();
            assert_eq!(stops, [stage], "{engine:?}, step {number}");
            let there = |passage: &Passage| matches!(passage, Passage::Step { way: Way::There, number: done, .. } if *done >= number);
            assert!(!run.passages.iter().any(there), "nothing of it happens, and nothing after it");
            let ends = run.delivered.iter().filter(|delivered| delivered.cpu == THERE);
            assert_eq!((run.cpu, ends.count()), (HERE, 0), "{engine:?}, step {number}");
        }
    }
}

#[test]
fn what_cannot_be_simulated_says_why() {
    let posted = moved(MoveEngine::Posted, 1);
    let refused = |of: Move, moments: Vec<usize>, fault| {
        let arrivals = Arrivals { moments: Moments::At(moments), senders: vec![] };
        of.run(&arrivals, fault).expect_err("refused").to_string()
    };
    for (of, moments, fault, says) in [
        (Move { to: HERE, ..posted }, vec![], None, "the vCPU is on CPU 0 already"),
        (Move { to: CpuId(4096), ..posted }, vec![], None, "CPU 4096, where CPUs have numbers below 4096"),
        (
            Move { interrupts: 129, ..posted },
            vec![],
            None,
            "129 interrupts of the device, where at most 128 are possible",
        ),
        (posted, vec![8], None, "moment 8, where the plan has moments 0 to 7"),
        (posted, vec![], Some(Fault::LeftOut(0)), "step 0, where the plan has steps 1 to 5"),
        (posted, vec![], Some(Fault::Fails(6)), "step 6, where the plan has steps 1 to 5"),
        (
            posted,
            vec![],
            Some(Fault::Fails(3)),
            "step 3 cannot fail, look at PIR: it writes nothing that could be refused",
        ),
    ] {
        assert_eq!(refused(of, moments, fault), says);
    }
}

#[test]
fn the_farthest_cpus_and_the_most_interrupts_can_be_simulated() {
    for engine in MoveEngine::ALL {
        let of = Move { engine, from: CpuId(4095), to: CpuId(0), interrupts: 128 };
        let arrivals = Arrivals { moments: Moments::At(vec![0, 2]), senders: of.senders() };
        let run = of.run(&arrivals, None).expect("it can be simulated");
        assert_eq!((run.lost.len(), run.sent, run.cpu), (0, 2 * 129, CpuId(0)), "{engine:?}");
        let moments = run.passages.iter().filter_map(|passage| match passage {
            Passage::Sent(sent, _) => Some(sent.moment),
            _ => None,
        });
        assert_eq!(moments.filter(|moment| *moment == Moment::Before(2)).count(), 129);
    }
}
