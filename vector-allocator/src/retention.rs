//! What a guest's retaining sources hold back: the interrupts of dom0 and of the hypervisor, in rank order or not.

use alloc::vec::Vec;

use crate::Assignment;
use crate::CpuSet;
use crate::Owner;
use crate::SourceId;
use crate::Vector;
use crate::When;
use crate::crowd::Crowd;
use crate::meeting::Meeting;
use crate::meeting::Station;

/// A guest-owned source that keeps the in-service bit, and all it can block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The guest's source.
    pub guest: SourceId,
    /// The vector that stays in service.
    pub vector: Vector,
    /// What waits meanwhile. May be empty: then the source is where it does no harm.
    pub blocked: Vec<Blocked>,
}

/// A source that cannot be delivered while a guest's source is in service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The source that waits.
    pub source: SourceId,
    /// Whose it is: dom0's or the hypervisor's.
    pub owner: Owner,
    /// Its vector, of the retaining vector's class or below; after a draw it may be any.
    pub vector: Vector,
    /// Whether it can happen as the host stands.
    pub when: When,
    /// Where.
    pub cpus: CpuSet,
}

/// Every bound guest source with acknowledgement [`AckType::Eoi`](crate::AckType::Eoi), and which bound vectors of dom0
/// and the hypervisor its in-service bit blocks, or could after a move.
#[must_use]
pub fn retentions(assignment: &Assignment) -> Vec<Retention> {
    let sources = &assignment.sources;
    let hosts = Crowd::of(sources, |source| !source.owner.is_guest() && source.is_bound());
    let retaining = sources.iter().filter(|source| source.guest_can_retain(assignment.ioapic_ack));
    retaining
        .map(|guest| {
            let groups = hosts.groups_meeting(guest);
            let indices = groups.iter().flat_map(|group| hosts.members(*group));
            let blocked = indices.filter_map(|index| {
                let host = &sources[*index];
                let blocks = guest.vector.blocks_in_service(host.vector);
                let (when, cpus) = match Station::of(guest).meets(Station::of(host)) {
                    Meeting::Now | Meeting::NowAndDrawn if blocks => {
                        (When::Now, guest.target.intersection(&host.target))
                    }
                    Meeting::Kept if blocks => (When::AfterMove, guest.reachable.intersection(&host.reachable)),
                    Meeting::Drawn | Meeting::NowAndDrawn => {
                        (When::AfterMove, guest.reachable.intersection(&host.reachable))
                    }
                    Meeting::Never | Meeting::Now | Meeting::Kept => return None,
                };
                Some(Blocked { source: host.id, owner: host.owner, vector: host.vector, when, cpus })
            });
            Retention { guest: guest.id, vector: guest.vector, blocked: blocked.collect() }
        })
        .collect()
}
