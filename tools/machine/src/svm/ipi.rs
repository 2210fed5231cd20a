//! An interrupt command on its way through the tables (APM vol. 2, 15.29.6.1).
//!
//! ```text
//!              not fixed, or level: 0     below 16: 4
//!  command ──► type ────────────────────► vector ──► to itself ─► IRR, look
//!                                            └► targets: in the logical table, in the physical table, a page: else 2, 3
//!                                                  └► each: IRR := 1, then IsRunning? doorbell
//!                                                        └► one was not running: 1
//! ```
//!
//! Nothing is set before every target of a directed command has been found.

use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::DestinationMode;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::Shorthand;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::LogicalCell;
use hypervisor_abi::avic::LogicalEntry;
use hypervisor_abi::avic::PhysicalCell;
use hypervisor_abi::avic::PhysicalEntry;
use hypervisor_abi::avic::VectorBits;
use hypervisor_abi::sync::Ordering;

use super::Access;
use super::Exit;
use super::Failure;
use super::Guest;
use super::RegisterOffset;
use super::access::load;
use super::vmcb::Mode;
use crate::Interconnect;
use crate::Signal;

/// The host's memory, where it holds backing pages.
pub trait BackingPages {
    /// The page of this frame; none where there is no memory.
    fn backing_page(&self, frame: u64) -> Option<&BackingPage>;
}

/// The host's memory, where it holds AVIC's tables too.
pub trait AvicMemory: BackingPages {
    /// The physical APIC-ID table's entry at a physical address, a multiple of 8; none where there is no memory.
    fn physical_entry(&self, address: u64) -> Option<&PhysicalCell>;

    /// The logical APIC-ID table's entry at a physical address, a multiple of 4; none where there is no memory.
    fn logical_entry(&self, address: u64) -> Option<&LogicalCell>;
}

/// A command on its way out of the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipi {
    /// ICR, as the page holds it: in xAVIC mode the destination is bits 63:56.
    pub icr: Icr,
}

impl Ipi {
    /// The command in the page.
    pub(super) fn of_page(page: &BackingPage) -> Self {
        let [low, high] = [RegisterOffset::ICR_LOW, RegisterOffset::ICR_HIGH].map(|offset| load(page, offset));
        Self { icr: Icr::from(u64::from(high) << 32 | u64::from(low)) }
    }

    /// The command that a write to SELF IPI stands for.
    pub(super) const fn to_sender(vector: u8) -> Self {
        Self { icr: Icr::new().with_vector(vector).with_shorthand(Shorthand::Myself) }
    }
}

/// Erratum 1235 of AMD's family 17h and Hygon's 18h: once a processor has found a target running it may go on taking it for
/// running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erratum1235 {
    /// The processor does not have it.
    Absent,
    /// It has it at its worst, for the last 16 targets it has found running: each with the processor whose doorbell it rang.
    Present([Option<(u32, ApicId)>; 16]),
}

impl Erratum1235 {
    /// A processor with the erratum that has found nobody running yet.
    pub const PRESENT: Self = Self::Present([None; 16]);

    /// Where the processor believes a target to be, by the entry it reads.
    fn belief(&mut self, index: u32, entry: PhysicalEntry) -> Option<ApicId> {
        let seen = entry.is_running().then(|| ApicId(entry.host().number()));
        let Self::Present(cache) = self else { return seen };
        let [slot, ..] = index.to_le_bytes();
        let slot = &mut cache[usize::from(slot % 16)];
        if let Some(host) = seen {
            *slot = Some((index, host));
        }
        slot.filter(|(known, _)| *known == index).map(|(_, host)| host)
    }
}

/// Which entries of the physical table a command is for, as the processor works it out.
#[derive(Clone, Copy, Debug)]
enum Targets {
    /// All there are, but perhaps the sender's.
    Broadcast { except: Option<u32> },
    /// One.
    Physical(u32),
    /// Those of a logical destination, by x2APIC's rule: a cluster, and bits of it.
    Derived { cluster: u32, bits: u32 },
    /// Those of a logical destination, by the table: from this entry on, one a bit.
    Looked { first: u16, bits: u32 },
}

/// What stopped a walk, and where.
type Stop = (Failure, u16);

/// The targets of a directed command that have all been found: the index of each and the frame of its page. Bits of an x2APIC
/// cluster are the most there can be.
type Found = heapless::Vec<(u16, u64), 16>;

impl Guest {
    /// Sends a command that a write has called for. `page` is the sender's own.
    pub fn send_ipi(
        &mut self,
        ipi: Ipi,
        page: &BackingPage,
        memory: &impl AvicMemory,
        interconnect: &mut impl Interconnect,
    ) -> Access {
        match self.walk(ipi.icr, page, memory, interconnect) {
            Ok(()) => Access::Virtual(()),
            Err((failure, index)) => Access::Exit(Exit::IncompleteIpi { icr: ipi.icr.into(), failure, index }),
        }
    }

    fn walk(
        &mut self,
        icr: Icr,
        page: &BackingPage,
        memory: &impl AvicMemory,
        interconnect: &mut impl Interconnect,
    ) -> Result<(), Stop> {
        if icr.delivery() != DeliveryMode::Fixed || icr.trigger() != TriggerMode::Edge {
            return Err((Failure::InvalidType, 0));
        }
        let vector = icr.vector();
        if vector < 16 {
            return Err((Failure::InvalidVector, 0));
        }
        if icr.shorthand() == Shorthand::Myself {
            page.set(VectorBits::InterruptRequest, vector);
            self.evaluate(page);
            return Ok(());
        }
        let mut outcome = Ok(());
        match self.targets(icr, page) {
            // What is not there is passed over.
            Targets::Broadcast { except } => {
                for id in (0..=u32::from(self.vmcb.physical_table.max_index())).filter(|id| Some(*id) != except) {
                    let Ok((index, entry)) = self.entry(id, memory) else { continue };
                    let set = self.set(vector, index, entry.backing_frame(), memory, interconnect);
                    outcome = outcome.and(set);
                }
            }
            targets => {
                for (index, frame) in self.find(targets, memory)? {
                    outcome = outcome.and(self.set(vector, index, frame, memory, interconnect));
                }
            }
        }
        outcome
    }

    fn targets(&self, icr: Icr, page: &BackingPage) -> Targets {
        let [.., id] = load(page, RegisterOffset::ID).to_le_bytes();
        let [.., short] = icr.destination().to_le_bytes();
        let msrs = self.mode() == Mode::Msrs;
        let (own, destination, broadcast) = if msrs {
            (load(page, RegisterOffset::ID), icr.destination(), u32::MAX)
        } else {
            (u32::from(id), u32::from(short), 0xff)
        };
        match (icr.shorthand(), icr.destination_mode()) {
            (Shorthand::Others, _) => Targets::Broadcast { except: Some(own) },
            (Shorthand::All, _) => Targets::Broadcast { except: None },
            _ if destination == broadcast => Targets::Broadcast { except: None },
            (_, DestinationMode::Physical) => Targets::Physical(destination),
            (_, DestinationMode::Logical) if msrs => {
                Targets::Derived { cluster: destination >> 16, bits: destination & 0xffff }
            }
            (_, DestinationMode::Logical) => match load(page, RegisterOffset::DFR) >> 28 {
                0xf => Targets::Looked { first: 0, bits: destination },
                _ => Targets::Looked { first: u16::from(short >> 4) * 4, bits: destination & 0xf },
            },
        }
    }

    /// Finds all targets of a directed command, before anything is set.
    fn find(&self, targets: Targets, memory: &impl AvicMemory) -> Result<Found, Stop> {
        let mut found = Found::new();
        let mut add = |id| {
            let (index, entry) = self.entry(id, memory)?;
            let page = memory.backing_page(entry.backing_frame()).map(|_| (index, entry.backing_frame()));
            let page = page.ok_or((Failure::InvalidBackingPage, index))?;
            found.push(page).map_err(|(index, _)| (Failure::InvalidTarget, index))
        };
        let set = |bits: u32| (0..16_u16).filter(move |bit| bits >> bit & 1 == 1);
        match targets {
            Targets::Broadcast { .. } => {}
            Targets::Physical(id) => add(id)?,
            Targets::Derived { cluster, bits } => {
                set(bits).try_for_each(|bit| add(cluster << 4 | u32::from(bit)))?;
            }
            Targets::Looked { first, bits } => {
                set(bits).try_for_each(|bit| add(self.logical(first + bit, memory)?))?;
            }
        }
        Ok(found)
    }

    /// Makes the vector wait in a target's page, and rings if the target runs.
    fn set(
        &mut self,
        vector: u8,
        index: u16,
        frame: u64,
        memory: &impl AvicMemory,
        interconnect: &mut impl Interconnect,
    ) -> Result<(), Stop> {
        let target = memory.backing_page(frame).ok_or((Failure::InvalidBackingPage, index))?;
        target.set(VectorBits::InterruptRequest, vector);
        // IsRunning is read only now, when whoever takes the target off its processor finds the bit.
        let entry = self.entry(index.into(), memory).map_or(PhysicalEntry::new(), |(_, entry)| entry);
        let host = self.processor.erratum_1235.belief(index.into(), entry);
        host.map(|host| interconnect.send(Signal::Doorbell(host))).ok_or((Failure::TargetNotRunning, index))
    }

    /// The vCPU of an entry of the logical table. The last cluster's are not looked at: it is none.
    fn logical(&self, index: u16, memory: &impl AvicMemory) -> Result<u32, Stop> {
        let address = self.vmcb.logical_table.wrapping_add(u64::from(index) * 4);
        let cell = memory.logical_entry(address).filter(|_| index < 60);
        let entry = LogicalEntry::from(cell.map_or(0, |cell| cell.0.load(Ordering::SeqCst)));
        if entry.is_valid() { Ok(entry.guest().into()) } else { Err((Failure::InvalidTarget, index)) }
    }

    /// The entry of a vCPU that is within the physical table and valid.
    fn entry(&self, id: u32, memory: &impl AvicMemory) -> Result<(u16, PhysicalEntry), Stop> {
        let [low, high, ..] = id.to_le_bytes();
        let index = u16::from_le_bytes([low, high]);
        let table = self.vmcb.physical_table;
        let cell = if id <= u32::from(table.max_index()) {
            memory.physical_entry((table.frame() << 12) + u64::from(index) * 8)
        } else {
            None
        };
        let entry = PhysicalEntry::from(cell.map_or(0, |cell| cell.0.load(Ordering::SeqCst)));
        if entry.is_valid() { Ok((index, entry)) } else { Err((Failure::InvalidTarget, index & 0xfff)) }
    }
}
