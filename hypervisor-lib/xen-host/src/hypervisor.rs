//! The hypervisor's control interfaces, whose versions are found out by asking.

use hypervisor_abi::domctl;
use hypervisor_abi::domctl::Domctl;
use hypervisor_abi::domctl::GetVcpuInfo;
use hypervisor_abi::sysctl;
use hypervisor_abi::sysctl::ARGUMENT_SIZE;
use hypervisor_abi::sysctl::SchedId;
use hypervisor_abi::sysctl::Sysctl;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

use crate::calls::Buffer;
use crate::calls::Call;
use crate::calls::HypercallNumber;
use crate::calls::Hypercalls;
use crate::calls::Refused;
use crate::error::XenError;
use crate::host_info;

/// "Not this version" (`EACCES`): what both interfaces answer before they look at anything else.
const WRONG_VERSION: Refused = Refused(13);
/// "Not you" (`EPERM`).
const NOT_PERMITTED: Refused = Refused(1);

/// The hypervisor, with the versions of its interfaces.
#[derive(Debug)]
pub struct Hypervisor<H> {
    calls: H,
    sysctl_version: u32,
    domctl_version: u32,
}

impl<H: Hypercalls> Hypervisor<H> {
    /// Finds out which versions of its control interfaces the hypervisor speaks. The requests only read.
    ///
    /// # Errors
    /// [`XenError::NotPrivileged`] outside of the control domain; [`XenError::UnknownInterface`] for a hypervisor none of whose
    /// versions is known; [`XenError::Call`] otherwise.
    pub fn new(calls: H) -> Result<Self, XenError> {
        let sysctl_version = probe(&calls, "sysctl", &sysctl::VERSIONS, |version| {
            sysctl_by(&calls, version, sysctl::SYSCTL_SCHED_ID, &mut SchedId::default(), &mut [])
        })?;
        let domctl_version = probe(&calls, "domctl", &domctl::VERSIONS, |version| {
            domctl_by(&calls, version, domctl::DOMCTL_GETVCPUINFO, 0, &mut GetVcpuInfo::default(), &mut [])
        })?;
        Ok(Self { calls, sysctl_version, domctl_version })
    }

    /// The version of the sysctl interface (`XEN_SYSCTL_INTERFACE_VERSION`).
    #[must_use]
    pub const fn sysctl_version(&self) -> u32 {
        self.sysctl_version
    }

    /// The version of the domctl interface (`XEN_DOMCTL_INTERFACE_VERSION`).
    #[must_use]
    pub const fn domctl_version(&self) -> u32 {
        self.domctl_version
    }

    /// What carries the hypercalls.
    #[must_use]
    pub const fn calls(&self) -> &H {
        &self.calls
    }

    /// A request about the host.
    pub(crate) fn sysctl<T: FromBytes + IntoBytes + Immutable>(
        &self,
        command: u32,
        argument: &mut T,
        buffers: &mut [Buffer<'_>],
    ) -> Result<(), Refused> {
        sysctl_by(&self.calls, self.sysctl_version, command, argument, buffers)
    }

    /// A request about a domain.
    pub(crate) fn domctl<T: FromBytes + IntoBytes + Immutable>(
        &self,
        command: u32,
        domain: u16,
        argument: &mut T,
        buffers: &mut [Buffer<'_>],
    ) -> Result<(), Refused> {
        domctl_by(&self.calls, self.domctl_version, command, domain, argument, buffers)
    }
}

/// The error of a request of a known version.
pub(crate) fn failed(what: &'static str) -> impl Fn(Refused) -> XenError {
    move |refused| match refused {
        NOT_PERMITTED => XenError::NotPrivileged { what },
        source => XenError::Call { what: what.to_owned(), source },
    }
}

/// The first of `versions` that is not answered with "not this version".
fn probe(
    calls: &impl Hypercalls,
    interface: &'static str,
    versions: &[u32],
    ask: impl Fn(u32) -> Result<(), Refused>,
) -> Result<u32, XenError> {
    for version in versions {
        match ask(*version) {
            Ok(()) => return Ok(*version),
            Err(WRONG_VERSION) => {}
            Err(refused) => return Err(failed(interface)(refused)),
        }
    }
    let xen = host_info::version_of(calls).map_or_else(|_| "of an unknown version".to_owned(), |xen| xen.to_string());
    let tried = versions.iter().map(|version| format!("{version:#x}")).collect::<Vec<_>>().join(", ");
    Err(XenError::UnknownInterface { xen, interface, tried })
}

fn sysctl_by<T: FromBytes + IntoBytes + Immutable>(
    calls: &impl Hypercalls,
    interface_version: u32,
    cmd: u32,
    argument: &mut T,
    buffers: &mut [Buffer<'_>],
) -> Result<(), Refused> {
    const UNION: usize = std::mem::offset_of!(Sysctl, argument);
    let mut request = Sysctl { cmd, interface_version, argument: [0; ARGUMENT_SIZE] };
    request.argument[..size_of::<T>()].copy_from_slice(argument.as_bytes());
    buffers.iter_mut().for_each(|buffer| buffer.at += UNION);
    calls.call(Call { number: HypercallNumber::Sysctl, command: None, argument: request.as_mut_bytes(), buffers })?;
    argument.as_mut_bytes().copy_from_slice(&request.argument[..size_of::<T>()]);
    Ok(())
}

fn domctl_by<T: FromBytes + IntoBytes + Immutable>(
    calls: &impl Hypercalls,
    interface_version: u32,
    cmd: u32,
    domain: u16,
    argument: &mut T,
    buffers: &mut [Buffer<'_>],
) -> Result<(), Refused> {
    const UNION: usize = std::mem::offset_of!(Domctl, argument);
    let mut request = Domctl { cmd, interface_version, domain, pad: [0; 3], argument: [0; ARGUMENT_SIZE] };
    request.argument[..size_of::<T>()].copy_from_slice(argument.as_bytes());
    buffers.iter_mut().for_each(|buffer| buffer.at += UNION);
    calls.call(Call { number: HypercallNumber::Domctl, command: None, argument: request.as_mut_bytes(), buffers })?;
    argument.as_mut_bytes().copy_from_slice(&request.argument[..size_of::<T>()]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::sysctl;

    use super::Hypervisor;
    use crate::error::XenError;
    use crate::fake::FakeXen;
    use crate::fake::Traits;

    #[test]
    fn the_interfaces_versions_are_found_by_asking() {
        for (sysctl, domctl) in [(0x16, 0x17), (0x15, 0x15), (0x12, 0x13)] {
            let xen =
                Hypervisor::new(FakeXen::new(Traits { sysctl, domctl, ..Traits::default() })).expect("known versions");
            assert_eq!((xen.sysctl_version(), xen.domctl_version()), (sysctl, domctl));
        }
    }

    #[test]
    fn an_unknown_version_is_refused_with_xen_s_and_all_that_were_tried() {
        let error = Hypervisor::new(FakeXen::new(Traits { sysctl: 0x99, ..Traits::default() })).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Xen 4.17.7 speaks no known version of the sysctl interface; tried 0x16, 0x15, 0x14, 0x13, 0x12"
        );
        assert!(error.remedy().is_some());
        let error = Hypervisor::new(FakeXen::new(Traits { domctl: 0x99, ..Traits::default() })).unwrap_err();
        assert!(matches!(error, XenError::UnknownInterface { interface: "domctl", .. }), "{error}");
        assert_eq!(sysctl::VERSIONS.len(), 5);
    }

    #[test]
    fn a_domain_without_privilege_is_told_so() {
        let error = Hypervisor::new(FakeXen::new(Traits { is_privileged: false, ..Traits::default() })).unwrap_err();
        assert!(matches!(error, XenError::NotPrivileged { .. }), "{error}");
    }
}
