//! What Xen says of its interrupt controllers while it boots: `xl dmesg`, kept from the boot or still in its ring.

use serde::Serialize;

use super::Source;
use super::console;

/// What the log says; the last line of each kind counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BootLog {
    /// `Using APIC driver …`: `default`, `bigsmp`, `x2apic_cluster`, `x2apic_phys`, `x2apic_mixed`.
    pub apic_driver: Option<String>,
    /// `-> Using new ACK method`: `new` or `old`.
    pub ack_method: Option<String>,
}

/// Reads the log. Every line that says nothing of interrupt controllers is left out; there is nothing that could be wrong.
#[must_use]
pub fn parse(source: &Source) -> BootLog {
    let text = source.text();
    let mut log = BootLog::default();
    for line in console::lines(&text) {
        let line = line.text.trim();
        if let Some(driver) =
            line.strip_prefix("Using APIC driver ").or_else(|| line.strip_prefix("Switched to APIC driver "))
        {
            log.apic_driver = Some(driver.trim().trim_end_matches('.').to_owned());
        }
        if let Some(method) = line.split_once("Using ").and_then(|(_, rest)| rest.strip_suffix(" ACK method")) {
            log.ack_method = Some(method.to_owned());
        }
    }
    log
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::import::Source;

    #[test]
    fn the_last_apic_driver_and_the_ack_method_are_found() {
        let text = "(XEN) Using APIC driver default\n(XEN) Switched to APIC driver x2apic_mixed\n(XEN) ENABLING IO-APIC IRQs\n\
                    (XEN)  -> Using new ACK method\n";
        let log = parse(&Source::new("xl-dmesg.txt", text));
        assert_eq!((log.apic_driver.as_deref(), log.ack_method.as_deref()), (Some("x2apic_mixed"), Some("new")));
    }
}
