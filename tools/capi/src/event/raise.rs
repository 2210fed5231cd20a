//! Events that do not come by a guest's hypercall: the hypervisor's own, its consumers', physical interrupts; and waiting.

use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::Virq;
use hypervisor_lib::event::ConsumerId;
use hypervisor_lib::event::EventError;
use hypervisor_lib::event::MAX_POLL_PORTS;
use hypervisor_lib::event::Poll;
use hypervisor_lib::event::send_global_virq;

use super::domain_id;
use super::host::EventHost;
use crate::call::enter;
use crate::handle;
use crate::handle::Handle;
use crate::pointer::bytes;
use crate::pointer::from_c;
use crate::pointer::number;
use crate::status::Failure;
use crate::status::Status;

fn virq(number: u32) -> Result<Virq, Failure> {
    Ok(Virq::new(number).map_err(EventError::from)?)
}

/// Raises a virtual IRQ of a vCPU; of the whole domain for those that are not per vCPU. Nothing happens if the guest has not
/// bound it.
///
/// @param host    The host.
/// @param domain  The domain.
/// @param vcpu    The vCPU.
/// @param virq    The virtual IRQ, 0 to 23.
#[unsafe(no_mangle)]
pub extern "C" fn carillon_event_send_virq(host: Handle, domain: u32, vcpu: u32, virq: u32) -> Status {
    enter(|| {
        handle::with(host, |host: &EventHost| {
            let virq = self::virq(virq)?;
            host.on_domain(domain_id(domain)?, |domain, call| Ok(domain.send_virq(call, VcpuId(vcpu), virq)?))
        })
    })
}

/// Raises a global virtual IRQ at the domain that handles it.
///
/// @param host  The host.
/// @param virq  The virtual IRQ.
#[unsafe(no_mangle)]
pub extern "C" fn carillon_event_send_global_virq(host: Handle, virq: u32) -> Status {
    enter(|| {
        handle::with(host, |host: &EventHost| {
            let virq = self::virq(virq)?;
            host.on_host(|call| Ok(send_global_virq(call, virq)?))
        })
    })
}

/// Says that a physical IRQ has happened. Nothing happens if the domain has not bound it.
///
/// @param host    The host.
/// @param domain  The domain.
/// @param pirq    The physical IRQ.
#[unsafe(no_mangle)]
pub extern "C" fn carillon_event_send_pirq(host: Handle, domain: u32, pirq: u32) -> Status {
    enter(|| {
        handle::with(host, |host: &EventHost| {
            host.on_domain(domain_id(domain)?, |domain, call| {
                domain.send_pirq(call, pirq);
                Ok(())
            })
        })
    })
}

/// Does the event channel's part of a guest's EOI of a physical IRQ (`PHYSDEVOP_eoi`).
///
/// @param host    The host.
/// @param domain  The domain.
/// @param pirq    The physical IRQ.
#[unsafe(no_mangle)]
pub extern "C" fn carillon_event_pirq_eoi(host: Handle, domain: u32, pirq: u32) -> Status {
    enter(|| {
        handle::with(host, |host: &EventHost| {
            host.on_domain(domain_id(domain)?, |domain, call| Ok(domain.pirq_eoi(call, pirq)?))
        })
    })
}

/// Offers a port of a domain's whose events the hypervisor itself consumes.
///
/// @param host      The host.
/// @param domain    The domain.
/// @param vcpu      The vCPU on whose behalf.
/// @param remote    The domain that may connect to it.
/// @param consumer  The consumer's number, 0 to 30: actions of kind notify-consumer carry it.
/// @param port      The port.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_event_offer_consumed(
    host: Handle,
    domain: u32,
    vcpu: u32,
    remote: u32,
    consumer: u32,
    port: *mut u32,
) -> Status {
    enter(|| {
        let port = from_c!(number(port, "port"))?;
        let number = u8::try_from(consumer).ok().and_then(ConsumerId::new);
        let consumer = number.ok_or_else(|| Failure::value("consumer", consumer))?;
        let remote: DomainId = domain_id(remote)?;
        handle::with(host, |host: &EventHost| {
            host.on_domain(domain_id(domain)?, |domain, call| {
                port.write(domain.alloc_consumed(call, VcpuId(vcpu), remote, consumer)?.0);
                Ok(())
            })
        })
    })
}

/// Sends an event from a port whose events the hypervisor consumes to the guest at its other end.
///
/// @param host    The host.
/// @param domain  The domain.
/// @param port    The port.
#[unsafe(no_mangle)]
pub extern "C" fn carillon_event_notify_from_consumer(host: Handle, domain: u32, port: u32) -> Status {
    enter(|| {
        handle::with(host, |host: &EventHost| {
            host.on_domain(domain_id(domain)?, |domain, call| {
                domain.notify_from_consumer(call, Port(port));
                Ok(())
            })
        })
    })
}

/// Closes a port whose events the hypervisor consumes.
///
/// @param host    The host.
/// @param domain  The domain.
/// @param port    The port.
#[unsafe(no_mangle)]
pub extern "C" fn carillon_event_close_consumed(host: Handle, domain: u32, port: u32) -> Status {
    enter(|| {
        handle::with(host, |host: &EventHost| {
            host.on_domain(domain_id(domain)?, |domain, call| Ok(domain.close_consumed(call, Port(port))?))
        })
    })
}

/// Begins to wait for ports on behalf of a vCPU (`SCHEDOP_poll`).
///
/// @param host        The host.
/// @param domain      The domain.
/// @param vcpu        The vCPU.
/// @param ports       The ports, as the guest gave them.
/// @param count       How many: 128 at most.
/// @param is_blocked  0 if it can go on; 1 if it is to be stopped until an action of kind wake-poller, an upcall or its
///                    timeout, and then `carillon_event_end_poll`.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_event_poll(
    host: Handle,
    domain: u32,
    vcpu: u32,
    ports: *const u32,
    count: usize,
    is_blocked: *mut u32,
) -> Status {
    enter(|| {
        if count > MAX_POLL_PORTS {
            return Err(EventError::TooManyPorts(count).into());
        }
        let ports = from_c!(bytes(ports.cast(), count * size_of::<u32>(), "ports"))?;
        let (ports, _) = ports.as_chunks();
        let ports: Vec<Port> = ports.iter().map(|port| Port(u32::from_ne_bytes(*port))).collect();
        let is_blocked = from_c!(number(is_blocked, "is_blocked"))?;
        handle::with(host, |host: &EventHost| {
            let begun =
                host.on_domain(domain_id(domain)?, |domain, call| Ok(domain.poll(call, VcpuId(vcpu), &ports)?))?;
            is_blocked.write(u32::from(begun == Poll::Blocked));
            Ok(())
        })
    })
}

/// Says that a vCPU no longer waits: it was woken or called, or its time is up.
///
/// @param host    The host.
/// @param domain  The domain.
/// @param vcpu    The vCPU.
#[unsafe(no_mangle)]
pub extern "C" fn carillon_event_end_poll(host: Handle, domain: u32, vcpu: u32) -> Status {
    enter(|| {
        handle::with(host, |host: &EventHost| {
            host.on_domain(domain_id(domain)?, |domain, _| Ok(domain.end_poll(VcpuId(vcpu))?))
        })
    })
}
