//! How a guest is called: where its blocks are, and by which vector or line.

use hypervisor_abi::VcpuId;
use hypervisor_abi::hvm::CallbackVia;
use hypervisor_lib::event::GuestPlace;

use super::domain_id;
use super::host::EventHost;
use super::host::word_size;
use crate::call::enter;
use crate::handle;
use crate::handle::Handle;
use crate::pointer::from_c;
use crate::pointer::number;
use crate::status::Failure;
use crate::status::Status;

/// Moves a vCPU's block to a place the guest chose (`VCPUOP_register_vcpu_info`).
///
/// @param host    The host.
/// @param domain  The domain.
/// @param vcpu    The vCPU.
/// @param gfn     The frame.
/// @param offset  The place in the frame, in bytes: a multiple of 64.
#[unsafe(no_mangle)]
pub extern "C" fn carillon_event_register_vcpu_info(
    host: Handle,
    domain: u32,
    vcpu: u32,
    gfn: u64,
    offset: u32,
) -> Status {
    enter(|| {
        handle::with(host, |host: &EventHost| {
            let place = GuestPlace { gfn, offset };
            host.on_domain(domain_id(domain)?, |domain, call| {
                Ok(domain.register_vcpu_info(call, VcpuId(vcpu), place)?)
            })
        })
    })
}

/// Sets how events call an HVM guest (`HVM_PARAM_CALLBACK_IRQ`).
///
/// @param host       The host.
/// @param domain     The domain.
/// @param parameter  The parameter, as the guest gave it.
/// @param word_bits  How wide the guest's words are at this moment: 32 or 64.
#[unsafe(no_mangle)]
pub extern "C" fn carillon_event_set_callback(host: Handle, domain: u32, parameter: u64, word_bits: u32) -> Status {
    enter(|| {
        let via = CallbackVia::from_param(parameter);
        let via = via.map_err(|error| Failure::new(Status::BadValue, error.to_string()))?;
        let word_size = word_size(word_bits)?;
        handle::with(host, |host: &EventHost| {
            host.on_domain(domain_id(domain)?, |domain, call| Ok(domain.set_callback_via(call, via, word_size)?))
        })
    })
}

/// Gives a vCPU's upcalls a vector of their own (`HVMOP_set_evtchn_upcall_vector`).
///
/// @param host    The host.
/// @param domain  The domain.
/// @param vcpu    The vCPU.
/// @param vector  The vector, 16 to 255.
#[unsafe(no_mangle)]
pub extern "C" fn carillon_event_set_upcall_vector(host: Handle, domain: u32, vcpu: u32, vector: u32) -> Status {
    enter(|| {
        let vector = u8::try_from(vector).map_err(|_| Failure::value("vector", vector))?;
        handle::with(host, |host: &EventHost| {
            host.on_domain(domain_id(domain)?, |domain, call| {
                Ok(domain.set_upcall_vector(call, VcpuId(vcpu), vector)?)
            })
        })
    })
}

/// Tells the vector to inject at a vCPU's entry by event injection, before any of its local APIC's; 0 for none.
///
/// @param host    The host.
/// @param domain  The domain.
/// @param vcpu    The vCPU.
/// @param vector  The vector.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_event_callback_vector(
    host: Handle,
    domain: u32,
    vcpu: u32,
    vector: *mut u32,
) -> Status {
    enter(|| {
        let vector = from_c!(number(vector, "vector"))?;
        handle::with(host, |host: &EventHost| {
            host.on_domain(domain_id(domain)?, |domain, call| {
                vector.write(domain.callback_vector(call, VcpuId(vcpu)).map_or(0, u32::from));
                Ok(())
            })
        })
    })
}

/// Brings the callback line to the level vCPU 0's events ask for; to be called at each entry of vCPU 0.
///
/// @param host    The host.
/// @param domain  The domain.
#[unsafe(no_mangle)]
pub extern "C" fn carillon_event_update_callback_line(host: Handle, domain: u32) -> Status {
    enter(|| {
        handle::with(host, |host: &EventHost| {
            host.on_domain(domain_id(domain)?, |domain, call| {
                domain.update_callback_line(call);
                Ok(())
            })
        })
    })
}

/// Says that a vCPU's local APIC has become software-enabled.
///
/// @param host    The host.
/// @param domain  The domain.
/// @param vcpu    The vCPU.
#[unsafe(no_mangle)]
pub extern "C" fn carillon_event_local_apic_enabled(host: Handle, domain: u32, vcpu: u32) -> Status {
    enter(|| {
        handle::with(host, |host: &EventHost| {
            host.on_domain(domain_id(domain)?, |domain, call| Ok(domain.local_apic_enabled(call, VcpuId(vcpu))?))
        })
    })
}
