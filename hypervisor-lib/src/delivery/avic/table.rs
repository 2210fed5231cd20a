//! The physical APIC-ID table: which vCPUs there are, and where they are.

use hypervisor_abi::apic::ApicId;
use hypervisor_abi::avic::HostApicId;
use hypervisor_abi::avic::PhysicalCell;
use hypervisor_abi::avic::PhysicalEntry;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::sync::change_before_look;

use super::acceleration::Mode;

/// How many vCPUs a table in xAVIC mode covers: the number 255 is the broadcast.
pub const MAX_XAVIC: usize = 255;
/// How many vCPUs a table in x2AVIC mode covers.
pub const MAX_X2AVIC: usize = 512;
/// How many with the extension, in eight consecutive pages (CPUID 8000_000A ECX bit 6, x2AVIC_EXT).
pub const MAX_X2AVIC_EXTENDED: usize = 4096;

/// How far a table in x2AVIC mode may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum X2AvicReach {
    /// [`MAX_X2AVIC`].
    Standard,
    /// [`MAX_X2AVIC_EXTENDED`].
    Extended,
}

/// A place a [`PhysicalEntry`] is kept in, read and replaced as a whole.
pub trait EntryCell {
    /// What it holds.
    fn load(&self) -> PhysicalEntry;

    /// Puts something else in by one atomic operation that every later look of this thread at other words follows.
    fn replace(&self, entry: PhysicalEntry);
}

impl EntryCell for PhysicalCell {
    fn load(&self) -> PhysicalEntry {
        self.0.load(Ordering::SeqCst).into()
    }

    fn replace(&self, entry: PhysicalEntry) {
        self.0.swap(entry.into(), Ordering::SeqCst);
        change_before_look();
    }
}

/// Who rings the doorbell of an inter-processor interrupt's target.
#[derive(Debug)]
pub enum IpiVirtualization<'a, C = PhysicalCell> {
    /// The processor of the sender, which reads the same entries as we.
    On,
    /// We, after an exit of the sender. Processors of family 17h (AMD) and 18h (Hygon) may go on using an entry's IsRunning
    /// after it has been cleared, ring a processor's doorbell that no longer runs the vCPU, and exit not (erratum 1235); so
    /// there the table's IsRunning is never set, and where vCPUs are is kept apart.
    Off {
        /// Where it is kept: as many cells as the table has.
        residence: &'a [C],
    },
}

/// Where a vCPU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Residence {
    /// On a processor, whose doorbell makes it look at its IRR.
    On(HostApicId),
    /// On none, or on one without AVIC.
    Away,
}

/// Who rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ringer {
    /// The processor, for vCPUs that run.
    Processor,
    /// The hypervisor.
    Hypervisor,
}

/// The physical APIC-ID table of a VM. The index of an entry is the vCPU's APIC ID.
#[derive(Debug)]
pub struct PhysicalTable<'a, C = PhysicalCell> {
    mode: Mode,
    ringer: Ringer,
    hardware: &'a [C],
    residence: &'a [C],
}

/// What a table refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The table is empty or bigger than the processor can look up.
    #[error("a table of {entries} entries, where {mode:?} takes 1 to {max}")]
    Size {
        /// How many it has.
        entries: usize,
        /// The mode.
        mode: Mode,
        /// How many it may have.
        max: usize,
    },
    /// The cells for residences are not as many as the table's.
    #[error("{residence} cells for the residences of a table of {entries}")]
    Residence {
        /// How many the table has.
        entries: usize,
        /// How many there are for residences.
        residence: usize,
    },
    /// The vCPU's number is beyond the table.
    #[error("{id} is beyond a table of {entries} entries")]
    Beyond {
        /// The vCPU.
        id: ApicId,
        /// How many entries there are.
        entries: usize,
    },
    /// There is a vCPU of that number.
    #[error("{0} is in the table already")]
    Taken(ApicId),
    /// There is no vCPU of that number.
    #[error("{0} is not in the table")]
    Absent(ApicId),
    /// The frame of a backing page has more than 40 bits.
    #[error("frame {0:#x} is beyond 52-bit addresses")]
    Frame(u64),
}

impl<C> Clone for PhysicalTable<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for PhysicalTable<'_, C> {}

impl<'a, C: EntryCell> PhysicalTable<'a, C> {
    /// A table in these cells, which are all zeros.
    ///
    /// # Errors
    /// [`Size`](TableError::Size) and [`Residence`](TableError::Residence).
    pub const fn new(
        mode: Mode,
        reach: X2AvicReach,
        cells: &'a [C],
        ipis: IpiVirtualization<'a, C>,
    ) -> Result<Self, TableError> {
        let max = match (mode, reach) {
            (Mode::XAvic, _) => MAX_XAVIC,
            (Mode::X2Avic, X2AvicReach::Standard) => MAX_X2AVIC,
            (Mode::X2Avic, X2AvicReach::Extended) => MAX_X2AVIC_EXTENDED,
        };
        let entries = cells.len();
        if entries == 0 || entries > max {
            return Err(TableError::Size { entries, mode, max });
        }
        match ipis {
            IpiVirtualization::On => Ok(Self { mode, ringer: Ringer::Processor, hardware: cells, residence: cells }),
            IpiVirtualization::Off { residence } if residence.len() == entries => {
                Ok(Self { mode, ringer: Ringer::Hypervisor, hardware: cells, residence })
            }
            IpiVirtualization::Off { residence } => Err(TableError::Residence { entries, residence: residence.len() }),
        }
    }

    /// How the guest reaches its local APICs.
    #[must_use]
    pub const fn mode(self) -> Mode {
        self.mode
    }

    /// Who rings the doorbells of a command's targets.
    pub(super) const fn ringer(self) -> Ringer {
        self.ringer
    }

    /// How many vCPUs it has room for.
    #[must_use]
    pub const fn capacity(self) -> usize {
        self.hardware.len()
    }

    /// The greatest index, which the control block names.
    #[must_use]
    pub fn max_index(self) -> u16 {
        u16::try_from(self.hardware.len() - 1).unwrap_or(u16::MAX)
    }

    /// Enters a vCPU, by the frame of its backing page. One vCPU enters or leaves the table at a time.
    ///
    /// # Errors
    /// [`Beyond`](TableError::Beyond), [`Taken`](TableError::Taken) and [`Frame`](TableError::Frame).
    pub fn insert(self, id: ApicId, backing_frame: u64) -> Result<(), TableError> {
        if backing_frame >> 40 != 0 {
            return Err(TableError::Frame(backing_frame));
        }
        if self.cell(self.hardware, id)?.load().is_valid() {
            return Err(TableError::Taken(id));
        }
        let entry = PhysicalEntry::new().with_backing_frame(backing_frame).with_is_valid(true);
        // Senders read either: what both agree on last is that there is such a vCPU.
        self.cell(self.residence, id)?.replace(entry);
        self.cell(self.hardware, id)?.replace(entry);
        Ok(())
    }

    /// Takes a vCPU out. A processor may have looked it up before; its page is to be kept until none can be at it any more.
    ///
    /// # Errors
    /// [`Beyond`](TableError::Beyond) and [`Absent`](TableError::Absent).
    pub fn remove(self, id: ApicId) -> Result<(), TableError> {
        self.entry(id)?;
        self.cell(self.hardware, id)?.replace(PhysicalEntry::new());
        self.cell(self.residence, id)?.replace(PhysicalEntry::new());
        Ok(())
    }

    /// Where a vCPU is.
    ///
    /// # Errors
    /// [`Beyond`](TableError::Beyond) and [`Absent`](TableError::Absent).
    pub fn residence(self, id: ApicId) -> Result<Residence, TableError> {
        let entry = self.entry(id)?;
        Ok(if entry.is_running() { Residence::On(entry.host()) } else { Residence::Away })
    }

    /// Notes where a vCPU is now, by one atomic operation. Only who runs it may call this.
    ///
    /// # Errors
    /// [`Beyond`](TableError::Beyond) and [`Absent`](TableError::Absent).
    pub(super) fn set_residence(self, id: ApicId, residence: Residence) -> Result<(), TableError> {
        let entry = self.entry(id)?;
        let entry = match residence {
            Residence::On(host) => entry.with_host(host).with_is_running(true),
            Residence::Away => entry.with_is_running(false),
        };
        self.cell(self.residence, id)?.replace(entry);
        Ok(())
    }

    /// The entry of a vCPU that is there.
    pub(super) fn entry(self, id: ApicId) -> Result<PhysicalEntry, TableError> {
        let entry = self.cell(self.residence, id)?.load();
        if entry.is_valid() { Ok(entry) } else { Err(TableError::Absent(id)) }
    }

    fn cell(self, cells: &'a [C], id: ApicId) -> Result<&'a C, TableError> {
        let beyond = TableError::Beyond { id, entries: cells.len() };
        usize::try_from(id.0).ok().and_then(|index| cells.get(index)).ok_or(beyond)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use hypervisor_abi::apic::ApicId;
    use hypervisor_abi::avic::HostApicId;
    use hypervisor_abi::avic::PhysicalCell;
    use hypervisor_abi::avic::PhysicalEntry;

    use super::EntryCell;
    use super::IpiVirtualization;
    use super::PhysicalTable;
    use super::Residence;
    use super::TableError;
    use super::X2AvicReach;
    use crate::delivery::avic::Mode;

    const HOST: HostApicId = HostApicId::MAX;

    fn cells(entries: usize) -> Vec<PhysicalCell> {
        (0..entries).map(|_| PhysicalCell::default()).collect()
    }

    #[test]
    fn a_table_covers_what_the_processor_can_look_up() {
        for (mode, reach, max) in [
            (Mode::XAvic, X2AvicReach::Extended, 255),
            (Mode::X2Avic, X2AvicReach::Standard, 512),
            (Mode::X2Avic, X2AvicReach::Extended, 4096),
        ] {
            let cells = cells(max + 1);
            let table = PhysicalTable::new(mode, reach, &cells[..max], IpiVirtualization::On).expect("the greatest");
            assert_eq!((usize::from(table.max_index()), table.capacity()), (max - 1, max));
            for entries in [0, max + 1] {
                let refused = PhysicalTable::new(mode, reach, &cells[..entries], IpiVirtualization::On).err();
                assert_eq!(refused, Some(TableError::Size { entries, mode, max }));
            }
        }
    }

    #[test]
    fn a_vcpu_is_entered_once_and_only_where_there_is_room() {
        let cells = cells(4);
        let table = PhysicalTable::new(Mode::X2Avic, X2AvicReach::Standard, &cells, IpiVirtualization::On).expect("4");
        assert_eq!(table.insert(ApicId(3), 0x123), Ok(()));
        assert_eq!(table.insert(ApicId(3), 0x124), Err(TableError::Taken(ApicId(3))));
        assert_eq!(table.insert(ApicId(4), 0x123), Err(TableError::Beyond { id: ApicId(4), entries: 4 }));
        assert_eq!(table.insert(ApicId(0), 1 << 40), Err(TableError::Frame(1 << 40)));
        assert_eq!(cells[3].load(), PhysicalEntry::new().with_backing_frame(0x123).with_is_valid(true));
        assert_eq!(table.remove(ApicId(3)), Ok(()));
        assert_eq!(table.remove(ApicId(3)), Err(TableError::Absent(ApicId(3))));
        assert_eq!(table.residence(ApicId(3)), Err(TableError::Absent(ApicId(3))));
        assert_eq!(cells[3].load(), PhysicalEntry::new());
    }

    #[test]
    fn the_processor_sees_where_a_vcpu_is() {
        let cells = cells(1);
        let table = PhysicalTable::new(Mode::XAvic, X2AvicReach::Standard, &cells, IpiVirtualization::On).expect("1");
        table.insert(ApicId(0), 7).expect("room");
        table.set_residence(ApicId(0), Residence::On(HOST)).expect("there");
        assert_eq!(u64::from(cells[0].load()), 0xc000_0000_0000_7fff);
        assert_eq!(table.residence(ApicId(0)), Ok(Residence::On(HOST)));
        table.set_residence(ApicId(0), Residence::Away).expect("there");
        assert_eq!(u64::from(cells[0].load()), 0x8000_0000_0000_7fff);
        assert_eq!(table.residence(ApicId(0)), Ok(Residence::Away));
    }

    #[test]
    fn with_erratum_1235_the_processor_never_sees_that_a_vcpu_runs() {
        let (cells, residence) = (cells(2), cells(2));
        let ipis = IpiVirtualization::Off { residence: &residence };
        let table = PhysicalTable::new(Mode::XAvic, X2AvicReach::Standard, &cells, ipis).expect("2");
        table.insert(ApicId(1), 7).expect("room");
        table.set_residence(ApicId(1), Residence::On(HOST)).expect("there");
        assert_eq!(table.residence(ApicId(1)), Ok(Residence::On(HOST)));
        assert_eq!(u64::from(cells[1].load()), 0x8000_0000_0000_7000);
        let ipis = IpiVirtualization::Off { residence: &residence[..1] };
        let refused = PhysicalTable::new(Mode::XAvic, X2AvicReach::Standard, &cells, ipis).err();
        assert_eq!(refused, Some(TableError::Residence { entries: 2, residence: 1 }));
    }
}
