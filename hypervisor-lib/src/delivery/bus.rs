//! The bus of a domain's local APICs: who is addressed, and what is left for whom.

use alloc::boxed::Box;

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::BROADCAST_X2APIC;
use hypervisor_abi::apic::BROADCAST_XAPIC;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::sync::AtomicU32;
use hypervisor_abi::sync::AtomicU64;
use hypervisor_abi::sync::Ordering;
use vector_allocator::Vector;

use super::address::Address;
use super::host::Action;
use super::host::Host;
use super::inbox::Inbox;
use super::inbox::Notification;
use super::message::Destination;
use super::message::Message;
use super::port::Posted;
use super::port::Receiver;

/// The highest number a local APIC may have on a bus; the table by number has an entry for each.
pub const MAX_APIC_ID: ApicId = ApicId(0xffff);

/// No vCPU has the number.
const NOBODY: u32 = u32::MAX;

/// What connects the local APICs of a domain, and nobody else's.
///
/// A message to one number costs a look at two tables, however many local APICs there are; one to a logical x2APIC
/// destination at most sixteen such looks; a broadcast, or a logical destination while some local APIC is in xAPIC mode,
/// one word a local APIC. Each receiver costs one atomic change, two for the first since it last looked.
#[derive(Debug)]
pub struct ApicBus {
    /// The vCPU of each number.
    vcpus: Box<[u32]>,
    ids: Box<[ApicId]>,
    /// Packed, so that a broadcast goes through few cache lines.
    addresses: Box<[AtomicU64]>,
    inboxes: Box<[Inbox]>,
    /// How many local APICs a logical x2APIC destination cannot be worked out for.
    irregular: AtomicU32,
}

/// Why there can be no such bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// Two local APICs would have one number.
    #[error("{0} is there twice")]
    Twice(ApicId),
    /// The number is above [`MAX_APIC_ID`].
    #[error("{0} is above the highest number, {max}", max = MAX_APIC_ID.0)]
    TooHigh(ApicId),
}

impl ApicBus {
    /// A bus of local APICs with these numbers, in the order of their vCPUs. None takes anything before it says where it
    /// is.
    ///
    /// # Errors
    /// A number is there twice or too high.
    pub fn new(ids: &[ApicId]) -> Result<Self, BusError> {
        let highest = ids.iter().max().map_or(0, |id| id.0);
        if ApicId(highest) > MAX_APIC_ID {
            return Err(BusError::TooHigh(ApicId(highest)));
        }
        let mut vcpus: Box<[u32]> = (0..=highest).map(|_| NOBODY).collect();
        for (vcpu, id) in (0..).zip(ids) {
            if core::mem::replace(&mut vcpus[id.0 as usize], vcpu) != NOBODY {
                return Err(BusError::Twice(*id));
            }
        }
        Ok(Self {
            vcpus,
            ids: ids.into(),
            addresses: ids.iter().map(|_| AtomicU64::new(Address::new().into())).collect(),
            inboxes: ids.iter().map(|_| Inbox::default()).collect(),
            irregular: AtomicU32::new(0),
        })
    }

    /// A vCPU's inbox; none if there is no such vCPU.
    #[inline]
    #[must_use]
    pub fn inbox(&self, vcpu: VcpuId) -> Option<&Inbox> {
        self.inboxes.get(vcpu.index())
    }

    /// The vCPU whose local APIC has a number.
    #[must_use]
    pub fn vcpu(&self, id: ApicId) -> Option<VcpuId> {
        Some(self.by_number(id.0)?.0)
    }

    /// Where a vCPU's local APIC is; none if there is no such vCPU.
    #[must_use]
    pub fn address(&self, vcpu: VcpuId) -> Option<Address> {
        Some(self.addresses.get(vcpu.index())?.load(Ordering::Acquire).into())
    }

    /// Says where a vCPU's local APIC is from now on. Only the vCPU's own thread calls this.
    pub(super) fn publish(&self, vcpu: VcpuId, address: Address) {
        let (Some(cell), Some(id)) = (self.addresses.get(vcpu.index()), self.ids.get(vcpu.index())) else { return };
        let before = Address::from(cell.load(Ordering::Relaxed)).is_irregular(*id);
        let after = address.is_irregular(*id);
        // Whoever sees the new address must not miss that it is irregular.
        if after && !before {
            self.irregular.fetch_add(1, Ordering::SeqCst);
        }
        cell.store(address.into(), Ordering::SeqCst);
        if before && !after {
            self.irregular.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Sends a device's message.
    pub fn send<H: Host>(&self, message: &Message, host: &H) {
        self.resolve(message, None, |vcpu, address| self.deliver(vcpu, address, message, host));
    }

    /// Calls `visit` for each vCPU that gets `message` from `sender`, with where it is.
    #[inline]
    pub(super) fn resolve(&self, message: &Message, sender: Option<VcpuId>, mut visit: impl FnMut(VcpuId, Address)) {
        match message.delivery {
            DeliveryMode::LowestPriority => {
                if let Some((vcpu, address)) = self.lowest_priority(message, sender) {
                    visit(vcpu, address);
                }
            }
            _ => self.each_matching(message.destination, sender, visit),
        }
    }

    /// Leaves a message for a vCPU, whose local APIC is at `address`, if it takes the message: where its port says; and asks
    /// for it to be told.
    #[inline]
    pub(super) fn deliver<H: Host>(&self, vcpu: VcpuId, address: Address, message: &Message, host: &H) {
        let Some(inbox) = self.inbox(vcpu) else { return };
        let notification = match message.delivery {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority if address.takes_vectors() => {
                match Vector::new(message.vector) {
                    Ok(vector) => {
                        let receiver = Receiver { vcpu, id: self.ids[vcpu.index()] };
                        if address.port().post(receiver, vector, message.trigger, host) == Posted::Hardware {
                            return;
                        }
                        inbox.post(vector, message.trigger)
                    }
                    Err(_) => inbox.post_illegal_vector(),
                }
            }
            DeliveryMode::ExtInt if address.takes_vectors() => inbox.post_ext_int(),
            DeliveryMode::Nmi => inbox.post_nmi(),
            DeliveryMode::Smi => inbox.post_smi(),
            DeliveryMode::Init => inbox.post_init(),
            DeliveryMode::StartUp => inbox.post_start_up(message.vector),
            DeliveryMode::Fixed | DeliveryMode::LowestPriority | DeliveryMode::ExtInt | DeliveryMode::Reserved => {
                return;
            }
        };
        if notification == Notification::Due {
            host.act(Action::Kick(vcpu));
        }
    }

    #[inline]
    fn each_matching(&self, destination: Destination, sender: Option<VcpuId>, mut visit: impl FnMut(VcpuId, Address)) {
        match destination {
            Destination::Physical(number) if number != BROADCAST_XAPIC && number != BROADCAST_X2APIC => {
                // The table is by number, so nothing else is left to compare.
                if let Some((vcpu, address)) = self.by_number(number).filter(|(_, address)| address.is_there()) {
                    visit(vcpu, address);
                }
            }
            Destination::Logical(number)
                if number != BROADCAST_X2APIC && self.irregular.load(Ordering::SeqCst) == 0 =>
            {
                // Clusters of numbers nobody can have are beyond the table.
                let first = (number >> 16).saturating_mul(16);
                for member in 0..16 {
                    if number >> member & 1 == 1
                        && let number = first.saturating_add(member)
                        && let Some((vcpu, address)) = self.by_number(number)
                        && address.matches(ApicId(number), destination)
                    {
                        visit(vcpu, address);
                    }
                }
            }
            Destination::Physical(_) | Destination::Logical(_) | Destination::All => {
                self.scan(destination, &mut visit);
            }
            Destination::Others => self.scan(destination, |vcpu, address| {
                if Some(vcpu) != sender {
                    visit(vcpu, address);
                }
            }),
        }
    }

    /// The vCPU with a number, and where it is.
    #[inline]
    fn by_number(&self, number: u32) -> Option<(VcpuId, Address)> {
        let vcpu = VcpuId(*self.vcpus.get(number as usize)?);
        Some((vcpu, self.address(vcpu)?))
    }

    fn scan(&self, destination: Destination, mut visit: impl FnMut(VcpuId, Address)) {
        for ((vcpu, cell), id) in (0..).zip(&self.addresses).zip(&self.ids) {
            let address = Address::from(cell.load(Ordering::Acquire));
            if address.matches(*id, destination) {
                visit(VcpuId(vcpu), address);
            }
        }
    }

    /// Who takes a lowest-priority message: of those addressed that take vectors, one whose task priority no other's is
    /// below. Among equals the vector decides, so that different vectors go to different vCPUs and one always to the same.
    fn lowest_priority(&self, message: &Message, sender: Option<VcpuId>) -> Option<(VcpuId, Address)> {
        let class = |vcpu: VcpuId| self.inbox(vcpu).map_or(u8::MAX, Inbox::priority);
        let (mut lowest, mut equals, mut first) = (u8::MAX, 0, None);
        self.each_matching(message.destination, sender, |vcpu, address| {
            let class = class(vcpu);
            if address.takes_vectors() && class <= lowest {
                (equals, first) = if class == lowest { (equals + 1, first) } else { (1, Some((vcpu, address))) };
                lowest = class;
            }
        });
        let mut before = u32::from(message.vector).checked_rem(equals)?;
        let mut chosen = None;
        self.each_matching(message.destination, sender, |vcpu, address| {
            if chosen.is_none() && address.takes_vectors() && class(vcpu) == lowest {
                chosen = (before == 0).then_some((vcpu, address));
                before = before.saturating_sub(1);
            }
        });
        // Priorities may have changed between the two looks.
        chosen.or(first)
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::apic::ApicId;

    use super::ApicBus;
    use super::BusError;

    #[test]
    fn a_number_belongs_to_one_vcpu() {
        assert_eq!(ApicBus::new(&[ApicId(3), ApicId(1), ApicId(3)]).err(), Some(BusError::Twice(ApicId(3))));
        assert_eq!(ApicBus::new(&[ApicId(0x1_0000)]).err(), Some(BusError::TooHigh(ApicId(0x1_0000))));
        assert!(ApicBus::new(&[ApicId(0xffff), ApicId(0)]).is_ok());
        assert!(ApicBus::new(&[]).is_ok());
    }
}
