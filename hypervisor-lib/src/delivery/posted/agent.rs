//! What a posting agent does, and what taking out what it posted is (SDM vol. 3C, 30.6; VT-d, 5.2.3).

use hypervisor_abi::posted::PostedControl;
use hypervisor_abi::posted::PostedDescriptor;
use hypervisor_abi::posted::PostedDestination;
use hypervisor_abi::sync::AtomicU64;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::sync::change_before_look;
use vector_allocator::Vector;

/// Whether a post is notified although notifications are suppressed (URG of an IOMMU's table entry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Urgency {
    /// It is not.
    Ordinary,
    /// It is.
    Urgent,
}

/// A notification that is due: a host vector for a physical CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Notice {
    /// NV.
    pub vector: u8,
    /// NDST.
    pub destination: PostedDestination,
}

/// Posts a vector: sets its bit, then ON, unless it is set or notifications are suppressed. The notification is that of the
/// very word in which ON was set, so whoever changes vector or destination later sees ON.
#[inline]
pub fn post(descriptor: &PostedDescriptor, vector: Vector, urgency: Urgency) -> Option<Notice> {
    descriptor.pir[vector.index() / 64].fetch_or(1 << (vector.index() % 64), Ordering::SeqCst);
    change_before_look();
    let mut seen = descriptor.control.load(Ordering::SeqCst);
    loop {
        let value = PostedControl::from(seen);
        if value.outstanding() || value.suppressed() && urgency == Urgency::Ordinary {
            return None;
        }
        let noticed = value.with_outstanding(true).into_bits();
        match descriptor.control.compare_exchange_weak(seen, noticed, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return Some(Notice { vector: value.vector(), destination: value.destination() }),
            Err(changed) => seen = changed,
        }
    }
}

/// Clears ON and takes out what was posted, word by word: steps 3 and 5 of posted-interrupt processing, and what software
/// does before an entry.
#[inline]
pub fn take(descriptor: &PostedDescriptor, mut merge: impl FnMut(usize, u64)) {
    if is_outstanding(descriptor) {
        descriptor.control.fetch_and(!PostedControl::OUTSTANDING, Ordering::SeqCst);
        change_before_look();
    }
    for (i, word) in descriptor.pir.iter().enumerate() {
        if word.load(Ordering::SeqCst) != 0 {
            merge(i, word.swap(0, Ordering::SeqCst));
        }
    }
}

/// Whether ON is set.
#[inline]
pub(super) fn is_outstanding(descriptor: &PostedDescriptor) -> bool {
    PostedControl::from(descriptor.control.load(Ordering::SeqCst)).outstanding()
}

/// Whether anything is posted.
#[inline]
pub(crate) fn is_posted(descriptor: &PostedDescriptor) -> bool {
    descriptor.pir.iter().any(|word| word.load(Ordering::SeqCst) != 0)
}

/// Changes the control word; what it was. Agents change it once between two takings, so this tries again once at most for
/// each.
pub(crate) fn change(control: &AtomicU64, change: impl Fn(PostedControl) -> PostedControl) -> PostedControl {
    let mut seen = control.load(Ordering::Relaxed);
    loop {
        let wanted = change(seen.into()).into_bits();
        match control.compare_exchange_weak(seen, wanted, Ordering::SeqCst, Ordering::Relaxed) {
            Ok(before) => return before.into(),
            Err(changed) => seen = changed,
        }
    }
}
