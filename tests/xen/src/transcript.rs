//! What a machine said, and the verdicts in it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::record::Record;

/// A line of the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it ended, since the machine was switched on.
    pub at: Duration,
    /// What it says, without its end.
    pub text: String,
}

/// Why nothing more was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The last record came.
    Complete,
    /// The hypervisor or its dom0 crashed.
    Crashed,
    /// The machine went out before.
    Silent,
    /// It took longer than this.
    Late(Duration),
}

/// Everything a machine said.
#[derive(Clone, Debug)]
pub struct Transcript {
    /// Line for line.
    pub lines: Vec<Line>,
    /// Why there are no more.
    pub end: End,
    /// Where they are kept.
    pub log: PathBuf,
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It held.
    Pass,
    /// It did not.
    Fail,
    /// It could not be tried, for this reason.
    Skip(String),
    /// The machine never spoke of it.
    Missing,
}

impl Transcript {
    /// A guest's verdict on a case, and what it noted about it. A guest is known by the name in the first record of each of its
    /// domains; a restored one has got another. `dom0` is what speaks for no domain.
    ///
    /// A case that was told of twice with different verdicts has failed.
    #[must_use]
    pub fn case(&self, guest: &str, case: &str) -> (Verdict, Vec<String>) {
        let (mut verdict, mut notes) = (Verdict::Missing, Vec::new());
        for record in self.records_of(guest) {
            if record.kind() == "note" && record.get("case") == Some(case) {
                notes.extend(record.get("text").map(str::to_owned));
            }
            if record.kind() == "case" && record.get("name") == Some(case) {
                let told = match record.get("verdict") {
                    Some("pass") => Verdict::Pass,
                    Some("skip") => Verdict::Skip(record.get("reason").unwrap_or("no reason").to_owned()),
                    _ => Verdict::Fail,
                };
                verdict = if verdict == Verdict::Missing || verdict == told { told } else { Verdict::Fail };
            }
        }
        (verdict, notes)
    }

    /// The names of all cases a guest spoke of, in order.
    #[must_use]
    pub fn cases(&self, guest: &str) -> Vec<String> {
        let cases = self.records_of(guest).filter(|record| record.kind() == "case");
        cases.filter_map(|record| record.get("name").map(str::to_owned)).collect()
    }

    /// The records of a guest, in order.
    fn records_of(&self, guest: &str) -> impl Iterator<Item = Record> {
        let records = || self.lines.iter().filter_map(|line| Record::parse(&line.text));
        let domains: Vec<Option<u16>> = if guest == "dom0" {
            vec![None]
        } else {
            let firsts = records().filter(|record| record.kind() == "guest" && record.get("name") == Some(guest));
            firsts.map(|record| record.domain()).collect()
        };
        records().filter(move |record| domains.contains(&record.domain()))
    }

    /// The last lines, for a message.
    #[must_use]
    pub fn tail(&self, count: usize) -> String {
        let skipped = self.lines.len().saturating_sub(count);
        self.lines[skipped..].iter().map(|line| format!("{line}\n")).collect()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:7.2}] {}", self.at.as_secs_f64(), self.text)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::End;
    use super::Line;
    use super::Transcript;
    use super::Verdict;

    fn transcript(lines: &[&str]) -> Transcript {
        let lines = lines.iter().map(|text| Line { at: Duration::ZERO, text: (*text).to_owned() }).collect();
        Transcript { lines, end: End::Complete, log: PathBuf::new() }
    }

    #[test]
    fn a_case_belongs_to_the_guest_whose_domain_told_of_it() {
        let said = transcript(&[
            "(d1) carillon: guest name=callback",
            "(d1) carillon: case name=a verdict=pass",
            "(d2) carillon: guest name=vector",
            "(d2) carillon: note case=a text=\"too late\"",
            "(d2) carillon: case name=a verdict=fail",
            "carillon: case name=a verdict=skip reason=\"no room\"",
        ]);
        assert_eq!(said.case("callback", "a"), (Verdict::Pass, vec![]));
        assert_eq!(said.case("vector", "a"), (Verdict::Fail, vec!["too late".to_owned()]));
        assert_eq!(said.case("dom0", "a"), (Verdict::Skip("no room".into()), vec![]));
        assert_eq!(said.case("vector", "b").0, Verdict::Missing);
        assert_eq!(said.case("other", "a").0, Verdict::Missing);
    }

    #[test]
    fn a_guest_that_was_restored_in_another_domain_is_the_same_guest() {
        let said = transcript(&[
            "(d1) carillon: guest name=callback",
            "(d1) carillon: note case=a text=\"saved\"",
            "(d2) carillon: guest name=callback",
            "(d2) carillon: case name=a verdict=pass",
            "(d3) carillon: case name=a verdict=fail",
        ]);
        assert_eq!(said.case("callback", "a"), (Verdict::Pass, vec!["saved".to_owned()]));
    }

    #[test]
    fn two_verdicts_that_differ_are_a_failure() {
        let said = transcript(&["carillon: case name=a verdict=pass", "carillon: case name=a verdict=fail"]);
        assert_eq!(said.case("dom0", "a").0, Verdict::Fail);
        assert_eq!(said.cases("dom0"), ["a", "a"]);
    }
}
