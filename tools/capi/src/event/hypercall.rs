//! The argument of a hypercall: bytes of the size of the operation's structure in, the same with results out.

use std::ffi::c_void;

use hypervisor_abi::Errno;
use hypervisor_abi::event::EventOp;
use hypervisor_lib::event::Domain;
use hypervisor_lib::event::EventCall;
use parking_lot::RawMutex;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

use super::host::Call;
use crate::status::Failure;
use crate::status::Status;

/// The caller's copy of a guest's argument.
pub(super) struct Argument {
    at: *mut u8,
    size: usize,
}

impl Argument {
    /// # Safety
    /// `at` is null or points to `size` readable and writable bytes, which stay so until the operation has been carried
    /// out, and which nobody else touches.
    pub(super) unsafe fn new(at: *mut c_void, size: usize) -> Result<Self, Failure> {
        if at.is_null() {
            return Err(Failure::new(Status::NullPointer, "argument is null"));
        }
        Ok(Self { at: at.cast(), size })
    }

    /// Reads the argument, carries the operation out, writes the argument back, and says what the guest gets.
    pub(super) fn carry_out(&self, operation: u32, domain: &Domain<RawMutex>, call: &Call<'_>) -> Result<i64, Failure> {
        /// Carries out the operation of one structure.
        macro_rules! carry_out {
            ($name:ident) => {{
                let mut operation = EventCall::$name(self.read()?);
                let result = domain.event_channel_op(call, &mut operation);
                if let EventCall::$name(filled) = operation {
                    self.write(&filled);
                }
                result
            }};
        }
        let result = match EventOp::from_number(operation) {
            None => return Ok(Errno::NotImplemented.hypercall_result()),
            Some(EventOp::BindInterdomain) => carry_out!(BindInterdomain),
            Some(EventOp::BindVirq) => carry_out!(BindVirq),
            Some(EventOp::BindPirq) => carry_out!(BindPirq),
            Some(EventOp::Close) => carry_out!(Close),
            Some(EventOp::Send) => carry_out!(Send),
            Some(EventOp::Status) => carry_out!(Status),
            Some(EventOp::AllocUnbound) => carry_out!(AllocUnbound),
            Some(EventOp::BindIpi) => carry_out!(BindIpi),
            Some(EventOp::BindVcpu) => carry_out!(BindVcpu),
            Some(EventOp::Unmask) => carry_out!(Unmask),
            Some(EventOp::Reset) => carry_out!(Reset),
            Some(EventOp::ResetContinuation) => carry_out!(ResetContinuation),
            Some(EventOp::InitControl) => carry_out!(InitControl),
            Some(EventOp::ExpandArray) => carry_out!(ExpandArray),
            Some(EventOp::SetPriority) => carry_out!(SetPriority),
        };
        Ok(result.map_or_else(|error| error.errno().hypercall_result(), |()| 0))
    }

    fn read<T: FromBytes>(&self) -> Result<T, Failure> {
        let expected = size_of::<T>();
        if self.size != expected {
            return Err(Failure::new(Status::WrongSize, format!("argument has {expected} bytes, not {}", self.size)));
        }
        // SAFETY: whoever made this vouched for that many readable bytes that nobody else touches; it is not null.
        let bytes = unsafe { std::slice::from_raw_parts(self.at, self.size) };
        T::read_from_bytes(bytes).map_err(|_| Failure::new(Status::WrongSize, "argument has another size"))
    }

    /// Writes back what was read from here.
    fn write<T: IntoBytes + Immutable>(&self, argument: &T) {
        let bytes = argument.as_bytes();
        debug_assert_eq!(bytes.len(), self.size, "only what was read is written");
        // SAFETY: whoever made this vouched for as many writable bytes as its size says, which `read` found to be the size
        // of the structure; the structure is the library's own, so the two do not overlap.
        unsafe { self.at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }
}
