//! How the recorded host addresses its interrupts, which vectors it has, and how it acknowledges: each with its evidence.

use serde::Serialize;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;
use vector_allocator::IoApicAck;
use vector_allocator::VectorLayout;
use vector_allocator::XenLayout;

use super::DomainFacts;
use super::HostSnapshot;
use crate::import::DestinationMode;
use crate::import::MsiSender;
use crate::import::encode;

/// Something found out about a host, and from what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding<T> {
    /// What.
    pub value: T,
    /// From what.
    pub evidence: String,
}

/// The host's own facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostFacts {
    /// The hypervisor's version: `4.17.7`.
    pub xen_version: Option<String>,
    /// The scheduler: `credit2`.
    pub scheduler: Option<String>,
    /// The hypervisor's command line.
    pub command_line: Option<String>,
    /// The CPUs that can take interrupts.
    #[serde(serialize_with = "encode::text")]
    pub online: CpuSet,
    /// The frequency of the time-stamp counter, kHz.
    pub tsc_khz: Option<u64>,
    /// How interrupts are addressed, and how that is known.
    pub addressing: String,
    /// Which vectors are kept from the pool, and how that is known.
    pub layout: String,
    /// How level-triggered interrupts are acknowledged, and how that is known.
    pub acknowledgement: String,
    /// The domains, by number.
    pub domains: Vec<DomainFacts>,
}

/// The vector newer versions of Xen keep for HPET broadcast unless no CPU needs it (`asm/irq-vectors.h`).
const HPET_BROADCAST_VECTOR: u8 = 0x30;

/// The first version that may keep it: the change ("x86/HPET: use single, global, low-priority vector for broadcast IRQ")
/// was posted for 4.21. Before it, each channel took its vector from the pool.
const HPET_BROADCAST_SINCE: (u32, u32) = (4, 21);

/// The most CPUs Xen addresses in flat mode.
const FLAT_CPUS: u32 = 8;

impl<T> Finding<T> {
    fn new(value: T, evidence: impl Into<String>) -> Self {
        Self { value, evidence: evidence.into() }
    }
}

impl HostSnapshot {
    /// The CPUs that can take interrupts: those `xl info` counts, else those that hold vectors or run vCPUs.
    #[must_use]
    pub fn online(&self) -> CpuSet {
        if let Some(count) = self.info.as_ref().and_then(crate::import::XlInfo::cpus) {
            return CpuSet::first_n(count);
        }
        let holders = self.irqs.irqs.iter().flat_map(|irq| irq.holders.iter());
        let placed =
            self.domains.iter().flat_map(|dump| &dump.domains).flat_map(|domain| &domain.vcpus).map(|vcpu| vcpu.cpu);
        let listed = self.vcpu_list.iter().flatten().filter_map(|line| line.cpu);
        holders.chain(placed).chain(listed).collect()
    }

    /// How external interrupts are addressed: by what Xen said at boot, else by its command line, its messages and pins,
    /// or who holds its vectors.
    #[must_use]
    pub fn destination_model(&self) -> Finding<DestinationModel> {
        if let Some(driver) = self.boot_log.as_ref().and_then(|log| log.apic_driver.as_deref()) {
            let evidence = format!("Xen said it uses the APIC driver {driver}");
            match driver {
                "bigsmp" | "x2apic_phys" | "x2apic_mixed" => return Finding::new(DestinationModel::Physical, evidence),
                "x2apic_cluster" => return Finding::new(DestinationModel::X2APIC_CLUSTER, evidence),
                "default" => return Finding::new(self.logical(), evidence),
                _ => {}
            }
        }
        if let Some(option) = self.addressing_option() {
            return option;
        }
        if let Some(message) =
            self.messages.iter().flat_map(|dump| &dump.messages).find(|line| line.sender != MsiSender::Iommu)
        {
            let evidence = format!("dump-M.txt: the message of IRQ {} has a", message.irq);
            return self.by_mode(message.mode, &evidence);
        }
        let mut pins =
            self.io_apics.iter().flat_map(|dump| &dump.apics).flat_map(|apic| &apic.pins).chain(&self.irqs.pins);
        if let Some(pin) = pins.find(|pin| !pin.entry.is_masked) {
            let evidence = format!("pin {}:{} of the IO-APICs has a", pin.apic, pin.pin);
            return self.by_mode(pin.entry.mode, &evidence);
        }
        let xen = VectorLayout::xen(XenLayout::default());
        let spread = self.irqs.irqs.iter().find(|irq| {
            let is_dynamic =
                irq.vector.is_some_and(|vector| !xen.notification().contains(vector) && !xen.system().contains(vector));
            is_dynamic && irq.holders.len() > 1
        });
        match spread {
            Some(irq) => Finding::new(self.logical(), format!("IRQ {} holds its vector on {}", irq.irq, irq.holders)),
            None => Finding::new(DestinationModel::Physical, "no IRQ holds its vector on more than one CPU"),
        }
    }

    fn by_mode(&self, mode: DestinationMode, evidence: &str) -> Finding<DestinationModel> {
        match mode {
            DestinationMode::Physical => {
                Finding::new(DestinationModel::Physical, format!("{evidence} physical destination"))
            }
            DestinationMode::Logical => Finding::new(self.logical(), format!("{evidence} logical destination")),
        }
    }

    /// Flat mode, or clusters where CPUs or destinations are too many for it.
    fn logical(&self) -> DestinationModel {
        let is_wide = self.irqs.pins.iter().any(|pin| pin.entry.destination_digits > 2);
        if is_wide || self.online().iter().any(|cpu| cpu.0 >= FLAT_CPUS) {
            DestinationModel::X2APIC_CLUSTER
        } else {
            DestinationModel::FLAT
        }
    }

    /// What the command line asks for (`apic=`, `x2apic_phys=`, `x2apic-mode=`).
    fn addressing_option(&self) -> Option<Finding<DestinationModel>> {
        let info = self.info.as_ref()?;
        let asked = |name: &str, value: &str| format!("Xen's command line has {name}={value}");
        if let Some(value @ "bigsmp") = info.option("apic") {
            return Some(Finding::new(DestinationModel::Physical, asked("apic", value)));
        }
        match info.option("x2apic-mode") {
            Some(value @ ("physical" | "mixed")) => {
                return Some(Finding::new(DestinationModel::Physical, asked("x2apic-mode", value)));
            }
            Some(value @ "cluster") => {
                return Some(Finding::new(DestinationModel::X2APIC_CLUSTER, asked("x2apic-mode", value)));
            }
            _ => {}
        }
        match info.option("x2apic_phys") {
            Some(value @ ("1" | "true" | "yes" | "on")) => {
                Some(Finding::new(DestinationModel::Physical, asked("x2apic_phys", value)))
            }
            _ => None,
        }
    }

    /// Which vectors Xen keeps from the pool.
    #[must_use]
    pub fn layout_options(&self) -> Finding<XenLayout> {
        let mut evidence = Vec::new();
        let capabilities = self.info.as_ref().and_then(|info| info.field("xen_caps"));
        let pv = capabilities.is_none_or(|caps| caps.split_whitespace().any(|cap| cap == "xen-3.0-x86_64"));
        evidence.push(match (capabilities, pv) {
            (None, _) => "80 kept (xen_caps unknown)",
            (Some(_), true) => "80 kept (xen_caps has xen-3.0-x86_64)",
            (Some(_), false) => "80 free (xen_caps has no PV)",
        });
        // Xen keeps 82 whenever it is built for 32-bit PV, even if it then runs without: its capabilities cannot deny it.
        evidence.push(if pv { "82 kept (32-bit PV may be built in)" } else { "82 free" });
        let (keeps, reason) = self.hpet_broadcast();
        evidence.push(&reason);
        let layout = XenLayout { pv, pv32: pv, hpet_broadcast: keeps };
        Finding::new(layout, evidence.join(", "))
    }

    /// Whether a vector is kept for HPET broadcast, and how that is known.
    fn hpet_broadcast(&self) -> (bool, String) {
        if let Some((major, minor)) = self.version().filter(|version| *version < HPET_BROADCAST_SINCE) {
            return (false, format!("30 given to devices (Xen {major}.{minor} keeps none for HPET broadcast)"));
        }
        let taken =
            self.irqs.irqs.iter().find(|irq| irq.vector.is_some_and(|vector| vector.number() == HPET_BROADCAST_VECTOR));
        match taken {
            Some(irq) => (false, format!("30 free (IRQ {} holds it, so it is not kept for HPET broadcast)", irq.irq)),
            None => {
                (true, String::from("30 kept (nobody holds it, and Xen may keep it for HPET broadcast from 4.21 on)"))
            }
        }
    }

    /// Xen's version, major and minor; none if it was not recorded or is no version.
    fn version(&self) -> Option<(u32, u32)> {
        let mut parts = self.info.as_ref()?.field("xen_version")?.split(['.', '-']);
        Some((parts.next()?.trim().parse().ok()?, parts.next()?.trim().parse().ok()?))
    }

    /// How level-triggered interrupts are acknowledged.
    #[must_use]
    pub fn io_apic_ack(&self) -> Finding<IoApicAck> {
        let logged = self.boot_log.as_ref().and_then(|log| log.ack_method.as_deref());
        let asked = self.info.as_ref().and_then(|info| info.option("ioapic_ack"));
        match (logged, asked) {
            (Some("old"), _) => Finding::new(IoApicAck::Old, "Xen said it uses the old ACK method"),
            (Some("new"), _) => Finding::new(IoApicAck::New, "Xen said it uses the new ACK method"),
            (_, Some("old")) => Finding::new(IoApicAck::Old, "Xen's command line has ioapic_ack=old"),
            (_, Some("new")) => Finding::new(IoApicAck::New, "Xen's command line has ioapic_ack=new"),
            _ => Finding::new(IoApicAck::New, "Xen's default"),
        }
    }

    /// The host's own facts.
    #[must_use]
    pub fn facts(&self) -> HostFacts {
        let field = |name: &str| self.info.as_ref().and_then(|info| info.field(name)).map(str::to_owned);
        let model = self.destination_model();
        let addressing = match model.value {
            DestinationModel::Physical => "physical destinations".to_owned(),
            DestinationModel::Logical { cluster_size } => format!("logical destinations, clusters of {cluster_size}"),
        };
        let ack = self.io_apic_ack();
        let acknowledgement = match ack.value {
            IoApicAck::New => "EOI at the end of service",
            IoApicAck::Old => "EOI at once, masked until the end of service",
        };
        HostFacts {
            xen_version: field("xen_version"),
            scheduler: field("xen_scheduler"),
            command_line: field("xen_commandline"),
            online: self.online(),
            tsc_khz: self.info.as_ref().and_then(crate::import::XlInfo::tsc_khz),
            addressing: format!("{addressing}: {}", model.evidence),
            layout: self.layout_options().evidence,
            acknowledgement: format!("{acknowledgement}: {}", ack.evidence),
            domains: self.domain_facts(),
        }
    }
}
