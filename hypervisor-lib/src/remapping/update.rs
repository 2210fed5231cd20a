//! How an entry becomes another while the IOMMU may read it at any moment.
//!
//! | what differs | widest store | stores |
//! |---|---|---|
//! | nothing | any | none |
//! | one half | any | that half: the IOMMU sees the old entry or the new one |
//! | both halves | 128 bits | one exchange (`CMPXCHG16B`) |
//! | both halves, old one absent | 64 bits | upper, then lower, which has the present bit |
//! | both halves, new one absent | 64 bits | lower, then upper |
//! | both halves, both present, the device quiet | 64 bits | lower := 0, upper, lower |
//! | both halves, both present, the device live | 64 bits | refused: a request in between would be blocked or mixed |
//!
//! The posted form spreads the descriptor's address over both halves, so a hypervisor without `CMPXCHG16B` must not post
//! (VT-d specification, 5.2; `xen/drivers/passthrough/vtd/intremap.c`, `update_irte`).

use alloc::vec;
use alloc::vec::Vec;

use hypervisor_abi::vtd::Irte;

/// The widest store the hypervisor's processors have that the IOMMU cannot see half of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WidestStore {
    /// 64 bits.
    Bits64,
    /// 128 bits: `CMPXCHG16B` (CPUID 1, ECX bit 13).
    Bits128,
}

/// Whether the device may send while its entry changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Traffic {
    /// It may.
    Live,
    /// It may not: it is masked, or not in use yet.
    Quiet,
}

/// A store to an entry, which the IOMMU sees whole, and only after the stores before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryStore {
    /// Bits 63 to 0.
    Low(u64),
    /// Bits 127 to 64.
    High(u64),
    /// All bits, by one exchange. Nobody else changes the entry, so that one that does not find the old one is a broken table.
    Whole {
        /// What is there.
        from: Irte,
        /// What is put there.
        to: Irte,
    },
}

/// A change that the IOMMU could see half of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("both halves of a live entry change, and the processors store 64 bits at once: mask the device first")]
pub struct Torn;

/// The stores that turn an entry into another, in order.
///
/// # Errors
/// [`Torn`].
pub fn write_order(from: Irte, to: Irte, widest: WidestStore, traffic: Traffic) -> Result<Vec<EntryStore>, Torn> {
    use EntryStore::High;
    use EntryStore::Low;
    let is_low_first = !to.is_present();
    Ok(match (from.low == to.low, from.high == to.high, widest) {
        (true, true, _) => Vec::new(),
        (false, true, _) => vec![Low(to.low)],
        (true, false, _) => vec![High(to.high)],
        (false, false, WidestStore::Bits128) => vec![EntryStore::Whole { from, to }],
        (false, false, WidestStore::Bits64) if is_low_first => vec![Low(to.low), High(to.high)],
        (false, false, WidestStore::Bits64) if !from.is_present() => vec![High(to.high), Low(to.low)],
        (false, false, WidestStore::Bits64) => match traffic {
            Traffic::Quiet => vec![Low(0), High(to.high), Low(to.low)],
            Traffic::Live => return Err(Torn),
        },
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use hypervisor_abi::vtd::Irte;

    use super::EntryStore;
    use super::Torn;
    use super::Traffic;
    use super::WidestStore;
    use super::write_order;

    /// Absent ones and present ones, in all combinations of two lower and two upper halves.
    fn entries() -> impl Iterator<Item = Irte> {
        let lows = [0, 0x51_0000, 0x51_0001, 0x61_8001];
        lows.into_iter().flat_map(|low| [0, 0x4_0318, 0x77_0004_0318].map(|high| Irte { low, high }))
    }

    /// What an IOMMU that looks after each store finds.
    fn seen(from: Irte, stores: &[EntryStore]) -> Vec<Irte> {
        let mut entry = from;
        let mut seen = Vec::new();
        for store in stores {
            match *store {
                EntryStore::Low(low) => entry.low = low,
                EntryStore::High(high) => entry.high = high,
                EntryStore::Whole { from, to } => {
                    assert_eq!(entry, from, "the exchange finds what it expects");
                    entry = to;
                }
            }
            seen.push(entry);
        }
        seen
    }

    #[test]
    fn an_iommu_sees_the_old_entry_the_new_one_or_none_and_never_a_mixture() {
        let mut refused = 0;
        for (from, to) in entries().flat_map(|from| entries().map(move |to| (from, to))) {
            for widest in [WidestStore::Bits64, WidestStore::Bits128] {
                for traffic in [Traffic::Live, Traffic::Quiet] {
                    let Ok(stores) = write_order(from, to, widest, traffic) else {
                        let both = from.low != to.low && from.high != to.high && from.is_present() && to.is_present();
                        assert!(both && (widest, traffic) == (WidestStore::Bits64, Traffic::Live), "{from:?} {to:?}");
                        refused += 1;
                        continue;
                    };
                    let seen = seen(from, &stores);
                    assert_eq!(seen.last().copied().unwrap_or(from), to);
                    for entry in &seen {
                        let is_whole = *entry == from || *entry == to || !entry.is_present();
                        assert!(is_whole, "{entry:?} between {from:?} and {to:?}");
                        let is_gap = !entry.is_present() && from.is_present() && to.is_present();
                        assert!(!is_gap || traffic == Traffic::Quiet, "a live device meets an absent entry");
                    }
                }
            }
        }
        // Two present lower halves by three upper ones: each may become the other's lower half under two other upper halves.
        assert_eq!(refused, 2 * 3 * 2);
        let (from, to) = (Irte { low: 1, high: 1 }, Irte { low: 3, high: 2 });
        assert_eq!(write_order(from, to, WidestStore::Bits64, Traffic::Live), Err(Torn));
    }
}
