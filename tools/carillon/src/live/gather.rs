//! The files of a recording, from this host.

use std::collections::BTreeMap;
use std::fs;

use carillon_xen_host::ConsoleReader;
use carillon_xen_host::DebugKey;
use carillon_xen_host::Domain;
use carillon_xen_host::ForeignMemory;
use carillon_xen_host::Hypercalls;
use carillon_xen_host::Hypervisor;
use carillon_xen_host::XenError;
use carillon_xen_host::XenStore;

use super::failure;
use super::pci;
use super::ports;
use super::xl;
use crate::failure::Failure;

/// Dom0's interrupts.
pub(crate) const INTERRUPTS: &str = "/proc/interrupts";

/// The files of a recording, by their names.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// What they hold.
    pub(crate) contents: BTreeMap<String, Vec<u8>>,
    /// What there is not.
    pub(crate) missing: Vec<Missing>,
}

/// A file that could not be made.
#[derive(Debug)]
pub(crate) struct Missing {
    /// Its name.
    pub(crate) file: String,
    /// Why.
    pub(crate) why: String,
}

impl Files {
    /// Everything this host tells at once. Only the dump of the IRQs is indispensable.
    pub(crate) fn gather<H: Hypercalls + ForeignMemory>(xen: &Hypervisor<H>) -> Result<Self, Failure> {
        let mut files = Self::default();
        let mut console = ConsoleReader::default();
        let log = console.read(xen).map_err(|error| failure(&error))?;
        files.put("xl-dmesg.txt", log.text);
        for key in DebugKey::ALL {
            let name = format!("dump-{}.txt", key.key());
            match console.dump(xen, key) {
                Ok(dump) => files.put(name, dump.text),
                Err(error) if key == DebugKey::Irqs => return Err(failure(&error)),
                Err(error) => files.lack(name, &failure(&error)),
            }
        }
        files.keep("interrupts.txt", fs::read(INTERRUPTS).map_err(|error| format!("{INTERRUPTS}: {error}")));
        files.keep("xl-info.txt", xl::info(xen).map_err(|error| failure(&error)));
        let domains = match xen.domains() {
            Ok(domains) => domains,
            Err(error) => {
                files.lack("xl-list.txt", &failure(&error));
                return Ok(files);
            }
        };
        let told = Told::by_xenstore(&domains).unwrap_or_else(|error| {
            files.lack("names and devices of domains", &failure(&error));
            Told::default()
        });
        files.keep("pci.txt", pci::list(&told.functions).map_err(|error| format!("{}: {error}", pci::DEVICES)));
        files.gather_domains(xen, &domains, &told);
        Ok(files)
    }

    /// What there is of each domain.
    fn gather_domains<H: Hypercalls>(&mut self, xen: &Hypervisor<H>, domains: &[Domain], told: &Told) {
        let name = |domain: &Domain| told.names.get(&domain.id.0).cloned().unwrap_or_else(|| "(null)".to_owned());
        self.put("xl-list.txt", xl::list(domains, &name));
        self.keep("xl-vcpu-list.txt", xl::vcpu_list(xen, domains, &name).map_err(|error| failure(&error)));
        for domain in domains {
            let file = format!("lsevtchn-{}.txt", domain.id.0);
            self.keep(file, xen.ports(domain.id).map(|ports| ports::list(&ports)).map_err(|error| failure(&error)));
        }
    }

    /// Adds a file.
    pub(crate) fn put(&mut self, name: impl Into<String>, contents: impl Into<Vec<u8>>) {
        self.contents.insert(name.into(), contents.into());
    }

    /// Says why there is no such file.
    pub(crate) fn lack(&mut self, file: impl Into<String>, why: &impl ToString) {
        let why = why.to_string().replace("\n  ", "; ");
        self.missing.push(Missing { file: file.into(), why });
    }

    /// Adds a file, or says why there is none.
    fn keep(&mut self, name: impl Into<String>, contents: Result<impl Into<Vec<u8>>, impl ToString>) {
        match contents {
            Ok(contents) => self.put(name, contents),
            Err(why) => self.lack(name, &why),
        }
    }
}

/// What the toolstack wrote down about the domains.
#[derive(Debug, Default)]
struct Told {
    /// Their names; a domain without one is left out.
    names: BTreeMap<u16, String>,
    /// The PCI functions passed through, and to which domain.
    functions: BTreeMap<String, u16>,
}

impl Told {
    fn by_xenstore(domains: &[Domain]) -> Result<Self, XenError> {
        let mut store = XenStore::open()?;
        let mut told = Self::default();
        for domain in domains.iter().map(|domain| domain.id.0) {
            if let Some(name) = store.read(&format!("/local/domain/{domain}/name"))? {
                told.names.insert(domain, name);
            }
            for function in pci::assigned_to(&mut store, domain)? {
                told.functions.insert(function, domain);
            }
        }
        Ok(told)
    }
}
