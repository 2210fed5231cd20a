//! Which requests of which device an entry answers.
//!
//! A message is a write to memory, and any device can write anywhere. What makes it *this* device's message is the requester
//! ID the bus adds, which the entry must check; an entry that checks nothing lets every device of every guest raise it (R-42:
//! XSA-49, CVE-2013-1952).
//!
//! Which check fits which device: VT-d specification, 5.1.3 and 9.10; `xen/drivers/passthrough/vtd/intremap.c`.

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

#[cfg(test)]
mod tests {
    use super::PhantomFunctions;
    use super::RequesterId;
    use super::Sender;
    use super::SourceCheck;
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
        for sender in senders() {
            let check = SourceCheck::of(sender).expect("a known device");
            assert!(!check.accepts(RequesterId(0x0418)), "{sender:?}");
            let own = if let Sender::BehindBridge { bridge } = sender { bridge } else { NIC };
            assert!(check.accepts(own), "{sender:?}");
        }
    }

    #[test]
    fn the_check_lies_in_the_entry_as_the_manual_says() {
        let bits = senders().map(|sender| SourceCheck::of(sender).map(SourceCheck::bits));
        let expected = [0x4_0318, 0x5_0318, 0x6_0318, 0x7_0318, 0x4_0318, 0x8_0203, 0x4_0208];
        assert_eq!(bits, expected.map(Ok));
    }

    /// What the IOMMU does with the bits (VT-d specification, 9.10): SVT 1 compares all of SID but what SQ says, SVT 2 the bus.
    #[test]
    fn the_bits_accept_whom_the_check_accepts() {
        for sender in senders() {
            let check = SourceCheck::of(sender).expect("a known device");
            let (svt, sq, sid) = (check.bits() >> 18, check.bits() >> 16 & 3, check.bits() & 0xffff);
            for requester in 0..=u16::MAX {
                let by_bits = match svt {
                    1 => (u32::from(requester) ^ sid) & !(7 << (3 - sq) & 7) == 0,
                    _ => (sid >> 8..=sid & 0xff).contains(&(u32::from(requester) >> 8)),
                };
                assert_eq!(check.accepts(RequesterId(requester)), by_bits, "{sender:?}, {requester:#x}");
            }
        }
    }
}
