//! Domains, their vCPUs, and where those run.

use hypervisor_abi::DomainId;
use hypervisor_abi::VcpuId;
use hypervisor_abi::domctl;
use hypervisor_abi::domctl::GetDomainInfo;
use hypervisor_abi::domctl::GetVcpuInfo;
use hypervisor_abi::domctl::VcpuAffinity;
use hypervisor_abi::sysctl;
use hypervisor_abi::sysctl::Bitmap;
use hypervisor_abi::sysctl::DOMAIN_INFO_ROOM;
use hypervisor_abi::sysctl::GetDomainInfoList;
use zerocopy::FromBytes as _;

use crate::calls::Buffer;
use crate::calls::Hypercalls;
use crate::calls::Refused;
use crate::error::XenError;
use crate::hypervisor::Hypervisor;
use crate::hypervisor::failed;

/// "There is no such vCPU" (`ESRCH`, `ENOENT`), or it is not there yet (`EINVAL`).
const NO_VCPU: [Refused; 3] = [Refused(3), Refused(2), Refused(22)];
/// The most vCPUs a domain can have (`DOMAIN_MAX_VCPUS` of PV, the largest).
const VCPUS_LIMIT: u32 = 8192;

/// A domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Its number.
    pub id: DomainId,
    /// Its state.
    pub flags: DomainFlags,
    /// Pages it has.
    pub pages: u64,
    /// How long its vCPUs have run, ns.
    pub cpu_time_ns: u64,
    /// vCPUs that are online.
    pub online_vcpus: u32,
    /// One more than the highest number of a vCPU.
    pub vcpus: u32,
}

/// A domain's state (`XEN_DOMINF_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainFlags(pub u32);

/// A vCPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vcpu {
    /// Its number.
    pub id: VcpuId,
    /// Whether it is online.
    pub is_online: bool,
    /// Whether it waits for an event.
    pub is_blocked: bool,
    /// Whether it runs right now.
    pub is_running: bool,
    /// How long it has run, ns.
    pub cpu_time_ns: u64,
    /// The CPU it runs on or ran last.
    pub cpu: u32,
    /// The CPUs it may run on, ascending.
    pub hard: Vec<u32>,
    /// The CPUs it had better run on, ascending.
    pub soft: Vec<u32>,
}

impl DomainFlags {
    /// Whether any of `mask`, one of `DOMINF_*`, is set.
    #[must_use]
    pub const fn has(self, mask: u32) -> bool {
        self.0 & mask != 0
    }

    /// Whether it has shut down because it crashed.
    #[must_use]
    pub const fn has_crashed(self) -> bool {
        self.has(domctl::DOMINF_SHUTDOWN) && self.0 >> domctl::DOMINF_SHUTDOWN_SHIFT & 0xff == domctl::SHUTDOWN_CRASH
    }
}

impl<H: Hypercalls> Hypervisor<H> {
    /// All domains, ascending. They are asked for one by one, so that the size of what the hypervisor tells of each, which
    /// differs between versions, need not be known.
    ///
    /// # Errors
    /// [`XenError::Call`] or [`XenError::NotPrivileged`].
    pub fn domains(&self) -> Result<Vec<Domain>, XenError> {
        let mut domains = Vec::new();
        let mut first = 0;
        while first < DomainId::FIRST_RESERVED.0 {
            let Some(domain) = self.domain_from(first)? else { break };
            // Each step goes up, whatever the hypervisor answers.
            first = domain.id.0.max(first).saturating_add(1);
            domains.push(domain);
        }
        Ok(domains)
    }

    /// The domain `first`, or the next higher one; `None` if there is none.
    fn domain_from(&self, first: u16) -> Result<Option<Domain>, XenError> {
        let mut room = [0; DOMAIN_INFO_ROOM];
        let mut list = GetDomainInfoList { first_domain: first, max_domains: 1, ..GetDomainInfoList::default() };
        let at = std::mem::offset_of!(GetDomainInfoList, buffer);
        self.sysctl(sysctl::SYSCTL_GETDOMAININFOLIST, &mut list, &mut [Buffer { at, bytes: &mut room }])
            .map_err(failed("to list its domains"))?;
        if list.num_domains == 0 {
            return Ok(None);
        }
        let (info, _) = GetDomainInfo::read_from_prefix(&room).expect("room for it");
        Ok(Some(Domain {
            id: DomainId(info.domain),
            flags: DomainFlags(info.flags),
            pages: info.tot_pages,
            cpu_time_ns: info.cpu_time,
            online_vcpus: info.nr_online_vcpus,
            // All ones for a domain without any.
            vcpus: info.max_vcpu_id.wrapping_add(1).min(VCPUS_LIMIT),
        }))
    }

    /// A domain's vCPUs, ascending; those that went away meanwhile are left out.
    ///
    /// # Errors
    /// [`XenError::Call`] or [`XenError::NotPrivileged`].
    pub fn vcpus(&self, domain: &Domain) -> Result<Vec<Vcpu>, XenError> {
        let cpus = self.physical_info()?.max_cpu_id.saturating_add(1);
        let mut vcpus = Vec::new();
        for number in 0..domain.vcpus {
            let mut info = GetVcpuInfo { vcpu: number, ..GetVcpuInfo::default() };
            match self.domctl(domctl::DOMCTL_GETVCPUINFO, domain.id.0, &mut info, &mut []) {
                Err(refused) if NO_VCPU.contains(&refused) => continue,
                done => done.map_err(failed("to tell about a vCPU"))?,
            }
            let Some((hard, soft)) = self.affinity(domain.id, number, cpus)? else { continue };
            vcpus.push(Vcpu {
                id: VcpuId(number),
                is_online: info.online != 0,
                is_blocked: info.blocked != 0,
                is_running: info.running != 0,
                cpu_time_ns: info.cpu_time,
                cpu: info.cpu,
                hard,
                soft,
            });
        }
        Ok(vcpus)
    }

    /// Where a vCPU may run, ascending; `None` if there is no such vCPU.
    ///
    /// # Errors
    /// [`XenError::Call`] or [`XenError::NotPrivileged`].
    pub fn hard_affinity(&self, domain: DomainId, vcpu: VcpuId) -> Result<Option<Vec<u32>>, XenError> {
        let cpus = self.physical_info()?.max_cpu_id.saturating_add(1);
        Ok(self.affinity(domain, vcpu.0, cpus)?.map(|(hard, _)| hard))
    }

    /// Lets a vCPU run on these CPUs alone (`xl vcpu-pin`), and says on which of them it can: those of its domain's pool. Where
    /// it had better run stays as it is.
    ///
    /// # Errors
    /// [`XenError::Call`], such as "invalid argument" if it could run nowhere; [`XenError::NotPrivileged`].
    pub fn set_hard_affinity(&self, domain: DomainId, vcpu: VcpuId, cpus: &[u32]) -> Result<Vec<u32>, XenError> {
        let count = self.physical_info()?.max_cpu_id.saturating_add(1);
        let mut bytes = vec![0; count.div_ceil(8) as usize];
        for cpu in cpus.iter().filter(|cpu| **cpu < count) {
            bytes[(cpu / 8) as usize] |= 1 << (cpu % 8);
        }
        let hard = Bitmap { nr_bits: count, ..Bitmap::default() };
        let flags = domctl::VCPUAFFINITY_HARD;
        let mut affinity = VcpuAffinity { vcpu: vcpu.0, flags, hard, ..VcpuAffinity::default() };
        let at = std::mem::offset_of!(VcpuAffinity, hard) + std::mem::offset_of!(Bitmap, bitmap);
        let mut buffers = [Buffer { at, bytes: &mut bytes }];
        self.domctl(domctl::DOMCTL_SETVCPUAFFINITY, domain.0, &mut affinity, &mut buffers)
            .map_err(failed("to keep a vCPU to CPUs"))?;
        Ok(bits(&bytes, count))
    }

    /// Where a vCPU may and had better run; `None` if it is gone.
    #[expect(clippy::type_complexity, reason = "two lists of CPUs, which the caller names at once")]
    fn affinity(&self, domain: DomainId, vcpu: u32, cpus: u32) -> Result<Option<(Vec<u32>, Vec<u32>)>, XenError> {
        let flags = domctl::VCPUAFFINITY_HARD | domctl::VCPUAFFINITY_SOFT;
        let map = Bitmap { nr_bits: cpus, ..Bitmap::default() };
        let mut affinity = VcpuAffinity { vcpu, flags, hard: map, soft: map };
        let bytes = cpus.div_ceil(8) as usize;
        let (mut hard, mut soft) = (vec![0; bytes], vec![0; bytes]);
        let address = std::mem::offset_of!(Bitmap, bitmap);
        let mut buffers = [
            Buffer { at: std::mem::offset_of!(VcpuAffinity, hard) + address, bytes: &mut hard },
            Buffer { at: std::mem::offset_of!(VcpuAffinity, soft) + address, bytes: &mut soft },
        ];
        match self.domctl(domctl::DOMCTL_GETVCPUAFFINITY, domain.0, &mut affinity, &mut buffers) {
            Err(refused) if NO_VCPU.contains(&refused) => return Ok(None),
            done => done.map_err(failed("to tell where a vCPU may run"))?,
        }
        Ok(Some((bits(&hard, cpus), bits(&soft, cpus))))
    }
}

/// The numbers of the bits that are set, of the first `count`.
fn bits(bytes: &[u8], count: u32) -> Vec<u32> {
    (0..count).filter(|bit| bytes[(bit / 8) as usize] & (1 << (bit % 8)) != 0).collect()
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::DomainId;
    use hypervisor_abi::VcpuId;
    use hypervisor_abi::domctl;

    use super::DomainFlags;
    use crate::fake::FakeXen;
    use crate::fake::Traits;
    use crate::hypervisor::Hypervisor;

    #[test]
    fn every_domain_is_listed_once_whatever_lies_between_their_numbers() {
        let xen = Hypervisor::new(FakeXen::new(Traits::default())).expect("known versions");
        let domains = xen.domains().expect("a list");
        let seen: Vec<(u16, u32)> = domains.iter().map(|domain| (domain.id.0, domain.vcpus)).collect();
        assert_eq!(seen, [(0, 3), (7, 1), (9, 0)]);
        assert!(domains[1].flags.has(domctl::DOMINF_HVM_GUEST));
    }

    #[test]
    fn a_vcpu_has_its_place_and_its_affinities_and_one_that_is_gone_is_left_out() {
        let xen = Hypervisor::new(FakeXen::new(Traits::default())).expect("known versions");
        let domains = xen.domains().expect("a list");
        let vcpus = xen.vcpus(&domains[0]).expect("vCPUs");
        let seen: Vec<(u32, u32, Vec<u32>, Vec<u32>)> =
            vcpus.iter().map(|vcpu| (vcpu.id.0, vcpu.cpu, vcpu.hard.clone(), vcpu.soft.clone())).collect();
        // FakeXen's dom0 has lost its vCPU 1.
        assert_eq!(seen, [(0, 0, vec![0, 1, 2], vec![0]), (2, 2, vec![0, 1, 2], vec![2])]);
    }

    #[test]
    fn a_vcpu_is_kept_to_cpus_and_what_it_had_better_run_on_stays() {
        let xen = Hypervisor::new(FakeXen::new(Traits::default())).expect("known versions");
        let (dom0, second) = (DomainId(0), VcpuId(2));
        assert_eq!(xen.hard_affinity(dom0, second).expect("an answer"), Some(vec![0, 1, 2]));
        // CPU 40 does not exist, and Xen is not asked for it.
        assert_eq!(xen.set_hard_affinity(dom0, second, &[0, 2, 40]).expect("it is kept there"), [0, 2]);
        assert_eq!(xen.hard_affinity(dom0, second).expect("an answer"), Some(vec![0, 2]));
        let vcpus = xen.vcpus(&xen.domains().expect("a list")[0]).expect("vCPUs");
        let seen: Vec<(Vec<u32>, Vec<u32>)> = vcpus.iter().map(|vcpu| (vcpu.hard.clone(), vcpu.soft.clone())).collect();
        assert_eq!(seen, [(vec![0, 1, 2], vec![0]), (vec![0, 2], vec![2])], "the other keeps its own");
        let error = xen.set_hard_affinity(dom0, second, &[40]).unwrap_err();
        assert!(error.to_string().contains("to keep a vCPU to CPUs"), "{error}");
    }

    #[test]
    fn a_crash_is_a_shutdown_for_that_reason() {
        assert!(DomainFlags(domctl::DOMINF_SHUTDOWN | 3 << 16).has_crashed());
        assert!(!DomainFlags(domctl::DOMINF_SHUTDOWN | 2 << 16).has_crashed());
        assert!(!DomainFlags(3 << 16).has_crashed());
    }
}
