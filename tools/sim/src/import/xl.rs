//! What `xl` prints: `xl info`, `xl list`, `xl vcpu-list`.

use std::collections::BTreeMap;

use serde::Serialize;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DomainId;

use super::ImportError;
use super::Source;
use super::cursor::CPUS_LIMIT;
use super::cursor::Cursor;
use super::cursor::cpu_list;
use super::encode;

/// `xl info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct XlInfo {
    /// Every field, by its name.
    pub fields: BTreeMap<String, String>,
}

/// One line of `xl list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DomainLine {
    /// The domain's name.
    pub name: String,
    /// Its number.
    #[serde(serialize_with = "encode::text")]
    pub id: DomainId,
    /// Its memory, MiB.
    pub memory_mib: u64,
    /// How many vCPUs it has.
    pub vcpus: u32,
    /// Its state: `r-----`.
    pub state: String,
}

/// One line of `xl vcpu-list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VcpuLine {
    /// The domain's name.
    pub name: String,
    /// The domain.
    #[serde(serialize_with = "encode::text")]
    pub domain: DomainId,
    /// The vCPU's number.
    pub vcpu: u32,
    /// The pCPU it runs on or ran last; none while it is offline.
    #[serde(serialize_with = "encode::optional_text")]
    pub cpu: Option<CpuId>,
    /// Its state: `r--`, `-b-`.
    pub state: String,
    /// Where it may run.
    pub hard: Affinity,
    /// Where it had better run.
    pub soft: Affinity,
}

/// A set of CPUs as `xl` names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Affinity {
    /// `all`.
    All,
    /// `2`, `0-3,6`.
    Cpus(#[serde(serialize_with = "encode::text")] CpuSet),
}

impl XlInfo {
    /// A field's text; none if it is absent or empty.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// How many CPUs are online (`nr_cpus`); none if the field is no sensible number.
    #[must_use]
    pub fn cpus(&self) -> Option<u32> {
        self.field("nr_cpus")?.parse().ok().filter(|count| (1..=CPUS_LIMIT).contains(count))
    }

    /// The frequency of the time-stamp counter, kHz (`cpu_mhz`, which has three decimals).
    #[must_use]
    pub fn tsc_khz(&self) -> Option<u64> {
        let (mhz, fraction) = self.field("cpu_mhz")?.split_once('.').unwrap_or((self.field("cpu_mhz")?, ""));
        let thousandths: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
        mhz.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(thousandths).filter(|khz| *khz > 0)
    }

    /// The hypervisor's command line.
    #[must_use]
    pub fn command_line(&self) -> &str {
        self.field("xen_commandline").unwrap_or_default()
    }

    /// The value of an option on the hypervisor's command line; the last one counts, as it does to Xen.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        let options = self.command_line().split_whitespace();
        options.filter_map(|option| option.split_once('=')).rfind(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// Reads `xl info`.
///
/// # Errors
/// [`ImportError::Line`] at the first line without a colon; [`ImportError::Missing`] if `xen_version` is absent.
pub fn parse_info(source: &Source) -> Result<XlInfo, ImportError> {
    let mut fields = BTreeMap::new();
    for (number, line) in numbered(&source.text()) {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| ImportError::line(source.name(), number, "a field and its value", line))?;
        fields.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    if !fields.contains_key("xen_version") {
        return Err(ImportError::Missing { file: source.name().to_owned(), expected: "the field xen_version" });
    }
    Ok(XlInfo { fields })
}

/// Reads `xl list`.
///
/// # Errors
/// [`ImportError::Line`] at the first line that is no domain; [`ImportError::Missing`] if there is no heading.
pub fn parse_list(source: &Source) -> Result<Vec<DomainLine>, ImportError> {
    rows(source, "the heading \"Name … ID … Mem\"", &["Name", "ID", "Mem"], |columns, cursor| {
        let [name @ .., id, memory, vcpus, state, _time] = columns else {
            return Err(cursor.error("name, ID, memory, vCPUs, state and time"));
        };
        Ok(DomainLine {
            name: name.join(" "),
            id: DomainId(number(id, cursor, "a domain number")?),
            memory_mib: number(memory, cursor, "a size in MiB")?,
            vcpus: number(vcpus, cursor, "a count of vCPUs")?,
            state: (*state).to_owned(),
        })
    })
}

/// Reads `xl vcpu-list`.
///
/// # Errors
/// [`ImportError::Line`] at the first line that is no vCPU; [`ImportError::Missing`] if there is no heading.
pub fn parse_vcpu_list(source: &Source) -> Result<Vec<VcpuLine>, ImportError> {
    rows(source, "the heading \"Name … ID … VCPU\"", &["Name", "ID", "VCPU"], |columns, cursor| {
        let [name @ .., id, vcpu, cpu, state, _time, hard, "/", soft] = columns else {
            return Err(cursor.error("name, ID, vCPU, CPU, state, time, hard affinity, \"/\" and soft affinity"));
        };
        Ok(VcpuLine {
            name: name.join(" "),
            domain: DomainId(number(id, cursor, "a domain number")?),
            vcpu: number(vcpu, cursor, "a vCPU number")?,
            cpu: if *cpu == "-" { None } else { Some(cpu_number(cpu, cursor)?) },
            state: (*state).to_owned(),
            hard: affinity(hard, cursor)?,
            soft: affinity(soft, cursor)?,
        })
    })
}

fn numbered(text: &str) -> impl Iterator<Item = (u32, &str)> {
    (1u32..).zip(text.lines()).map(|(number, line)| (number, line.trim_end())).filter(|(_, line)| !line.is_empty())
}

/// The rows below a heading whose first columns are `heading`.
fn rows<T>(
    source: &Source,
    expected: &'static str,
    heading: &[&str],
    row: impl Fn(&[&str], Cursor<'_>) -> Result<T, ImportError>,
) -> Result<Vec<T>, ImportError> {
    let text = source.text();
    let mut lines = numbered(&text);
    if !lines.any(|(_, line)| line.split_whitespace().take(heading.len()).eq(heading.iter().copied())) {
        return Err(ImportError::Missing { file: source.name().to_owned(), expected });
    }
    lines
        .map(|(number, line)| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            row(&columns, Cursor::new(source.name(), number, line))
        })
        .collect()
}

fn number<T: std::str::FromStr>(column: &str, cursor: Cursor<'_>, what: &str) -> Result<T, ImportError> {
    column.parse().map_err(|_| cursor.error_at(column, what))
}

fn cpu_number(column: &str, cursor: Cursor<'_>) -> Result<CpuId, ImportError> {
    match number(column, cursor, "a CPU number")? {
        cpu if cpu < CPUS_LIMIT => Ok(CpuId(cpu)),
        _ => Err(cursor.error_at(column, format!("a CPU number below {CPUS_LIMIT}"))),
    }
}

fn affinity(column: &str, cursor: Cursor<'_>) -> Result<Affinity, ImportError> {
    match column {
        "all" => Ok(Affinity::All),
        list => {
            cpu_list(list).map(Affinity::Cpus).ok_or_else(|| cursor.error_at(list, "\"all\" or a list of CPU numbers"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Affinity;
    use super::parse_info;
    use super::parse_list;
    use super::parse_vcpu_list;
    use crate::import::Source;

    const VCPU_HEADING: &str = "Name    ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)\n";

    #[test]
    fn frequency_and_options_are_found_and_the_last_option_counts() {
        let text = "xen_version : 4.19.0\nnr_cpus : 64\ncpu_mhz : 2400.05\nxen_commandline : apic=default x2apic_phys=1 apic=bigsmp noreboot\n";
        let info = parse_info(&Source::new("xl-info.txt", text)).unwrap();
        assert_eq!((info.cpus(), info.tsc_khz()), (Some(64), Some(2_400_050)));
        assert_eq!((info.option("apic"), info.option("noreboot")), (Some("bigsmp"), None));
    }

    #[test]
    fn offline_vcpus_and_lists_of_cpus_are_read() {
        let text = format!("{VCPU_HEADING}two words   4     1    -   --p       0.0  0-3,6 / all\n");
        let lines = parse_vcpu_list(&Source::new("v", text)).unwrap();
        assert_eq!((lines[0].name.as_str(), lines[0].domain.0, lines[0].cpu), ("two words", 4, None));
        assert!(matches!(&lines[0].hard, Affinity::Cpus(cpus) if cpus.to_string() == "{0-3,6}"));
        assert_eq!(lines[0].soft, Affinity::All);
    }

    #[test]
    fn broken_rows_and_missing_headings_are_named() {
        let error = parse_vcpu_list(&Source::new("v", format!("{VCPU_HEADING}a 1 0 2 r-- 1.0 9-3 / all"))).unwrap_err();
        assert_eq!(error.to_string(), "v:2: expected \"all\" or a list of CPU numbers, found \"9-3\"");
        let error =
            parse_list(&Source::new("l", "Name ID Mem VCPUs State Time(s)\nDomain-0 zero 1 1 r 1")).unwrap_err();
        assert_eq!(error.to_string(), "l:2: expected a domain number, found \"zero\"");
        let error = parse_list(&Source::new("l", "")).unwrap_err();
        assert_eq!(error.to_string(), "l: expected the heading \"Name … ID … Mem\", found none");
        let error = parse_info(&Source::new("x", "host : a\nnonsense\n")).unwrap_err();
        assert_eq!(error.to_string(), "x:2: expected a field and its value, found \"nonsense\"");
    }
}
