//! What is known of the inverted pairs of an arena: whose move cannot mend them.

use alloc::collections::BTreeMap;

/// Pairs of a guest's piece and dom0's of which at least one cannot do its part.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs {
    cannot: BTreeMap<(usize, usize), Cannot>,
}

/// Who cannot mend a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cannot {
    Guest,
    Dom0,
    Either,
}

/// Who may still mend a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mender {
    Either,
    Guest,
    Dom0,
    Nobody,
}

impl Pairs {
    /// Notes that moving the guest's piece does not mend the pair. Whether that is news.
    pub(super) fn guest_cannot(&mut self, guest: usize, dom0: usize) -> bool {
        let known = self.cannot.get(&(guest, dom0)).copied();
        let now = match known {
            None | Some(Cannot::Guest) => Cannot::Guest,
            Some(Cannot::Dom0 | Cannot::Either) => Cannot::Either,
        };
        self.cannot.insert((guest, dom0), now);
        known != Some(now)
    }

    /// Notes that moving dom0's piece does not mend the pair. Whether that is news.
    pub(super) fn dom0_cannot(&mut self, guest: usize, dom0: usize) -> bool {
        let known = self.cannot.get(&(guest, dom0)).copied();
        let now = match known {
            None | Some(Cannot::Dom0) => Cannot::Dom0,
            Some(Cannot::Guest | Cannot::Either) => Cannot::Either,
        };
        self.cannot.insert((guest, dom0), now);
        known != Some(now)
    }

    /// Who may still mend the pair.
    pub(super) fn mender(&self, guest: usize, dom0: usize) -> Mender {
        match self.cannot.get(&(guest, dom0)) {
            None => Mender::Either,
            Some(Cannot::Guest) => Mender::Dom0,
            Some(Cannot::Dom0) => Mender::Guest,
            Some(Cannot::Either) => Mender::Nobody,
        }
    }

    /// Whether nobody can mend the pair.
    pub(super) fn is_given_up(&self, guest: usize, dom0: usize) -> bool {
        self.mender(guest, dom0) == Mender::Nobody
    }
}
