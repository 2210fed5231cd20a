//! Where a device's MSI-X table and pending bits are, and whom to believe about it.
//!
//! The hypervisor keeps guests from writing there, so it has to know the place. A device that a guest owns may say anything
//! about itself: its registers are read only before the guest can have touched them, and what the reader of a hypercall's
//! argument claims counts only where the registers may be read too and say nothing (R-41: XSA-337, CVE-2020-25595;
//! `xen/arch/x86/msi.c`).

use hypervisor_abi::Errno;

/// The places of a device, in bytes of the host's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MsixPlaces {
    /// The table.
    pub table: u64,
    /// The array of pending bits.
    pub pending: u64,
}

/// What the device's registers say (PCI Local Bus Specification 3.0, 6.8.2); a base of 0 says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MsixRegisters {
    /// The base register the table lies in.
    pub table_bar: u64,
    /// The table's offset, in bytes.
    pub table_offset: u32,
    /// The base register the pending bits lie in.
    pub pending_bar: u64,
    /// Their offset, in bytes.
    pub pending_offset: u32,
}

/// Who asks for a device's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asker {
    /// The hardware domain, before the device goes to a guest (`PHYSDEVOP_prepare_msix`).
    Preparation,
    /// The hardware domain, on whichever domain's behalf.
    HardwareDomain {
        /// Where the table is, as it says; 0 for no word.
        claimed: u64,
    },
    /// Anyone else.
    Other,
}

/// Who owns a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceOwner {
    /// The hardware domain, or nobody yet.
    HardwareDomain,
    /// A guest.
    Guest,
}

/// The places are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MsixError {
    /// The device's registers say nothing, and nobody who is to be believed says more.
    #[error("the device does not say where its MSI-X table is")]
    Silent,
    /// The device's registers are not to be believed any more, and nothing was noted while they were.
    #[error("nobody noted where the MSI-X table was before a guest got the device")]
    Unnoted,
}

impl MsixError {
    /// The number the hypercall returns (negated).
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::Silent => Errno::NoAddress,
            Self::Unnoted => Errno::NoData,
        }
    }
}

/// What is noted of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MsixTable {
    noted: Option<MsixPlaces>,
    /// How many entries are in use; a preparation counts as one.
    users: u32,
}

impl MsixTable {
    /// Begins to use an entry, and tells where the table is. `read` reads the registers; it is called only where they are to
    /// be believed: while no entry is in use, and for a preparation, or for the hardware domain while no guest owns the
    /// device.
    ///
    /// # Errors
    /// [`MsixError`]; nothing is in use more than before, nor anything noted.
    pub fn begin(
        &mut self,
        asker: Asker,
        owner: DeviceOwner,
        read: impl FnOnce() -> MsixRegisters,
    ) -> Result<MsixPlaces, MsixError> {
        let places = match (self.noted, asker, owner) {
            (Some(noted), _, _) if self.users > 0 => noted,
            (_, Asker::Preparation, _) => places_of(read(), 0)?,
            (_, Asker::HardwareDomain { claimed }, DeviceOwner::HardwareDomain) => places_of(read(), claimed)?,
            (_, Asker::HardwareDomain { .. }, DeviceOwner::Guest) | (_, Asker::Other, _) => {
                return Err(MsixError::Unnoted);
            }
        };
        self.noted = Some(places);
        self.users += 1;
        Ok(places)
    }

    /// An entry is no longer in use; after the last, nothing is noted.
    pub fn end(&mut self) {
        self.users = self.users.saturating_sub(1);
        if self.users == 0 {
            self.noted = None;
        }
    }
}

fn places_of(registers: MsixRegisters, claimed: u64) -> Result<MsixPlaces, MsixError> {
    let base = if registers.table_bar == 0 { claimed } else { registers.table_bar };
    if base == 0 {
        return Err(MsixError::Silent);
    }
    Ok(MsixPlaces {
        table: base.wrapping_add(u64::from(registers.table_offset)),
        pending: registers.pending_bar.wrapping_add(u64::from(registers.pending_offset)),
    })
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::Errno;

    use super::Asker;
    use super::DeviceOwner;
    use super::MsixError;
    use super::MsixPlaces;
    use super::MsixRegisters;
    use super::MsixTable;

    const HONEST: MsixRegisters =
        MsixRegisters { table_bar: 0xf000_0000, table_offset: 0x2000, pending_bar: 0xf100_0000, pending_offset: 0x800 };
    const PLACES: MsixPlaces = MsixPlaces { table: 0xf000_2000, pending: 0xf100_0800 };
    /// What a guest that owns the device has made it say: the hypervisor's own memory.
    const FORGED: MsixRegisters = MsixRegisters { table_bar: 0x10_0000, ..HONEST };

    fn unread() -> MsixRegisters {
        panic!("the registers of a device a guest may have touched are read")
    }

    #[test]
    fn r41_a_guests_device_is_not_asked_where_its_table_is() {
        for asker in [Asker::HardwareDomain { claimed: 0x10_0000 }, Asker::Other] {
            let mut table = MsixTable::default();
            let refused = table.begin(asker, DeviceOwner::Guest, unread);
            assert_eq!(refused.map_err(MsixError::errno), Err(Errno::NoData));
            assert_eq!(table, MsixTable::default());
        }
        assert!(MsixTable::default().begin(Asker::Other, DeviceOwner::HardwareDomain, unread).is_err());
    }

    #[test]
    fn r41_what_was_noted_before_the_guest_had_the_device_counts_until_its_last_use() {
        let mut table = MsixTable::default();
        assert_eq!(table.begin(Asker::Preparation, DeviceOwner::HardwareDomain, || HONEST), Ok(PLACES));
        for asker in [Asker::Other, Asker::HardwareDomain { claimed: 0x10_0000 }, Asker::Preparation] {
            assert_eq!(table.begin(asker, DeviceOwner::Guest, unread), Ok(PLACES), "{asker:?}");
        }
        (0..3).for_each(|_| table.end());
        assert_eq!(table.begin(Asker::Other, DeviceOwner::Guest, unread), Ok(PLACES), "the preparation still counts");
        (0..2).for_each(|_| table.end());
        assert_eq!(table, MsixTable::default());
        assert_eq!(table.begin(Asker::Other, DeviceOwner::Guest, unread), Err(MsixError::Unnoted));
    }

    #[test]
    fn r41_a_callers_word_counts_only_for_a_device_that_says_nothing_and_is_nobodys() {
        let silent = || MsixRegisters { table_bar: 0, ..HONEST };
        let claim = Asker::HardwareDomain { claimed: 0xe000_0000 };
        let ask = |asker, read: &dyn Fn() -> MsixRegisters| {
            MsixTable::default().begin(asker, DeviceOwner::HardwareDomain, read)
        };
        assert_eq!(ask(claim, &silent), Ok(MsixPlaces { table: 0xe000_2000, ..PLACES }));
        assert_eq!(ask(claim, &|| HONEST), Ok(PLACES), "the registers go before the caller");
        assert_eq!(ask(Asker::HardwareDomain { claimed: 0 }, &silent), Err(MsixError::Silent));
        assert_eq!(ask(Asker::Preparation, &silent).map_err(MsixError::errno), Err(Errno::NoAddress));
        // A device that comes back from a guest is read again, and by then is the hardware domain's.
        let mut table = MsixTable::default();
        table.begin(Asker::Preparation, DeviceOwner::HardwareDomain, || FORGED).expect("it says something");
        table.end();
        assert_eq!(table.begin(claim, DeviceOwner::HardwareDomain, || HONEST), Ok(PLACES));
    }
}
