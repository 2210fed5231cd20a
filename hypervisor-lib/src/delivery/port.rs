//! Where a vector for a vCPU is left: it depends on who delivers it there.

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::TriggerMode;
use vector_allocator::Vector;

use super::avic;
use super::host::Action;
use super::host::Host;
use super::posted;
use super::posted::Urgency;

/// Where others leave vectors for a vCPU. What is no vector, they leave in its inbox in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// Its inbox: its thread merges them before the next entry.
    Inbox,
    /// Its posted-interrupt descriptor: the processor merges them while it runs. Level-triggered ones go to the inbox, for
    /// PIR does not say how a vector is triggered, and their ends have to exit.
    Descriptor,
    /// Its backing page, as AVIC has it.
    Page,
}

/// Whose port it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receiver {
    pub(super) vcpu: VcpuId,
    pub(super) id: ApicId,
}

/// What has become of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Posted {
    /// It is where the processor finds it, and whoever has to be told is told.
    Hardware,
    /// It is still to be left in the inbox.
    NotYet,
}

impl Port {
    pub(super) const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            1 => Self::Descriptor,
            2 => Self::Page,
            _ => Self::Inbox,
        }
    }

    pub(super) const fn into_bits(self) -> u8 {
        self as u8
    }

    /// Leaves a vector here, unless it is for the inbox. An owner that has just changed its port still looks at the old one.
    #[inline]
    pub(super) fn post<H: Host>(self, to: Receiver, vector: Vector, trigger: TriggerMode, host: &H) -> Posted {
        match (self, trigger) {
            (Self::Inbox, _) | (Self::Descriptor, TriggerMode::Level) => Posted::NotYet,
            (Self::Descriptor, TriggerMode::Edge) => {
                let Some(descriptor) = host.descriptor(to.vcpu) else { return Posted::NotYet };
                if let Some(notice) = posted::post(descriptor, vector, Urgency::Ordinary) {
                    host.act(Action::Notify(notice));
                }
                Posted::Hardware
            }
            (Self::Page, _) => {
                let (Some(tables), Some(page)) = (host.avic(), host.page(to.vcpu)) else { return Posted::NotYet };
                match avic::post(tables.physical, to.id, page, vector, trigger, &AvicSide(host)) {
                    Ok(_) => Posted::Hardware,
                    Err(_) => Posted::NotYet,
                }
            }
        }
    }
}

/// The host as AVIC's functions see it.
pub(super) struct AvicSide<'h, H>(pub(super) &'h H);

impl<H: Host> avic::Host for AvicSide<'_, H> {
    fn act(&self, action: avic::Action) {
        match action {
            avic::Action::RingDoorbell(core) => self.0.act(Action::RingDoorbell(core)),
            avic::Action::Wake(id) => {
                if let Some(vcpu) = self.0.bus().vcpu(id) {
                    self.0.act(Action::Kick(vcpu));
                }
            }
            // Remapping entries belong to whoever moves the vCPU and assigns devices.
            avic::Action::StoreIrteLow(..) | avic::Action::ReplaceIrte(..) | avic::Action::InvalidateIrtes => {}
        }
    }
}
