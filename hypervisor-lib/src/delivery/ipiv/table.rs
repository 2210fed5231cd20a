//! The PID-pointer table of a VM.

use hypervisor_abi::pid_pointer::MAX_PID_POINTERS;
use hypervisor_abi::pid_pointer::PidPointer;
use hypervisor_abi::pid_pointer::PidPointerCell;
use hypervisor_abi::sync::Ordering;

/// The virtual APIC ID that is a broadcast in xAPIC mode. The processor does not know that: it looks it up like any other.
const BROADCAST: u32 = 0xff;

/// The PID-pointer table of a VM: where the posted-interrupt descriptor of each vCPU is, by its virtual APIC ID.
///
/// The table is indexed by what the guest calls the vCPU. A vCPU whose guest changes its APIC ID is to be taken out.
#[derive(Clone, Copy, Debug)]
pub struct PidTable<'a> {
    cells: &'a [PidPointerCell],
    physical_bits: u32,
}

/// What a table refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PidTableError {
    /// The table is empty or has more entries than a 16-bit index names.
    #[error("a table of {0} entries, where 1 to 65536 are possible")]
    Size(usize),
    /// The processor has no physical addresses of so many bits.
    #[error("physical addresses of {0} bits, where 32 to 52 are possible")]
    PhysicalBits(u32),
    /// The vCPU's number is beyond the table.
    #[error("APIC {id} is beyond a table of {entries} entries")]
    Beyond {
        /// The vCPU.
        id: u32,
        /// How many entries there are.
        entries: usize,
    },
    /// The number is a broadcast in xAPIC mode: an entry would make one vCPU of it.
    #[error("APIC 255 is a broadcast in xAPIC mode")]
    Broadcast,
    /// There is a vCPU of that number.
    #[error("APIC {0} is in the table already")]
    Taken(u32),
    /// There is no vCPU of that number.
    #[error("APIC {0} is not in the table")]
    Absent(u32),
    /// The descriptor does not begin at a multiple of 64, or not within the processor's physical addresses.
    #[error("{0:#x} is no address of a descriptor")]
    Address(u64),
}

/// What the processor finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LookUp {
    /// A descriptor, in which it sets the vector.
    Post {
        /// Its physical address.
        descriptor: u64,
    },
    /// Nothing: an APIC-write exit at 300h.
    Exit,
}

impl<'a> PidTable<'a> {
    /// The table in these cells, which are all zeros, for a processor with physical addresses of so many bits.
    ///
    /// # Errors
    /// [`Size`](PidTableError::Size) and [`PhysicalBits`](PidTableError::PhysicalBits).
    pub const fn new(cells: &'a [PidPointerCell], physical_bits: u32) -> Result<Self, PidTableError> {
        if cells.is_empty() || cells.len() > MAX_PID_POINTERS {
            return Err(PidTableError::Size(cells.len()));
        }
        if physical_bits < 32 || physical_bits > 52 {
            return Err(PidTableError::PhysicalBits(physical_bits));
        }
        Ok(Self { cells, physical_bits })
    }

    /// The last index, which the VMCS names.
    #[must_use]
    pub fn last_index(self) -> u16 {
        u16::try_from(self.cells.len() - 1).unwrap_or(u16::MAX)
    }

    /// Enters a vCPU whose guest reaches its local APIC by MSRs, by the physical address of its descriptor. The descriptor must
    /// be ready: processors post to it from now on.
    ///
    /// # Errors
    /// [`Beyond`](PidTableError::Beyond), [`Taken`](PidTableError::Taken) and [`Address`](PidTableError::Address).
    pub fn insert(self, id: u32, descriptor: u64) -> Result<(), PidTableError> {
        if descriptor >> self.physical_bits != 0 || !descriptor.is_multiple_of(64) {
            return Err(PidTableError::Address(descriptor));
        }
        let entry = PidPointer::new().with_is_valid(true).with_line(descriptor >> 6);
        let cell = self.cell(id)?;
        let entered = cell.0.compare_exchange(0, entry.into(), Ordering::AcqRel, Ordering::Relaxed);
        entered.map_or(Err(PidTableError::Taken(id)), |_| Ok(()))
    }

    /// Enters a vCPU whose guest reaches its local APIC by a page.
    ///
    /// # Errors
    /// As [`insert`](Self::insert), and [`Broadcast`](PidTableError::Broadcast) for number 255: a command to it would reach that
    /// vCPU alone, without an exit.
    pub fn insert_xapic(self, id: u32, descriptor: u64) -> Result<(), PidTableError> {
        if id == BROADCAST { Err(PidTableError::Broadcast) } else { self.insert(id, descriptor) }
    }

    /// Takes a vCPU out: commands to it exit from now on. A processor may have looked it up before; the descriptor is to be kept
    /// until none can be at it any more.
    ///
    /// # Errors
    /// [`Beyond`](PidTableError::Beyond) and [`Absent`](PidTableError::Absent).
    pub fn remove(self, id: u32) -> Result<(), PidTableError> {
        match self.cell(id)?.0.swap(0, Ordering::AcqRel) {
            0 => Err(PidTableError::Absent(id)),
            _ => Ok(()),
        }
    }

    /// What the processor finds for a target: nothing beyond the last index, behind an entry that is not valid, or one that sets
    /// reserved bits.
    #[must_use]
    pub fn look_up(self, target: u32) -> LookUp {
        let Ok(cell) = self.cell(target) else { return LookUp::Exit };
        let entry = PidPointer::from(cell.0.load(Ordering::Acquire));
        let descriptor = entry.line() << 6;
        if entry.is_valid() && entry.reserved() == 0 && descriptor >> self.physical_bits == 0 {
            LookUp::Post { descriptor }
        } else {
            LookUp::Exit
        }
    }

    fn cell(self, id: u32) -> Result<&'a PidPointerCell, PidTableError> {
        let beyond = PidTableError::Beyond { id, entries: self.cells.len() };
        usize::try_from(id).ok().and_then(|index| self.cells.get(index)).ok_or(beyond)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use hypervisor_abi::pid_pointer::PidPointerCell;
    use hypervisor_abi::sync::Ordering;

    use super::LookUp;
    use super::PidTable;
    use super::PidTableError;

    fn cells(entries: usize) -> Vec<PidPointerCell> {
        (0..entries).map(|_| PidPointerCell::default()).collect()
    }

    #[test]
    fn only_targets_in_the_table_are_found() {
        let cells = cells(300);
        let table = PidTable::new(&cells, 46).expect("300");
        assert_eq!(table.last_index(), 299);
        for id in (0..300).step_by(7) {
            assert_eq!(table.insert(id, u64::from(id + 1) << 12), Ok(()));
        }
        for target in (0..310).chain([0x1_0000, u32::MAX]) {
            let is_there = target < 300 && target % 7 == 0;
            let expected =
                if is_there { LookUp::Post { descriptor: u64::from(target + 1) << 12 } } else { LookUp::Exit };
            assert_eq!(table.look_up(target), expected, "{target}");
        }
        assert_eq!(cells[7].0.load(Ordering::Relaxed), 0x8001);
        assert_eq!(table.remove(7), Ok(()));
        assert_eq!((table.look_up(7), table.remove(7)), (LookUp::Exit, Err(PidTableError::Absent(7))));
        assert_eq!(table.insert(0, 0x40), Err(PidTableError::Taken(0)));
        assert_eq!(table.insert(300, 0x40), Err(PidTableError::Beyond { id: 300, entries: 300 }));
    }

    #[test]
    fn an_entry_with_reserved_bits_exits() {
        let cells = cells(1);
        let table = PidTable::new(&cells, 46).expect("1");
        for bit in 0..64 {
            cells[0].0.store(1 << bit | 1 << 20 | 1, Ordering::Relaxed);
            let is_address = (6..46).contains(&bit) || bit == 0;
            assert_eq!(table.look_up(0) != LookUp::Exit, is_address, "bit {bit}");
        }
        cells[0].0.store(1 << 20, Ordering::Relaxed);
        assert_eq!(table.look_up(0), LookUp::Exit);
    }

    #[test]
    fn a_descriptor_the_processor_could_not_reach_is_refused() {
        let cells = cells(1);
        let table = PidTable::new(&cells, 46).expect("1");
        for address in [0x20, 0x41, 1 << 46, u64::MAX] {
            assert_eq!(table.insert(0, address), Err(PidTableError::Address(address)));
        }
        for bits in [31, 53] {
            assert_eq!(PidTable::new(&cells, bits).err(), Some(PidTableError::PhysicalBits(bits)));
        }
        assert_eq!(PidTable::new(&[], 46).err(), Some(PidTableError::Size(0)));
    }

    #[test]
    fn in_xapic_mode_the_broadcast_is_no_vcpu_and_exits() {
        let cells = cells(256);
        let table = PidTable::new(&cells, 46).expect("256");
        assert_eq!(table.insert_xapic(0xfe, 0x40), Ok(()));
        assert_eq!(table.insert_xapic(0xff, 0x80), Err(PidTableError::Broadcast));
        assert_eq!(table.look_up(0xff), LookUp::Exit);
        assert_eq!(table.insert(0xff, 0x80), Ok(()), "in x2APIC mode it is a number like others");
    }
}
