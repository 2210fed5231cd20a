//! What stands in the way of a guest's devices, and which option would change it: the sentences of `check-config`, each with
//! where it is known from.

use carillon_sim::import::PassedThrough;
use carillon_sim::import::PciFunction;
use carillon_sim::import::Virtualization;
use hypervisor_lib::fabric::DomainKind;
use serde::Serialize;

use crate::guest::Guest;
use crate::guest::HostAbilities;
use crate::guest::Offered;
use crate::guest::Pirqs;

/// Something to know, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// The device, or the guest.
    pub(crate) about: String,
    /// The option to change, with its value.
    pub(crate) option: Option<String>,
    /// Why.
    pub(crate) why: String,
}

/// What was found out about a guest.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What stands in the way.
    pub(crate) problems: Vec<Finding>,
    /// What may be changed.
    pub(crate) advice: Vec<Finding>,
}

/// NVIDIA.
const NVIDIA: u16 = 0x10de;
/// The base class of display controllers.
const DISPLAY: u32 = 0x03;

/// What a finding is about, if not a device.
const GUEST: &str = "the guest";

fn finding(about: impl Into<String>, option: Option<&str>, why: impl Into<String>) -> Finding {
    Finding { about: about.into(), option: option.map(str::to_owned), why: why.into() }
}

impl Findings {
    /// Looks at the guest as a whole.
    pub(crate) fn look_at_guest(&mut self, guest: &Guest, host: &HostAbilities) {
        if guest.devices.is_empty() {
            return;
        }
        if guest.kind == DomainKind::Pvh {
            // tools/libs/light/libxl_x86.c, libxl__arch_passthrough_mode_setdefault().
            let why = "xl refuses it: \"passthrough not yet supported for x86 PVH guests\"";
            self.problems.push(finding(GUEST, Some("type=\"hvm\" or type=\"pv\""), why));
            return;
        }
        if guest.kind == DomainKind::Hvm && host.hvm_directio == Some(false) {
            let why = "the host cannot pass devices to HVM guests: virt_caps of `xl info` lacks hvm_directio, or Xen's boot \
                       log says that I/O virtualisation is disabled, which takes an IOMMU";
            self.problems.push(finding(GUEST, Some("iommu=1 on Xen's command line, and in the firmware"), why));
        }
        if host.remapping == Some(false) && host.hvm_directio != Some(false) {
            // Xen's command-line documentation, iommu: intremap.
            let why = "the IOMMU does not remap interrupts: the guest's device can send the processors any vector";
            self.advice.push(finding(GUEST, Some("iommu=intremap on Xen's command line, and in the firmware"), why));
        }
        if guest.kind == DomainKind::Hvm {
            self.look_at_delivery(guest, host);
        }
    }

    /// How an HVM guest's messages come to it.
    fn look_at_delivery(&mut self, guest: &Guest, host: &HostAbilities) {
        let is_amd = host.virtualization == Some(Virtualization::Svm);
        if is_amd && host.posting_asked == Some(true) {
            // Xen's command-line documentation, iommu: intpost.
            let why = "iommu=intpost changes nothing: Xen posts interrupts through Intel's IOMMUs alone";
            self.advice.push(finding(GUEST, None, why));
        }
        match (host.apic_virtualized, host.posting) {
            (Some(true), None | Some(false)) if host.posting_asked == Some(true) => {
                let why = "iommu=intpost is on the command line, but Xen's boot log does not say that it is enabled: the \
                           IOMMU or the processor lacks it";
                self.advice.push(finding(GUEST, None, why));
            }
            (Some(true), None | Some(false)) => {
                // Xen's command-line documentation: off by default.
                let why = "the IOMMU would post this guest's messages, with no host vector and no exit while its vCPU \
                           runs; Xen leaves it off by default";
                self.advice.push(finding(GUEST, Some("iommu=intpost on Xen's command line"), why));
            }
            (Some(false), _) if !guest.pirqs.are_offered() => {
                let why = match is_amd {
                    true => "Xen does not use AMD's AVIC, whether or not the processor has it",
                    false => "the processor does not virtualize the local APIC",
                };
                let why = format!(
                    "{why}, so each EOI costs an exit; with PIRQs a Linux guest takes its messages as events instead"
                );
                self.advice.push(finding(GUEST, Some("hvm_pirq=1"), why));
            }
            _ => {}
        }
        match (guest.pirqs, host.apic_virtualized) {
            (Pirqs::Configured(Offered::Yes), Some(true)) => {
                // Linux: arch/x86/pci/xen.c, xen_hvm_msi_init().
                let why = "the processor virtualizes the local APIC, so a Linux guest keeps its messages native; PIRQs only \
                           turn its lines into events";
                self.advice.push(finding(GUEST, Some("hvm_pirq=0"), why));
            }
            (Pirqs::Configured(Offered::Yes), None | Some(false))
            | (Pirqs::Pv | Pirqs::ByVersion(_) | Pirqs::Unknown | Pirqs::Configured(Offered::No), _) => {}
        }
    }

    /// Looks at one entry of the configuration; `functions` are those of the host it stands for, none if the host's are
    /// not known.
    pub(crate) fn look_at_device(&mut self, guest: &Guest, entry: &PassedThrough, functions: Option<&[&PciFunction]>) {
        let about = format!("{} (line {})", entry.address(), entry.line);
        if functions.is_some_and(<[_]>::is_empty) {
            self.problems.push(finding(about.clone(), None, "the host has no such function"));
        }
        let functions = functions.unwrap_or_default();
        let driven = functions.iter().find_map(|function| function.driver.as_deref().filter(|driver| is_dom0s(driver)));
        if let Some(driver) = driven {
            // xl-pci-configuration(5), seize.
            match entry.seize {
                false => {
                    let why = format!("dom0 drives it ({driver}): it must be pciback's before the guest can have it");
                    self.problems.push(finding(about.clone(), Some("xl pci-assignable-add, or seize=1"), why));
                }
                true => {
                    let why = format!("seize=1 takes it from dom0's driver {driver}, whatever dom0 uses it for");
                    self.advice.push(finding(about.clone(), None, why));
                }
            }
        }
        // xl-pci-configuration(5), msitranslate.
        if entry.msi_translate && functions.iter().any(|function| function.vendor == NVIDIA) {
            let why = "NVIDIA's drivers find the translation out and do not work with it";
            self.problems.push(finding(about.clone(), Some("msitranslate=0"), why));
        }
        // xl-pci-configuration(5), permissive.
        if entry.permissive {
            let why = "the guest may write all of the device's configuration space: for guests you trust only";
            self.advice.push(finding(about.clone(), None, why));
        }
        // Qubes OS issue 7971.
        let is_display = functions.iter().any(|function| function.class >> 16 == DISPLAY);
        if is_display && guest.kind == DomainKind::Hvm && guest.pirqs.are_offered() {
            let option = (guest.pirqs == Pirqs::Configured(Offered::Yes)).then_some("hvm_pirq=0");
            let why = "PIRQs are on, and with some AMD graphics cards Xen takes their messages for native ones it cannot \
                       deliver (\"Unsupported MSI delivery mode 7\"); hvm_pirq turns them off, from Xen 4.19 on";
            self.advice.push(finding(about, option, why));
        }
    }

    /// A line of an HVM guest that dom0 shares.
    pub(crate) fn look_at_line(&mut self, guest: &Guest, entry: &PassedThrough, irq: u32) {
        if guest.kind != DomainKind::Hvm || entry.msi_translate {
            return;
        }
        // xl-pci-configuration(5), msitranslate; xen/arch/x86/irq.c, irq_acktype().
        let why = format!(
            "on the recorded host it signals by the level-triggered IRQ {irq}, which keeps the in-service bit until the \
             guest is done; translated, it signals by MSI even where the guest uses the line"
        );
        let about = format!("{} (line {})", entry.address(), entry.line);
        self.advice.push(finding(about, Some("msitranslate=1, but not for NVIDIA's devices"), why));
    }

    /// Where everything else is right, and a driver fails all the same.
    pub(crate) fn hint_at_permissive(&mut self, guest: &Guest) {
        if guest.devices.iter().any(|entry| !entry.permissive) {
            // xl-pci-configuration(5), permissive.
            let why = "if a driver cannot set its device up: many devices need writes to their configuration space that are \
                       not let through without it. For guests you trust only";
            self.advice.push(finding(GUEST, Some("permissive=1 for that device"), why));
        }
    }
}

/// Whether a driver is one of dom0's own rather than the one that keeps devices for guests.
fn is_dom0s(driver: &str) -> bool {
    !matches!(driver, "pciback" | "xen-pciback")
}
