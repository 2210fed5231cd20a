//! `lsevtchn DOMAIN`: one domain's event channels as the toolstack sees them (`tools/xcutils/lsevtchn.c`).

use serde::Serialize;

use super::Binding;
use super::ImportError;
use super::Source;
use super::cursor::Cursor;

/// One event channel. A physical interrupt's IRQ is not known to the toolstack; it is 0 here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortStatus {
    /// Its port.
    pub port: u32,
    /// The vCPU that is notified.
    pub vcpu: u32,
    /// What it is bound to.
    pub binding: Binding,
}

/// Reads the list; an empty one is a domain without event channels.
///
/// # Errors
/// [`ImportError::Line`] at the first line that is no event channel.
pub fn parse(source: &Source) -> Result<Vec<PortStatus>, ImportError> {
    let text = source.text();
    let lines = (1u32..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(number, line)| parse_port(Cursor::new(source.name(), number, line.trim_end()))).collect()
}

/// `  25: VCPU 1: Interdomain (Connected) - Remote Domain 0, Port 34`
fn parse_port(mut cursor: Cursor<'_>) -> Result<PortStatus, ImportError> {
    let port = cursor.decimal("a port")?;
    cursor.expect(":")?;
    cursor.expect("VCPU")?;
    let vcpu = cursor.decimal("a vCPU number")?;
    cursor.expect(":")?;
    let binding = if cursor.accept("Interdomain (Connected) - Remote Domain") {
        let remote = cursor.decimal("a domain number")?;
        cursor.expect(", Port")?;
        Binding::Interdomain { remote, port: cursor.decimal("a port")? }
    } else if cursor.accept("Interdomain (Waiting connection) - Remote Domain") {
        Binding::Unbound { remote: cursor.decimal("a domain number")? }
    } else if cursor.accept("Physical IRQ") {
        Binding::Pirq { pirq: cursor.decimal("a pirq")?, irq: 0 }
    } else if cursor.accept("Virtual IRQ") {
        Binding::Virq { virq: cursor.decimal("a VIRQ number")? }
    } else if cursor.accept("IPI") {
        Binding::Ipi
    } else if cursor.accept("Unknown") {
        Binding::Reserved
    } else {
        return Err(cursor.error("a binding"));
    };
    if cursor.is_at_end() { Ok(PortStatus { port, vcpu, binding }) } else { Err(cursor.error("the end of the line")) }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::import::Binding;
    use crate::import::Source;

    #[test]
    fn a_waiting_port_and_a_broken_one_are_told_apart() {
        let ports =
            parse(&Source::new("l", "   8: VCPU 0: Interdomain (Waiting connection) - Remote Domain 0\n")).unwrap();
        assert_eq!((ports[0].port, ports[0].binding), (8, Binding::Unbound { remote: 0 }));
        let error = parse(&Source::new("l", "\n   8: VCPU 0: Semaphore\n")).unwrap_err();
        assert_eq!(error.to_string(), "l:2: expected a binding, found \" Semaphore\"");
    }
}
