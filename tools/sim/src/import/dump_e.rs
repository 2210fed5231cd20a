//! `xl debug-keys e`: every domain's event channels (`xen/common/event_channel.c`, `domain_dump_evtchn_info`).
//!
//! Xen 4.17 to 4.20 print the same line. The third field in brackets is the two-level ABI's selector or the FIFO ABI's
//! link; some builds print `in flux` instead of a state where the channel was locked; a label `Z=` follows under XSM.

use serde::Serialize;
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
pub struct EventDump {
    /// The domains, in the dump's order.
    pub domains: Vec<DomainPorts>,
    /// What was passed over.
    pub notes: Vec<Note>,
}

/// One domain's event channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DomainPorts {
    /// The domain.
    #[serde(serialize_with = "encode::text")]
    pub domain: DomainId,
    /// Its ports, ascending.
    pub ports: Vec<PortLine>,
}

/// One event channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortLine {
    /// Its port.
    pub port: u32,
    /// Whether it is pending.
    pub is_pending: bool,
    /// Whether it is masked.
    pub is_masked: bool,
    /// Its place in the ABI's queues.
    pub queue: QueueState,
    /// The vCPU that is notified.
    pub vcpu: u32,
    /// Which part of Xen consumes it; 0 is none (`xen_consumer`).
    pub xen_consumer: u32,
    /// What it is bound to.
    pub binding: Binding,
    /// Its security label, under XSM.
    pub security_label: Option<String>,
}

/// What an ABI has to say of a pending event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum QueueState {
    /// 2-level ABI: whether the port's word is marked in its vCPU's selector.
    TwoLevel {
        /// It is.
        is_selected: bool,
    },
    /// FIFO ABI: the event word's link and BUSY bit (`EVTCHN_FIFO_LINKED`, `EVTCHN_FIFO_BUSY`).
    Fifo {
        /// The next port of the queue, if it is linked; 0 ends a queue.
        link: Option<u32>,
        /// The guest is changing the word.
        is_busy: bool,
    },
    /// FIFO ABI: the guest gave no page for this port's word.
    NoWord,
}

/// What an event channel is bound to (`ECS_*`, `xen/include/xen/sched.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Binding {
    /// Reserved.
    Reserved,
    /// Waits for a domain to bind to it.
    Unbound {
        /// That domain.
        remote: u16,
    },
    /// Another domain's port.
    Interdomain {
        /// That domain.
        remote: u16,
        /// Its port.
        port: u32,
    },
    /// A physical interrupt.
    Pirq {
        /// The domain's number of it.
        pirq: i32,
        /// Xen's number of it; 0 or less if there is none.
        irq: i32,
    },
    /// A virtual interrupt.
    Virq {
        /// Its number.
        virq: u32,
    },
    /// Another vCPU of the same domain.
    Ipi,
    /// A state this version does not know.
    Other {
        /// Its number.
        state: u32,
    },
}

impl EventDump {
    /// A domain's event channels; none if the dump has not got that domain.
    #[must_use]
    pub fn domain(&self, domain: DomainId) -> Option<&DomainPorts> {
        self.domains.iter().find(|ports| ports.domain == domain)
    }
}

impl DomainPorts {
    /// The ports bound to physical interrupts: port, pirq, Xen's IRQ, vCPU.
    pub fn pirqs(&self) -> impl Iterator<Item = (&PortLine, i32, i32)> {
        self.ports.iter().filter_map(|line| match line.binding {
            Binding::Pirq { pirq, irq } => Some((line, pirq, irq)),
            _ => None,
        })
    }
}

/// Reads the dump; of several in one file, the last counts.
///
/// # Errors
/// [`ImportError::Line`] at the first port that is not as Xen prints it or stands before any domain's heading;
/// [`ImportError::Missing`] if there is no domain.
pub fn parse(source: &Source) -> Result<EventDump, ImportError> {
    let text = source.text();
    let mut notes = Notes::new(source.name());
    let mut domains: Vec<DomainPorts> = Vec::new();
    for line in console::lines(&text) {
        let mut cursor = Cursor::new(source.name(), line.number, line.text);
        if line.text.trim() == "'e' pressed -> dumping event-channel info" {
            if !domains.is_empty() {
                notes.on_line(line.number, "a second dump begins here; only the last one counts");
                domains = Vec::new();
            }
        } else if cursor.accept("Event channel information for domain") {
            domains.push(DomainPorts { domain: DomainId(cursor.decimal("a domain number")?), ports: Vec::new() });
        } else if is_in_flux(line.text) {
            notes.on_line(line.number, format!("port {} was in flux: its state is not known", line.text.trim()));
        } else if is_port(line.text) {
            match domains.last_mut() {
                Some(domain) => domain.ports.push(parse_port(cursor)?),
                None => notes.on_line(line.number, "a port before any domain's heading: its domain is not known"),
            }
        } else if !is_heading(line.text.trim()) {
            notes.pass_over(line.number, line.text);
        }
    }
    if domains.is_empty() {
        let expected = "\"Event channel information for domain n:\"";
        return Err(ImportError::Missing { file: source.name().to_owned(), expected });
    }
    Ok(EventDump { domains, notes: notes.finish() })
}

fn is_heading(line: &str) -> bool {
    line.starts_with("Polling vCPUs:") || line.starts_with("port [p/m/s]")
}

fn is_port(line: &str) -> bool {
    let line = line.trim_start();
    let digits = line.trim_start_matches(|c: char| c.is_ascii_digit());
    digits.len() < line.len() && digits.trim_start().starts_with('[')
}

fn is_in_flux(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next().is_some_and(|port| port.parse::<u32>().is_ok()) && words.eq(["in", "flux"])
}

/// `    36 [0/0/  -   ]: s=4 n=0 x=0 p=647 i=25`
fn parse_port(mut cursor: Cursor<'_>) -> Result<PortLine, ImportError> {
    let port = cursor.decimal("a port")?;
    cursor.expect("[")?;
    let is_pending = cursor.bit("a pending bit")?;
    cursor.expect("/")?;
    let is_masked = cursor.bit("a mask bit")?;
    cursor.expect("/")?;
    let before = cursor;
    let queue = parse_queue(cursor.until(']')?).ok_or_else(|| before.error("a queue state"))?;
    cursor.expect(":")?;
    cursor.expect("s=")?;
    let state: u32 = cursor.decimal("a state")?;
    cursor.expect("n=")?;
    let vcpu = cursor.decimal("a vCPU number")?;
    cursor.expect("x=")?;
    let xen_consumer = cursor.decimal("a consumer number")?;
    let binding = parse_binding(&mut cursor, state)?;
    let security_label = if cursor.accept("Z=") { Some(cursor.word("a security label")?.to_owned()) } else { None };
    if !cursor.is_at_end() {
        return Err(cursor.error("the end of the line"));
    }
    Ok(PortLine { port, is_pending, is_masked, queue, vcpu, xen_consumer, binding, security_label })
}

/// `1` (2-level); `  -   `, `B -   `, `  36  ` or `?     ` (FIFO).
fn parse_queue(state: &str) -> Option<QueueState> {
    if let "0" | "1" = state {
        return Some(QueueState::TwoLevel { is_selected: state == "1" });
    }
    if state.trim() == "?" {
        return Some(QueueState::NoWord);
    }
    let is_busy = state.starts_with('B');
    let link = match state.strip_prefix('B').unwrap_or(state).trim() {
        "-" => None,
        link => Some(link.parse().ok()?),
    };
    Some(QueueState::Fifo { link, is_busy })
}

fn parse_binding(cursor: &mut Cursor<'_>, state: u32) -> Result<Binding, ImportError> {
    match state {
        1 => Ok(Binding::Reserved),
        2 => {
            cursor.expect("d=")?;
            Ok(Binding::Unbound { remote: cursor.decimal("a domain number")? })
        }
        3 => {
            cursor.expect("d=")?;
            let remote = cursor.decimal("a domain number")?;
            cursor.expect("p=")?;
            Ok(Binding::Interdomain { remote, port: cursor.decimal("a port")? })
        }
        4 => {
            cursor.expect("p=")?;
            let pirq = cursor.decimal("a pirq")?;
            cursor.expect("i=")?;
            Ok(Binding::Pirq { pirq, irq: cursor.decimal("an IRQ number")? })
        }
        5 => {
            cursor.expect("v=")?;
            Ok(Binding::Virq { virq: cursor.decimal("a VIRQ number")? })
        }
        6 => Ok(Binding::Ipi),
        state => Ok(Binding::Other { state }),
    }
}

#[cfg(test)]
mod tests {
    use super::Binding;
    use super::QueueState;
    use super::parse;
    use crate::import::Source;

    const HEADING: &str =
        "(XEN) Event channel information for domain 3:\n(XEN) Polling vCPUs: {1}\n(XEN)     port [p/m/s]\n";

    #[test]
    fn both_abis_and_every_binding_are_read() {
        let text = format!(
            "{HEADING}(XEN)    1 [1/0/1]: s=5 n=0 x=0 v=0\n(XEN)    2 [0/1/0]: s=2 n=0 x=1 d=32754\n\
             (XEN)    3 [1/0/B 17  ]: s=3 n=2 x=0 d=0 p=70000 Z=system_u:system_r:domU_t\n\
             (XEN)    4 [0/0/B -   ]: s=6 n=1 x=0\n(XEN)    5 [0/0/?     ]: s=4 n=0 x=0 p=55 i=-55\n\
             (XEN)    6 in flux\n(XEN)    7 [0/0/  -   ]: s=1 n=0 x=0\n(XEN)    8 [0/0/  -   ]: s=9 n=0 x=0\n"
        );
        let dump = parse(&Source::new("e", text)).unwrap();
        let ports = &dump.domains[0].ports;
        assert_eq!(ports.iter().map(|line| line.port).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 7, 8]);
        assert_eq!(ports[0].queue, QueueState::TwoLevel { is_selected: true });
        assert_eq!((ports[1].binding, ports[1].xen_consumer), (Binding::Unbound { remote: 32754 }, 1));
        assert_eq!(ports[2].queue, QueueState::Fifo { link: Some(17), is_busy: true });
        assert_eq!(ports[2].binding, Binding::Interdomain { remote: 0, port: 70000 });
        assert_eq!(ports[2].security_label.as_deref(), Some("system_u:system_r:domU_t"));
        assert_eq!(ports[3].queue, QueueState::Fifo { link: None, is_busy: true });
        assert_eq!((ports[4].queue, ports[4].binding), (QueueState::NoWord, Binding::Pirq { pirq: 55, irq: -55 }));
        assert_eq!((ports[5].binding, ports[6].binding), (Binding::Reserved, Binding::Other { state: 9 }));
        assert!(dump.notes.iter().any(|note| note.text.contains("6 in flux")), "{:?}", dump.notes);
    }

    #[test]
    fn ports_before_the_first_heading_are_noted() {
        let dump = parse(&Source::new("e", format!("   36 [0/0/  -   ]: s=6 n=0 x=0\n{HEADING}"))).unwrap();
        assert!(dump.notes[0].text.contains("before any domain's heading"));
    }

    #[test]
    fn a_port_that_says_more_than_its_state_allows_is_refused() {
        let error = parse(&Source::new("e", format!("{HEADING}   1 [0/0/0]: s=6 n=0 x=0 v=3"))).unwrap_err();
        assert_eq!(error.to_string(), "e:4: expected the end of the line, found \" v=3\"");
    }
}
