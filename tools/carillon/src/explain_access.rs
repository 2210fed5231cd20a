//! `carillon explain apic-write` and `apic-read`: what becomes of an access to a register of the local APIC, on every engine.

use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::DestinationMode;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::Shorthand;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::avic::AccessKind;
use hypervisor_lib::delivery::DoorbellRinger;
use hypervisor_lib::delivery::Engine;
use hypervisor_lib::delivery::GuestMode;
use hypervisor_lib::delivery::register_access::Case;
use hypervisor_lib::delivery::register_access::CommandClass;
use hypervisor_lib::delivery::register_access::ENGINES;
use hypervisor_lib::delivery::register_access::Fate;
use hypervisor_lib::delivery::register_access::RegisterAccess;
use hypervisor_lib::delivery::register_access::RegisterSlot;
use hypervisor_lib::delivery::register_access::When;
use hypervisor_lib::delivery::register_access::judge_access;
use serde::Serialize;

use crate::cli::AccessArgs;
use crate::failure::Failure;
use crate::failure::Verdict;
use crate::output::Answer;
use crate::output::Format;
use crate::output::Output;
use crate::page::Page;
use crate::page::Piece;
use crate::page::Tone;

/// What the manuals call registers beside the names that are printed.
const ALSO: [(&str, &str); 12] = [
    ("icrlow", "icr"),
    ("icrlo", "icr"),
    ("icrhigh", "icrdestination"),
    ("icrhi", "icrdestination"),
    ("icr2", "icrdestination"),
    ("ver", "version"),
    ("lvr", "version"),
    ("tmict", "initialcount"),
    ("tmcct", "currentcount"),
    ("dcr", "divideconfiguration"),
    ("tdcr", "divideconfiguration"),
    ("x2apicselfipi", "selfipi"),
];

/// Answers about a register, one for each mode.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Accesses(Vec<OneMode>);

/// An access in one mode, on every engine asked for.
#[derive(Debug, Serialize)]
struct OneMode {
    /// The register's name; none where there is no register.
    register: Option<String>,
    /// Where it is in the page, bytes.
    offset: u16,
    /// Its MSR.
    msr: u32,
    mode: &'static str,
    access: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<u64>,
    /// The value in words, of a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    engines: Vec<OneEngine>,
}

/// What becomes of it on an engine.
#[derive(Debug, Serialize)]
struct OneEngine {
    engine: &'static str,
    cases: Vec<OneCase>,
}

/// What becomes of it in a case.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct OneCase {
    /// What the case depends on; nothing if it is the only one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    when: Vec<String>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<String>,
    why: String,
    hypervisor: String,
    source: &'static str,
}

/// Explains what the command line asks for.
pub(crate) fn run(
    kind: AccessKind,
    args: &AccessArgs,
    value: Option<u64>,
    format: Format,
    out: Output,
) -> Result<Verdict, Failure> {
    out.print(&Accesses(explain(kind, args, value)?), format)?;
    Ok(Verdict::Fine)
}

/// The name of an engine on the command line.
pub(crate) const fn engine_name(engine: Engine) -> &'static str {
    match engine {
        Engine::Software => "software",
        Engine::Apicv => "apicv",
        Engine::Posted => "posted",
        Engine::IpiVirtualization => "ipiv",
        Engine::Avic(DoorbellRinger::Processor) => "avic",
        Engine::Avic(DoorbellRinger::Hypervisor) => "avic-erratum-1235",
    }
}

/// The name of a mode on the command line.
pub(crate) const fn mode_name(mode: GuestMode) -> &'static str {
    match mode {
        GuestMode::XApic => "xapic",
        GuestMode::X2Apic => "x2apic",
    }
}

fn explain(kind: AccessKind, args: &AccessArgs, value: Option<u64>) -> Result<Vec<OneMode>, Failure> {
    let (slot, modes) = place(&args.register, args.mode)?;
    let engines = args.engine.map_or(ENGINES.to_vec(), |engine| vec![engine]);
    modes
        .into_iter()
        .map(|mode| {
            let access = RegisterAccess { mode, kind, slot, value };
            if mode == GuestMode::XApic
                && slot.register() != Some(ApicRegister::IcrLow)
                && value > Some(u32::MAX.into())
            {
                return Err(Failure::new("a register of the page has 32 bits, and the value more")
                    .hint("only ICR is written with 64: its destination register in the upper half"));
            }
            Ok(OneMode {
                register: slot.register().map(|register| register.to_string()),
                offset: slot.offset(),
                msr: slot.msr(),
                mode: mode_name(mode),
                access: if kind == AccessKind::Read { "read" } else { "write" },
                value,
                command: value.filter(|_| access.sends()).map(|value| in_words(access, value)),
                engines: engines.iter().map(|engine| of_engine(*engine, access)).collect(),
            })
        })
        .collect()
}

/// The place that is meant, and in which modes: both, unless that is said.
fn place(asked: &str, mode: Option<GuestMode>) -> Result<(RegisterSlot, Vec<GuestMode>), Failure> {
    let modes = mode.map_or(vec![GuestMode::XApic, GuestMode::X2Apic], |mode| vec![mode]);
    let wanted = plain(asked);
    let wanted = ALSO.iter().find(|(also, _)| *also == wanted).map_or(wanted.as_str(), |(_, name)| *name);
    let named = |slot: &RegisterSlot| slot.register().is_some_and(|register| plain(&register.to_string()) == wanted);
    if let Some(slot) = RegisterSlot::all().find(named) {
        return Ok((slot, modes));
    }
    let digits = wanted.strip_prefix("0x").unwrap_or_else(|| wanted.strip_suffix('h').unwrap_or(wanted));
    let unknown = || {
        Failure::new(format!("'{asked}' is no register of the local APIC"))
            .hint(format!("give its offset into the page (300), its MSR (0x830), or its name: {}", names().join(", ")))
    };
    let number = u32::from_str_radix(digits, 16).map_err(|_| unknown())?;
    match RegisterSlot::of_msr(number) {
        Ok(slot) if mode != Some(GuestMode::XApic) => Ok((slot, vec![GuestMode::X2Apic])),
        _ => {
            let offset = u16::try_from(number).map_err(|_| {
                Failure::new(format!("{number:#x} is neither an offset into the page nor one of the local APIC's MSRs"))
                    .hint("offsets go to 0xff0, MSRs from 0x800 to 0x8ff")
            })?;
            Ok((RegisterSlot::at_offset(offset).map_err(Failure::new)?, modes))
        }
    }
}

fn plain(name: &str) -> String {
    name.to_lowercase().replace([' ', '_', '-'], "")
}

/// The registers' names, of the banks the first alone.
fn names() -> Vec<String> {
    let names = RegisterSlot::all().filter_map(|slot| Some(slot.register()?.to_string()));
    names.filter(|name| !name.ends_with(|last: char| ('1'..='7').contains(&last)) || name.contains("Lint")).collect()
}

/// A command in words: what it carries, and for whom.
fn in_words(access: RegisterAccess, value: u64) -> String {
    if access.slot.register() == Some(ApicRegister::SelfIpi) {
        return format!("vector {:02x}h, to the sender itself", value & 0xff);
    }
    let icr = Icr::from(value);
    let destination = match access.mode {
        GuestMode::XApic => icr.destination() >> 24,
        GuestMode::X2Apic => icr.destination(),
    };
    let delivery = match icr.delivery() {
        DeliveryMode::Fixed => "fixed",
        DeliveryMode::LowestPriority => "lowest priority",
        DeliveryMode::Smi => "SMI",
        DeliveryMode::Reserved => "reserved delivery mode",
        DeliveryMode::Nmi => "NMI",
        DeliveryMode::Init => "INIT",
        DeliveryMode::StartUp => "start-up",
        DeliveryMode::ExtInt => "ExtINT",
    };
    let trigger = match icr.trigger() {
        TriggerMode::Edge => "edge",
        TriggerMode::Level => "level",
    };
    let whom = match (icr.shorthand(), icr.destination_mode()) {
        (Shorthand::Myself, _) => "to the sender itself".to_owned(),
        (Shorthand::All, _) => "to all".to_owned(),
        (Shorthand::Others, _) => "to all others".to_owned(),
        (Shorthand::None, DestinationMode::Physical) => format!("to physical destination {destination:x}h"),
        (Shorthand::None, DestinationMode::Logical) => format!("to logical destination {destination:x}h"),
    };
    let class = CommandClass::of(access.mode, value);
    format!("vector {:02x}h, {delivery}, {trigger}-triggered, {whom}; a command {class}", icr.vector())
}

fn of_engine(engine: Engine, access: RegisterAccess) -> OneEngine {
    OneEngine { engine: engine_name(engine), cases: judge_access(engine, access).iter().map(OneCase::of).collect() }
}

impl OneCase {
    fn of(case: &Case) -> Self {
        let commands = (!case.commands.is_empty()).then(|| {
            let classes: Vec<String> = case.commands.iter().map(ToString::to_string).collect();
            classes.join("; ")
        });
        let (outcome, exit) = match case.fate {
            Fate::Completed => ("virtualized", None),
            Fate::Trap(exit) => ("exits after", Some(exit)),
            Fate::Fault(exit) => ("exits before", Some(exit)),
            Fate::GeneralProtection => ("general-protection fault", None),
            Fate::Unspecified => ("not specified", None),
        };
        let maker = case.maker.map(|maker| maker.to_string());
        let when = (case.when != When::Always).then(|| case.when.to_string());
        Self {
            when: [maker, commands, when].into_iter().flatten().collect(),
            outcome,
            exit: exit.map(|exit| exit.to_string()),
            why: case.why.to_string(),
            hypervisor: case.duty.to_string(),
            source: case.source,
        }
    }

    fn tone(&self) -> Tone {
        match self.outcome {
            "virtualized" => Tone::Good,
            "exits after" | "exits before" => Tone::Warn,
            _ => Tone::Plain,
        }
    }

    /// What happens, with the exit if there is one.
    fn happens(&self) -> String {
        match &self.exit {
            Some(exit) => format!("{}: {exit}", self.outcome),
            None => self.outcome.to_owned(),
        }
    }
}

impl Answer for Accesses {
    fn show(&self, page: &mut Page) {
        for one in &self.0 {
            one.show(page);
        }
    }
}

impl OneMode {
    fn show(&self, page: &mut Page) {
        let register = self.register.as_deref().unwrap_or("a place without register");
        let place = match self.mode {
            "xapic" => format!("offset {:03X}h", self.offset),
            _ => format!("MSR {:03X}h", self.msr),
        };
        page.title(&format!("{} of {register}, {place}, {} mode", self.access, self.mode));
        if let (Some(value), Some(command)) = (self.value, &self.command) {
            page.line(Tone::Plain, &format!("{value:#x} is: {command}"));
        }
        match &self.engines[..] {
            [one] => one.show(page),
            all => table(all, page),
        }
    }
}

impl OneEngine {
    fn show(&self, page: &mut Page) {
        for case in &self.cases {
            let when = if case.when.is_empty() { String::new() } else { format!("{}: ", case.when.join(", ")) };
            page.line(case.tone(), &format!("• {when}{}", case.happens()));
            page.line(Tone::Plain, &format!("  why: {}", case.why));
            page.line(Tone::Plain, &format!("  the hypervisor then: {}", case.hypervisor));
            page.line(Tone::Faint, &format!("  [{}]", case.source));
        }
    }
}

/// Every engine's cases, a row each; engines that do the same share theirs.
fn table(engines: &[OneEngine], page: &mut Page) {
    let mut groups: Vec<(Vec<&str>, &[OneCase])> = Vec::new();
    for engine in engines {
        match groups.iter_mut().find(|(_, cases)| *cases == &engine.cases[..]) {
            Some((names, _)) => names.push(engine.engine),
            None => groups.push((vec![engine.engine], &engine.cases)),
        }
    }
    let mut rows: Vec<Vec<Piece>> = Vec::new();
    for (names, cases) in groups {
        for (position, case) in cases.iter().enumerate() {
            let name = if position == 0 { names.join(", ") } else { String::new() };
            rows.push(vec![
                name.into(),
                case.when.join(", ").into(),
                Piece::toned(case.happens(), case.tone()),
                case.hypervisor.clone().into(),
            ]);
        }
    }
    page.table(&["engine", "if", "what happens", "the hypervisor then"], rows);
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::avic::AccessKind;
    use hypervisor_lib::delivery::GuestMode;
    use hypervisor_lib::delivery::register_access::RegisterSlot;

    use super::explain;
    use super::names;
    use super::place;
    use crate::cli::AccessArgs;
    use crate::cli::OutputArgs;

    #[test]
    fn a_register_is_known_by_offset_msr_and_name() {
        let icr = RegisterSlot::at_offset(0x300).unwrap();
        let both = vec![GuestMode::XApic, GuestMode::X2Apic];
        for text in ["300", "0x300", "300h", "ICR", "icr_low"] {
            assert_eq!(place(text, None).unwrap(), (icr, both.clone()), "{text}");
        }
        for text in ["830", "0x830", "830H"] {
            assert_eq!(place(text, None).unwrap(), (icr, vec![GuestMode::X2Apic]), "{text}");
        }
        let far = RegisterSlot::at_offset(0x830).unwrap();
        assert_eq!(place("830", Some(GuestMode::XApic)).unwrap(), (far, vec![GuestMode::XApic]));
    }

    #[test]
    fn every_register_answers_to_its_own_name() {
        for slot in RegisterSlot::all() {
            if let Some(register) = slot.register() {
                assert_eq!(place(&register.to_string(), None).unwrap().0, slot, "{register}");
            }
        }
        assert!(names().iter().any(|name| name == "ISR0") && !names().iter().any(|name| name == "ISR1"));
    }

    #[test]
    fn what_is_no_register_says_what_is() {
        for (text, says) in [
            ("304", "16 bytes apart"),
            ("1000", "beyond the register page"),
            ("0xfee00300", "neither an offset"),
            ("XYZ", "is no register"),
            ("", "is no register"),
        ] {
            let failure = place(text, None).unwrap_err().to_string();
            assert!(failure.contains(says), "{text}: {failure}");
        }
    }

    #[test]
    fn a_value_has_the_width_of_its_register() {
        let args = |register: &str, mode| AccessArgs {
            register: register.to_owned(),
            engine: None,
            mode: Some(mode),
            output: OutputArgs::default(),
        };
        let write = |register, mode| explain(AccessKind::Write, &args(register, mode), Some(1 << 32));
        assert!(write("svr", GuestMode::XApic).unwrap_err().to_string().contains("32 bits"));
        assert!(write("icr", GuestMode::XApic).is_ok());
        assert!(write("svr", GuestMode::X2Apic).is_ok());
    }
}
