//! The producer's bound against a guest that changes an event word between its steps: dae2a1c5f9, R-05.

use core::cell::Cell;

use hypervisor_abi::Port;
use hypervisor_abi::event::BUSY;
use hypervisor_abi::event::EventWordValue;
use hypervisor_abi::event::LINKED;
use hypervisor_abi::event::MASKED;
use hypervisor_abi::event::PENDING;

use super::cell::Word;
use super::link::Append;
use super::link::Raised;
use super::link::append;
use super::link::raise;

/// A word whose guest changes bits just before each of the producer's first compare-and-exchanges.
struct Restless {
    value: Cell<u32>,
    /// Which bits change.
    flips: u32,
    /// How often the guest still interferes.
    left: Cell<u32>,
    tries: Cell<u32>,
    /// Whether `BUSY` was set, by try.
    busy: Cell<u32>,
}

impl Restless {
    fn new(value: u32, flips: u32, interferes: u32) -> Self {
        let [tries, busy] = [Cell::new(0), Cell::new(0)];
        Self { value: Cell::new(value), flips, left: Cell::new(interferes), tries, busy }
    }
}

impl Word for Restless {
    fn load(&self) -> EventWordValue {
        self.value.get().into()
    }

    fn compare_exchange(&self, current: u32, new: u32) -> Result<u32, u32> {
        let busy = u32::from(self.value.get() & BUSY != 0);
        self.busy.set(self.busy.get() | busy << self.tries.get());
        self.tries.set(self.tries.get() + 1);
        if let Some(left) = self.left.get().checked_sub(1) {
            self.left.set(left);
            self.value.set(self.value.get() ^ self.flips);
        }
        let seen = self.value.get();
        if seen != current {
            return Err(seen);
        }
        self.value.set(new);
        Ok(seen)
    }

    fn fetch_or(&self, bits: u32) -> u32 {
        self.value.replace(self.value.get() | bits)
    }

    fn fetch_and(&self, bits: u32) -> u32 {
        self.value.replace(self.value.get() & bits)
    }
}

#[test]
fn r05_a_tail_is_tried_once_freely_and_four_times_with_busy_then_the_event_is_given_up() {
    for interferes in 0..20 {
        let tail = Restless::new(LINKED | PENDING, MASKED, interferes);
        let appended = append(&tail, Port(9));
        let value = EventWordValue::from(tail.value.get());
        let expected = if interferes <= 4 { (Append::Linked, 9) } else { (Append::GivenUp, 0) };
        assert_eq!((appended, value.link()), expected, "{interferes}");
        assert_eq!(tail.tries.get(), interferes.min(4) + 1);
        assert!(!value.busy() && value.linked() && value.pending(), "{value:?}");
        assert_eq!(tail.busy.get(), (1 << tail.tries.get()) - 2, "BUSY is up from the second try on");
        assert_eq!(value.masked(), interferes.min(5) % 2 == 1, "the guest's own bits are as it left them");
    }
}

#[test]
fn a_tail_the_guest_takes_off_between_two_tries_is_found_empty_and_left_alone() {
    for at in 0..4 {
        let word = TakenOff { word: Restless::new(LINKED | PENDING, MASKED, u32::MAX), at };
        assert_eq!(append(&word, Port(9)), Append::Empty);
        let value = EventWordValue::from(word.word.value.get());
        assert!(!value.linked() && !value.busy() && value.pending() && value.link() == 0, "{value:?}");
    }
}

/// A restless word that leaves its queue at one of the tries.
struct TakenOff {
    word: Restless,
    at: u32,
}

impl Word for TakenOff {
    fn load(&self) -> EventWordValue {
        self.word.load()
    }

    fn compare_exchange(&self, current: u32, new: u32) -> Result<u32, u32> {
        if self.word.tries.get() == self.at {
            self.word.value.set(self.word.value.get() & !LINKED);
        }
        self.word.compare_exchange(current, new)
    }

    fn fetch_or(&self, bits: u32) -> u32 {
        self.word.fetch_or(bits)
    }

    fn fetch_and(&self, bits: u32) -> u32 {
        self.word.fetch_and(bits)
    }
}

#[test]
fn a_word_that_changes_four_times_is_raised_by_steps_that_cannot_fail() {
    for (before, interferes) in [0, PENDING, LINKED, MASKED].into_iter().flat_map(|word| (0..8).map(move |n| (word, n)))
    {
        // Bit 16 of the link: nobody but the guest cares.
        let word = Restless::new(before, 1 << 16, interferes);
        let raised = raise(&word);
        let to_link = before & (LINKED | MASKED) == 0;
        assert_eq!(raised, Raised { was_pending: before & PENDING != 0, to_link }, "{before:#x}, {interferes}");
        assert_eq!(word.tries.get(), interferes.min(3) + 1);
        let bits = word.value.get() & (PENDING | LINKED | MASKED | BUSY);
        assert_eq!(bits, before | PENDING | if to_link { LINKED } else { 0 });
    }
}

#[test]
fn a_word_that_is_masked_and_unmasked_all_the_time_is_linked_only_as_it_is_in_the_end() {
    for interferes in 0..8 {
        let word = Restless::new(0, MASKED, interferes);
        let raised = raise(&word);
        let masked = word.value.get() & MASKED != 0;
        assert_eq!(masked, interferes.min(4) % 2 == 1);
        assert_eq!(raised, Raised { was_pending: false, to_link: !masked });
        assert_eq!(word.value.get() & LINKED != 0, !masked);
    }
}
