//! What the core asks its hypervisor to do, as C sees it.

use hypervisor_lib::event::Action;
use hypervisor_lib::event::CallbackLine;
use hypervisor_lib::event::Level;
use hypervisor_lib::event::MaskState;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EventActionKind {
    /// The vCPU has got its first pending event: wake it, or interrupt it where it runs.
    Kick = 0,
    /// Set `vector` in the vCPU's local APIC, edge-triggered.
    InjectVector = 1,
    /// Drive the domain's interrupt line `gsi` to `level`.
    SetGsi = 2,
    /// Drive the interrupt pin `pin` of the domain's PCI slot `device` to `level`.
    SetIntx = 3,
    /// End the vCPU's poll.
    WakePoller = 4,
    /// A port whose events the hypervisor consumes has got one: `port`, of consumer `consumer`, for the vCPU.
    NotifyConsumer = 5,
    /// Give up the physical IRQ `pirq`.
    UnbindPirq = 6,
    /// Move the physical IRQ `pirq` to where the vCPU runs.
    MovePirq = 7,
    /// Acknowledge the interrupt behind the physical IRQ `pirq`, so that it can happen again.
    AcknowledgePirq = 8,
    /// Mask the message behind the physical IRQ `pirq` if `level` is 1, unmask it if it is 0.
    MaskMessage = 9,
    /// Hand a message with `vector` to the local APICs that `flags` address.
    InjectMessage = 10,
}

/// What is to be done, to what. Fields that the kind does not speak of are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EventAction {
    /// One of `carillon_event_action_kind`.
    pub kind: u32,
    /// Whose.
    pub domain: u32,
    /// Which vCPU.
    pub vcpu: u32,
    /// The vector, 16 to 255.
    pub vector: u32,
    /// The line of the platform's interrupt controllers.
    pub gsi: u32,
    /// The PCI slot.
    pub device: u32,
    /// Its pin, 0 for INTA.
    pub pin: u32,
    /// 1 to assert or mask, 0 to deassert or unmask.
    pub level: u32,
    /// The port.
    pub port: u32,
    /// The consumer's number.
    pub consumer: u32,
    /// The physical IRQ.
    pub pirq: u32,
    /// How a message is delivered: XEN_DOMCTL_VMSI_X86_* of `public/domctl.h`.
    pub flags: u32,
}

impl EventAction {
    pub(super) fn of(action: Action) -> Self {
        let new = |kind: EventActionKind, domain: hypervisor_abi::DomainId| Self {
            kind: kind as u32,
            domain: u32::from(domain.0),
            ..Self::default()
        };
        match action {
            Action::Kick { domain, vcpu } => Self { vcpu: vcpu.0, ..new(EventActionKind::Kick, domain) },
            Action::InjectVector { domain, vcpu, vector } => {
                Self { vcpu: vcpu.0, vector: u32::from(vector), ..new(EventActionKind::InjectVector, domain) }
            }
            Action::SetLine { domain, line, level } => {
                let level = u32::from(level == Level::High);
                match line {
                    CallbackLine::Gsi(gsi) => {
                        Self { gsi: u32::from(gsi), level, ..new(EventActionKind::SetGsi, domain) }
                    }
                    CallbackLine::PciIntx { device, pin } => Self {
                        device: u32::from(device),
                        pin: u32::from(pin),
                        level,
                        ..new(EventActionKind::SetIntx, domain)
                    },
                }
            }
            Action::WakePoller { domain, vcpu } => Self { vcpu: vcpu.0, ..new(EventActionKind::WakePoller, domain) },
            Action::NotifyConsumer { consumer, domain, vcpu, port } => Self {
                vcpu: vcpu.0,
                port: port.0,
                consumer: u32::from(consumer.number()),
                ..new(EventActionKind::NotifyConsumer, domain)
            },
            Action::UnbindPirq { domain, pirq } => Self { pirq, ..new(EventActionKind::UnbindPirq, domain) },
            Action::MovePirq { domain, pirq, vcpu } => {
                Self { pirq, vcpu: vcpu.0, ..new(EventActionKind::MovePirq, domain) }
            }
            Action::AcknowledgePirq { domain, pirq } => Self { pirq, ..new(EventActionKind::AcknowledgePirq, domain) },
            Action::MaskMessage { domain, pirq, state } => {
                let level = u32::from(state == MaskState::Masked);
                Self { pirq, level, ..new(EventActionKind::MaskMessage, domain) }
            }
            Action::InjectMessage { domain, message } => Self {
                vector: u32::from(message.vector),
                flags: message.flags.into(),
                ..new(EventActionKind::InjectMessage, domain)
            },
        }
    }
}
