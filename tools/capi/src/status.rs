//! How a call ended: a number, and a text that says what and where.

use std::error::Error;

use carillon_sim::import::ImportError;
use hypervisor_abi::Errno;
use hypervisor_lib::event::DomainError;
use hypervisor_lib::event::EventError;
use hypervisor_lib::event::RestoreError;
use hypervisor_lib::event::SavedError;
use vector_allocator::AdoptError;
use vector_allocator::AllocateError;
use vector_allocator::FinishError;
use vector_allocator::HostError;
use vector_allocator::HotplugError;
use vector_allocator::MoveError;

/// How a call ended. Unless it is `CARILLON_STATUS_OK`, nothing has changed and no output but the size a buffer needs was
/// written, where the function does not say otherwise; `carillon_last_error` has the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// It was done.
    Ok = 0,
    /// A pointer is null that must not be.
    NullPointer = -1,
    /// A size is not the one of the structure, or a buffer is too small.
    WrongSize = -2,
    /// A handle or lease was given back before, was never given out, or is of another kind.
    BadHandle = -3,
    /// A number is out of its range, or none of its enumeration.
    BadValue = -4,
    /// A text or saved state cannot be understood.
    BadInput = -5,
    /// There is no such domain, vCPU, port or entry of a list.
    NotFound = -6,
    /// Something ran out: vectors, ports, handles.
    Exhausted = -7,
    /// The object is in a state that does not allow it.
    WrongState = -8,
    /// It was broken off and is to be called again.
    TryAgain = -9,
    /// A callback called the library.
    InCallback = -10,
    /// The library failed; the objects of the call are good for nothing but to be destroyed. Please report it.
    Panicked = -11,
}

/// Why a call could not be carried out.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(status: Status, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// With the text of an error and of what caused it.
    fn caused(status: Status, error: &dyn Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self { status, text }
    }

    /// A number that is none of an enumeration.
    pub(crate) fn value(what: &str, number: impl std::fmt::Display) -> Self {
        Self::new(Status::BadValue, format!("{number} is no {what}"))
    }

    /// An entry past the end of a list.
    pub(crate) fn index(what: &str, index: usize, count: usize) -> Self {
        Self::new(Status::NotFound, format!("there is no {what} {index}: there are {count}"))
    }
}

/// The status that stands for each error.
trait Sorted: Error {
    fn status(&self) -> Status;
}

impl<E: Sorted> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::caused(error.status(), &error)
    }
}

impl Sorted for HostError {
    fn status(&self) -> Status {
        Status::BadValue
    }
}

impl Sorted for AllocateError {
    fn status(&self) -> Status {
        match self {
            Self::NoVectorNeeded => Status::BadValue,
            Self::NoneOnline { .. } => Status::WrongState,
            Self::Full { .. }
            | Self::OrderBlocks { .. }
            | Self::NotificationsExhausted { .. }
            | Self::NothingReserved { .. } => Status::Exhausted,
        }
    }
}

impl Sorted for AdoptError {
    fn status(&self) -> Status {
        match self {
            Self::Taken { .. } | Self::Offline { .. } => Status::WrongState,
            Self::NoVectorNeeded
            | Self::NotLeasable { .. }
            | Self::NoHolder { .. }
            | Self::TooWide { .. }
            | Self::TargetHoldsNot { .. } => Status::BadValue,
        }
    }
}

impl Sorted for MoveError {
    fn status(&self) -> Status {
        match self {
            Self::Stale(_) => Status::BadHandle,
            Self::InFlight { .. } => Status::WrongState,
            Self::NoVector { source, .. } => source.status(),
        }
    }
}

impl Sorted for FinishError {
    fn status(&self) -> Status {
        match self {
            Self::Stale(_) => Status::BadHandle,
            Self::NotMoving { .. } => Status::WrongState,
        }
    }
}

impl Sorted for HotplugError {
    fn status(&self) -> Status {
        match self {
            Self::NotPresent { .. } => Status::BadValue,
            Self::AlreadyOnline { .. } | Self::AlreadyOffline { .. } | Self::LastOnline { .. } => Status::WrongState,
        }
    }
}

impl Sorted for vector_allocator::StaleLease {
    fn status(&self) -> Status {
        Status::BadHandle
    }
}

impl Sorted for ImportError {
    fn status(&self) -> Status {
        Status::BadInput
    }
}

impl Sorted for DomainError {
    fn status(&self) -> Status {
        Status::BadValue
    }
}

impl Sorted for EventError {
    fn status(&self) -> Status {
        match self.errno() {
            Errno::NoDomain | Errno::NoEntry => Status::NotFound,
            Errno::NoMemory | Errno::NoSpace => Status::Exhausted,
            Errno::TryAgain | Errno::Restart => Status::TryAgain,
            Errno::Busy | Errno::Exists | Errno::NotSupported => Status::WrongState,
            _ => Status::BadValue,
        }
    }
}

impl Sorted for SavedError {
    fn status(&self) -> Status {
        Status::BadInput
    }
}

impl Sorted for RestoreError {
    fn status(&self) -> Status {
        match self {
            Self::NotFresh => Status::WrongState,
            Self::Vcpus { .. } | Self::Port(_) | Self::Callback(_) | Self::Refused(_) => Status::BadInput,
        }
    }
}
