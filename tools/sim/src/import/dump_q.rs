//! `xl debug-keys q`: every domain with its vCPUs and what it may use (`xen/common/keyhandler.c`, `dump_domains`).
//!
//! Xen 4.17 to 4.20 print the same lines but one: 4.20 can be built to name each domain's cache colours, which is passed
//! over. `dirty_cpu=` is there only for a vCPU whose state a CPU still holds. Older versions print the time in two
//! hexadecimal halves, which is read.

use serde::Serialize;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DomainId;

use super::ImportError;
use super::Note;
use super::Source;
use super::console;
use super::cursor::Cursor;
use super::encode;
use super::note::Notes;

/// The dump.
#[derive(Clone, Debug, Serialize)]
pub struct DomainDump {
    /// When it was made, ns since Xen started.
    pub now_ns: Option<u64>,
    /// The domains, in the dump's order.
    pub domains: Vec<DomainInfo>,
    /// What was passed over.
    pub notes: Vec<Note>,
}

/// One domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DomainInfo {
    /// Its number.
    #[serde(serialize_with = "encode::text")]
    pub id: DomainId,
    /// How often it is paused at once; 0 runs.
    pub pause_count: u32,
    /// How Xen assists its paging: `hap refcounts translate external`; none for most PV domains.
    pub paging: Option<String>,
    /// Its UUID.
    pub handle: Option<String>,
    /// What it may use: `Interrupts` are Xen's IRQ numbers, `I/O Ports` and `I/O Memory` are hexadecimal.
    pub rangesets: Vec<RangeSet>,
    /// Its vCPUs.
    pub vcpus: Vec<VcpuInfo>,
}

/// A set of numbers a domain may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RangeSet {
    /// What it is of.
    pub name: String,
    /// Its ranges, both ends included.
    pub ranges: Vec<(u64, u64)>,
}

/// One vCPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VcpuInfo {
    /// Its number.
    pub vcpu: u32,
    /// The pCPU it runs on or ran last.
    #[serde(serialize_with = "encode::text")]
    pub cpu: CpuId,
    /// Whether it runs.
    pub is_running: bool,
    /// Whether an upcall is pending.
    pub is_upcall_pending: bool,
    /// Whether upcalls are masked.
    pub is_upcall_masked: bool,
    /// How often it is paused at once.
    pub pause_count: u32,
    /// Why it does not run (`VPF_*`; bit 0 is blocked).
    pub pause_flags: u32,
    /// Where it may run.
    #[serde(serialize_with = "encode::text")]
    pub hard_affinity: CpuSet,
    /// Where it had better run.
    #[serde(serialize_with = "encode::text")]
    pub soft_affinity: CpuSet,
}

impl DomainDump {
    /// A domain; none if the dump has not got it.
    #[must_use]
    pub fn domain(&self, id: DomainId) -> Option<&DomainInfo> {
        self.domains.iter().find(|domain| domain.id == id)
    }
}

impl DomainInfo {
    /// Whether the domain may use Xen's IRQ `irq`.
    #[must_use]
    pub fn may_use_irq(&self, irq: u32) -> bool {
        let irq = u64::from(irq);
        let interrupts = self.rangesets.iter().filter(|set| set.name == "Interrupts");
        interrupts.flat_map(|set| &set.ranges).any(|(first, last)| (*first..=*last).contains(&irq))
    }
}

/// Reads the dump; of several in one file, the last counts.
///
/// # Errors
/// [`ImportError::Line`] at the first line of a known kind that is not as Xen prints it; [`ImportError::Missing`] if
/// there is no domain.
pub fn parse(source: &Source) -> Result<DomainDump, ImportError> {
    let text = source.text();
    let mut notes = Notes::new(source.name());
    let mut dump = DomainDump { now_ns: None, domains: Vec::new(), notes: Vec::new() };
    let mut affinity = None;
    for line in console::lines(&text) {
        let mut cursor = Cursor::new(source.name(), line.number, line.text);
        let is_new_domain = line.text.trim_start().starts_with("General information for domain");
        if is_new_domain {
            affinity = None;
        }
        if cursor.accept("'q' pressed -> dumping domain info (now =") {
            if !dump.domains.is_empty() {
                notes.on_line(line.number, "a second dump begins here; only the last one counts");
                dump.domains = Vec::new();
            }
            dump.now_ns = Some(now_ns(cursor)?);
        } else if cursor.accept("General information for domain") {
            let id = DomainId(cursor.decimal("a domain number")?);
            dump.domains.push(DomainInfo {
                id,
                pause_count: 0,
                paging: None,
                handle: None,
                rangesets: Vec::new(),
                vcpus: Vec::new(),
            });
        } else if let Some(domain) = dump.domains.last_mut() {
            if !domain.read_line(cursor, &mut affinity)? && !is_known(line.text.trim()) {
                notes.pass_over(line.number, line.text);
            }
        } else {
            notes.pass_over(line.number, line.text);
        }
    }
    if dump.domains.is_empty() {
        let expected = "\"General information for domain n:\"";
        return Err(ImportError::Missing { file: source.name().to_owned(), expected });
    }
    dump.notes = notes.finish();
    Ok(dump)
}

/// The time as Xen prints it: ns, or in hexadecimal halves `0x1:23456789` in older versions.
fn now_ns(mut cursor: Cursor<'_>) -> Result<u64, ImportError> {
    if cursor.accept("0x") {
        let high = cursor.hex_as::<u32>("the high half of a time")?;
        cursor.expect(":")?;
        let low = cursor.hex_as::<u32>("the low half of a time")?;
        return Ok(u64::from(high) << 32 | u64::from(low));
    }
    cursor.decimal("a time in ns")
}

/// Lines of the dump that say nothing of interrupts or placement.
fn is_known(line: &str) -> bool {
    const BEGINNINGS: [&str; 15] = [
        "nr_pages=",
        "Rangesets belonging to",
        "Memory pages belonging to",
        "DomPage",
        "XenPage",
        "ExtraPage",
        "NODE affinity for",
        "VCPU information and callbacks",
        "No periodic timer",
        "Notifying guest",
        "Shared frames",
        "watchdog",
        "P2M",
        "PoD entries=",
        "shadow",
    ];
    BEGINNINGS.iter().any(|beginning| line.starts_with(beginning))
        || line.contains("Hz periodic timer")
        || line.contains(" LLC colors: ")
}

impl DomainInfo {
    /// Takes one line; whether it was one of the domain's. `affinity` is that of the scheduling unit begun last.
    fn read_line(
        &mut self,
        mut cursor: Cursor<'_>,
        affinity: &mut Option<(CpuSet, CpuSet)>,
    ) -> Result<bool, ImportError> {
        if cursor.accept("refcnt=") {
            cursor.decimal::<i64>("a reference count")?;
            cursor.expect("dying=")?;
            cursor.decimal::<i32>("a state")?;
            cursor.expect("pause_count=")?;
            self.pause_count = cursor.decimal("a pause count")?;
        } else if cursor.accept("handle=") {
            self.handle = Some(cursor.word("a UUID")?.to_owned());
        } else if cursor.accept("paging assistance:") {
            self.paging = Some(cursor.rest().trim().to_owned());
        } else if cursor.accept("UNIT") {
            *affinity = Some(parse_affinity(cursor)?);
        } else if cursor.rest().trim_start().starts_with("VCPU") && cursor.rest().contains(": CPU") {
            let (hard_affinity, soft_affinity) =
                affinity.clone().ok_or_else(|| cursor.error("\"UNITn affinities:\" before this"))?;
            self.vcpus.push(parse_vcpu(cursor, hard_affinity, soft_affinity)?);
        } else if cursor.accept("pause_count=") {
            let vcpu = self.vcpus.last_mut().ok_or_else(|| cursor.error("\"VCPUn:\" before this"))?;
            vcpu.pause_count = cursor.decimal("a pause count")?;
            cursor.expect("pause_flags=")?;
            vcpu.pause_flags = cursor.hex_as("pause flags")?;
        } else if let Some(set) = parse_rangeset(cursor)? {
            self.rangesets.push(set);
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

/// What follows `UNIT`: `0 affinities: hard={0-3} soft={0-3}`.
fn parse_affinity(mut cursor: Cursor<'_>) -> Result<(CpuSet, CpuSet), ImportError> {
    cursor.decimal::<u32>("a unit number")?;
    cursor.expect("affinities:")?;
    cursor.expect("hard=")?;
    let hard = cursor.cpus_in_braces("a hard affinity")?;
    cursor.expect("soft=")?;
    Ok((hard, cursor.cpus_in_braces("a soft affinity")?))
}

/// `VCPU0: CPU2 [has=F] poll=0 upcall_pend=00 upcall_mask=00 dirty_cpu=2`
fn parse_vcpu(mut cursor: Cursor<'_>, hard_affinity: CpuSet, soft_affinity: CpuSet) -> Result<VcpuInfo, ImportError> {
    cursor.expect("VCPU")?;
    let vcpu = cursor.decimal("a vCPU number")?;
    cursor.expect(": CPU")?;
    let cpu = cursor.cpu("a CPU number")?;
    cursor.expect("[has=")?;
    let before = cursor;
    let is_running = match cursor.character("T or F")? {
        'T' => true,
        'F' => false,
        _ => return Err(before.error("one of 'T' and 'F'")),
    };
    cursor.expect("]")?;
    cursor.expect("poll=")?;
    cursor.decimal::<i64>("a polled port")?;
    cursor.expect("upcall_pend=")?;
    let is_upcall_pending = cursor.hex("an upcall flag")? != 0;
    cursor.expect("upcall_mask=")?;
    let is_upcall_masked = cursor.hex("an upcall mask")? != 0;
    Ok(VcpuInfo {
        vcpu,
        cpu,
        is_running,
        is_upcall_pending,
        is_upcall_masked,
        pause_count: 0,
        pause_flags: 0,
        hard_affinity,
        soft_affinity,
    })
}

/// `Interrupts { 1-23, 25-28 }`; none if the line is something else. Interrupts are decimal, the others hexadecimal.
fn parse_rangeset(mut cursor: Cursor<'_>) -> Result<Option<RangeSet>, ImportError> {
    let line = cursor.rest().trim();
    let Some((name, _)) = line.split_once('{').filter(|_| line.ends_with('}')) else { return Ok(None) };
    let name = name.trim().to_owned();
    let radix = match name.as_str() {
        "Interrupts" => 10,
        "I/O Memory" | "I/O Ports" | "log-dirty" => 16,
        _ => return Ok(None),
    };
    cursor.until('{')?;
    let inside = cursor.until('}')?;
    let mut ranges = Vec::new();
    for range in inside.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        match (u64::from_str_radix(first, radix), u64::from_str_radix(last, radix)) {
            (Ok(first), Ok(last)) if first <= last => ranges.push((first, last)),
            _ => return Err(cursor.error_at(range, "a range of numbers")),
        }
    }
    Ok(Some(RangeSet { name, ranges }))
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::import::Source;

    const HEADING: &str =
        "'q' pressed -> dumping domain info (now = 0x1:00000002)\nGeneral information for domain 7:\n";

    #[test]
    fn pinned_vcpus_permissions_and_pauses_are_read() {
        let text = format!(
            "(XEN) {HEADING}    refcnt=3 dying=0 pause_count=2\n    Interrupts {{ 16, 26-28 }}\n    I/O Ports  {{ a2-3f7 }}\n\
             \x20   log-dirty  {{ }}\n  UNIT0 affinities: hard={{2}} soft={{0-3}}\n\
             \x20   VCPU0: CPU2 [has=T] poll=0 upcall_pend=01 upcall_mask=01 dirty_cpu=2\n    pause_count=1 pause_flags=3\n\
             d7 has 2 LLC colors: {{ 4-5 }}\n100 Hz periodic timer (period 10 ms)\n    paging assistance: hap refcounts translate external\n"
        );
        let dump = parse(&Source::new("q", text)).unwrap();
        let domain = &dump.domains[0];
        assert_eq!((dump.now_ns, domain.id.0, domain.pause_count), (Some(0x1_0000_0002), 7, 2));
        assert_eq!(domain.paging.as_deref(), Some("hap refcounts translate external"));
        assert!(domain.may_use_irq(16) && domain.may_use_irq(27) && !domain.may_use_irq(29));
        assert_eq!(domain.rangesets[1].ranges, [(0xa2, 0x3f7)]);
        let vcpu = &domain.vcpus[0];
        assert_eq!((vcpu.hard_affinity.to_string().as_str(), vcpu.cpu.0, vcpu.is_running), ("{2}", 2, true));
        assert_eq!((vcpu.pause_count, vcpu.pause_flags, vcpu.is_upcall_masked), (1, 3, true));
        assert!(dump.notes.is_empty(), "{:?}", dump.notes);
    }

    #[test]
    fn a_range_that_runs_backwards_is_named() {
        let error = parse(&Source::new("q", format!("{HEADING}    Interrupts {{ 28-26 }}"))).unwrap_err();
        assert_eq!(error.to_string(), "q:3: expected a range of numbers, found \"28-26\"");
    }

    #[test]
    fn a_vcpu_without_its_unit_is_named() {
        let error = parse(&Source::new("q", format!("{HEADING}    VCPU0: CPU2 [has=T]"))).unwrap_err();
        assert!(error.to_string().starts_with("q:3: expected \"UNITn affinities:\" before this"), "{error}");
    }
}
