//! Interrupt remapping: which requests of which device an entry of the IOMMU's table answers.
//!
//! A message is a write to memory, and any device can write anywhere. What makes it *this* device's message is the requester
//! ID the bus adds, which the entry must check; an entry that checks nothing lets every device of every guest raise it (R-42:
//! XSA-49, CVE-2013-1952). And an entry must be gone when its interrupt is (R-42: XSA-36, CVE-2013-0153).
//!
//! Which check fits which device: VT-d specification, 5.1.3 and 9.10; `xen/drivers/passthrough/vtd/intremap.c`.

use alloc::boxed::Box;
use alloc::vec;

use hypervisor_abi::DomainId;

/// A PCI function as requests name it: bus in bits 15:8, device in 7:3, function in 2:0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequesterId(pub u16);

impl RequesterId {
    const fn bus(self) -> u8 {
        let [bus, _] = self.0.to_be_bytes();
        bus
    }
}

/// What sends a message, as far as its requests look different for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// A PCI Express function, or a bridge's or host bridge's own: its requests carry its ID.
    Express {
        /// Which.
        function: RequesterId,
        /// Which of its neighbours' numbers it uses too.
        phantoms: PhantomFunctions,
    },
    /// A conventional PCI function on the root complex: its requests carry its ID.
    Integrated(RequesterId),
    /// A conventional PCI function behind a bridge from PCI Express: its requests carry either side's bus.
    BehindExpressBridge {
        /// Which.
        function: RequesterId,
        /// The bridge.
        bridge: RequesterId,
    },
    /// A conventional PCI function behind a conventional bridge: its requests carry the bridge's ID.
    BehindBridge {
        /// The bridge.
        bridge: RequesterId,
    },
    /// None of these: its place among the bridges is not understood.
    Unknown(RequesterId),
}

/// The numbers beside its own a function sends by (PCI Express Base Specification, 6.19).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PhantomFunctions {
    /// None.
    None,
    /// One: function number bit 2 differs.
    Two,
    /// Three: bits 2 and 1.
    Four,
    /// Seven: all three bits.
    Eight,
}

/// Which requests an entry answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceCheck {
    /// Those of one function.
    Function(RequesterId, PhantomFunctions),
    /// Those from a range of buses, both ends included.
    Buses(u8, u8),
}

/// A sender whose requests cannot be told from others' gets no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("requests of {0:?} cannot be told from others'")]
pub struct UnknownSender(pub RequesterId);

impl SourceCheck {
    /// The check that fits a sender.
    ///
    /// # Errors
    /// [`UnknownSender`]: there is no entry without a check.
    pub const fn of(sender: Sender) -> Result<Self, UnknownSender> {
        Ok(match sender {
            Sender::Express { function, phantoms } => Self::Function(function, phantoms),
            Sender::Integrated(function) => Self::Function(function, PhantomFunctions::None),
            Sender::BehindExpressBridge { function, bridge } => Self::Buses(bridge.bus(), function.bus()),
            Sender::BehindBridge { bridge } => Self::Function(bridge, PhantomFunctions::None),
            Sender::Unknown(function) => return Err(UnknownSender(function)),
        })
    }

    /// Bits 83:64 of an entry: SVT, SQ and SID (VT-d specification, 9.10).
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Function(requester, phantoms) => 1 << 18 | (phantoms as u32) << 16 | requester.0 as u32,
            Self::Buses(first, last) => 2 << 18 | (first as u32) << 8 | last as u32,
        }
    }

    /// Whether a request passes.
    #[must_use]
    pub const fn accepts(self, requester: RequesterId) -> bool {
        match self {
            Self::Function(function, phantoms) => {
                let ignored = match phantoms {
                    PhantomFunctions::None => 0,
                    PhantomFunctions::Two => 0b100,
                    PhantomFunctions::Four => 0b110,
                    PhantomFunctions::Eight => 0b111,
                };
                (function.0 ^ requester.0) & !ignored == 0
            }
            Self::Buses(first, last) => first <= requester.bus() && requester.bus() <= last,
        }
    }
}

/// What an entry turns a request into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RemapEntry {
    /// Whose interrupt it is.
    pub owner: DomainId,
    /// Which requests it answers.
    pub source: SourceCheck,
    /// The host's vector.
    pub vector: u8,
    /// The physical APIC ID it goes to.
    pub destination: u32,
}

/// A request that is not remapped: the IOMMU blocks it and reports a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RemapFault {
    /// Beyond the table.
    #[error("index {0} is beyond the table")]
    BeyondTable(u16),
    /// No interrupt has this entry.
    #[error("entry {0} is not present")]
    NotPresent(u16),
    /// The entry is another device's.
    #[error("entry {0} does not answer requests of {1:?}")]
    WrongSource(u16, RequesterId),
}

/// No entries are free that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {0} entries are free that follow each other")]
pub struct TableFull(pub u16);

/// A table of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemapTable {
    entries: Box<[Option<RemapEntry>]>,
}

impl RemapTable {
    /// An empty table.
    #[must_use]
    pub fn new(entries: u16) -> Self {
        Self { entries: vec![None; usize::from(entries)].into_boxed_slice() }
    }

    /// Gives interrupts, one for each entry of `wanted`, free entries that follow each other, the first at a multiple of
    /// their number as several messages of MSI need; their first index.
    ///
    /// # Errors
    /// [`TableFull`].
    pub fn claim(&mut self, wanted: &[RemapEntry]) -> Result<u16, TableFull> {
        let full = TableFull(u16::try_from(wanted.len()).unwrap_or(u16::MAX));
        let length = wanted.len().next_power_of_two();
        let mut blocks = self.entries.chunks_exact_mut(length).zip(0..);
        let (block, at) = blocks.find(|(block, _)| block.iter().all(Option::is_none)).ok_or(full)?;
        block.iter_mut().zip(wanted).for_each(|(entry, wanted)| *entry = Some(*wanted));
        u16::try_from(at * length).map_err(|_| full)
    }

    /// Clears an interrupt's entry: what its device still sends is blocked from now on. The IOMMU's cache of entries is
    /// flushed before the entry is given out again.
    pub fn release(&mut self, index: u16) {
        if let Some(entry) = self.entries.get_mut(usize::from(index)) {
            *entry = None;
        }
    }

    /// What a request becomes.
    ///
    /// # Errors
    /// [`RemapFault`].
    pub fn remap(&self, index: u16, requester: RequesterId) -> Result<RemapEntry, RemapFault> {
        let entry = self.entries.get(usize::from(index)).ok_or(RemapFault::BeyondTable(index))?;
        let entry = entry.ok_or(RemapFault::NotPresent(index))?;
        if entry.source.accepts(requester) { Ok(entry) } else { Err(RemapFault::WrongSource(index, requester)) }
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::DomainId;

    use super::PhantomFunctions;
    use super::RemapEntry;
    use super::RemapFault;
    use super::RemapTable;
    use super::RequesterId;
    use super::Sender;
    use super::SourceCheck;
    use super::TableFull;
    use super::UnknownSender;

    const NIC: RequesterId = RequesterId(0x0318);
    const BRIDGE: RequesterId = RequesterId(0x0208);

    fn senders() -> [Sender; 7] {
        let express = |phantoms| Sender::Express { function: NIC, phantoms };
        [
            express(PhantomFunctions::None),
            express(PhantomFunctions::Two),
            express(PhantomFunctions::Four),
            express(PhantomFunctions::Eight),
            Sender::Integrated(NIC),
            Sender::BehindExpressBridge { function: NIC, bridge: BRIDGE },
            Sender::BehindBridge { bridge: BRIDGE },
        ]
    }

    fn entry(source: SourceCheck) -> RemapEntry {
        RemapEntry { owner: DomainId(3), source, vector: 0x41, destination: 2 }
    }

    #[test]
    fn r42_every_known_device_is_validated_and_an_unknown_one_gets_no_entry() {
        let accepted = [1, 2, 4, 8, 1, 512, 1];
        for (sender, accepted) in senders().into_iter().zip(accepted) {
            let check = SourceCheck::of(sender).expect("a known device");
            assert_ne!(check.bits() >> 18, 0, "SVT 0 verifies nothing: {sender:?}");
            let count = (0..=u16::MAX).filter(|requester| check.accepts(RequesterId(*requester))).count();
            assert_eq!(count, accepted, "{sender:?}");
        }
        assert_eq!(SourceCheck::of(Sender::Unknown(NIC)), Err(UnknownSender(NIC)));
    }

    #[test]
    fn r42_a_request_of_another_device_does_not_pass() {
        let mut table = RemapTable::new(16);
        for sender in senders() {
            let check = SourceCheck::of(sender).expect("a known device");
            let index = table.claim(&[entry(check)]).expect("room");
            let other = RequesterId(0x0418);
            assert_eq!(table.remap(index, other), Err(RemapFault::WrongSource(index, other)), "{sender:?}");
            let own = if let Sender::BehindBridge { bridge } = sender { bridge } else { NIC };
            assert_eq!(table.remap(index, own), Ok(entry(check)));
        }
    }

    #[test]
    fn r42_nothing_is_left_in_an_entry_that_was_given_back() {
        let check = SourceCheck::of(Sender::Integrated(NIC)).expect("a known device");
        let mut table = RemapTable::new(8);
        assert_eq!(table.claim(&[entry(check)]), Ok(0));
        assert_eq!(table.claim(&[entry(check); 3]), Ok(4), "several begin at a multiple of their number");
        assert_eq!(table.claim(&[entry(check); 4]), Err(TableFull(4)));
        table.release(5);
        assert_eq!(table.remap(5, NIC), Err(RemapFault::NotPresent(5)));
        assert_eq!(table.remap(6, NIC), Ok(entry(check)));
        assert_eq!(table.remap(7, NIC), Err(RemapFault::NotPresent(7)));
        assert_eq!(table.remap(8, NIC), Err(RemapFault::BeyondTable(8)));
        [0, 4, 6, 99].into_iter().for_each(|index| table.release(index));
        assert_eq!(table, RemapTable::new(8));
    }

    #[test]
    fn the_check_lies_in_the_entry_as_the_manual_says() {
        let bits = senders().map(|sender| SourceCheck::of(sender).map(SourceCheck::bits));
        let expected = [0x4_0318, 0x5_0318, 0x6_0318, 0x7_0318, 0x4_0318, 0x8_0203, 0x4_0208];
        assert_eq!(bits, expected.map(Ok));
    }
}
