//! The event-channel hypercall as bytes: what lies in a guest's memory, in and out.

use hypervisor_abi::Errno;
use hypervisor_abi::event;
use hypervisor_abi::event::EventOp;
use lock_api::RawMutex;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

use super::domain::Domain;
use super::host::Host;
use super::hypercall::EventCall;

/// Defines, for every operation with its argument structure, how bytes become a call and a call bytes.
macro_rules! calls {
    ($($call:ident($argument:ident),)*) => {
        impl EventCall {
            /// The call of an operation whose argument begins at the first of `bytes`; `None` if they are too few.
            #[must_use]
            pub fn read(op: EventOp, bytes: &[u8]) -> Option<Self> {
                match op {
                    $(EventOp::$call => {
                        let (argument, _) = event::$argument::read_from_prefix(bytes).ok()?;
                        Some(Self::$call(argument))
                    })*
                }
            }

            /// Writes the argument, with its results, over the bytes it was read from. If they are too few, nothing is
            /// written.
            pub fn write(&self, bytes: &mut [u8]) {
                match self {
                    // Too few bytes is the only way to fail, and `read` has refused those.
                    $(Self::$call(argument) => drop(argument.write_to_prefix(bytes)),)*
                }
            }
        }
    };
}

calls! {
    BindInterdomain(BindInterdomain),
    BindVirq(BindVirq),
    BindPirq(BindPirq),
    Close(Close),
    Send(Send),
    Status(Status),
    AllocUnbound(AllocUnbound),
    BindIpi(BindIpi),
    BindVcpu(BindVcpu),
    Unmask(Unmask),
    Reset(Reset),
    InitControl(InitControl),
    ExpandArray(ExpandArray),
    SetPriority(SetPriority),
    ResetContinuation(Reset),
}

impl<L: RawMutex> Domain<L> {
    /// Carries out `HYPERVISOR_event_channel_op` on a copy of the guest's argument, and fills in its results: the way in
    /// for a hypervisor's entry code, which copies the bytes back and returns
    /// [`Errno::hypercall_result`] of an error, else 0.
    ///
    /// # Errors
    /// What the guest is to see: [`Errno::BadAddress`] for fewer bytes than the argument has, else that of the
    /// [`EventError`](super::EventError). The bytes are as they were.
    pub fn event_channel_hypercall<H: Host<Lock = L>>(
        &self,
        host: &H,
        op: EventOp,
        bytes: &mut [u8],
    ) -> Result<(), Errno> {
        let mut call = EventCall::read(op, bytes).ok_or(Errno::BadAddress)?;
        self.event_channel_op(host, &mut call).map_err(|error| error.errno())?;
        call.write(bytes);
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use alloc::vec::Vec;

    use hypervisor_abi::event::EventOp;

    use super::EventCall;

    #[test]
    fn every_operations_argument_survives_bytes_and_is_refused_if_one_is_missing() {
        let bytes: Vec<u8> = (1..=64).collect();
        for op in (0..15).filter_map(EventOp::from_number) {
            let call = EventCall::read(op, &bytes).expect("64 bytes are enough for every argument");
            assert_eq!(call.op(), op);
            let mut written = alloc::vec![0; 64];
            call.write(&mut written);
            let size = written.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            assert_eq!(written[..size], bytes[..size], "{op:?}");
            assert_eq!(EventCall::read(op, &bytes[..size]), Some(call), "{op:?}");
            assert_eq!(EventCall::read(op, &bytes[..size - 1]), None, "{op:?}");
            let mut short = alloc::vec![0; size - 1];
            call.write(&mut short);
            assert!(short.iter().all(|byte| *byte == 0), "{op:?}: nothing is written in part");
        }
    }
}
