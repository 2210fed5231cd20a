//! Memory that a hypercall may point at: pages that stay where they are while the hypervisor uses them.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::ptr;
use std::ptr::NonNull;
use std::slice;

/// Bytes of a page.
pub(crate) const PAGE: usize = hypervisor_abi::PAGE_SIZE;

/// Protection of memory that is written here.
const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// What may be done with another domain's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// They may be read.
    Read,
    /// They may be read and written.
    ReadWrite,
}

/// Whole pages, zeroed when they are made, given back when they are dropped.
#[derive(Debug)]
pub(crate) struct Pages {
    address: NonNull<u8>,
    length: usize,
}

impl Pages {
    /// At least `bytes` of memory for hypercalls: the driver's own pages if there is its device (`/dev/xen/hypercall`, Linux
    /// 4.18), else locked memory of this process that a fork does not share.
    pub(crate) fn for_hypercalls(device: Option<&File>, bytes: usize) -> io::Result<Self> {
        let length = bytes.div_ceil(PAGE).max(1) * PAGE;
        let pages = match device {
            Some(device) => Self::map(length, READ_WRITE, libc::MAP_SHARED, device.as_raw_fd())?,
            None => Self::map(length, READ_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_LOCKED, -1)?,
        };
        if device.is_none() {
            // SAFETY: the pages are this process's own, just mapped; the advice changes what a fork copies, no byte here.
            let result = unsafe { libc::madvise(pages.address.as_ptr().cast(), length, libc::MADV_DONTFORK) };
            if result != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(pages)
    }

    /// Address space for frames of another domain, which a driver's request fills.
    pub(crate) fn for_frames(device: &File, frames: usize, access: Access) -> io::Result<Self> {
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::ReadWrite => READ_WRITE,
        };
        Self::map(frames.max(1) * PAGE, protection, libc::MAP_SHARED, device.as_raw_fd())
    }

    fn map(length: usize, protection: i32, flags: i32, descriptor: i32) -> io::Result<Self> {
        // SAFETY: no address is asked for, so that nothing that is mapped already is replaced.
        let address = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, descriptor, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let address = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("memory at address 0"))?;
        Ok(Self { address, length })
    }

    /// Where they begin.
    pub(crate) const fn address(&self) -> NonNull<u8> {
        self.address
    }

    /// How many bytes they are.
    pub(crate) const fn length(&self) -> usize {
        self.length
    }

    /// Their bytes; for memory of this process alone, not for another's frames, which may be read-only.
    pub(crate) const fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the memory is mapped for reading and writing until `self` is dropped, any byte is a value, and the
        // exclusive borrow of `self` keeps others away.
        unsafe { slice::from_raw_parts_mut(self.address.as_ptr(), self.length) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` returned is given back; nothing borrows it any more.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::PAGE;
    use super::Pages;

    #[test]
    fn locked_pages_begin_at_a_page_and_are_zero() {
        let mut pages = Pages::for_hypercalls(None, PAGE + 1).expect("two locked pages");
        assert_eq!((pages.length(), pages.address().as_ptr().addr() % PAGE), (2 * PAGE, 0));
        assert!(pages.bytes().iter().all(|byte| *byte == 0));
        pages.bytes()[PAGE] = 7;
        assert_eq!(pages.bytes()[PAGE], 7);
    }
}
