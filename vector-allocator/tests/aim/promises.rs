//! What holds on every host: the end comes, it is what it is called, and predictions are Xen's draws.

use proptest::collection::vec;
use proptest::prelude::ProptestConfig;
use proptest::prelude::Strategy;
use proptest::proptest;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::Goal;
use vector_allocator::Owner;
use vector_allocator::Pinning;
use vector_allocator::Retarget;
use vector_allocator::SourceKind;
use vector_allocator::Vector;
use vector_allocator::VectorSet;
use vector_allocator::aim::Apply;
use vector_allocator::aim::Consent;
use vector_allocator::aim::Deed;
use vector_allocator::aim::Host;
use vector_allocator::aim::Limits;
use vector_allocator::aim::Outcome;
use vector_allocator::aim::Sight;
use vector_allocator::inversions;
use vector_allocator::plan;

use crate::xen::GUEST;
use crate::xen::Xen;
use crate::xen::run;

#[derive(Clone, Debug)]
struct Drawn {
    is_guests: bool,
    is_level: bool,
    cpus: u64,
    turns: u32,
}

fn sources() -> impl Strategy<Value = Vec<Drawn>> {
    let one = (0u8..2, 0u8..8, 1u64..16, 0u32..40).prop_map(|(guest, level, cpus, turns)| Drawn {
        is_guests: guest == 1,
        is_level: level == 0,
        cpus,
        turns,
    });
    vec(one, 2..7)
}

fn xen(sources: &[Drawn], model: DestinationModel) -> Xen {
    let mut xen = Xen::new(model);
    for (irq, source) in (24..).zip(sources) {
        xen.turn(source.turns);
        let owner = if source.is_guests { GUEST } else { Owner::Dom0 };
        let kind = if source.is_level { SourceKind::Level } else { SourceKind::EdgeMaskable };
        xen.add(irq, owner, kind, &CpuSet::from_words(&[source.cpus]));
    }
    xen
}

proptest! {
    #[test]
    fn every_move_of_a_known_cursor_gets_the_predicted_vector(
        sources in sources(),
        moves in vec((0usize..7, 0u32..4), 1..60),
    ) {
        let mut xen = xen(&sources, DestinationModel::Physical);
        let mut before = xen.host();
        let mut sight = Sight::unknown(&before.layout);
        let mut met = 0;
        for (which, cpu) in moves {
            let lever = xen.movers[which % xen.movers.len()].lever;
            let expected = sight.predict(&before, CpuId(cpu));
            let Ok(()) = xen.carry_out(&Deed::Send { lever, to: CpuId(cpu) });
            let Ok(after) = xen.read();
            let moved = before.sources.iter().zip(&after.sources).find(|(then, now)| then.holders != now.holders);
            if let Some((_, now)) = moved {
                assert!(expected.contains(now.vector), "{expected:?} against {}", now.vector);
                assert!(met == 0 || expected.len() == 1, "a draw that was seen tells the next");
                met += 1;
            }
            sight = sight.after(&before, &after);
            before = after;
        }
    }

    #[test]
    fn of_several_draws_between_two_readings_the_last_is_found(
        sources in sources(),
        moves in vec((0usize..7, 0u32..4), 1..6),
    ) {
        let mut xen = xen(&sources, DestinationModel::Physical);
        let first = xen.host();
        let start = Vector::new(xen.vector(23 + u32::try_from(sources.len()).unwrap())).unwrap();
        let mut last = start;
        let mut vectors: Vec<Vector> = first.sources.iter().map(|source| source.vector).collect();
        for (which, cpu) in moves {
            let lever = xen.movers[which % xen.movers.len()].lever;
            let Ok(()) = xen.carry_out(&Deed::Send { lever, to: CpuId(cpu) });
            let Ok(host) = xen.read();
            let now: Vec<Vector> = host.sources.iter().map(|source| source.vector).collect();
            last = now.iter().zip(&vectors).find(|(now, then)| now != then).map_or(last, |(now, _)| *now);
            vectors = now;
        }
        let seen = Sight::on(&first.layout, start).after(&first, &xen.host());
        // A source that came back to its CPU shows that it drew by its vector; the last draw is held by who drew last.
        assert_eq!(seen.known(), Some(last));
        let unknown = Sight::unknown(&first.layout).after(&first, &xen.host());
        assert!(unknown.candidates().contains(last));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_attempt_ends_and_its_outcome_is_true(
        sources in sources(),
        delay in 0u32..3,
        rival in 0u32..3,
        physical in 0u8..2,
        in_place in 0u8..2,
    ) {
        let model = if physical == 1 { DestinationModel::Physical } else { DestinationModel::FLAT };
        let mut xen = xen(&sources, model);
        (xen.delay, xen.rival) = (delay, rival / 2);
        let retarget = if in_place == 1 { Retarget::Forbidden } else { Retarget::Allowed };
        let goal = Goal { retarget, pin: Pinning::Anyone, ..Goal::default() };
        let origin = xen.host();
        let limits = Limits { deeds: 24, walk: 30, ..Limits::default() };
        let mut apply = Apply::new(goal, xen.movers.clone(), Consent::KeepTraffic, limits);
        let outcome = run(&mut apply, &mut xen);
        let now = xen.host();
        match outcome {
            Outcome::Mended => {
                let left = inversions(&plan(&origin, &goal).apply(&origin)).count();
                assert!(inversions(&now).count() <= left, "{:#?}", apply.done());
            }
            Outcome::Refused(_) => {
                assert_eq!(xen.deeds, 0);
                assert_eq!(now, origin);
            }
            Outcome::RolledBack { more_harm, .. } => {
                let more = inversions(&now).count().saturating_sub(inversions(&origin).count());
                assert_eq!(more_harm, more);
                for (then, now) in origin.sources.iter().zip(&now.sources) {
                    assert_eq!(now.reachable, then.reachable, "{}", now.label);
                    assert!(now.target.is_subset(&then.reachable), "{}", now.label);
                }
            }
        }
    }

    #[test]
    fn a_damaged_reading_is_no_reason_to_panic(
        sources in sources(),
        words in vec(0u64..32, 1..4),
        vectors in vec(0x10u8..=0xff, 1..4),
    ) {
        let mut host = xen(&sources, DestinationModel::Physical).host();
        for (index, source) in host.sources.iter_mut().enumerate() {
            source.vector = Vector::new(vectors[index % vectors.len()]).unwrap();
            source.holders = CpuSet::from_words(&words[index % words.len()..][..1]);
            source.target = CpuSet::from_words(&words[(index + 1) % words.len()..][..1]);
        }
        let movers = xen(&sources, DestinationModel::Physical).movers;
        let apply = Apply::new(Goal::default(), movers, Consent::InterruptTraffic, Limits::default());
        let _: (Vec<_>, Outcome) = apply.rehearse(&host, host.sources[0].vector);
        let sight = Sight::on(&host.layout, host.sources[0].vector).after(&host, &host);
        let _: VectorSet = sight.predict(&host, CpuId(9));
    }
}
