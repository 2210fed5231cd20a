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
    /// Whether the processor delivers virtual interrupts (`VMX: Supported advanced features:`); none if the log does not
    /// begin with the boot.
    pub virtual_interrupt_delivery: Option<bool>,
    /// Whether the IOMMU posts interrupts (`Intel VT-d Posted Interrupt enabled.`).
    pub posted_interrupts: Option<bool>,
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
        if line.starts_with("VMX: Supported advanced features:") {
            log.virtual_interrupt_delivery.get_or_insert(false);
        }
        if line == "- Virtual Interrupt Delivery" {
            log.virtual_interrupt_delivery = Some(true);
        }
        if let Some(state) = line.strip_prefix("Intel VT-d Posted Interrupt ") {
            log.posted_interrupts = Some(state == "enabled.");
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
        assert_eq!((log.virtual_interrupt_delivery, log.posted_interrupts), (None, None));
    }

    #[test]
    fn what_the_processor_and_the_iommu_can_do_is_found() {
        let text = "(XEN) VMX: Supported advanced features:\n(XEN)  - APIC TPR shadow\n(XEN)  - Virtual Interrupt Delivery\n\
                    (XEN) Intel VT-d Posted Interrupt not enabled.\n";
        let log = parse(&Source::new("xl-dmesg.txt", text));
        assert_eq!((log.virtual_interrupt_delivery, log.posted_interrupts), (Some(true), Some(false)));
        let old =
            parse(&Source::new("xl-dmesg.txt", "(XEN) VMX: Supported advanced features:\n(XEN)  - APIC TPR shadow\n"));
        assert_eq!(old.virtual_interrupt_delivery, Some(false));
    }
}
