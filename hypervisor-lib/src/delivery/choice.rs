//! Which delivery engine serves a guest on a machine, and what keeps the better ones from it.

use alloc::vec::Vec;
use core::fmt;

use hypervisor_abi::avic::HostApicId;

use super::avic::MAX_X2AVIC;
use super::avic::MAX_X2AVIC_EXTENDED;
use super::avic::MAX_XAVIC;
use super::capability::AmdReport;
use super::capability::Capability;
use super::capability::Report;

/// A way to deliver interrupts to a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// An emulated local APIC: every access but those of the task priority exits.
    Software,
    /// Intel's APICv: the processor emulates the local APIC, the hypervisor injects at entries.
    Apicv,
    /// APICv with posted interrupts: no exit to inject.
    Posted,
    /// Posted interrupts with IPI virtualization: no exit to send to one vCPU either.
    IpiVirtualization,
    /// AMD's AVIC.
    Avic(DoorbellRinger),
}

/// Who rings the doorbells of other vCPUs under AVIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DoorbellRinger {
    /// The processor that sends.
    Processor,
    /// The hypervisor, after an exit: erratum 1235.
    Hypervisor,
}

/// How the guest reaches its local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuestMode {
    /// By a page.
    XApic,
    /// By MSRs.
    X2Apic,
}

/// What is to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Guest {
    /// How it reaches its local APIC.
    pub mode: GuestMode,
    /// The greatest APIC ID of its vCPUs.
    pub greatest_apic_id: u32,
}

/// A switch of the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Switch {
    /// It lets the feature be used.
    On,
    /// It forbids it.
    Off,
}

/// What the hypervisor can use, and is allowed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hypervisor {
    /// Xen 4.23: APICv and posted interrupts, but neither IPI virtualization nor AVIC.
    Xen {
        /// `apicv` on its command line; on by default.
        apicv: Switch,
        /// `intremap` of `iommu`; on by default.
        intremap: Switch,
        /// `intpost` of `iommu`; off by default.
        intpost: Switch,
    },
    /// One that has all this library has.
    Full,
}

/// What a machine may do for a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feature {
    /// [`Engine::Apicv`].
    Apicv,
    /// [`Engine::Posted`].
    Posted,
    /// [`Engine::IpiVirtualization`].
    IpiVirtualization,
    /// [`Engine::Avic`].
    Avic,
    /// AVIC's processors ring the doorbells of other vCPUs.
    AvicIpis,
    /// The IOMMU delivers devices' interrupts to vCPUs without the host.
    DevicePosting,
}

/// What keeps a feature from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lack {
    /// The machine does not report it.
    Capability(Capability),
    /// It is another maker's.
    Maker,
    /// An option of Xen's command line forbids it.
    Option(XenOption),
    /// Xen has no code for it.
    Code,
    /// What it builds upon is not used.
    Needs(Feature),
    /// A vCPU has a number the tables do not reach.
    GuestApicId {
        /// The guest's greatest.
        greatest: u32,
        /// The greatest the tables reach.
        reach: u32,
    },
    /// A local APIC of the host has a number the tables have no room for.
    HostApicId(u32),
    /// The processor may use an entry's IsRunning after it has been cleared.
    Erratum1235 {
        /// Its family.
        family: u32,
    },
}

/// An option of Xen's command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XenOption {
    /// `apicv`.
    Apicv,
    /// `iommu=intremap`.
    Intremap,
    /// `iommu=intpost`.
    Intpost,
}

/// A feature that is not used, and everything that would have to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which.
    pub feature: Feature,
    /// Why: at least one reason.
    pub lacks: Vec<Lack>,
}

/// How a guest is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// By what.
    pub engine: Engine,
    /// Whether the IOMMU delivers devices' interrupts itself.
    pub devices: Switch,
    /// What is not used, in the order in which one would have to get it.
    pub refusals: Vec<Refusal>,
}

/// The best engine there is for a guest, and the reasons against all that would be better.
#[must_use]
pub fn choose(report: &Report, guest: Guest, hypervisor: Hypervisor) -> Choice {
    let mut inquiry = Inquiry { report, guest, hypervisor, refusals: Vec::new() };
    let engine = match report {
        Report::Amd(_) => inquiry.amd(),
        Report::Intel(_) | Report::Other => inquiry.intel(),
    };
    let devices = inquiry.device_posting(engine);
    Choice { engine, devices, refusals: inquiry.refusals }
}

struct Inquiry<'a> {
    report: &'a Report,
    guest: Guest,
    hypervisor: Hypervisor,
    refusals: Vec<Refusal>,
}

impl Inquiry<'_> {
    fn intel(&mut self) -> Engine {
        let interface = match self.guest.mode {
            GuestMode::XApic => Capability::ApicAccesses,
            GuestMode::X2Apic => Capability::X2ApicMode,
        };
        let mut lacks = self.missing(&[
            Capability::ExternalInterruptExiting,
            Capability::TprShadow,
            Capability::SecondaryControls,
            interface,
            Capability::RegisterVirtualization,
            Capability::VirtualInterruptDelivery,
        ]);
        lacks.extend(self.option(XenOption::Apicv));
        let apicv = self.conclude(Feature::Apicv, lacks);

        let mut lacks = self.missing(&[Capability::ProcessPosted, Capability::AcknowledgeOnExit]);
        lacks.extend(needs(Feature::Apicv, apicv));
        let posted = self.conclude(Feature::Posted, lacks);

        let mut lacks = self.missing(&[Capability::TertiaryControls, Capability::IpiVirtualization]);
        lacks.extend(needs(Feature::Posted, posted));
        lacks.extend(self.reach(match self.guest.mode {
            GuestMode::XApic => 0xfe,
            GuestMode::X2Apic => 0xffff,
        }));
        lacks.extend(self.code());
        match (self.conclude(Feature::IpiVirtualization, lacks), posted, apicv) {
            (Switch::On, _, _) => Engine::IpiVirtualization,
            (_, Switch::On, _) => Engine::Posted,
            (_, _, Switch::On) => Engine::Apicv,
            _ => Engine::Software,
        }
    }

    fn amd(&mut self) -> Engine {
        let Report::Amd(report) = *self.report else { return Engine::Software };
        let needed: &[Capability] = match self.guest.mode {
            GuestMode::XApic => &[Capability::NestedPaging, Capability::Avic],
            GuestMode::X2Apic => &[Capability::NestedPaging, Capability::Avic, Capability::X2Avic],
        };
        let mut lacks = self.missing(needed);
        lacks.extend(self.reach(avic_reach(self.guest.mode, report)));
        lacks.extend(HostApicId::new(report.greatest_apic_id).err().map(|error| Lack::HostApicId(error.0)));
        lacks.extend(self.code());
        let avic = self.conclude(Feature::Avic, lacks);

        let mut lacks: Vec<Lack> = needs(Feature::Avic, avic).into_iter().collect();
        if matches!(report.family, 0x17 | 0x18) {
            lacks.push(Lack::Erratum1235 { family: report.family });
        }
        match (avic, self.conclude(Feature::AvicIpis, lacks)) {
            (Switch::On, Switch::On) => Engine::Avic(DoorbellRinger::Processor),
            (Switch::On, Switch::Off) => Engine::Avic(DoorbellRinger::Hypervisor),
            (Switch::Off, _) => Engine::Software,
        }
    }

    fn device_posting(&mut self, engine: Engine) -> Switch {
        let (needed, under): (&[Capability], _) = match self.report {
            Report::Amd(_) => (&[Capability::IommuGuestApic, Capability::IommuVirtualApic], Feature::Avic),
            _ => (&[Capability::VtdRemapping, Capability::VtdPosting], Feature::Posted),
        };
        let mut lacks = self.missing(needed);
        if matches!(engine, Engine::Software | Engine::Apicv) {
            lacks.push(Lack::Needs(under));
        }
        lacks.extend(self.option(XenOption::Intremap));
        lacks.extend(self.option(XenOption::Intpost));
        self.conclude(Feature::DevicePosting, lacks)
    }

    fn missing(&self, needed: &[Capability]) -> Vec<Lack> {
        match self.report {
            Report::Other => [Lack::Maker].to_vec(),
            report => {
                needed.iter().filter(|capability| !capability.is_in(report)).map(|c| Lack::Capability(*c)).collect()
            }
        }
    }

    fn option(&self, option: XenOption) -> Option<Lack> {
        let Hypervisor::Xen { apicv, intremap, intpost } = self.hypervisor else { return None };
        let switch = match option {
            XenOption::Apicv => apicv,
            XenOption::Intremap => intremap,
            XenOption::Intpost => intpost,
        };
        (switch == Switch::Off).then_some(Lack::Option(option))
    }

    fn code(&self) -> Option<Lack> {
        matches!(self.hypervisor, Hypervisor::Xen { .. }).then_some(Lack::Code)
    }

    fn reach(&self, reach: u32) -> Option<Lack> {
        let greatest = self.guest.greatest_apic_id;
        (greatest > reach).then_some(Lack::GuestApicId { greatest, reach })
    }

    fn conclude(&mut self, feature: Feature, lacks: Vec<Lack>) -> Switch {
        if lacks.is_empty() {
            return Switch::On;
        }
        self.refusals.push(Refusal { feature, lacks });
        Switch::Off
    }
}

fn needs(feature: Feature, switch: Switch) -> Option<Lack> {
    (switch == Switch::Off).then_some(Lack::Needs(feature))
}

/// The greatest APIC ID of a guest that AVIC's tables reach (CPUID 8000_000A ECX bit 6, x2AVIC_EXT).
fn avic_reach(mode: GuestMode, report: AmdReport) -> u32 {
    let entries = match (mode, report.svm_ecx >> 6 & 1) {
        (GuestMode::XApic, _) => MAX_XAVIC,
        (GuestMode::X2Apic, 0) => MAX_X2AVIC,
        (GuestMode::X2Apic, _) => MAX_X2AVIC_EXTENDED,
    };
    u32::try_from(entries - 1).unwrap_or(u32::MAX)
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Software => "an emulated local APIC",
            Self::Apicv => "APICv",
            Self::Posted => "APICv with posted interrupts",
            Self::IpiVirtualization => "APICv with posted interrupts and IPI virtualization",
            Self::Avic(DoorbellRinger::Processor) => "AVIC",
            Self::Avic(DoorbellRinger::Hypervisor) => "AVIC without IPI virtualization",
        })
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Apicv => "APICv",
            Self::Posted => "posted interrupts",
            Self::IpiVirtualization => "IPI virtualization",
            Self::Avic => "AVIC",
            Self::AvicIpis => "AVIC's IPI virtualization",
            Self::DevicePosting => "posting of device interrupts",
        })
    }
}

impl fmt::Display for XenOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Apicv => "apicv=1",
            Self::Intremap => "iommu=intremap",
            Self::Intpost => "iommu=intpost",
        })
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capability(capability) => {
                write!(f, "the machine lacks {capability}; firmware settings may hide it")
            }
            Self::Maker => f.write_str("the processor reports neither VMX nor SVM; firmware settings may hide them"),
            Self::Option(option) => write!(f, "it is switched off: put {option} on Xen's command line"),
            Self::Code => f.write_str("Xen 4.23 cannot use it, and has no option for it"),
            Self::Needs(feature) => write!(f, "{feature} would have to be used"),
            Self::GuestApicId { greatest, reach } => write!(
                f,
                "a vCPU has APIC ID {greatest}, and the tables reach {reach}: give the guest fewer vCPUs, or x2APIC mode"
            ),
            Self::HostApicId(id) => write!(f, "the host has APIC ID {id}, and the tables have room for 4095"),
            Self::Erratum1235 { family } => {
                write!(f, "processors of family {family:x}h lose wake-ups (erratum 1235): commands to other vCPUs exit")
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {}: ", self.feature)?;
        for (position, lack) in self.lacks.iter().enumerate() {
            write!(f, "{}{lack}", if position == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}
