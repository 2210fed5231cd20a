//! What is known of each domain of a recorded host: how it is virtualized, and where its vCPUs are and may be.

use carillon_machine::DomainKind;
use carillon_machine::VcpuRef;
use serde::Serialize;
use serde::Serializer;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DomainId;

use super::HostSnapshot;
use crate::import::Affinity;
use crate::import::PciFunction;
use crate::import::encode;

/// One domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DomainFacts {
    /// Its number.
    #[serde(serialize_with = "encode::text")]
    pub id: DomainId,
    /// Its name; none if `xl list` was not recorded or has not got it.
    pub name: Option<String>,
    /// How it is virtualized; none if the domain dump was not recorded or has not got it.
    #[serde(serialize_with = "kind")]
    pub kind: Option<DomainKind>,
    /// Its vCPUs.
    pub vcpus: Vec<VcpuFacts>,
    /// The PCI functions passed through to it, as far as that was recorded.
    pub functions: Vec<String>,
}

/// One vCPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VcpuFacts {
    /// Which.
    #[serde(serialize_with = "encode::vcpu")]
    pub vcpu: VcpuRef,
    /// Where it ran last; none while it is offline.
    #[serde(serialize_with = "encode::optional_text")]
    pub cpu: Option<CpuId>,
    /// The online CPUs it may run on.
    #[serde(serialize_with = "encode::text")]
    pub affinity: CpuSet,
}

fn kind<S: Serializer>(kind: &Option<DomainKind>, serializer: S) -> Result<S::Ok, S::Error> {
    match kind {
        Some(DomainKind::Pv) => serializer.serialize_some("pv"),
        Some(DomainKind::Hvm) => serializer.serialize_some("hvm"),
        None => serializer.serialize_none(),
    }
}

impl HostSnapshot {
    /// What is known of each domain, by number.
    #[must_use]
    pub fn domain_facts(&self) -> Vec<DomainFacts> {
        let facts = |id: DomainId| {
            let dumped = self.domains.as_ref().and_then(|dump| dump.domain(id));
            DomainFacts {
                id,
                name: self.domain_name(id).map(str::to_owned),
                // Only hardware-assisted domains have their paging assisted, but for a PV guest's while it migrates.
                kind: dumped.map(|domain| match domain.paging.as_deref() {
                    Some(modes) if modes.contains("translate") => DomainKind::Hvm,
                    _ => DomainKind::Pv,
                }),
                vcpus: self.vcpus(id),
                functions: self.assigned_to(id).map(|function| function.address.clone()).collect(),
            }
        };
        self.domain_ids().into_iter().map(facts).collect()
    }

    /// The PCI functions passed through to a domain, as far as that was recorded.
    pub(super) fn assigned_to(&self, id: DomainId) -> impl Iterator<Item = &PciFunction> {
        self.functions.iter().flatten().filter(move |function| function.assigned == Some(id.0))
    }

    /// A domain's vCPUs: from the domain dump, or from `xl vcpu-list` where the dump has not got them.
    #[must_use]
    pub fn vcpus(&self, id: DomainId) -> Vec<VcpuFacts> {
        let online = self.online();
        let dumped = self.domains.as_ref().and_then(|dump| dump.domain(id));
        let dumped: Vec<VcpuFacts> = dumped
            .iter()
            .flat_map(|domain| &domain.vcpus)
            .map(|vcpu| VcpuFacts {
                vcpu: VcpuRef { domain: id, vcpu: vcpu.vcpu },
                cpu: Some(vcpu.cpu),
                affinity: vcpu.hard_affinity.intersection(&online),
            })
            .collect();
        if !dumped.is_empty() {
            return dumped;
        }
        let listed = self.vcpu_list.iter().flatten().filter(|line| line.domain == id);
        listed
            .map(|line| VcpuFacts {
                vcpu: VcpuRef { domain: id, vcpu: line.vcpu },
                cpu: line.cpu,
                affinity: match &line.hard {
                    Affinity::All => online.clone(),
                    Affinity::Cpus(cpus) => cpus.intersection(&online),
                },
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use vector_allocator::DomainId;

    use crate::snapshot::HostSnapshot;

    /// The recorded host, its card passed through to `domains` as `pci.txt` says.
    fn host(assigned: &[(&str, u16)]) -> HostSnapshot {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/xen-sas-nic");
        let read = |name: &str| fs::read(directory.join(name)).expect("a recorded file");
        let mut files: BTreeMap<String, Vec<u8>> =
            ["dump-i.txt", "dump-q.txt"].map(|name| (name.to_owned(), read(name))).into();
        let pci = String::from_utf8(read("pci.txt")).expect("text");
        let line = |line: &str| {
            let owner = assigned.iter().find(|(address, _)| line.contains(address));
            format!("{line}{}\n", owner.map(|(_, domain)| format!(" dom={domain}")).unwrap_or_default())
        };
        files.insert("pci.txt".into(), pci.lines().map(line).collect::<String>().into());
        HostSnapshot::from_files("host", files).expect("a host")
    }

    #[test]
    fn a_guest_that_has_one_function_gets_its_interrupts_from_there() {
        let function = |host: &HostSnapshot, irq: u32| {
            host.sources().into_iter().find(|source| source.irq == irq).expect("the source").function
        };
        let one = host(&[("00:04.0", 1)]);
        let guest = one.domain_facts().into_iter().find(|domain| domain.id == DomainId(1)).expect("the guest");
        assert_eq!(guest.functions, ["0000:00:04.0"]);
        assert_eq!(function(&one, 26).as_deref(), Some("0000:00:04.0"));
        assert_eq!(function(&one, 25), None, "dom0's is not the guest's");
        // With two functions it cannot be told.
        assert_eq!(function(&host(&[("00:04.0", 1), ("00:1f.2", 1)]), 26), None);
    }
}
