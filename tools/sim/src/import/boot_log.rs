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
    /// How the processor virtualizes (`VMX: Supported advanced features:`, or `SVM:`); none if the log does not begin with the
    /// boot.
    pub virtualization: Option<Virtualization>,
    /// Whether Xen has the processor deliver virtual interrupts (`- Virtual Interrupt Delivery`); none as above.
    pub virtual_interrupt_delivery: Option<bool>,
    /// Whether Xen has the IOMMU post interrupts (`Intel VT-d Posted Interrupt enabled.`).
    pub posted_interrupts: Option<bool>,
    /// Whether an IOMMU keeps devices apart (`I/O virtualisation enabled`).
    pub io_virtualization: Option<bool>,
    /// Whether it remaps interrupts (`Interrupt remapping enabled`).
    pub interrupt_remapping: Option<bool>,
}

/// A processor's virtualization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Virtualization {
    /// Intel's.
    Vmx,
    /// AMD's. Xen uses neither AVIC nor the guest mode of AMD's IOMMU, whatever these can do: up to 4.17 its program does not
    /// name AVIC at all, and the list of features it prints (`xen/arch/x86/hvm/svm/svm.c`, `start_svm`) lacks it.
    Svm,
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
            log.virtualization = Some(Virtualization::Vmx);
            log.virtual_interrupt_delivery.get_or_insert(false);
        }
        if line.starts_with("SVM: Supported advanced features:") {
            log.virtualization = Some(Virtualization::Svm);
            (log.virtual_interrupt_delivery, log.posted_interrupts) = (Some(false), Some(false));
        }
        if line == "- Virtual Interrupt Delivery" {
            log.virtual_interrupt_delivery = Some(true);
        }
        if let Some(state) = line.strip_prefix("Intel VT-d Posted Interrupt ") {
            log.posted_interrupts = Some(state == "enabled.");
        }
        log.io_virtualization = switched(line, "I/O virtualisation ").or(log.io_virtualization);
        log.interrupt_remapping = switched(line, "Interrupt remapping ").or(log.interrupt_remapping);
    }
    log
}

/// Whether a line says that something is `enabled` or `disabled`; none if it is not about that.
fn switched(line: &str, what: &str) -> Option<bool> {
    match line.strip_prefix(what)? {
        "enabled" => Some(true),
        "disabled" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Virtualization;
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
        assert_eq!((old.virtualization, old.io_virtualization), (Some(Virtualization::Vmx), None));
    }

    #[test]
    fn an_amd_processor_delivers_and_posts_nothing_for_xen() {
        let text = "(XEN) AMD-Vi: IOMMU 0 Enabled.\n(XEN) I/O virtualisation enabled\n(XEN)  - Dom0 mode: Relaxed\n\
                    (XEN) Interrupt remapping disabled\n(XEN) SVM: Supported advanced features:\n\
                    (XEN)  - Nested Page Tables (NPT)\n";
        let log = parse(&Source::new("xl-dmesg.txt", text));
        assert_eq!(log.virtualization, Some(Virtualization::Svm));
        assert_eq!((log.virtual_interrupt_delivery, log.posted_interrupts), (Some(false), Some(false)));
        assert_eq!((log.io_virtualization, log.interrupt_remapping), (Some(true), Some(false)));
        let late = parse(&Source::new("xl-dmesg.txt", "(XEN) I/O virtualisation is something else\n"));
        assert_eq!((late.io_virtualization, late.virtual_interrupt_delivery), (None, None));
    }
}
