//! What the hypervisor is and what it runs on.

use std::fmt;

use hypervisor_abi::sysctl;
use hypervisor_abi::sysctl::CpuTopo;
use hypervisor_abi::sysctl::CpuTopoInfo;
use hypervisor_abi::sysctl::PhysInfo;
use hypervisor_abi::sysctl::SchedId;
use hypervisor_abi::version;
use hypervisor_abi::version::CompileInfo;
use zerocopy::FromBytes as _;
use zerocopy::IntoBytes as _;

use crate::calls::Buffer;
use crate::calls::Call;
use crate::calls::HypercallNumber;
use crate::calls::Hypercalls;
use crate::calls::Refused;
use crate::error::XenError;
use crate::hypervisor::Hypervisor;
use crate::hypervisor::failed;

/// The most CPUs Xen can be built for (`CONFIG_NR_CPUS`): more are not believed.
const CPUS_LIMIT: u32 = 16_384;

/// The hypervisor's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XenVersion {
    /// 4 in 4.17.7.
    pub major: u16,
    /// 17 in 4.17.7.
    pub minor: u16,
    /// `.7` in 4.17.7.
    pub extra: String,
}

impl fmt::Display for XenVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}{}", self.major, self.minor, self.extra)
    }
}

/// Who compiled the hypervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledBy {
    /// The compiler.
    pub compiler: String,
    /// Who ran it.
    pub by: String,
    /// Where.
    pub domain: String,
    /// When.
    pub date: String,
}

/// Which scheduler runs (`XEN_SCHEDULER_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduler(pub u32);

impl fmt::Display for Scheduler {
    /// As `xl info` names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            4 => "sedf",
            5 => "credit",
            6 => "credit2",
            7 => "arinc653",
            8 => "rtds",
            9 => "null",
            _ => "unknown",
        })
    }
}

impl<H: Hypercalls> Hypervisor<H> {
    /// The hypervisor's version.
    ///
    /// # Errors
    /// [`XenError::Call`].
    pub fn version(&self) -> Result<XenVersion, XenError> {
        version_of(self.calls()).map_err(failed("to tell its version"))
    }

    /// Its command line (`xen_commandline` of `xl info`).
    ///
    /// # Errors
    /// [`XenError::Call`]; [`XenError::NotPrivileged`] where a policy keeps it to itself.
    pub fn command_line(&self) -> Result<String, XenError> {
        let mut text = [0; version::COMMANDLINE_SIZE];
        text_of(self.calls(), version::XENVER_COMMANDLINE, &mut text).map_err(failed("to tell its command line"))
    }

    /// The kinds of guests it runs (`xen_caps` of `xl info`).
    ///
    /// # Errors
    /// [`XenError::Call`].
    pub fn capabilities(&self) -> Result<String, XenError> {
        let mut text = [0; version::CAPABILITIES_SIZE];
        text_of(self.calls(), version::XENVER_CAPABILITIES, &mut text).map_err(failed("to tell its capabilities"))
    }

    /// Who compiled it.
    ///
    /// # Errors
    /// [`XenError::Call`].
    pub fn compiled_by(&self) -> Result<CompiledBy, XenError> {
        let mut bytes = [0; size_of::<CompileInfo>()];
        xen_version(self.calls(), version::XENVER_COMPILE_INFO, &mut bytes)
            .map_err(failed("to tell who compiled it"))?;
        let info = CompileInfo::read_from_bytes(&bytes).expect("as many bytes as it has");
        Ok(CompiledBy {
            compiler: text(&info.compiler),
            by: text(&info.compile_by),
            domain: text(&info.compile_domain),
            date: text(&info.compile_date),
        })
    }

    /// The machine.
    ///
    /// # Errors
    /// [`XenError::Call`] or [`XenError::NotPrivileged`].
    pub fn physical_info(&self) -> Result<PhysInfo, XenError> {
        let mut info = PhysInfo::default();
        self.sysctl(sysctl::SYSCTL_PHYSINFO, &mut info, &mut []).map_err(failed("to tell about the machine"))?;
        Ok(info)
    }

    /// Which scheduler runs.
    ///
    /// # Errors
    /// [`XenError::Call`] or [`XenError::NotPrivileged`].
    pub fn scheduler(&self) -> Result<Scheduler, XenError> {
        let mut id = SchedId::default();
        self.sysctl(sysctl::SYSCTL_SCHED_ID, &mut id, &mut []).map_err(failed("to tell its scheduler"))?;
        Ok(Scheduler(id.sched_id))
    }

    /// Which core, socket and node each CPU is of, by its number.
    ///
    /// # Errors
    /// [`XenError::Call`] or [`XenError::NotPrivileged`].
    pub fn cpu_topology(&self) -> Result<Vec<CpuTopo>, XenError> {
        let refused = failed("to tell where its CPUs are");
        let mut count = CpuTopoInfo::default();
        self.sysctl(sysctl::SYSCTL_CPUTOPOINFO, &mut count, &mut []).map_err(&refused)?;
        let mut cpus = vec![CpuTopo::default(); count.num_cpus.min(CPUS_LIMIT) as usize];
        let mut info = CpuTopoInfo { num_cpus: count.num_cpus.min(CPUS_LIMIT), ..CpuTopoInfo::default() };
        let at = std::mem::offset_of!(CpuTopoInfo, cputopo);
        self.sysctl(sysctl::SYSCTL_CPUTOPOINFO, &mut info, &mut [Buffer { at, bytes: cpus.as_mut_bytes() }])
            .map_err(&refused)?;
        cpus.truncate(info.num_cpus as usize);
        Ok(cpus)
    }
}

/// The version, from whatever carries hypercalls.
pub(crate) fn version_of(calls: &impl Hypercalls) -> Result<XenVersion, Refused> {
    let number = xen_version(calls, version::XENVER_VERSION, &mut [])?;
    let half = |shift: u32| u16::try_from(number >> shift & 0xffff).unwrap_or(u16::MAX);
    let mut extra = [0; version::EXTRAVERSION_SIZE];
    let extra = text_of(calls, version::XENVER_EXTRAVERSION, &mut extra)?;
    Ok(XenVersion { major: half(16), minor: half(0), extra })
}

fn xen_version(calls: &impl Hypercalls, command: u32, argument: &mut [u8]) -> Result<u64, Refused> {
    calls.call(Call { number: HypercallNumber::XenVersion, command: Some(command.into()), argument, buffers: &mut [] })
}

fn text_of(calls: &impl Hypercalls, command: u32, room: &mut [u8]) -> Result<String, Refused> {
    xen_version(calls, command, room)?;
    Ok(text(room))
}

/// The text before the first zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use crate::fake::FakeXen;
    use crate::fake::Traits;
    use crate::hypervisor::Hypervisor;

    #[test]
    fn what_the_hypervisor_says_of_itself_is_read_up_to_the_first_zero() {
        let xen = Hypervisor::new(FakeXen::new(Traits::default())).expect("known versions");
        assert_eq!(xen.version().expect("a version").to_string(), "4.17.7");
        assert_eq!(xen.command_line().expect("a command line"), "loglvl=all apic=bigsmp");
        assert_eq!(xen.scheduler().expect("a scheduler").to_string(), "credit2");
    }

    #[test]
    fn no_more_cpus_are_read_than_the_hypervisor_says_it_has() {
        let xen = Hypervisor::new(FakeXen::new(Traits::default())).expect("known versions");
        let cores: Vec<u32> = xen.cpu_topology().expect("a topology").iter().map(|cpu| cpu.core).collect();
        assert_eq!((cores, xen.physical_info().expect("a machine").nr_cpus), (vec![0, 1, 2], 3));
    }
}
