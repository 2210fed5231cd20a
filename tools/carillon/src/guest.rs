//! A guest as its configuration and its host make it: how it is virtualized, what it may use, and from what that is known.

use carillon_sim::import::ImportError;
use carillon_sim::import::PassedThrough;
use carillon_sim::import::Virtualization;
use carillon_sim::import::XlConfig;
use carillon_sim::snapshot::HostSnapshot;
use hypervisor_lib::fabric::DomainFeatures;
use hypervisor_lib::fabric::DomainKind;
use hypervisor_lib::fabric::Route;
use hypervisor_lib::fabric::Signal;
use hypervisor_lib::fabric::classify;
use vector_allocator::HostLimits;

/// A guest that is to be created.
#[derive(Debug)]
pub(crate) struct Guest {
    /// Its name; none if the configuration has none, which `xl` would not take.
    pub(crate) name: Option<String>,
    /// How it is virtualized.
    pub(crate) kind: DomainKind,
    /// How many vCPUs it can have.
    pub(crate) vcpus: u32,
    /// Whether it may map physical IRQs to events.
    pub(crate) pirqs: Pirqs,
    /// The event channels it may have.
    pub(crate) max_event_channels: u32,
    /// What is passed through to it.
    pub(crate) devices: Vec<PassedThrough>,
}

/// Whether an HVM guest may map physical IRQs to events (`hvm_pirq`), and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pirqs {
    /// A PV guest has no other interrupts.
    Pv,
    /// The configuration says so.
    Configured(Offered),
    /// It says nothing, and the host's version decides.
    ByVersion(Offered),
    /// It says nothing, and the host's version is not known: as newer ones do.
    Unknown,
}

/// Whether something is offered to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// What a host can do for its guests' interrupts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostAbilities {
    /// Xen's version: major, minor.
    pub(crate) version: Option<(u32, u32)>,
    /// How its processors virtualize.
    pub(crate) virtualization: Option<Virtualization>,
    /// Its processors virtualize guests' local APICs.
    pub(crate) apic_virtualized: Option<bool>,
    /// Its IOMMU posts interrupts.
    pub(crate) posting: Option<bool>,
    /// `iommu=intpost` is on Xen's command line.
    pub(crate) posting_asked: Option<bool>,
    /// Devices can be passed to HVM guests: there is an IOMMU.
    pub(crate) hvm_directio: Option<bool>,
    /// The IOMMU lets a device send the interrupts alone that are meant for it.
    pub(crate) remapping: Option<bool>,
    /// `extra_guest_irqs`, first number: physical interrupts of a guest beyond the GSIs.
    pub(crate) extra_guest_irqs: Option<u32>,
}

/// The path of an interrupt, or what it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathFinding {
    /// It takes this one.
    Known(Route),
    /// It takes the first if the processor virtualizes the local APIC, the second if not.
    ByProcessor(Route, Route),
}

/// The version from which HVM guests may map physical IRQs only where their configuration says so (Xen's CHANGELOG, 4.19:
/// "HVM PIRQs are disabled by default").
pub(crate) const PIRQS_OFF_SINCE: (u32, u32) = (4, 19);

impl Guest {
    /// The guest of a configuration on a host.
    ///
    /// # Errors
    /// [`ImportError::Line`] where a setting is none `xl` would take.
    pub(crate) fn of(config: &XlConfig, host: &HostAbilities) -> Result<Self, ImportError> {
        let kind = kind(config)?;
        let (vcpus, max) = (config.number("vcpus")?.unwrap_or(1), config.number("maxvcpus")?.unwrap_or(0));
        let pirqs = match (kind, config.flag("hvm_pirq")?, host.version) {
            (DomainKind::Pv, ..) => Pirqs::Pv,
            (_, Some(is_on), _) => Pirqs::Configured(if is_on { Offered::Yes } else { Offered::No }),
            (_, None, Some(version)) if version < PIRQS_OFF_SINCE => Pirqs::ByVersion(Offered::Yes),
            (_, None, Some(_)) => Pirqs::ByVersion(Offered::No),
            (_, None, None) => Pirqs::Unknown,
        };
        Ok(Self {
            name: config.text("name")?.map(|found| found.text.to_owned()),
            kind,
            vcpus: vcpus.max(max).max(1),
            pirqs,
            max_event_channels: config.number("max_event_channels")?.unwrap_or(HostLimits::MAX_EVENT_CHANNELS),
            devices: config.passed_through()?,
        })
    }

    /// The path of an interrupt that signals so.
    pub(crate) fn path(&self, host: &HostAbilities, signal: Signal) -> PathFinding {
        let route = |apic_virtualized: bool| {
            let posting = apic_virtualized && host.posting.unwrap_or(false);
            classify(
                DomainFeatures { kind: self.kind, pirqs: self.pirqs.are_offered(), apic_virtualized, posting },
                signal,
            )
        };
        let (with, without) = (route(true), route(false));
        match host.apic_virtualized {
            Some(true) => PathFinding::Known(with),
            Some(false) => PathFinding::Known(without),
            None if with == without => PathFinding::Known(with),
            None => PathFinding::ByProcessor(with, without),
        }
    }
}

/// `type`, or its older form `builder`; PV where neither is there (xl.cfg(5)).
fn kind(config: &XlConfig) -> Result<DomainKind, ImportError> {
    let find = |name: &str, known: &[(&str, DomainKind)]| {
        let Some(found) = config.text(name)? else { return Ok(None) };
        match known.iter().find(|(word, _)| *word == found.text) {
            Some((_, kind)) => Ok(Some(*kind)),
            None => {
                let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
                Err(ImportError::Line {
                    file: config.file().to_owned(),
                    line: found.line,
                    expected: format!("{} for {name}", words.join(", ")),
                    found: found.text.chars().take(48).collect(),
                })
            }
        }
    };
    let kind = find("type", &[("pv", DomainKind::Pv), ("hvm", DomainKind::Hvm), ("pvh", DomainKind::Pvh)])?;
    let builder = find("builder", &[("generic", DomainKind::Pv), ("linux", DomainKind::Pv), ("hvm", DomainKind::Hvm)])?;
    Ok(kind.or(builder).unwrap_or(DomainKind::Pv))
}

impl Pirqs {
    /// Whether it may; where that is not known, as newer versions do.
    pub(crate) const fn are_offered(self) -> bool {
        matches!(self, Self::Pv | Self::Configured(Offered::Yes) | Self::ByVersion(Offered::Yes))
    }

    /// Whether and why, in words.
    pub(crate) const fn evidence(self) -> &'static str {
        match self {
            Self::Pv => "a PV guest has its physical interrupts as events",
            Self::Configured(Offered::Yes) => "hvm_pirq is on in the configuration",
            Self::Configured(Offered::No) => "hvm_pirq is off in the configuration",
            Self::ByVersion(Offered::Yes) => "before 4.19 every HVM guest may map physical IRQs to events",
            Self::ByVersion(Offered::No) => "hvm_pirq is off where the configuration does not set it, since Xen 4.19",
            Self::Unknown => "hvm_pirq is taken as off, as it is since Xen 4.19; the host's version is not known",
        }
    }
}

impl HostAbilities {
    /// What a recorded host can do.
    pub(crate) fn of(host: &HostSnapshot) -> Self {
        let info = host.info.as_ref();
        let number = |field: &str| info.and_then(|info| info.field(field)).and_then(|text| text.trim().parse().ok());
        let log = host.boot_log.as_ref();
        let first = |list: &str| list.split(',').next().and_then(|number| number.parse().ok());
        Self {
            version: number("xen_major").zip(number("xen_minor")),
            virtualization: log.and_then(|log| log.virtualization),
            apic_virtualized: log.and_then(|log| log.virtual_interrupt_delivery),
            posting: log.and_then(|log| log.posted_interrupts),
            posting_asked: info.map(|info| {
                let options = info.command_line().split_whitespace().filter_map(|option| option.strip_prefix("iommu="));
                let mut words = options.flat_map(|list| list.split(','));
                words
                    .any(|word| matches!(word, "intpost" | "intpost=1" | "intpost=on" | "intpost=yes" | "intpost=true"))
            }),
            hvm_directio: info
                .and_then(|info| info.field("virt_caps"))
                .map(|caps| caps.split_whitespace().any(|word| word == "hvm_directio"))
                .or(log.and_then(|log| log.io_virtualization)),
            remapping: log.and_then(|log| log.interrupt_remapping),
            extra_guest_irqs: info
                .map(|info| info.option("extra_guest_irqs").and_then(first).unwrap_or(HostLimits::EXTRA_GUEST_IRQS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use carillon_sim::import::Source;
    use carillon_sim::import::xl_config;
    use hypervisor_lib::fabric::DomainKind;
    use hypervisor_lib::fabric::Path;
    use hypervisor_lib::fabric::Signal;

    use super::Guest;
    use super::HostAbilities;
    use super::PathFinding;

    fn guest(text: &str, host: &HostAbilities) -> Guest {
        let config = xl_config::parse(&Source::new("guest.cfg", text)).expect("a configuration");
        Guest::of(&config, host).expect("a guest")
    }

    fn msi(text: &str, host: &HostAbilities) -> Vec<Path> {
        match guest(text, host).path(host, Signal::DeviceMsi) {
            PathFinding::Known(route) => vec![route.path],
            PathFinding::ByProcessor(with, without) => vec![with.path, without.path],
        }
    }

    #[test]
    fn a_guest_is_pv_unless_it_says_otherwise_in_the_old_words_or_the_new() {
        let host = HostAbilities::default();
        for (text, kind) in [
            ("", DomainKind::Pv),
            ("builder='hvm'", DomainKind::Hvm),
            ("builder='hvm'\ntype='pvh'", DomainKind::Pvh),
            ("type='pv'", DomainKind::Pv),
        ] {
            assert_eq!(guest(text, &host).kind, kind, "{text}");
        }
        assert_eq!(guest("vcpus=2\nmaxvcpus=8", &host).vcpus, 8);
        let config = xl_config::parse(&Source::new("guest.cfg", "\ntype='xen'")).expect("a configuration");
        let error = Guest::of(&config, &host).expect_err("no type").to_string();
        assert_eq!(error, "guest.cfg:2: expected pv, hvm, pvh for type, found \"xen\"");
    }

    #[test]
    fn hvm_pirq_counts_only_without_a_virtualized_apic_and_its_default_depends_on_the_version() {
        let host = |version, apic_virtualized, posting| HostAbilities {
            version: Some(version),
            apic_virtualized,
            posting,
            ..HostAbilities::default()
        };
        let hvm = "type='hvm'";
        assert_eq!(msi(hvm, &host((4, 17), Some(false), None)), [Path::PirqEvent]);
        assert_eq!(msi(hvm, &host((4, 19), Some(false), None)), [Path::SoftwareApic]);
        assert_eq!(msi("type='hvm'\nhvm_pirq=1", &host((4, 20), Some(false), None)), [Path::PirqEvent]);
        assert_eq!(msi("type='hvm'\nhvm_pirq=1", &host((4, 20), Some(true), Some(true))), [Path::Posted]);
        assert_eq!(msi(hvm, &host((4, 17), None, None)), [Path::Remapped, Path::PirqEvent]);
        assert_eq!(msi("", &host((4, 17), None, None)), [Path::PirqEvent]);
    }
}
