//! A vCPU's way on and off processors, and the remapping entries that go with it.
//!
//! ```text
//!                   enter(core)                         leave(Blocking), nothing due
//!   Preempted ───────────────────────► On(core) ─────────────────────────────────────► Blocked
//!       ▲        IsRunning := core      │  ▲ │         is_run := 0, log := 1            │
//!       │        is_run := core, log :=0│  │ │         IsRunning := 0, look at the IRR  │
//!       └───────────────────────────────┘  └─┼──────────────────────────────────────────┘
//!         leave(Preempting): is_run := 0     │                enter(core)
//!         IsRunning := 0                     └─► leave(Blocking), something due: AwakeAfterAll, and Preempted
//! ```

use alloc::vec::Vec;

use hypervisor_abi::amd_iommu::GaTag;
use hypervisor_abi::amd_iommu::GuestIrteHigh;
use hypervisor_abi::amd_iommu::GuestIrteLow;
use hypervisor_abi::amd_iommu::Irte;
use hypervisor_abi::amd_iommu::RemappedIrteLow;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::HostApicId;
use hypervisor_abi::avic::PhysicalCell;
use vector_allocator::Vector;

use super::host::Action;
use super::host::Host;
use super::host::IrteIndex;
use super::post::due;
use super::table::EntryCell;
use super::table::PhysicalTable;
use super::table::Residence;
use super::table::TableError;

/// Why a vCPU leaves its processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leaving {
    /// It has nothing to do until an interrupt comes.
    Blocking,
    /// Something else is to run, or AVIC is switched off: it will be entered again whatever happens.
    Preempting,
}

/// What a vCPU that has left may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Left {
    /// Whatever it left for; if it blocks, the next interrupt wakes it.
    Gone,
    /// Not block: this vector has come meanwhile. It counts as preempted.
    AwakeAfterAll(Vector),
}

/// Where a vCPU is, or why nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// On a processor, from before it is entered until after it has exited for good.
    On(HostApicId),
    /// It waits for a processor; interrupts wait with it, and nobody is told.
    Preempted,
    /// It waits for an interrupt.
    Blocked,
}

/// Why a device's interrupts cannot be delivered to a vCPU by the IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No such entry belongs to the vCPU.
    #[error("{0:?} does not deliver to this vCPU")]
    Foreign(IrteIndex),
    /// The entry it is to be replaced by would abort what the device sends.
    #[error("the entry that is to replace {0:?} does not remap")]
    NotRemapping(IrteIndex),
}

/// A vCPU under AVIC: its state, exclusively its owner's, around what it shares with everybody. Whoever runs the vCPU keeps it
/// under a lock that assigning and taking away devices takes too.
#[derive(Debug)]
pub struct AvicVcpu<'a, C = PhysicalCell> {
    id: ApicId,
    tag: GaTag,
    table: PhysicalTable<'a, C>,
    page: &'a BackingPage,
    place: Place,
    routes: Vec<Route>,
}

#[derive(Clone, Copy, Debug)]
struct Route {
    index: IrteIndex,
    low: GuestIrteLow,
}

impl<'a, C: EntryCell> AvicVcpu<'a, C> {
    /// A vCPU that is in the table, on no processor. `tag` is what the IOMMU logs for it.
    ///
    /// # Errors
    /// It is not in the table.
    pub fn new(id: ApicId, tag: GaTag, table: PhysicalTable<'a, C>, page: &'a BackingPage) -> Result<Self, TableError> {
        table.set_residence(id, Residence::Away)?;
        Ok(Self { id, tag, table, page, place: Place::Preempted, routes: Vec::new() })
    }

    /// Where it is.
    #[must_use]
    pub const fn place(&self) -> Place {
        self.place
    }

    /// It is about to run on `core`: senders ring that core's doorbell from now on. Its thread is on that core and enters the
    /// guest after this, which looks at the IRR.
    ///
    /// One atomic operation on shared memory, and a store and an invalidation for the devices that deliver to it.
    ///
    /// # Errors
    /// It has been taken out of the table.
    pub fn enter(&mut self, core: HostApicId, host: &impl Host) -> Result<(), TableError> {
        self.table.set_residence(self.id, Residence::On(core))?;
        self.place = Place::On(core);
        // Only after the guest is entered would it be too late: an interrupt that finds the old entry, which neither rings
        // nor logs, is in the IRR when this returns.
        self.update_routes(host);
        Ok(())
    }

    /// It leaves its core, its thread still being there: senders wake it from now on, if it blocks.
    ///
    /// One atomic operation on shared memory, and a store and an invalidation for the devices that deliver to it.
    ///
    /// # Errors
    /// It has been taken out of the table.
    pub fn leave(&mut self, why: Leaving, host: &impl Host) -> Result<Left, TableError> {
        self.place = match why {
            Leaving::Blocking => Place::Blocked,
            Leaving::Preempting => Place::Preempted,
        };
        self.update_routes(host);
        self.table.set_residence(self.id, Residence::Away)?;
        // Whoever set a vector before he could see that we are away has rung a doorbell that nobody hears.
        match due(self.page).filter(|_| why == Leaving::Blocking) {
            Some(vector) => {
                self.place = Place::Preempted;
                Ok(Left::AwakeAfterAll(vector))
            }
            None => Ok(Left::Gone),
        }
    }

    /// Lets a device's interrupt be delivered by the IOMMU: one vector to one vCPU, fixed and edge-triggered. An entry that
    /// delivers already, to another vector, is replaced.
    ///
    /// # Errors
    /// The vCPU has been taken out of the table.
    pub fn attach(&mut self, index: IrteIndex, vector: Vector, host: &impl Host) -> Result<(), TableError> {
        let low = self.placed(GuestIrteLow::new().with_is_valid(true).with_guest_mode(true).with_tag(self.tag));
        let frame = self.table.entry(self.id)?.backing_frame();
        let high = GuestIrteHigh::new().with_vector(vector.number()).with_backing_frame(frame);
        self.routes.retain(|route| route.index != index);
        self.routes.push(Route { index, low });
        replace(index, Irte { low: low.into(), high: high.into() }, host);
        Ok(())
    }

    /// Takes a device's interrupt away from it: the entry becomes `remapped`, which sends it to the host. What has come so far
    /// is in the IRR.
    ///
    /// # Errors
    /// [`RouteError::Foreign`], and [`RouteError::NotRemapping`] if `remapped` has its first bit (RemapEn) clear.
    pub fn detach(&mut self, index: IrteIndex, remapped: Irte, host: &impl Host) -> Result<(), RouteError> {
        if !GuestIrteLow::from(remapped.low).is_valid() {
            return Err(RouteError::NotRemapping(index));
        }
        let position = self.routes.iter().position(|route| route.index == index).ok_or(RouteError::Foreign(index))?;
        self.routes.swap_remove(position);
        replace(index, remapped, host);
        Ok(())
    }

    /// The remapping entries that deliver to it.
    pub fn routes(&self) -> impl Iterator<Item = IrteIndex> + '_ {
        self.routes.iter().map(|route| route.index)
    }

    /// One step of a way carried out by steps: where it is to be from now on.
    pub(crate) fn set_place(&mut self, place: Place) {
        self.place = place;
    }

    /// One step: an entry says where it is.
    pub(crate) fn say_in(&mut self, index: IrteIndex, host: &impl Host) -> Result<(), RouteError> {
        let position = self.routes.iter().position(|route| route.index == index).ok_or(RouteError::Foreign(index))?;
        let low = self.placed(self.routes[position].low);
        self.routes[position].low = low;
        host.act(Action::StoreIrteLow(index, low));
        Ok(())
    }

    /// One step: the table says where it is; what it says then.
    pub(crate) fn publish(&self) -> Result<Residence, TableError> {
        let residence = match self.place {
            Place::On(core) => Residence::On(core),
            Place::Preempted | Place::Blocked => Residence::Away,
        };
        self.table.set_residence(self.id, residence)?;
        self.table.residence(self.id)
    }

    /// One look: what is due.
    pub(crate) fn due(&self) -> Option<Vector> {
        due(self.page)
    }

    /// A lower half that says where the vCPU is.
    fn placed(&self, low: GuestIrteLow) -> GuestIrteLow {
        match self.place {
            Place::On(core) => low.with_is_running(true).with_destination(core.number()).with_logs(false),
            Place::Preempted => low.with_is_running(false).with_logs(false),
            Place::Blocked => low.with_is_running(false).with_logs(true),
        }
    }

    fn update_routes(&mut self, host: &impl Host) {
        if self.routes.is_empty() {
            return;
        }
        for position in 0..self.routes.len() {
            let low = self.placed(self.routes[position].low);
            self.routes[position].low = low;
            host.act(Action::StoreIrteLow(self.routes[position].index, low));
        }
        host.act(Action::InvalidateIrtes);
    }
}

fn replace(index: IrteIndex, irte: Irte, host: &impl Host) {
    host.act(Action::ReplaceIrte(index, irte));
    host.act(Action::InvalidateIrtes);
}

/// The entry that sends a device's interrupt to the host: fixed, edge-triggered, to one local APIC. What
/// [`detach`](AvicVcpu::detach) needs, and what an entry is that no vCPU has (48882, 2.2.5.2).
#[must_use]
pub fn to_host(vector: Vector, destination: ApicId) -> Irte {
    let [a, b, c, upper] = destination.0.to_le_bytes();
    let low = RemappedIrteLow::new().with_is_valid(true).with_destination(u32::from_le_bytes([a, b, c, 0]));
    let high = GuestIrteHigh::new().with_vector(vector.number()).with_destination(upper);
    Irte { low: low.into(), high: high.into() }
}
