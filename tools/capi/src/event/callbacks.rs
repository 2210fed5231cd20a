//! The hypervisor around event channels, as functions of a C program.

use std::ffi::c_void;
use std::ptr;

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::VcpuId;
use hypervisor_lib::event::Action;
use hypervisor_lib::event::Sharing;

use super::actions::EventAction;
use crate::call::call_back;
use crate::pointer::Plain;
use crate::status::Failure;
use crate::status::Status;

/// What event channels ask of their hypervisor. All functions are called on a thread that calls the library, while it holds
/// its locks: they must return soon and must not call it (`CARILLON_STATUS_IN_CALLBACK`), but for
/// `carillon_last_error`. Only `act` must be there.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct EventCallbacks {
    /// Handed to every function.
    pub context: *mut c_void,
    /// Carries out an action; it is valid during the call only.
    pub act: Option<unsafe extern "C" fn(context: *mut c_void, action: *const EventAction)>,
    /// Not 0 if the toolstack has stopped all of a domain's vCPUs. Without it: 0.
    pub is_paused: Option<unsafe extern "C" fn(context: *mut c_void, domain: u32) -> u32>,
    /// Not 0 if the CPU has something more urgent to do than to go on with a long operation. Without it: 0.
    pub is_preempted: Option<unsafe extern "C" fn(context: *mut c_void) -> u32>,
    /// Not 0 if a vCPU's local APIC is software-enabled. Without it: 1.
    pub is_local_apic_enabled: Option<unsafe extern "C" fn(context: *mut c_void, domain: u32, vcpu: u32) -> u32>,
    /// Not 0 if a domain may use a physical IRQ. Without it: 0.
    pub may_use_pirq: Option<unsafe extern "C" fn(context: *mut c_void, domain: u32, pirq: u32) -> u32>,
    /// Takes a physical IRQ for a paravirtual domain; with `is_shared` not 0 other domains may take the same line. Returns 0,
    /// or one of Xen's errors, negated, which the guest sees. Without it: -1 (`EPERM`).
    pub bind_pirq: Option<unsafe extern "C" fn(context: *mut c_void, domain: u32, pirq: u32, is_shared: u32) -> i32>,
}

// SAFETY: a raw pointer, and function pointers that may be null.
unsafe impl Plain for EventCallbacks {}

/// Callbacks that are there. Whoever made the host vouched that they are functions of their types, that any thread may call
/// them, and that they and their context stay until the host is destroyed.
pub(super) struct Callbacks {
    functions: Functions,
    /// The context's address; a number may be sent to other threads.
    context: usize,
}

/// The functions of [`EventCallbacks`].
struct Functions {
    act: unsafe extern "C" fn(*mut c_void, *const EventAction),
    is_paused: Option<unsafe extern "C" fn(*mut c_void, u32) -> u32>,
    is_preempted: Option<unsafe extern "C" fn(*mut c_void) -> u32>,
    is_local_apic_enabled: Option<unsafe extern "C" fn(*mut c_void, u32, u32) -> u32>,
    may_use_pirq: Option<unsafe extern "C" fn(*mut c_void, u32, u32) -> u32>,
    bind_pirq: Option<unsafe extern "C" fn(*mut c_void, u32, u32, u32) -> i32>,
}

/// Calls one of the caller's functions.
macro_rules! call {
    ($self:ident, $function:expr $(, $argument:expr)*) => {
        // SAFETY: whoever made the host vouched for the function and its context until the host is destroyed, which waits
        // for this call. What else it gets are numbers, or a structure that outlives the call.
        call_back(|| unsafe { $function($self.context() $(, $argument)*) })
    };
}

impl Callbacks {
    pub(super) fn new(callbacks: &EventCallbacks) -> Result<Self, Failure> {
        let EventCallbacks { context, act, is_paused, is_preempted, is_local_apic_enabled, may_use_pirq, bind_pirq } =
            *callbacks;
        let act = act.ok_or_else(|| Failure::new(Status::NullPointer, "callback act is null"))?;
        let functions = Functions { act, is_paused, is_preempted, is_local_apic_enabled, may_use_pirq, bind_pirq };
        Ok(Self { functions, context: context.expose_provenance() })
    }

    fn context(&self) -> *mut c_void {
        ptr::with_exposed_provenance_mut(self.context)
    }

    pub(super) fn act(&self, action: Action) {
        let action = EventAction::of(action);
        call!(self, (self.functions.act), &raw const action);
    }

    pub(super) fn is_paused(&self, domain: DomainId) -> bool {
        self.functions.is_paused.is_some_and(|function| call!(self, function, u32::from(domain.0)) != 0)
    }

    pub(super) fn is_preempted(&self) -> bool {
        self.functions.is_preempted.is_some_and(|function| call!(self, function) != 0)
    }

    pub(super) fn is_local_apic_enabled(&self, domain: DomainId, vcpu: VcpuId) -> bool {
        let function = self.functions.is_local_apic_enabled;
        function.is_none_or(|function| call!(self, function, u32::from(domain.0), vcpu.0) != 0)
    }

    pub(super) fn may_use_pirq(&self, domain: DomainId, pirq: u32) -> bool {
        self.functions.may_use_pirq.is_some_and(|function| call!(self, function, u32::from(domain.0), pirq) != 0)
    }

    pub(super) fn bind_pirq(&self, domain: DomainId, pirq: u32, sharing: Sharing) -> Result<(), Errno> {
        let Some(function) = self.functions.bind_pirq else { return Err(Errno::NotPermitted) };
        let is_shared = u32::from(sharing == Sharing::Shared);
        match call!(self, function, u32::from(domain.0), pirq, is_shared) {
            0 => Ok(()),
            error => Err(Errno::from_hypercall_result(i64::from(error)).unwrap_or(Errno::Invalid)),
        }
    }
}
