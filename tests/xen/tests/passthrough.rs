//! A network card in a guest's hands on real Xen: traffic flows, the recording of it is read, the card is moved above dom0's
//! disk, and both the vectors that moves get and the number of interrupts that come are what this repository says.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use carillon_sim::PredictedCount;
use carillon_sim::predict;
use carillon_sim::snapshot::HostSnapshot;
use carillon_xen_tests::End;
use carillon_xen_tests::Machine;
use carillon_xen_tests::Transcript;
use carillon_xen_tests::Verdict;
use serde_json::Value;
use serde_json::json;
use vector_allocator::CpuId;
use vector_allocator::DestinationModel;
use vector_allocator::Goal;
use vector_allocator::Owner;
use vector_allocator::Pinning;
use vector_allocator::aim::Sight;
use vector_allocator::inversions;
use vector_allocator::plan;

/// How long it may take: minutes on an idle machine, and many times that on one that emulates beside other work.
const DEADLINE: Duration = Duration::from_secs(1800);
/// How far a count may be from its prediction.
const ERROR: f64 = 0.05;
/// A source that comes less often in a part is left to chance: 5 % of it is less than how far a random count scatters.
const MANY: u64 = 400;

/// Where the card is: its slot for QEMU, and its function as Xen and Linux write it.
const CARD_SLOT: &str = "0x3";
const CARD: &str = "0000:00:03.0";

static BED: LazyLock<Transcript> = LazyLock::new(boot);
static HOST: LazyLock<HostSnapshot> = LazyLock::new(recorded);

fn made() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/xen")
}

/// Four CPUs with physical destinations, an IOMMU that remaps interrupts, a SAS controller with MSI-X and one with a
/// level-triggered pin, and a 10 Gb/s card. While there is work time goes by the instructions, 4 ns each, so that a busy
/// host makes it slower but not late; while there is none it goes by the clock, so that devices have time to answer. Disk and
/// network are in the emulator itself.
fn boot() -> Transcript {
    let made = made();
    let xen = "com1=115200,8n1 console=com1 loglvl=all guest_loglvl=all conring_size=1M dom0_mem=1024M dom0_max_vcpus=4 \
               dom0_vcpus_pin noreboot spec-ctrl=no apic=bigsmp";
    let linux = "console=hvc0 earlyprintk=xen mitigations=off nokaslr random.trust_cpu=on panic=1 quiet";
    let modules = format!("{} {linux},{}", made.join("vmlinux").display(), made.join("passthrough.cpio").display());
    let written = format!("if=none,id=written,format=raw,file={}", made.join("written.disk").display());
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-accel", "tcg,thread=single,tb-size=512", "-icount", "shift=2"])
        .args(["-machine", "q35,kernel-irqchip=split", "-smp", "4", "-m", "3072"])
        .args(["-cpu", "max,-smap,-xsave,-avx,-avx2"])
        .args(["-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"])
        .args(["-device", "intel-iommu,intremap=on"])
        .args(["-blockdev", "null-co,node-name=read,size=1073741824,read-zeroes=on"])
        .args(["-device", "megasas-gen2,id=sas0", "-device", "scsi-hd,bus=sas0.0,drive=read"])
        .args(["-drive", &written, "-device", "mptsas1068,id=sas1"])
        // Linux finds a disk behind this controller by its name.
        .args(["-device", "scsi-hd,bus=sas1.0,drive=written,wwn=0x5000c50015ea71ac"])
        .args(["-netdev", "user,id=net0", "-device", &format!("vmxnet3,netdev=net0,addr={CARD_SLOT}")])
        .arg("-kernel")
        .arg(made.join("xen"))
        .args(["-append", xen, "-initrd", &modules]);
    let log = made.join("console-passthrough.log");
    let machine = Machine { command, deadline: DEADLINE, last_record: "recorded", log };
    machine.run().expect("QEMU runs: tests/xen.sh makes what it boots")
}

/// The recording that dom0 left on the second disk.
fn recorded() -> HostSnapshot {
    assert_eq!(BED.end, End::Complete, "see {}, which ends:\n{}", BED.log.display(), BED.tail(5));
    let directory = made().join("recording");
    let _: Result<(), _> = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("a directory");
    let unpacked = Command::new("tar").arg("-xf").arg(made().join("written.disk")).arg("-C").arg(&directory).status();
    assert!(unpacked.is_ok_and(|status| status.success()), "the disk holds a tar file");
    HostSnapshot::load(&directory).expect("the recording is read")
}

#[test]
fn dom0_and_the_guest_use_their_devices_at_the_same_time() {
    for case in [
        "disks",
        "guest",
        "records",
        "moves",
        "inverts",
        "shows",
        "traffic",
        "reads",
        "ends",
        "written",
        "card.drives",
        "card.echoes",
        "card.echoes_while_inverted",
        "rehearses",
        "applies",
        "mended",
        "watches",
        "traffic_after",
        "card.echoes_when_mended",
        "card.loses_nothing",
    ] {
        let (verdict, notes) = BED.case("dom0", case);
        assert_eq!(verdict, Verdict::Pass, "{case}: {notes:?}; see {}", BED.log.display());
    }
}

#[test]
fn the_recording_shows_the_guests_card_and_dom0s_disks_and_how_they_are_addressed() {
    assert_eq!(HOST.destination_model().value, DestinationModel::Physical);
    let sources = HOST.sources();
    let of = |name: &str| sources.iter().find(|source| source.label.contains(name)).map(|source| source.owner);
    assert_eq!(of("megasas"), Some(Owner::Dom0), "{sources:#?}");
    let card = of("eth0-rxtx-0");
    assert!(card.is_some_and(Owner::is_guest), "{sources:#?}");
}

#[test]
fn the_recording_shows_the_inversion_and_a_plan_that_mends_it() {
    let host = HOST.assignment();
    // With physical destinations whoever moves draws a new vector: that the card can come to the disk's CPU is harm enough.
    let found: Vec<_> = inversions(&host).collect();
    assert!(!found.is_empty());
    found
        .iter()
        .for_each(|one| println!("IRQ {} of a guest's, IRQ {} of dom0's: {}", one.guest.0, one.dom0.0, one.kind));
    let plan = plan(&host, &Goal { pin: Pinning::Anyone, ..Goal::default() });
    plan.moves.iter().for_each(|planned| println!("{planned}"));
    assert_eq!(inversions(&plan.apply(&host)).count(), 0, "{:#?}", plan.remaining);
}

/// What the program in dom0 said when the card had been moved above the disk.
#[test]
fn the_running_host_is_seen_to_be_inverted_and_to_have_given_the_card_to_the_guest() {
    LazyLock::force(&HOST);
    let text = fs::read_to_string(made().join("recording/inverted.json")).expect("a picture beside the dumps");
    let picture: Value = serde_json::from_str(&text).expect("JSON");
    let guest = &picture[0]["host"]["domains"][1];
    assert_eq!((&guest["name"], &guest["functions"]), (&json!("nicguest"), &json!([CARD])));
    let vectors = picture[0]["cpus"][1]["vectors"].as_array().expect("the vectors of pCPU 1");
    let of =
        |owner: &str| vectors.iter().filter(|row| row["owner"] == owner).map(|row| &row["irq"]).collect::<Vec<_>>();
    let inversions = picture[0]["inversions"].as_array().expect("inversions");
    let above_the_disk = |one: &&Value| {
        one["what"] == "rank inversion"
            && of("d1").contains(&&one["guest"]["irq"])
            && of("dom0").contains(&&one["dom0"]["irq"])
            && one["dom0"]["device"].as_str().is_some_and(|device| device.starts_with("megasas"))
    };
    let found: Vec<&Value> = inversions.iter().filter(above_the_disk).collect();
    assert!(!found.is_empty(), "{inversions:#?}");
    found.iter().for_each(|one| println!("{} above {} on {}", one["guest"], one["dom0"], one["cpus"]));
    assert!(vectors.iter().any(|row| row["owner"] == "d1" && row["function"] == CARD), "{vectors:#?}");
}

/// What `carillon apply --execute` made of that.
#[test]
fn what_was_applied_leaves_no_guest_above_dom0() {
    LazyLock::force(&HOST);
    let text = fs::read_to_string(made().join("recording/mended.json")).expect("a picture beside the dumps");
    let picture: Value = serde_json::from_str(&text).expect("JSON");
    let inversions = picture[0]["inversions"].as_array().expect("inversions");
    let present: Vec<&Value> = inversions.iter().filter(|one| one["what"] == "rank inversion").collect();
    assert!(present.is_empty(), "{present:#?}");
    let log = fs::read_to_string(made().join("recording/apply.json")).expect("a log beside the dumps");
    let entries: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let of = |event: &str| entries.iter().filter(|entry| entry["event"] == event).count();
    entries.iter().for_each(|entry| println!("{entry}"));
    assert!(of("deed") > 0 && of("changed") > 0 && of("shows") > 0, "{log}");
    assert_eq!(of("put-back"), 0, "{log}");
}

#[test]
fn half_of_the_recording_tells_the_counts_of_the_other_half_within_five_percent() {
    let prediction = predict(&HOST, &HOST.activity().expect("a trace")).expect("a host that can be simulated");
    for source in &prediction.sources {
        let PredictedCount { irq, label, learned, predicted, recorded } = source;
        println!(
            "IRQ {irq} ({label}): learned {learned}, predicted {predicted}, recorded {recorded}: {:.4}",
            source.error()
        );
    }
    let many: Vec<&PredictedCount> = prediction.sources.iter().filter(|source| source.recorded >= MANY).collect();
    assert!(many.len() >= 2, "the disk and the card: {:#?}", prediction.sources);
    for source in many {
        assert!(source.error() <= ERROR, "{source:?}");
    }
}

#[test]
fn every_move_on_the_running_host_got_the_vector_that_is_predicted_for_it() {
    // One reading after each move, in the format of the `i` dump.
    LazyLock::force(&HOST);
    let text = fs::read_to_string(made().join("recording/moves.txt")).expect("readings beside the dumps");
    let readings: Vec<(String, HostSnapshot)> = text
        .split("== ")
        .skip(1)
        .map(|section| {
            let (name, lines) = section.split_once('\n').expect("a name and lines");
            let dump = format!("(XEN) IRQ information:\n{lines}");
            let log = "(XEN) Using APIC driver bigsmp\n";
            let files = [("dump-i.txt", dump.as_str()), ("xl-dmesg.txt", log)];
            let files = files.map(|(file, text)| (file.to_owned(), text.as_bytes().to_vec())).into();
            (name.to_owned(), HostSnapshot::from_files(name, files).expect("a reading"))
        })
        .collect();
    let mut sight = Sight::unknown(&readings[0].1.assignment().layout);
    let mut told = 0;
    for pair in readings.windows(2) {
        let (before, (name, after)) = (pair[0].1.assignment(), (&pair[1].0, pair[1].1.assignment()));
        let moved: Vec<_> = after
            .sources
            .iter()
            .filter_map(|now| Some((before.sources.iter().find(|then| then.id == now.id)?, now)))
            .filter(|(then, now)| then.holders != now.holders)
            .collect();
        if let [(_, now)] = moved[..] {
            let expected = sight.predict(&before, now.holders.first().unwrap_or(CpuId::BOOT));
            println!("{name}: IRQ {} got {}, {} expected", now.id.0, now.vector, expected.len());
            assert!(expected.contains(now.vector), "{name}: {expected:?} against {}", now.vector);
            told += u32::from(expected.len() == 1);
        }
        sight = sight.after(&before, &after);
    }
    assert!(told >= 8, "only {told} moves were told in advance");
}
