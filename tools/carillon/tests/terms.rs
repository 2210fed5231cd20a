//! The glossary is data: `carillon explain` and the book's page say the same, and the page is made from it.
//!
//! After a change of the data: `CARILLON_UPDATE_DOCS=1 cargo test -p carillon --test terms`.

use std::path::Path;

use serde::Deserialize;

const PAGE: &str = "../../docs/src/terms.md";

#[derive(Deserialize)]
struct Glossary {
    term: Vec<Term>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Term {
    term: String,
    long: String,
    text: String,
    source: String,
}

fn glossary() -> Vec<Term> {
    let glossary: Glossary = toml::from_str(include_str!("../data/terms.toml")).expect("the glossary is TOML");
    glossary.term
}

fn page(terms: &[Term]) -> String {
    let mut page =
        String::from("# Terms\n\nThe words of the field, as this book and the program use them: one word per thing.\n");
    for term in terms {
        let long = if term.long.is_empty() { String::new() } else { format!(" *({})*", term.long) };
        page.push_str(&format!("\n**{}**{long}: {}<br>\n<small>{}</small>\n", term.term, term.text, term.source));
    }
    page
}

#[test]
fn the_page_of_terms_is_made_from_the_data() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let expected = page(&glossary());
    if std::env::var_os("CARILLON_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&path).expect("the page is there");
    assert!(found == expected, "docs/src/terms.md is not what the data says; see this test's file for the command");
}

#[test]
fn terms_are_in_order_each_once_and_complete() {
    let terms = glossary();
    let names: Vec<String> = terms.iter().map(|term| term.term.to_lowercase()).collect();
    assert!(names.is_sorted(), "the glossary is not in alphabetical order");
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1], "a term is explained twice");
    }
    for term in &terms {
        assert!(term.text.ends_with('.') && term.text.len() >= 30, "{} is not explained", term.term);
        assert!(!term.source.is_empty(), "{} has no source", term.term);
    }
}

#[test]
fn every_acronym_a_newcomer_asks_for_is_explained() {
    let terms = glossary();
    for wanted in [
        "APIC",
        "IRR",
        "ISR",
        "PPR",
        "TPR",
        "EOI",
        "RVI",
        "SVI",
        "VIRR",
        "VISR",
        "PIR",
        "ON",
        "SN",
        "NV",
        "NDST",
        "IRTE",
        "GSI",
        "PIRQ",
        "MSI",
        "MSI-X",
        "INTx",
        "VIRQ",
        "upcall",
        "FIFO",
        "2-level",
        "AVIC",
        "APICv",
        "posted interrupt",
        "GA log",
        "doorbell",
        "engine",
        "software APIC",
        "IPI virtualization",
        "posted-interrupt descriptor",
        "PID-pointer table",
        "notification",
        "wake-up list",
        "IsRunning",
        "is_run",
        "backing page",
        "virtual-APIC page",
        "physical APIC-ID table",
        "logical APIC-ID table",
        "EOI-exit bitmap",
        "TPR threshold",
        "ICR",
        "VMCS",
        "VMCB",
        "xAPIC",
        "x2APIC",
        "x2AVIC",
        "dom0",
        "pCPU",
        "vCPU",
        "credit2",
        "IOMMU",
        "IPI",
    ] {
        assert!(terms.iter().any(|term| term.term == wanted), "{wanted} is not explained");
    }
}
