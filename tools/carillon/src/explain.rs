//! `carillon explain`: vectors, delivery paths, costs, terms, and how to record a host.

use carillon_machine::CostInfo;
use carillon_machine::Costs;
use hypervisor_abi::avic::AccessKind;
use hypervisor_lib::fabric::DomainFeatures;
use hypervisor_lib::fabric::DomainKind;
use hypervisor_lib::fabric::Route;
use hypervisor_lib::fabric::Signal;
use hypervisor_lib::fabric::classify;
use serde::Deserialize;
use serde::Serialize;
use vector_allocator::CpuId;
use vector_allocator::Vector;
use vector_allocator::VectorLayout;
use vector_allocator::XenLayout;

use crate::cli::ExplainArgs;
use crate::cli::ExplainQuery;
use crate::explain_access;
use crate::explain_move;
use crate::failure::Failure;
use crate::failure::Verdict;
use crate::output::Answer;
use crate::output::Output;
use crate::page::Page;
use crate::page::Tone;

const RECORDING: &str = include_str!("../../../docs/src/how-to/record-a-host.md");
/// Xen's spurious-interrupt vector (`asm/irq-vectors.h`).
const SPURIOUS: u8 = 0xff;
const TERMS: &str = include_str!("../data/terms.toml");

/// A glossary.
#[derive(Debug, Deserialize)]
struct Glossary {
    term: Vec<Term>,
}

/// A term and what it means.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Term {
    term: String,
    long: String,
    text: String,
    source: String,
}

/// An explanation: a title, paragraphs, and where it comes from.
#[derive(Debug, Serialize)]
struct Explanation {
    title: String,
    paragraphs: Vec<String>,
    /// To be typed as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    commands: Vec<String>,
    /// What steps of the simulated machine take.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    costs: Vec<CostRow>,
    sources: Vec<String>,
}

/// What a step takes, unless a scenario sets it.
#[derive(Debug, Serialize)]
struct CostRow {
    name: &'static str,
    value: u64,
    unit: &'static str,
    source: &'static str,
}

impl Explanation {
    /// One of a sentence.
    fn plain(title: &str, sentence: &str) -> Self {
        Self {
            title: title.to_owned(),
            paragraphs: vec![sentence.to_owned()],
            commands: Vec::new(),
            costs: Vec::new(),
            sources: Vec::new(),
        }
    }

    /// Writes it to a page.
    fn show(&self, page: &mut Page) {
        page.title(&self.title);
        for paragraph in &self.paragraphs {
            page.line(Tone::Plain, paragraph);
        }
        for command in &self.commands {
            page.verbatim(Tone::Plain, &format!("    {command}"));
        }
        let row =
            |cost: &CostRow| vec![cost.name.into(), format!("{} {}", cost.value, cost.unit).into(), cost.source.into()];
        page.table(&["step", "takes", "from"], self.costs.iter().map(row).collect());
        for source in &self.sources {
            page.line(Tone::Faint, &format!("  [{source}]"));
        }
    }
}

/// The explanations asked for.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Explanations(Vec<Explanation>);

impl Answer for Explanations {
    fn show(&self, page: &mut Page) {
        for explanation in &self.0 {
            explanation.show(page);
        }
    }
}

/// Explains what the command line asks for.
pub(crate) fn run(args: &ExplainArgs, out: Output) -> Result<Verdict, Failure> {
    if let Some(query) = &args.query {
        let (kind, access, value) = match query {
            ExplainQuery::ApicWrite(write) => (AccessKind::Write, &write.access, write.value),
            ExplainQuery::ApicRead(access) => (AccessKind::Read, access, None),
            ExplainQuery::Move(way) => return explain_move::run(way, args.output.or(way.output).format(), out),
        };
        let format = args.output.or(access.output).format();
        return explain_access::run(kind, access, value, format, out);
    }
    out.print(&Explanations(explain(&args.what)?), args.output.format())?;
    Ok(Verdict::Fine)
}

/// Explains `what`: the words of the command line after `explain`.
fn explain(what: &[String]) -> Result<Vec<Explanation>, Failure> {
    let asked = what.join(" ");
    let asked = asked.trim();
    if asked.is_empty() {
        return Ok(vec![contents()?]);
    }
    match asked.to_lowercase().as_str() {
        "paths" | "path" => return Ok(vec![paths()]),
        "costs" | "cost" => return Ok(vec![costs()]),
        "dumps" | "dump" | "record" => return Ok(vec![dumps()]),
        _ => {}
    }
    let mut found = Vec::new();
    found.extend(path(asked));
    found.extend(term(asked)?);
    match vector_number(asked) {
        Some(Ok(number)) => found.push(vector(number)?),
        Some(Err(number)) => {
            return Err(Failure::new(format!("{number} is no vector: they are 16 to 255, 0x10 to 0xff")));
        }
        None => {}
    }
    if found.is_empty() {
        return Err(Failure::new(format!("'{asked}' is no vector, delivery path or term"))
            .hint(format!("nearest: {}; `carillon explain` lists what there is", near(asked)?.join(", "))));
    }
    Ok(found)
}

/// `0xd8`, `d8`, `vector d8`, `216`; the error is a number that is too large.
fn vector_number(asked: &str) -> Option<Result<u8, u64>> {
    let lower = asked.to_lowercase();
    let digits = lower.strip_prefix("vector ").unwrap_or(&lower).trim();
    let number = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None if digits.len() == 2 => u64::from_str_radix(digits, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some(u8::try_from(number).map_err(|_| number))
}

fn vector(number: u8) -> Result<Explanation, Failure> {
    let vector = Vector::new(number).map_err(Failure::new)?;
    let class = vector.class();
    let mut paragraphs = vec![format!(
        "Host vector {vector} (0x{number:02x}, {number}) is in priority class {class}: a local APIC serves it before every lower \
         vector, and it pre-empts handlers of classes below {class} whose CPU takes interrupts."
    )];
    let xen = VectorLayout::xen(XenLayout::default());
    if number == SPURIOUS {
        paragraphs.push(
            "Xen uses it as the spurious-interrupt vector, which is delivered without an in-service bit.".to_owned(),
        );
    } else {
        paragraphs.push(format!(
            "While it is in service, vectors 0x10 to 0x{:02x} wait on that CPU: its own class and everything below.",
            number | 0x0f
        ));
    }
    if xen.leasable(CpuId(1)).contains(vector) {
        paragraphs.push(
            "If a guest's source has it and keeps it in service (level-triggered, or MSI without mask bit), they wait until the \
             guest is done, up to 1 ms."
                .to_owned(),
        );
    }
    for layout in [VectorLayout::xen(XenLayout::default()), VectorLayout::linux()] {
        paragraphs.push(format!("In the layout '{}' it is {}.", layout.name(), band(&layout, vector)));
    }
    paragraphs.push(
        "A vector of this number inside a guest is another thing: guest vectors are never compared with host vectors, on any CPU."
            .to_owned(),
    );
    Ok(Explanation {
        title: format!("vector {vector}"),
        paragraphs,
        commands: Vec::new(),
        costs: Vec::new(),
        sources: vec!["SDM vol. 3A, 11.8.3.1".into(), "xen/arch/x86/include/asm/irq-vectors.h".into()],
    })
}

fn band(layout: &VectorLayout, vector: Vector) -> &'static str {
    match (layout.leasable(CpuId::BOOT).contains(vector), layout.leasable(CpuId(1)).contains(vector)) {
        (true, true) => "given to devices, on every CPU",
        (false, true) => "given to devices, but not on the boot CPU, where the legacy interrupt controller has it",
        _ if layout.notification().contains(vector) => {
            "in the band of notifications, which the hypervisor reserves on every CPU above all devices"
        }
        _ if layout.system().contains(vector) => "the hypervisor's own",
        _ => "reserved: no device gets it",
    }
}

/// One path with the conditions under which an interrupt takes it.
fn path(asked: &str) -> Option<Explanation> {
    let wanted = asked.to_lowercase();
    let routes: Vec<(String, Route)> = all_routes()
        .into_iter()
        .filter(|(_, route)| route.path.to_string().to_lowercase().starts_with(&wanted))
        .collect();
    (!routes.is_empty() && wanted.len() > 3).then(|| Explanation {
        title: format!("delivery path: {asked}"),
        paragraphs: routes.iter().map(|(who, route)| format!("  • {who} → {route}")).collect(),
        commands: Vec::new(),
        costs: Vec::new(),
        sources: vec![
            "xen: arch/x86/pci/xen.c (Linux), drivers/passthrough/vtd/intremap.c, CPUID leaf 0x40000004".into(),
        ],
    })
}

fn paths() -> Explanation {
    Explanation {
        title: "delivery paths".into(),
        paragraphs: all_routes().iter().map(|(who, route)| format!("  • {who} → {route}")).collect(),
        commands: Vec::new(),
        costs: Vec::new(),
        sources: vec![
            "xen: arch/x86/pci/xen.c (Linux), drivers/passthrough/vtd/intremap.c, CPUID leaf 0x40000004".into(),
        ],
    }
}

/// The distinct cases of the classifier, in words.
fn all_routes() -> Vec<(String, Route)> {
    let hvm =
        |pirqs, apic_virtualized, posting| DomainFeatures { kind: DomainKind::Hvm, pirqs, apic_virtualized, posting };
    [
        ("Xen's own source", DomainFeatures::pv(), Signal::Hypervisor),
        ("a PV domain's device", DomainFeatures::pv(), Signal::DeviceMsi),
        ("an HVM guest's MSI, hvm_pirq=1, no APICv", hvm(true, false, false), Signal::DeviceMsi),
        ("an HVM guest's MSI, hvm_pirq=0, no APICv", hvm(false, false, false), Signal::DeviceMsi),
        ("an HVM guest's MSI, APICv", hvm(false, true, false), Signal::DeviceMsi),
        ("an HVM guest's MSI, APICv, intpost", hvm(false, true, true), Signal::DeviceMsi),
        ("an HVM guest's MSI to several vCPUs, APICv, intpost", hvm(false, true, true), Signal::DeviceMsiMulticast),
        ("an HVM guest's INTx", hvm(false, true, true), Signal::DeviceIntx),
        ("a back-end, a VIRQ, another vCPU", hvm(false, true, true), Signal::Virtual),
        ("a device of the device model", hvm(false, true, true), Signal::Emulated),
    ]
    .into_iter()
    .map(|(who, features, signal)| (who.to_owned(), classify(features, signal)))
    .collect()
}

fn costs() -> Explanation {
    let cost =
        |info: &CostInfo| CostRow { name: info.name, value: info.default.0, unit: info.unit, source: info.source };
    Explanation {
        costs: Costs::table().iter().map(cost).collect(),
        ..Explanation::plain(
            "costs",
            "What each step of the simulated machine takes; a scenario's `costs_ns` or --cost NAME=NS sets another value.",
        )
    }
}

/// The book's page: the commands stand there.
fn dumps() -> Explanation {
    let blocks = RECORDING.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n"));
    let mut commands: Vec<String> = Vec::new();
    for block in blocks {
        commands.extend(block.lines().map(str::to_owned));
        commands.push(String::new());
    }
    Explanation {
        title: "recording a host".into(),
        paragraphs: vec![
            "In dom0 of the host, as root. Only dump-i.txt is required; the other dumps tell more, the trace lets the simulator \
             replay what the host did, and ftrace how long dom0's handlers take. Traces may be compressed (.gz)."
                .to_owned(),
            "Then: carillon inspect --from my-host".to_owned(),
            "Where the program itself runs in dom0, `carillon record my-host` does most of it, and --live needs no recording."
                .to_owned(),
        ],
        commands,
        costs: Vec::new(),
        sources: vec!["xl(1), xentrace(8), docs/src/how-to/record-a-host.md".into()],
    }
}

fn glossary() -> Result<Vec<Term>, Failure> {
    Ok(toml::from_str::<Glossary>(TERMS).map_err(Failure::new)?.term)
}

fn term(asked: &str) -> Result<Vec<Explanation>, Failure> {
    let wanted = plain(asked);
    let matches = |term: &Term| plain(&term.term) == wanted || plain(&term.long) == wanted;
    Ok(glossary()?
        .into_iter()
        .filter(matches)
        .map(|term| Explanation {
            title: if term.long.is_empty() || term.long == term.term {
                term.term
            } else {
                format!("{}: {}", term.term, term.long)
            },
            paragraphs: vec![term.text],
            commands: Vec::new(),
            costs: Vec::new(),
            sources: vec![term.source],
        })
        .collect())
}

/// A term as it is looked up: spelled with or without capitals and hyphens.
fn plain(term: &str) -> String {
    term.to_lowercase().replace('-', " ")
}

/// The terms most like what was asked.
fn near(asked: &str) -> Result<Vec<String>, Failure> {
    let wanted = plain(asked);
    let likeness = |term: &Term| {
        strsim::jaro_winkler(&plain(&term.term), &wanted).max(strsim::jaro_winkler(&plain(&term.long), &wanted))
    };
    let mut terms: Vec<(f64, String)> = glossary()?.into_iter().map(|term| (likeness(&term), term.term)).collect();
    terms.sort_by(|one, other| other.0.total_cmp(&one.0));
    Ok(terms.into_iter().take(4).map(|(_, term)| term).collect())
}

fn contents() -> Result<Explanation, Failure> {
    let terms: Vec<String> = glossary()?.into_iter().map(|term| term.term).collect();
    Ok(Explanation {
        title: "what carillon can explain".into(),
        paragraphs: vec![
            "A vector: carillon explain 0xd8".into(),
            "The delivery paths: carillon explain paths; or one: carillon explain posted".into(),
            "What each simulated step takes: carillon explain costs".into(),
            "What a vCPU's move to another CPU rewrites: carillon explain move --engine posted --from 0 --to 3".into(),
            "What becomes of an access to an APIC register: carillon explain apic-write 300, or apic-read TPR".into(),
            "How to record a host: carillon explain dumps".into(),
            format!("A term: {}", terms.join(", ")),
        ],
        commands: Vec::new(),
        costs: Vec::new(),
        sources: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::explain;
    use super::glossary;
    use super::vector_number;

    fn ask(what: &str) -> String {
        let found = explain(&[what.to_owned()]).unwrap();
        found.iter().map(|e| format!("{}\n{}", e.title, e.paragraphs.join("\n"))).collect()
    }

    #[test]
    fn a_vector_is_known_by_every_way_to_write_it() {
        for text in ["0xd8", "D8", "vector d8", "216"] {
            assert_eq!(vector_number(text), Some(Ok(0xd8)), "{text}");
        }
        assert_eq!(vector_number("posted"), None);
        assert!(ask("d8").contains("class D"));
        assert!(ask("0x25").contains("not on the boot CPU"));
        assert!(ask("0xf4").contains("notifications"));
    }

    #[test]
    fn an_illegal_vector_says_which_are_legal() {
        for text in ["0x0f", "0x100", "256", "300"] {
            assert!(explain(&[text.to_owned()]).unwrap_err().to_string().contains("0x10 to 0xff"), "{text}");
        }
    }

    #[test]
    fn every_term_explains_itself_and_has_a_source() {
        let terms = glossary().unwrap();
        assert!(terms.len() > 30);
        for term in terms {
            assert!(!term.text.is_empty() && !term.source.is_empty(), "{}", term.term);
            assert!(ask(&term.term).contains(&term.text));
        }
    }

    #[test]
    fn what_nobody_knows_gets_the_nearest_terms() {
        let failure = explain(&["irrr".to_owned()]).unwrap_err().to_string();
        assert!(failure.contains("IRR"), "{failure}");
    }

    #[test]
    fn the_way_to_record_a_host_is_the_books() {
        let dumps = explain(&["dumps".to_owned()]).unwrap();
        let commands = dumps[0].commands.join("\n");
        for part in ["xl debug-keys", "dump-$key.txt", "xentrace -e", "ftrace-irq.txt"] {
            assert!(commands.contains(part), "{part}");
        }
        assert!(!commands.contains("carillon inspect") && !commands.contains('`'));
    }
}
