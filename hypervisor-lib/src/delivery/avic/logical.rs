//! The logical APIC-ID table of xAVIC: which vCPU has which logical ID. x2AVIC derives logical IDs from the numbers of vCPUs.

use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::LOGICAL_TABLE_ENTRIES;
use hypervisor_abi::avic::LogicalCell;
use hypervisor_abi::avic::LogicalEntry;
use hypervisor_abi::sync::Ordering;

use super::inhibit::InhibitReason;

/// How an xAPIC compares a logical destination with its own logical ID (SDM vol. 3A, 11.6.2.2; APM vol. 2, 16.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogicalModel {
    /// Eight bits, one for each of up to eight local APICs.
    Flat,
    /// A cluster's number, 0 to 14, and a bit for each of its four.
    Cluster,
}

impl LogicalModel {
    /// What a vCPU's destination format register says; none for a value that no model has.
    #[must_use]
    pub fn of(page: &BackingPage) -> Option<Self> {
        match page.register(ApicRegister::DestinationFormat).load(Ordering::Acquire) >> 28 {
            0xf => Some(Self::Flat),
            0 => Some(Self::Cluster),
            _ => None,
        }
    }

    /// The table's entry for one logical ID; none for no bit, several bits, or the cluster that is a broadcast.
    const fn index(self, logical: u8) -> Option<usize> {
        let (first, bits) = match self {
            Self::Flat => (0, logical),
            Self::Cluster if logical >> 4 == 0xf => return None,
            Self::Cluster => ((logical >> 4) as usize * 4, logical & 0xf),
        };
        if bits.is_power_of_two() { Some(first + bits.trailing_zeros() as usize) } else { None }
    }

    /// The table's entry that a bit of a destination stands for; none if it is clear or stands for nobody.
    pub(super) const fn entry(self, destination: u8, bit: u32) -> Option<usize> {
        if bit >= u8::BITS || destination >> bit & 1 == 0 {
            return None;
        }
        match self {
            Self::Flat => self.index(1 << bit),
            // A bit of the cluster's number leaves none for a member, and so stands for nobody.
            Self::Cluster => self.index(destination & 0xf0 | 1 << bit),
        }
    }
}

/// What a vCPU says of its logical ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogicalMember {
    /// The vCPU.
    pub id: ApicId,
    /// Its model; none if its register has no valid value.
    pub model: Option<LogicalModel>,
    /// Its logical ID: bits 31 to 24 of its logical destination register. Zero is none.
    pub logical: u8,
}

impl LogicalMember {
    /// What the registers of a vCPU say.
    #[must_use]
    pub fn of(id: ApicId, page: &BackingPage) -> Self {
        let [.., logical] = page.register(ApicRegister::LogicalDestination).load(Ordering::Acquire).to_le_bytes();
        Self { id, model: LogicalModel::of(page), logical }
    }
}

/// The logical APIC-ID table of a VM.
#[derive(Clone, Copy, Debug)]
pub struct LogicalTable<'a>(&'a [LogicalCell; LOGICAL_TABLE_ENTRIES]);

impl<'a> LogicalTable<'a> {
    /// The table in these cells, which are all zeros.
    #[must_use]
    pub const fn new(cells: &'a [LogicalCell; LOGICAL_TABLE_ENTRIES]) -> Self {
        Self(cells)
    }

    /// Makes the table say what its vCPUs say, after one of them has written its LDR or DFR. One call at a time. A command
    /// that is sent meanwhile finds no entry and exits with an invalid target: the hypervisor sends it instead.
    ///
    /// # Errors
    /// [`LogicalIdAliased`](InhibitReason::LogicalIdAliased): two vCPUs share a logical ID, one has several, their models
    /// differ, or the number of one does not fit. The table is empty then, and AVIC is to be inhibited for that reason.
    pub fn rebuild(self, members: impl IntoIterator<Item = LogicalMember>) -> Result<(), InhibitReason> {
        self.clear();
        let mut common = None;
        for member in members.into_iter().filter(|member| member.logical != 0) {
            let entry = self.place(member, *common.get_or_insert(member.model));
            let Some((cell, entry)) = entry else {
                self.clear();
                return Err(InhibitReason::LogicalIdAliased);
            };
            cell.0.store(entry.into(), Ordering::Release);
        }
        Ok(())
    }

    /// The vCPU of an entry, if it has one.
    pub(super) fn vcpu(self, index: usize) -> Option<ApicId> {
        let entry = LogicalEntry::from(self.0.get(index)?.0.load(Ordering::Acquire));
        entry.is_valid().then(|| ApicId(entry.guest().into()))
    }

    fn place(self, member: LogicalMember, common: Option<LogicalModel>) -> Option<(&'a LogicalCell, LogicalEntry)> {
        let model = member.model.filter(|_| member.model == common)?;
        let index = model.index(member.logical)?;
        let guest = u8::try_from(member.id.0).ok()?;
        let cell = self.0.get(index).filter(|_| self.vcpu(index).is_none())?;
        Some((cell, LogicalEntry::new().with_guest(guest).with_is_valid(true)))
    }

    fn clear(self) {
        self.0.iter().for_each(|cell| cell.0.store(0, Ordering::Release));
    }
}

#[cfg(test)]
mod tests {
    use core::array::from_fn;

    use hypervisor_abi::apic::ApicId;
    use hypervisor_abi::apic::ApicRegister;
    use hypervisor_abi::avic::BackingPage;
    use hypervisor_abi::avic::LOGICAL_TABLE_ENTRIES;
    use hypervisor_abi::avic::LogicalCell;
    use hypervisor_abi::sync::Ordering;

    use super::LogicalMember;
    use super::LogicalModel;
    use super::LogicalTable;
    use crate::delivery::avic::InhibitReason;

    fn cells() -> [LogicalCell; LOGICAL_TABLE_ENTRIES] {
        from_fn(|_| LogicalCell::default())
    }

    fn member(id: u32, model: LogicalModel, logical: u8) -> LogicalMember {
        LogicalMember { id: ApicId(id), model: Some(model), logical }
    }

    #[test]
    fn every_single_logical_id_has_the_entry_of_the_manual() {
        for bit in 0..8 {
            assert_eq!(LogicalModel::Flat.index(1 << bit), Some(bit));
        }
        for cluster in 0..15 {
            for bit in 0..4 {
                let logical = u8::try_from(cluster << 4 | 1 << bit).expect("8 bits");
                assert_eq!(LogicalModel::Cluster.index(logical), Some(4 * cluster + bit));
            }
        }
        for none in [0, 0x03, 0xff] {
            assert_eq!(LogicalModel::Flat.index(none), None, "{none:#x}");
        }
        for none in [0x00, 0x10, 0x13, 0xf1, 0xff] {
            assert_eq!(LogicalModel::Cluster.index(none), None, "{none:#x}");
        }
    }

    #[test]
    fn the_table_says_what_the_registers_say() {
        let cells = cells();
        let table = LogicalTable::new(&cells);
        let pages: [BackingPage; 3] = from_fn(|_| BackingPage::default());
        for (page, logical) in pages.iter().zip([0x11_u32, 0x00, 0x24]) {
            page.register(ApicRegister::LogicalDestination).store(logical << 24 | 0xff_ffff, Ordering::Relaxed);
            page.register(ApicRegister::DestinationFormat).store(0x0fff_ffff, Ordering::Relaxed);
        }
        let members = (0..).zip(&pages).map(|(id, page)| LogicalMember::of(ApicId(id), page));
        assert_eq!(table.rebuild(members), Ok(()));
        let expected = |index| match index {
            4 => Some(ApicId(0)),
            10 => Some(ApicId(2)),
            _ => None,
        };
        for index in 0..LOGICAL_TABLE_ENTRIES {
            assert_eq!(table.vcpu(index), expected(index), "{index}");
        }
        assert_eq!(cells[10].0.load(Ordering::Relaxed), 0x8000_0002);
    }

    #[test]
    fn logical_ids_the_table_cannot_hold_inhibit_and_leave_it_empty() {
        use LogicalModel::Cluster;
        use LogicalModel::Flat;
        let invalid = LogicalMember { id: ApicId(1), model: None, logical: 2 };
        for second in [member(1, Flat, 1), member(1, Flat, 6), member(1, Cluster, 2), member(256, Flat, 2), invalid] {
            let cells = cells();
            let table = LogicalTable::new(&cells);
            let members = [member(0, Flat, 1), second];
            assert_eq!(table.rebuild(members), Err(InhibitReason::LogicalIdAliased), "{second:?}");
            assert!((0..LOGICAL_TABLE_ENTRIES).all(|index| table.vcpu(index).is_none()));
            assert_eq!(table.rebuild([members[0], member(1, Flat, 2)]), Ok(()), "AVIC can come back");
        }
    }
}
