//! The host's side of event channels, for C.

mod actions;
mod callbacks;
mod host;
mod hypercall;
mod raise;
mod upcall;

pub use actions::EventAction;
pub use actions::EventActionKind;
pub use callbacks::EventCallbacks;
pub use host::DomainOptions;
pub use host::Privilege;
pub use raise::carillon_event_close_consumed;
pub use raise::carillon_event_end_poll;
pub use raise::carillon_event_notify_from_consumer;
pub use raise::carillon_event_offer_consumed;
pub use raise::carillon_event_pirq_eoi;
pub use raise::carillon_event_poll;
pub use raise::carillon_event_send_global_virq;
pub use raise::carillon_event_send_pirq;
pub use raise::carillon_event_send_virq;
pub use upcall::carillon_event_callback_vector;
pub use upcall::carillon_event_local_apic_enabled;
pub use upcall::carillon_event_register_vcpu_info;
pub use upcall::carillon_event_set_callback;
pub use upcall::carillon_event_set_upcall_vector;
pub use upcall::carillon_event_update_callback_line;

use std::ffi::c_void;

use hypervisor_abi::DomainId;
use hypervisor_lib::event::SavedEvents;

use crate::call::enter;
use crate::handle;
use crate::handle::Handle;
use crate::pointer::bytes;
use crate::pointer::bytes_output;
use crate::pointer::from_c;
use crate::pointer::input;
use crate::pointer::number;
use crate::status::Failure;
use crate::status::Status;
use host::EventHost;

/// The domain of a number that may be anything.
fn domain_id(number: u32) -> Result<DomainId, Failure> {
    u16::try_from(number).map(DomainId).map_err(|_| Failure::value("domain", number))
}

/// Makes a host of event channels, without domains.
///
/// @param callbacks        What the host asks of its hypervisor. The functions and what their context points to must stay
///                         until the host is destroyed.
/// @param callbacks_size   The size of the structure.
/// @param hardware_domain  The domain that handles the global virtual IRQs.
/// @param host             The host.
///
/// # Safety
/// See the crate's "Pointers"; and the callbacks are functions of these types, which may be called from any thread that
/// calls the library, return, and do not unwind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_event_host_create(
    callbacks: *const EventCallbacks,
    callbacks_size: usize,
    hardware_domain: u32,
    host: *mut Handle,
) -> Status {
    enter(|| {
        let callbacks = from_c!(input(callbacks, callbacks_size, "callbacks"))?;
        let host = from_c!(number(host, "host"))?;
        host.write(handle::insert(EventHost::new(&callbacks, domain_id(hardware_domain)?)?)?);
        Ok(())
    })
}

/// Makes a domain, without an open port.
///
/// @param host          The host.
/// @param options       The domain.
/// @param options_size  The size of the structure.
/// @param memory        Where the guest's frames lie, one after the other, page-aligned. The guest may write them at any time.
///                      They must stay until the domain, or its host, is destroyed.
/// @param memory_size   Their size in bytes: a multiple of 4096.
/// @param first_gfn     The number of the first frame. Frames outside are no memory to the host.
///
/// # Safety
/// See the crate's "Pointers"; and the memory is readable and writable until the domain is destroyed, and whoever else
/// writes it does so as another CPU would: in words, by atomic operations where the interface asks for them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_event_domain_create(
    host: Handle,
    options: *const DomainOptions,
    options_size: usize,
    memory: *mut c_void,
    memory_size: usize,
    first_gfn: u64,
) -> Status {
    enter(|| {
        let options = from_c!(input(options, options_size, "options"))?;
        handle::with(host, |host: &EventHost| {
            // SAFETY: the caller's word for the memory is what this function asks.
            let region = unsafe { host::Region::new(memory, memory_size, first_gfn) }?;
            host.create_domain(&options, region)
        })
    })
}

/// Ends a domain: its ports are closed, and its memory is not touched after this has returned
/// `CARILLON_STATUS_OK`. `CARILLON_STATUS_TRY_AGAIN` says that the hypervisor wanted the CPU: call it again.
///
/// @param host    The host.
/// @param domain  The domain.
#[unsafe(no_mangle)]
pub extern "C" fn carillon_event_domain_destroy(host: Handle, domain: u32) -> Status {
    enter(|| handle::with(host, |host: &EventHost| host.destroy_domain(domain_id(domain)?)))
}

/// Carries out an event-channel operation that a guest asked for (`HYPERVISOR_event_channel_op`).
///
/// @param host           The host.
/// @param domain         The domain whose vCPU asked.
/// @param operation      The operation's number, as the guest gave it.
/// @param argument       A copy of the guest's argument; the results are filled in. Never the guest's own memory, which it
///                       can change while it is read.
/// @param argument_size  The size of the operation's structure.
/// @param result         What the hypercall returns: 0, or one of Xen's errors, negated. It is written if the function
///                       returns `CARILLON_STATUS_OK`; what a guest does wrong is a result, what a caller does wrong a
///                       status. After -85 (`ERESTART`) of a reset call with operation 14, before anything else of the
///                       domain's.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_event_channel_op(
    host: Handle,
    domain: u32,
    operation: u32,
    argument: *mut c_void,
    argument_size: usize,
    result: *mut i64,
) -> Status {
    enter(|| {
        let result = from_c!(number(result, "result"))?;
        let argument = from_c!(hypercall::Argument::new(argument, argument_size))?;
        handle::with(host, |host: &EventHost| {
            let answer =
                host.on_domain(domain_id(domain)?, |domain, call| argument.carry_out(operation, domain, call))?;
            result.write(answer);
            Ok(())
        })
    })
}

/// Tells all of a stopped domain's event channels that is not in its own memory, as bytes to hand over.
///
/// @param host    The host.
/// @param domain  The domain.
/// @param buffer  Where the bytes go; null with size 0 to ask for the size only.
/// @param size    The size of the buffer.
/// @param needed  How many bytes there are.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_event_save(
    host: Handle,
    domain: u32,
    buffer: *mut u8,
    size: usize,
    needed: *mut usize,
) -> Status {
    enter(|| {
        let output = from_c!(bytes_output(buffer, size, needed))?;
        let saved = handle::with(host, |host: &EventHost| {
            host.on_domain(domain_id(domain)?, |domain, _| Ok(domain.save().to_bytes()))
        })?;
        output.write(&saved)
    })
}

/// Restores saved event channels into a domain that was just made, once its memory is in place and before it runs. If it
/// fails, destroy the domain. Its ports that were connected to other domains are offered to those again.
///
/// @param host    The host.
/// @param domain  The domain.
/// @param saved   What `carillon_event_save` gave.
/// @param size    How many bytes.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_event_restore(host: Handle, domain: u32, saved: *const u8, size: usize) -> Status {
    enter(|| {
        let saved = SavedEvents::from_bytes(from_c!(bytes(saved, size, "saved"))?)?;
        handle::with(host, |host: &EventHost| {
            host.on_domain(domain_id(domain)?, |domain, call| Ok(domain.restore(call, &saved)?))
        })
    })
}
