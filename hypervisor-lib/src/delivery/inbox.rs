//! What other threads leave for a vCPU: requests as bits, and a word that says that there are any.
//!
//! The shape is that of a posted-interrupt descriptor (SDM vol. 3C, 30.6), with a second set of bits for level-triggered
//! vectors and one bit for each signal that is no vector. A sender sets the vector's bit and then ON; the owner clears ON
//! and then takes the bits. So whoever finds ON set knows that the owner will still look at what it has just written.

use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::sync::AtomicU8;
use hypervisor_abi::sync::AtomicU64;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::sync::change_before_look;
use vector_allocator::Vector;

/// Something is there.
const ON: u64 = 1;
/// One of the level-triggered vectors is there.
const LEVEL: u64 = 1 << 1;
const NMI: u64 = 1 << 2;
const SMI: u64 = 1 << 3;
const INIT: u64 = 1 << 4;
const START_UP: u64 = 1 << 5;
const EXT_INT: u64 = 1 << 6;
const ILLEGAL_VECTOR: u64 = 1 << 7;
/// Where the page of a start-up begins.
const PAGE_SHIFT: u32 = 8;

/// A vCPU's inbox. It has cache lines of its own, or the neighbours' senders would slow it down; what they write comes
/// first.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Inbox {
    edge: [AtomicU64; 4],
    control: AtomicU64,
    /// The owner's task-priority class, by which lowest-priority messages choose.
    priority: AtomicU8,
    level: [AtomicU64; 4],
}

/// Whether the owner has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Notification {
    /// The inbox was empty: kick the owner.
    Due,
    /// Somebody has kicked the owner, and it has not looked yet.
    Outstanding,
}

/// What was in an inbox besides vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals(u64);

impl Signals {
    /// Whether there is none.
    #[inline]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 & !(ON | LEVEL) == 0
    }

    /// A non-maskable interrupt.
    #[must_use]
    pub const fn nmi(self) -> bool {
        self.0 & NMI != 0
    }

    /// A system-management interrupt.
    #[must_use]
    pub const fn smi(self) -> bool {
        self.0 & SMI != 0
    }

    /// INIT, before any start-up.
    #[must_use]
    pub const fn init(self) -> bool {
        self.0 & INIT != 0
    }

    /// A start-up, and at which page.
    #[must_use]
    pub const fn start_up(self) -> Option<u8> {
        if self.0 & START_UP == 0 { None } else { Some((self.0 >> PAGE_SHIFT).to_le_bytes()[0]) }
    }

    /// An interrupt whose vector the external controller has.
    #[must_use]
    pub const fn ext_int(self) -> bool {
        self.0 & EXT_INT != 0
    }

    /// A message with a vector below 16.
    #[must_use]
    pub const fn illegal_vector(self) -> bool {
        self.0 & ILLEGAL_VECTOR != 0
    }
}

impl Inbox {
    /// Leaves a vector.
    #[inline]
    pub fn post(&self, vector: Vector, trigger: TriggerMode) -> Notification {
        let (word, bit) = (vector.index() / 64, 1 << (vector.index() % 64));
        match trigger {
            TriggerMode::Edge => {
                self.edge[word].fetch_or(bit, Ordering::SeqCst);
                self.notify(ON)
            }
            TriggerMode::Level => {
                self.level[word].fetch_or(bit, Ordering::SeqCst);
                self.notify(ON | LEVEL)
            }
        }
    }

    /// Leaves a non-maskable interrupt.
    pub fn post_nmi(&self) -> Notification {
        self.notify(ON | NMI)
    }

    /// Leaves a system-management interrupt.
    pub fn post_smi(&self) -> Notification {
        self.notify(ON | SMI)
    }

    /// Leaves an INIT. It undoes a start-up that came before it and has not been seen.
    pub fn post_init(&self) -> Notification {
        self.change(|seen| seen & !(START_UP | 0xff << PAGE_SHIFT) | INIT)
    }

    /// Leaves a start-up at `page`. One that has not been seen goes on to count.
    pub fn post_start_up(&self, page: u8) -> Notification {
        self.change(|seen| if seen & START_UP == 0 { seen | START_UP | u64::from(page) << PAGE_SHIFT } else { seen })
    }

    /// Leaves an interrupt whose vector the external controller has.
    pub fn post_ext_int(&self) -> Notification {
        self.notify(ON | EXT_INT)
    }

    /// Leaves word of a message with an illegal vector.
    pub fn post_illegal_vector(&self) -> Notification {
        self.notify(ON | ILLEGAL_VECTOR)
    }

    /// Whether the owner has nothing to take.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.control.load(Ordering::Relaxed) == 0
    }

    /// Takes everything out; the vectors word by word. Only the owner calls this, and sees what a sender left if it was
    /// kicked for it, or if it is the sender. An empty inbox costs one load.
    #[inline]
    pub fn take(&self, mut merge: impl FnMut(TriggerMode, usize, u64)) -> Signals {
        if self.is_empty() {
            return Signals::default();
        }
        let control = self.control.swap(0, Ordering::SeqCst);
        change_before_look();
        take_words(&self.edge, |word, bits| merge(TriggerMode::Edge, word, bits));
        if control & LEVEL != 0 {
            take_words(&self.level, |word, bits| merge(TriggerMode::Level, word, bits));
        }
        Signals(control)
    }

    /// The owner's task-priority class, 0 to 15.
    pub(super) fn priority(&self) -> u8 {
        self.priority.load(Ordering::Relaxed)
    }

    /// Says what the owner's task-priority class is.
    #[inline]
    pub(super) fn set_priority(&self, class: u8) {
        self.priority.store(class, Ordering::Relaxed);
    }

    /// Sets bits of the control word, unless they are set: then the owner has not looked since, and will find what was
    /// written before this.
    #[inline]
    fn notify(&self, bits: u64) -> Notification {
        change_before_look();
        if self.control.load(Ordering::SeqCst) & bits == bits {
            return Notification::Outstanding;
        }
        notification(self.control.fetch_or(bits, Ordering::SeqCst))
    }

    fn change(&self, change: impl Fn(u64) -> u64) -> Notification {
        let mut seen = self.control.load(Ordering::Relaxed);
        loop {
            let left = change(seen) | ON;
            match self.control.compare_exchange_weak(seen, left, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(before) => return notification(before),
                Err(changed) => seen = changed,
            }
        }
    }
}

#[inline]
fn notification(before: u64) -> Notification {
    if before & ON == 0 { Notification::Due } else { Notification::Outstanding }
}

/// Empties the words that are not empty. There is mostly one, but which one no processor can foretell, so it is found
/// without a branch.
#[inline]
fn take_words(words: &[AtomicU64; 4], mut merge: impl FnMut(usize, u64)) {
    let occupied = |i: usize| u32::from(words[i].load(Ordering::SeqCst) != 0) << i;
    let mut left = occupied(0) | occupied(1) | occupied(2) | occupied(3);
    while left != 0 {
        let i = left.trailing_zeros() as usize & 3;
        merge(i, words[i].swap(0, Ordering::SeqCst));
        left &= left - 1;
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use alloc::vec::Vec;

    use hypervisor_abi::apic::TriggerMode;
    use vector_allocator::Vector;

    use super::Inbox;
    use super::Notification;

    fn take(inbox: &Inbox) -> Vec<(TriggerMode, usize, u64)> {
        let mut taken = Vec::new();
        let _ = inbox.take(|trigger, word, bits| taken.push((trigger, word, bits)));
        taken
    }

    #[test]
    fn the_first_of_a_burst_is_notified_and_every_vector_arrives_once() {
        for trigger in [TriggerMode::Edge, TriggerMode::Level] {
            let inbox = Inbox::default();
            let due: Vec<Vector> =
                Vector::all().filter(|vector| inbox.post(*vector, trigger) == Notification::Due).collect();
            assert_eq!(due, [Vector::LOWEST]);
            let all = [(0, !0xffff), (1, u64::MAX), (2, u64::MAX), (3, u64::MAX)];
            assert_eq!(take(&inbox), all.map(|(word, bits)| (trigger, word, bits)));
            assert!(inbox.is_empty());
            assert_eq!(take(&inbox), []);
        }
    }

    #[test]
    fn a_level_after_an_edge_is_not_overlooked() {
        let inbox = Inbox::default();
        assert_eq!(inbox.post(Vector::LOWEST, TriggerMode::Edge), Notification::Due);
        assert_eq!(inbox.post(Vector::HIGHEST, TriggerMode::Level), Notification::Outstanding);
        assert_eq!(take(&inbox), [(TriggerMode::Edge, 0, 1 << 16), (TriggerMode::Level, 3, 1 << 63)]);
    }

    #[test]
    fn an_init_undoes_the_start_up_before_it_and_not_the_one_after() {
        let inbox = Inbox::default();
        let _ = inbox.post_start_up(0x99);
        let _ = inbox.post_init();
        let signals = inbox.take(|_, _, _| {});
        assert!(signals.init() && signals.start_up().is_none());
        let _ = inbox.post_init();
        let _ = inbox.post_start_up(0x12);
        let _ = inbox.post_start_up(0x34);
        let signals = inbox.take(|_, _, _| {});
        assert!(signals.init());
        assert_eq!(signals.start_up(), Some(0x12));
    }

    #[test]
    fn each_signal_is_notified_and_is_nothing_but_itself() {
        type Post = fn(&Inbox) -> Notification;
        let posts: [Post; 6] = [
            Inbox::post_nmi,
            Inbox::post_smi,
            Inbox::post_init,
            |inbox| inbox.post_start_up(0x42),
            Inbox::post_ext_int,
            Inbox::post_illegal_vector,
        ];
        for (number, post) in posts.into_iter().enumerate() {
            let inbox = Inbox::default();
            assert_eq!(post(&inbox), Notification::Due);
            assert_eq!(post(&inbox), Notification::Outstanding);
            let got = inbox.take(|_, _, _| panic!("a vector"));
            let is =
                [got.nmi(), got.smi(), got.init(), got.start_up() == Some(0x42), got.ext_int(), got.illegal_vector()];
            assert_eq!(is.map(u8::from).iter().sum::<u8>(), 1);
            assert!(is[number]);
        }
    }
}
