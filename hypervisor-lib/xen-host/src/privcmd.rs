//! `/dev/xen/privcmd`: hypercalls and other domains' frames, by dom0's kernel (`linux/include/uapi/xen/privcmd.h`).

use std::fs;
use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;

use hypervisor_abi::DomainId;

use crate::calls::Call;
use crate::calls::Hypercalls;
use crate::calls::Refused;
use crate::device;
use crate::device::Request;
use crate::error::XenError;
use crate::foreign::ForeignMemory;
use crate::foreign::Frame;
use crate::foreign::MappedFrames;
use crate::foreign::Words as _;
use crate::pages::Access;
use crate::pages::Pages;

/// The device.
const PRIVCMD: &str = "/dev/xen/privcmd";
/// The device whose pages hypercalls may point at.
const HYPERCALL_PAGES: &str = "/dev/xen/hypercall";
/// Where the kernel says below which hypervisor it runs.
const HYPERVISOR_TYPE: &str = "/sys/hypervisor/type";

/// `struct privcmd_hypercall`.
#[derive(Debug, Default)]
#[repr(C)]
struct HypercallRequest {
    number: u64,
    arguments: [u64; 5],
}

/// `struct privcmd_mmapbatch_v2`.
#[derive(Debug)]
#[repr(C)]
struct MapRequest {
    count: u32,
    domain: u16,
    address: u64,
    frames: *const u64,
    errors: *mut i32,
}

const HYPERCALL: Request<HypercallRequest> = Request::new(b'P', 0);
const MAP_BATCH: Request<MapRequest> = Request::new(b'P', 4);

/// The kernel's way to the hypervisor.
#[derive(Debug)]
pub struct Privcmd {
    device: File,
    pages: Option<File>,
}

impl Privcmd {
    /// Opens it.
    ///
    /// # Errors
    /// [`XenError::NotOnXen`], [`XenError::NoDevice`], [`XenError::NotRoot`] or [`XenError::Device`]; each but the last has a
    /// [remedy](XenError::remedy).
    pub fn open() -> Result<Self, XenError> {
        if !fs::read_to_string(HYPERVISOR_TYPE).is_ok_and(|kind| kind.trim() == "xen") {
            return Err(XenError::NotOnXen { path: HYPERVISOR_TYPE });
        }
        let device = device::open(PRIVCMD)?;
        // Without it, locked memory does: an older kernel.
        Ok(Self { device, pages: device::open(HYPERCALL_PAGES).ok() })
    }
}

/// What an error of the kernel's is to the caller of a hypercall.
fn refused(error: &io::Error) -> Refused {
    Refused(error.raw_os_error().unwrap_or(libc::EIO))
}

/// The next multiple of eight.
const fn aligned(offset: usize) -> usize {
    offset.next_multiple_of(8)
}

impl Hypercalls for Privcmd {
    /// Copies the memory of the call to pages that stay where they are, and back.
    fn call(&self, call: Call<'_, '_>) -> Result<u64, Refused> {
        let room: usize = call.buffers.iter().map(|buffer| aligned(buffer.bytes.len())).sum();
        let mut pages = Pages::for_hypercalls(self.pages.as_ref(), aligned(call.argument.len()) + room)
            .map_err(|error| refused(&error))?;
        let address = pages.address().as_ptr().expose_provenance() as u64;
        let bytes = pages.bytes();
        bytes[..call.argument.len()].copy_from_slice(call.argument);
        let mut offset = aligned(call.argument.len());
        for buffer in call.buffers.iter() {
            bytes[offset..offset + buffer.bytes.len()].copy_from_slice(buffer.bytes);
            bytes[buffer.at..buffer.at + 8].copy_from_slice(&(address + offset as u64).to_ne_bytes());
            offset += aligned(buffer.bytes.len());
        }
        let argument = if call.argument.is_empty() { 0 } else { address };
        let mut request = HypercallRequest { number: call.number as u64, arguments: [argument, 0, 0, 0, 0] };
        if let Some(command) = call.command {
            request.arguments[..2].copy_from_slice(&[command, argument]);
        }
        // SAFETY: the driver is privcmd's; the only addresses the hypervisor is given lie in `pages`, each with the bytes its
        // buffer has, and nothing borrows them while it writes.
        let result = unsafe { HYPERCALL.issue(&self.device, &mut request) }.map_err(|error| refused(&error))?;
        let bytes = pages.bytes();
        call.argument.copy_from_slice(&bytes[..call.argument.len()]);
        let mut offset = aligned(call.argument.len());
        for buffer in call.buffers {
            buffer.bytes.copy_from_slice(&bytes[offset..offset + buffer.bytes.len()]);
            offset += aligned(buffer.bytes.len());
        }
        Ok(u64::from(result.unsigned_abs()))
    }
}

impl Privcmd {
    /// Maps frames where the kernel likes to have them.
    fn map_frames(&self, domain: DomainId, frames: &[Frame], access: Access) -> Result<Pages, XenError> {
        let failed =
            |source| XenError::Device { what: format!("{} frames of {domain} cannot be mapped", frames.len()), source };
        let pages = Pages::for_frames(&self.device, frames.len(), access).map_err(failed)?;
        let numbers: Vec<u64> = frames.iter().map(|frame| frame.0).collect();
        let mut errors = vec![0i32; frames.len()];
        let count =
            u32::try_from(frames.len()).map_err(|_| failed(io::Error::other("more frames than a request takes")))?;
        let mut request = MapRequest {
            count,
            domain: domain.0,
            address: pages.address().as_ptr().expose_provenance() as u64,
            frames: numbers.as_ptr(),
            errors: errors.as_mut_ptr(),
        };
        // SAFETY: the driver is privcmd's; both arrays have `count` entries and outlive the request, and the address is that
        // of as many pages, mapped from this device and used by nobody yet.
        unsafe { MAP_BATCH.issue(&self.device, &mut request) }.map_err(failed)?;
        match errors.iter().find(|error| **error != 0) {
            Some(error) => Err(failed(io::Error::from_raw_os_error(error.abs()))),
            None => Ok(pages),
        }
    }
}

impl ForeignMemory for Privcmd {
    type Frames = MappedFrames;

    fn copy(&self, domain: DomainId, frames: &[Frame]) -> Result<Vec<u32>, XenError> {
        let mapped = MappedFrames::new(self.map_frames(domain, frames, Access::Read)?);
        Ok(mapped.words().iter().map(|word| word.load(Ordering::Relaxed)).collect())
    }

    fn map(&self, domain: DomainId, frames: &[Frame]) -> Result<MappedFrames, XenError> {
        Ok(MappedFrames::new(self.map_frames(domain, frames, Access::ReadWrite)?))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io;

    use super::HYPERCALL;
    use super::HypercallRequest;
    use super::MapRequest;
    use super::Privcmd;
    use crate::calls::Call;
    use crate::calls::HypercallNumber;
    use crate::calls::Hypercalls as _;
    use crate::calls::Refused;

    #[test]
    fn requests_are_as_large_as_the_driver_s() {
        assert_eq!((size_of::<HypercallRequest>(), size_of::<MapRequest>()), (48, 32));
    }

    #[test]
    fn what_is_no_driver_of_xen_s_refuses_and_leaves_the_argument_alone() {
        let null = || File::open("/dev/null").expect("/dev/null");
        let other = Privcmd { device: null(), pages: None };
        let mut argument = [1u8, 2, 3];
        let call =
            Call { number: HypercallNumber::XenVersion, command: Some(0), argument: &mut argument, buffers: &mut [] };
        assert_eq!(other.call(call), Err(Refused(libc::ENOTTY)));
        assert_eq!(argument, [1, 2, 3]);
        // SAFETY: /dev/null has no driver that would look at the argument.
        let error: io::Error = unsafe { HYPERCALL.issue(&null(), &mut HypercallRequest::default()) }.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
    }
}
