use carillon_sim::snapshot::*;
#[test]
fn p() {
    for r in Recorded::ALL {
        let s = HostSnapshot::recorded(r).unwrap();
        println!("{:#?}", s.facts());
        for n in &s.notes {
            println!("NOTE {n}");
        }
        for f in s.sources() {
            println!("{}", serde_json::to_string(&f).unwrap());
        }
        for f in s.assignment().sources {
            println!("{f:?}");
        }
        let a = s.activity().unwrap();
        println!(
            "{} {:?} {:?} lost {} exits {:?} unk {:?}",
            a.duration_ns,
            a.sources
                .iter()
                .map(|s| (
                    s.irq,
                    s.arrivals.len(),
                    s.arrivals[0],
                    s.arrivals[s.arrivals.len() - 1],
                    s.rate_hz(a.duration_ns)
                ))
                .collect::<Vec<_>>(),
            a.notes,
            a.lost_records,
            a.exits,
            a.unknown_records
        );
        for v in &a.vcpus {
            println!(
                "{:?} stays {} ran {} waited {} wakes {} blocks {}",
                v.vcpu,
                v.stays.len(),
                v.ran_ns(),
                v.waited_ns(),
                v.wakes_ns.len(),
                v.blocks_ns.len()
            );
        }
        for h in &a.handlers {
            println!("{} {} {} max {:?}", h.number, h.name, h.durations_ns.len(), h.durations_ns.iter().max());
        }
        for c in a.counts.iter().filter(|c| c.more > 0) {
            println!("{c:?}");
        }
    }
}
