//! The test guest's cases on real Xen, and without it. Each machine is booted once, those with Xen side by side, as each keeps
//! one processor of this one busy; their cases are tests of their own.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use carillon_xen_tests::End;
use carillon_xen_tests::Machine;
use carillon_xen_tests::Transcript;
use carillon_xen_tests::Verdict;

/// How long Xen may take, from its first instruction to the end of the last guest: under a minute on an idle machine, ten times
/// as long on a busy one. A guest that hangs is ended by dom0 long before.
const XEN_DEADLINE: Duration = Duration::from_secs(1200);
/// How long the guest may take without Xen.
const BARE_DEADLINE: Duration = Duration::from_secs(30);

/// dom0's programs and the guest with the callback; the guest with the vectors.
static XEN: LazyLock<[Transcript; 2]> = LazyLock::new(|| {
    thread::scope(|scope| {
        let other = scope.spawn(|| boot_xen("vector", "console-xen-vector.log"));
        let first = boot_xen("programs+callback", "console-xen.log");
        [first, other.join().expect("the other machine runs")]
    })
});
static BARE: LazyLock<Transcript> = LazyLock::new(boot_bare);

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")
}

fn boot(command: Command, deadline: Duration, log: &str) -> Transcript {
    let machine = Machine { command, deadline, last_record: "end", log: target().join("xen").join(log) };
    let transcript = machine.run().expect("QEMU runs: tests/xen.sh makes what it boots");
    println!("ended {:?} after {} lines", transcript.end, transcript.lines.len());
    transcript
}

/// The machine of a guest, or of dom0's programs.
fn xen(guest: &str) -> &'static Transcript {
    &XEN[usize::from(guest == "vector")]
}

/// One physical CPU, emulated in one thread, whose time goes by its instructions, 2 ns each: a busy host makes it slower but not
/// late. Without SMAP, as dom0 crashes with it; without AVX and XSAVE, as with them
/// programs die at random as soon as two domains run.
fn boot_xen(cases: &str, log: &str) -> Transcript {
    let made = target().join("xen");
    let xen = "com1=115200,8n1 console=com1 loglvl=all guest_loglvl=all dom0_mem=1024M dom0_max_vcpus=1 noreboot spec-ctrl=no conring_size=256k";
    let linux = "console=hvc0 earlyprintk=xen mitigations=off nokaslr random.trust_cpu=on panic=1 quiet";
    let modules =
        format!("{} {linux} cases={cases},{}", made.join("vmlinux").display(), made.join("initrd.cpio").display());
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-accel", "tcg,thread=single,tb-size=512", "-icount", "shift=1,sleep=off"])
        .args(["-machine", "q35", "-smp", "1", "-m", "2048"])
        .args(["-cpu", "max,-smap,-xsave,-avx,-avx2"])
        .args(["-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"])
        .arg("-kernel")
        .arg(made.join("xen"))
        .args(["-append", xen, "-initrd", &modules]);
    boot(command, XEN_DEADLINE, log)
}

fn boot_bare() -> Transcript {
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-accel", "tcg", "-machine", "q35", "-smp", "2", "-m", "64"])
        .args(["-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"])
        .arg("-kernel")
        .arg(target().join("test-guest/release/test-guest"));
    boot(command, BARE_DEADLINE, "console-bare.log")
}

/// A case held; what was noted about it is printed.
fn passes(machine: &Transcript, guest: &str, case: &str) {
    let (verdict, notes) = machine.case(guest, case);
    notes.iter().for_each(|note| println!("{note}"));
    let log = machine.log.display();
    assert_eq!(
        verdict,
        Verdict::Pass,
        "{guest}: {case}; {:?}, see {log}, which ends:\n{}",
        machine.end,
        machine.tail(5)
    );
}

/// A test for each case of a guest, and one that there is no other. Modules in one row have the same cases.
macro_rules! guest_on_xen {
    ($guest:ident: $($($module:ident)+: $cases:tt)*) => {
        mod $guest {
            const GUEST: &str = stringify!($guest);

            $($(mod $module { cases_on_xen!($module $cases); })+)*

            #[test]
            fn has_no_other_cases() {
                let expected = [$($(names_of_cases!($module $cases),)+)*].concat();
                assert_eq!(super::xen(GUEST).cases(GUEST), expected);
            }
        }
    };
}

macro_rules! cases_on_xen {
    ($module:ident { $($case:ident,)* }) => {
        $(#[test]
        fn $case() {
            super::super::passes(super::super::xen(super::GUEST), super::GUEST, concat!(stringify!($module), ".", stringify!($case)));
        })*
    };
}

macro_rules! names_of_cases {
    ($module:ident { $($case:ident,)* }) => {
        &[$(concat!(stringify!($module), ".", stringify!($case)),)*][..]
    };
}

/// The guests, which differ in how events interrupt them.
macro_rules! guests_on_xen {
    ($($guests:ident)*: $cases:tt) => { $(guests_on_xen!(@ $guests $cases);)* };
    (@ $guest:ident { $($cases:tt)* }) => { guest_on_xen!($guest: $($cases)*); };
}

guests_on_xen!(callback vector: {
    boot: {
        start_info,
        hypervisor,
        vcpu_info,
    }
    queues: {
        every_priority,
        first_in_first_out,
        a_higher_priority_overtakes,
        refused_priorities,
    }
    conformance: {
        queues,
    }
    pirqs: {
        refused,
        of_dom0,
    }
    two_level fifo: {
        checkpoint,
        save_and_restore,
        ipi,
        mask_and_unmask,
        late_end,
        loopback,
        close_and_bind_again,
        many_ports,
        timer,
        reset_and_rebind,
        ipis,
        moved_port,
        timers,
        no_event_is_lost,
        shared_page,
        connections,
        moves,
        offers,
        interrupts,
        foreign_virqs,
        masks,
        refusals,
        limits,
        reset,
        offers_for_others,
        both_ways,
        connections_between_guests,
        strangers,
    }
});

/// A test for each case of dom0's own.
macro_rules! cases_in_dom0 {
    ($($module:ident: { $($case:ident,)* })*) => {
        $(mod $module {
            $(#[test]
            fn $case() {
                super::passes(super::xen("dom0"), "dom0", concat!(stringify!($module), ".", stringify!($case)));
            })*
        })*
    };
}

cases_in_dom0! {
    // The library at its edge (`hypervisor-lib/xen-host/examples/cases.rs`).
    edge: {
        versions,
        machine,
        console,
        domains,
        event_channels,
        xenstore,
        traces,
    }
    // The program (`tests/xen/dom0/toolstack.sh`).
    live: {
        starts_a_guest,
        inspects,
        records,
        same_picture,
        agrees_with_xl,
        leaves_the_log,
        reads_its_trace,
        plans,
        c_program,
        c_program_on_a_recording,
        counts,
        counts_a_recording,
        without_terminal,
        refuses_a_full_directory,
        without_device,
        without_root,
    }
}

/// What the C example prints in dom0, where a guest with two vCPUs is there besides: that nobody outranks anybody, and the
/// domains as libxenctrl has them.
#[test]
fn the_c_example_plans_and_lists_the_domains() {
    for case in ["live.c_program", "live.c_program_on_a_recording"] {
        let (_, said) = xen("dom0").case("dom0", case);
        let says = |line: &str| assert!(said.iter().any(|said| said == line), "{case}: no {line:?} in {said:#?}");
        says("0 inversions");
        says("plan: 0 moves, inversions 0 -> 0");
        says("d1 was kicked 1 times; evtchn_upcall_pending is 1");
        says("d0: 1 vCPUs");
        let guests = said.iter().filter(|line| line.starts_with('d') && line.ends_with(": 2 vCPUs"));
        assert_eq!(guests.count(), 1, "{case}: {said:#?}");
    }
}

#[test]
fn dom0_starts_every_guest_and_sees_it_end() {
    for guest in ["callback", "vector"] {
        assert_eq!(xen(guest).end, End::Complete);
        passes(xen(guest), "dom0", guest);
        passes(xen(guest), "dom0", "far");
    }
}

#[test]
fn the_guest_boots_without_xen_and_skips_what_needs_it() {
    passes(&BARE, "guest", "boot.start_info");
    let skipped = BARE
        .cases("guest")
        .into_iter()
        .filter(|case| BARE.case("guest", case).0 == Verdict::Skip("there is no Xen".into()));
    assert_eq!(skipped.count() + 1, BARE.cases("guest").len());
    assert_eq!(BARE.end, End::Complete);
}
