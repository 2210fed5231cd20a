//! `carillon check-config` on configurations like those of Qubes and XCP-ng users, for hosts that differ in one thing each.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// A host: the recorded one with other words in some of its files.
struct Host(TempDir);

impl Host {
    fn recorded() -> Self {
        let host = Self(TempDir::new().expect("a directory"));
        let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/data/xen-sas-nic");
        for file in ["dump-i.txt", "dump-q.txt", "xl-info.txt", "pci.txt", "interrupts.txt"] {
            fs::copy(recorded.join(file), host.0.path().join(file)).expect("a file");
        }
        host
    }

    /// The host with a version of Xen.
    fn version(self, major: u32, minor: u32) -> Self {
        self.edit("xl-info.txt", "xen_major              : 4", &format!("xen_major              : {major}")).edit(
            "xl-info.txt",
            "xen_minor              : 17",
            &format!("xen_minor              : {minor}"),
        )
    }

    fn edit(self, file: &str, from: &str, to: &str) -> Self {
        let path = self.0.path().join(file);
        let text = fs::read_to_string(&path).expect("a file");
        assert!(text.contains(from), "{file} lacks {from}");
        fs::write(path, text.replace(from, to)).expect("a file");
        self
    }

    /// The host with another function.
    fn function(self, line: &str) -> Self {
        let path = self.0.path().join("pci.txt");
        let text = fs::read_to_string(&path).expect("a file") + line + "\n";
        fs::write(path, text).expect("a file");
        self
    }

    /// The host with what Xen said at boot of its processor and IOMMU.
    fn boot(self, delivery: bool, posting: bool) -> Self {
        let mut log = "(XEN) VMX: Supported advanced features:\n(XEN)  - APIC TPR shadow\n".to_owned();
        if delivery {
            log += "(XEN)  - Virtual Interrupt Delivery\n";
        }
        log += &format!("(XEN) Intel VT-d Posted Interrupt {}enabled.\n", if posting { "" } else { "not " });
        fs::write(self.0.path().join("xl-dmesg.txt"), log).expect("a file");
        self
    }

    /// The host with a recorded boot log (`boot-logs`).
    fn boot_log(self, name: &str) -> Self {
        let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boot-logs").join(name);
        fs::copy(log, self.0.path().join("xl-dmesg.txt")).expect("a file");
        self
    }

    fn with_nvme(self) -> Self {
        self.function("PCI 0000:41:00.0 0x144d 0xa808 class=0x010802 drv=pciback")
            .function("PCI 0000:42:00.0 0x144d 0xa808 class=0x010802 drv=pciback")
    }

    /// What the program says of a configuration on this host.
    fn check(&self, config: &str, code: i32) -> Value {
        check(&["--from", self.0.path().to_str().expect("UTF-8")], config, code)
    }
}

fn run(args: &[&str], config: &str, code: i32) -> String {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs").join(config);
    let mut program = Command::new(assert_cmd::cargo::cargo_bin!("carillon"));
    let output = program.arg("check-config").arg(config).args(args).output().expect("the program runs");
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}: {out}{error}");
    format!("{out}{error}")
}

fn check(args: &[&str], config: &str, code: i32) -> Value {
    serde_json::from_str(&run(&[args, &["--json"]].concat(), config, code)).expect("JSON")
}

/// The configuration `text` in a file of its own, checked on the recorded host.
fn check_text(text: &str, code: i32) -> String {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("guest.cfg");
    fs::write(&file, text).expect("a file");
    run(&["--recorded", "xen-sas-nic"], file.to_str().expect("UTF-8"), code)
}

fn path(check: &Value, signal: &str) -> String {
    check["devices"][0][signal]["path"].as_str().unwrap_or("not known").to_owned()
}

/// The options of the findings of one list.
fn options(check: &Value, list: &str) -> Vec<String> {
    let findings = check[list].as_array().expect("a list").iter();
    findings.filter_map(|finding| finding["option"].as_str()).map(str::to_owned).collect()
}

fn has(options: &[String], option: &str) -> bool {
    options.iter().any(|known| known.starts_with(option))
}

#[test]
fn a_network_qubes_path_follows_the_version_and_what_the_boot_log_says() {
    for (minor, delivery, posting, message, line) in [
        (17, true, false, "remapped, injected after an exit", "physical IRQ as event"),
        (19, true, false, "remapped, injected after an exit", "virtual line"),
        (19, true, true, "posted by the IOMMU", "virtual line"),
        (17, false, false, "physical IRQ as event", "physical IRQ as event"),
        (19, false, false, "emulated local APIC", "virtual line"),
    ] {
        let found = Host::recorded().version(4, minor).boot(delivery, posting).check("sys-net.cfg", 0);
        let paths = (path(&found, "message"), path(&found, "line_interrupt"));
        assert_eq!(paths, (message.to_owned(), line.to_owned()), "4.{minor} {delivery} {posting}");
        let advice = options(&found, "advice");
        assert_eq!(has(&advice, "iommu=intpost"), delivery && !posting, "4.{minor}: {advice:?}");
        assert_eq!(has(&advice, "hvm_pirq=1"), !delivery && minor == 19, "4.{minor}: {advice:?}");
        assert_eq!((&found["guest"]["kind"], &found["guest"]["vcpus"]), (&"hvm".into(), &2.into()));
    }
}

#[test]
fn without_a_boot_log_the_path_is_left_open_with_what_it_depends_on() {
    let found = Host::recorded().version(4, 19).check("sys-net.cfg", 0);
    assert_eq!(path(&found, "message"), "not known");
    let because = found["devices"][0]["message"]["because"].as_str().expect("a reason");
    assert!(because.contains("remapped") && because.contains("emulated local APIC"), "{because}");
    assert!(found["open"].to_string().contains("xl-dmesg.txt"));
}

#[test]
fn two_nvme_drives_of_sixteen_vcpus_need_more_pirqs_than_xen_gives_a_guest() {
    let host = Host::recorded().version(4, 19).boot(true, false).with_nvme();
    let found = host.check("nvme.cfg", 3);
    assert_eq!(found["fits"], false);
    assert!(has(&options(&found, "problems"), "start Xen with extra_guest_irqs=34"), "{}", found["problems"]);
    let more = host.edit("xl-info.txt", "noreboot", "noreboot extra_guest_irqs=64,1024");
    let found = more.check("nvme.cfg", 0);
    assert_eq!((&found["fits"], &found["guest"]["extra_guest_irqs"]), (&true.into(), &64.into()));
    let one_each = ["--interrupts", "1", "--from", more.0.path().to_str().expect("UTF-8")];
    assert_eq!(check(&one_each, "nvme.cfg", 0)["devices"][1]["interrupts"], 1);
}

#[test]
fn event_channels_that_do_not_suffice_name_their_option() {
    let text = "name='big'\nvcpus=8\nmax_event_channels=50\npci=['00:04.0']\n";
    let said = check_text(text, 3);
    assert!(said.contains("max_event_channels=59"), "{said}");
    check_text(&text.replace("=50", "=59"), 0);
}

#[test]
fn a_graphics_card_with_pirqs_is_warned_of_and_pirqs_are_pointless_with_a_virtualized_apic() {
    let host = Host::recorded()
        .version(4, 19)
        .boot(true, false)
        .function("PCI 0000:0a:00.0 0x1002 0x73bf class=0x030000 drv=pciback")
        .function("PCI 0000:0a:00.1 0x1002 0xab28 class=0x040300 drv=pciback");
    let found = host.check("gpu.cfg", 0);
    assert_eq!(found["devices"][0]["names"].as_array().map(Vec::len), Some(2), "all functions");
    let advice = options(&found, "advice");
    assert_eq!(advice.iter().filter(|option| *option == "hvm_pirq=0").count(), 2, "{advice:?}");
    assert!(found["advice"].to_string().contains("Unsupported MSI delivery mode 7"));
}

#[test]
fn a_device_of_dom0s_or_of_nobodys_or_a_pvh_guests_stands_in_the_way() {
    for (text, expected) in [
        ("pci=['00:05.0']", "dom0 drives it (mptsas)"),
        ("pci=['00:09.0']", "the host has no such function"),
        ("type='pvh'\npci=['00:04.0']", "passthrough not yet supported for x86 PVH guests"),
    ] {
        let said = check_text(text, 3);
        assert!(said.contains(expected), "{text}: {said}");
    }
    let said = check_text("pci=['00:05.0,seize=1']", 0);
    assert!(said.contains("seize=1 takes it from dom0's driver mptsas"), "{said}");
    let said = check_text("type='pvh'", 0);
    assert!(said.contains("No device is passed through"), "{said}");
}

#[test]
fn nvidias_devices_and_hosts_without_iommu_are_told() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("guest.cfg");
    fs::write(&file, "type='hvm'\npci=['0b:00.0,msitranslate=1']\n").expect("a file");
    let host = Host::recorded().function("PCI 0000:0b:00.0 0x10de 0x1b81 class=0x030000 drv=");
    let found = host.check(file.to_str().expect("UTF-8"), 3);
    assert!(has(&options(&found, "problems"), "msitranslate=0"), "{}", found["problems"]);
    let without = Host::recorded().edit("xl-info.txt", "hvm_directio pv_directio", "");
    let found = without.check("sys-net.cfg", 3);
    assert!(found["problems"].to_string().contains("hvm_directio"), "{}", found["problems"]);
}

/// The log is of Xen 4.17.7 on QEMU's AMD processor and IOMMU, which has the mode that AVIC needs ("Guest APIC").
#[test]
fn on_an_amd_host_messages_are_events_or_emulated_and_posting_is_not_to_be_had() {
    let host = |minor| Host::recorded().version(4, minor).boot_log("amd-vi.txt");
    assert!(path(&host(17).check("sys-net.cfg", 0), "message").contains("physical IRQ as event"));
    let found = host(19).check("sys-net.cfg", 0);
    assert!(path(&found, "message").contains("emulated local APIC"), "{}", found["devices"]);
    assert_eq!(options(&found, "advice"), ["hvm_pirq=1"]);
    assert!(found["advice"].to_string().contains("Xen does not use AMD's AVIC"), "{}", found["advice"]);
    assert_eq!(found["open"].as_array().map(Vec::len), Some(0), "{}", found["open"]);

    let asked = host(19).edit("xl-info.txt", "xen_commandline        : ", "xen_commandline        : iommu=intpost ");
    let said = asked.check("sys-net.cfg", 0)["advice"].to_string();
    assert!(said.contains("Intel's IOMMUs alone"), "{said}");
}

#[test]
fn an_amd_host_without_iommu_or_without_remapping_is_told() {
    let without = Host::recorded().boot_log("amd-without-iommu.txt").edit("xl-info.txt", "virt_caps", "caps_of_virt");
    let found = without.check("sys-net.cfg", 3);
    assert!(found["problems"].to_string().contains("I/O virtualisation is disabled"), "{}", found["problems"]);
    let open = Host::recorded().boot_log("amd-vi.txt").edit(
        "xl-dmesg.txt",
        "Interrupt remapping enabled",
        "Interrupt remapping disabled",
    );
    let advice = options(&open.check("sys-net.cfg", 0), "advice");
    assert!(has(&advice, "iommu=intremap"), "{advice:?}");
}

#[test]
fn a_device_that_signals_by_its_line_can_be_made_to_signal_by_message() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("guest.cfg");
    for (text, is_advised) in [("pci=['00:07.0']", true), ("pci=['00:07.0,msitranslate=1']", false)] {
        fs::write(&file, format!("type='hvm'\n{text}")).expect("a file");
        let found = check(&["--recorded", "xen-sas-intx"], file.to_str().expect("UTF-8"), 0);
        assert_eq!(has(&options(&found, "advice"), "msitranslate=1"), is_advised, "{}", found["advice"]);
    }
}

#[test]
fn without_a_host_the_guests_own_limits_are_told() {
    let found = check(&[], "nvme.cfg", 3);
    assert!(has(&options(&found, "problems"), "start Xen with extra_guest_irqs=34"));
    assert!(found["host"].is_null());
    assert!(found["open"].to_string().contains("no host was named"));
    assert!(!found["limits"].to_string().contains("vectors of the host"));
}

#[test]
fn a_pv_guest_has_everything_as_events_and_the_page_says_so() {
    let said = check_text("name = 'net'\npci = [ '0000:00:04.0' ]\nvcpus = 2", 0);
    for sentence in ["PV guest, 2 vCPUs", "by MSI or MSI-X: physical IRQ as event", "Ethernet controller 15ad:07b0"] {
        assert!(said.contains(sentence), "{sentence} is not in:\n{said}");
    }
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_by_its_line() {
    for (text, expected) in [
        ("name = 'x'\npci = [ '00:04' ]\n", "guest.cfg:2: expected a PCI address"),
        ("name = x", "guest.cfg:1: expected a text in quotes, a number or a list"),
        ("vcpus = 'two'", "guest.cfg:1: expected a number for vcpus"),
    ] {
        let said = check_text(text, 1);
        assert!(said.contains(expected), "{said}");
    }
    assert!(run(&[], "not-there.cfg", 1).contains("cannot be read"));
}
