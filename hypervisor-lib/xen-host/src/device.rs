//! Devices: opened with an error that helps, and asked by requests that know the type of their argument.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::ErrorKind;
use std::marker::PhantomData;
use std::os::fd::AsRawFd as _;

use crate::error::XenError;

/// An ioctl's number, with the type its argument has (`_IOC(_IOC_NONE, type, number, size)`, `asm-generic/ioctl.h`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<T> {
    number: libc::c_ulong,
    argument: PhantomData<fn(&mut T)>,
}

impl<T> Request<T> {
    /// Request `number` of a driver's `kind`.
    pub(crate) const fn new(kind: u8, number: u8) -> Self {
        // An argument is at most as large as the field for its size, 14 bits.
        assert!(size_of::<T>() < 1 << 14);
        let size = size_of::<T>() as libc::c_ulong;
        Self { number: size << 16 | (kind as libc::c_ulong) << 8 | number as libc::c_ulong, argument: PhantomData }
    }

    /// Issues it; the result is the driver's.
    ///
    /// # Safety
    /// The request is one of the driver that `device` is of, with an argument of this type; and where the argument holds
    /// addresses, the memory there is as the driver expects.
    pub(crate) unsafe fn issue(self, device: &File, argument: &mut T) -> io::Result<i32> {
        // SAFETY: the argument is a whole T, which is what the request says it takes; the rest is the caller's promise.
        let result = unsafe { libc::ioctl(device.as_raw_fd(), self.number, std::ptr::from_mut(argument)) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
    }
}

/// Opens a device for reading and writing.
pub(crate) fn open(path: &'static str) -> Result<File, XenError> {
    OpenOptions::new().read(true).write(true).open(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => XenError::NoDevice { path },
        ErrorKind::PermissionDenied => XenError::NotRoot { path },
        _ => XenError::Device { what: format!("{path} cannot be opened"), source },
    })
}

#[cfg(test)]
mod tests {
    use super::Request;
    use super::open;
    use crate::error::XenError;

    #[test]
    fn a_request_s_number_holds_kind_number_and_size() {
        assert_eq!(Request::<[u32; 2]>::new(b'E', 1).number, 0x8_4501);
        assert_eq!(Request::<()>::new(b'E', 5).number, 0x4505);
    }

    #[test]
    fn a_device_that_is_missing_is_named_with_what_to_do() {
        let error = open("/dev/no-such-device").unwrap_err();
        assert!(matches!(error, XenError::NoDevice { .. }), "{error}");
        assert_eq!(error.to_string(), "/dev/no-such-device is not there");
        assert!(error.remedy().expect("a remedy").contains("modprobe"));
    }
}
