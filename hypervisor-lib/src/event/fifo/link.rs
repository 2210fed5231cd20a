//! The two changes of an event word that more than one bit of it decides.

use hypervisor_abi::Port;
use hypervisor_abi::event::BUSY;
use hypervisor_abi::event::EventWordValue;
use hypervisor_abi::event::LINKED;
use hypervisor_abi::event::MASKED;
use hypervisor_abi::event::PENDING;

use super::cell::Word;

/// How often a word is tried against a guest that keeps changing it. An honest guest can interfere four times at most: by
/// masking, by unmasking, by clearing `PENDING`, and by taking the port off.
const TRIES: u32 = 4;

/// What became of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Append {
    /// The port follows the tail.
    Linked,
    /// The tail is no longer in the queue: the queue is empty.
    Empty,
    /// The guest kept changing the tail. The port is lost, to this guest alone.
    GivenUp,
}

/// Writes `next` into the link of a tail's word if it is still in a queue.
pub(super) fn append(tail: &impl Word, next: Port) -> Append {
    let mut seen = tail.load();
    if let Some(result) = try_append(tail, &mut seen, next) {
        return result;
    }
    // A guest that is about to unmask the port waits while it is BUSY.
    tail.fetch_or(BUSY);
    seen = tail.load();
    for _ in 0..TRIES {
        match try_append(tail, &mut seen, next) {
            Some(Append::Linked) => return Append::Linked,
            Some(unlinked) => {
                tail.fetch_and(!BUSY);
                return unlinked;
            }
            None => {}
        }
    }
    tail.fetch_and(!BUSY);
    Append::GivenUp
}

/// One try; `None` if the guest changed the word meanwhile, which is then in `seen`.
fn try_append(tail: &impl Word, seen: &mut EventWordValue, next: Port) -> Option<Append> {
    if !seen.linked() {
        return Some(Append::Empty);
    }
    let linked = u32::from(seen.with_busy(false).with_link(next.0));
    match tail.compare_exchange((*seen).into(), linked) {
        Ok(_) => Some(Append::Linked),
        Err(changed) => {
            *seen = changed.into();
            None
        }
    }
}

/// A port's word before it was made pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raised {
    /// It was pending already.
    pub(super) was_pending: bool,
    /// It was neither masked nor in a queue; now it is to be put into one.
    pub(super) to_link: bool,
}

/// Makes a port pending and, unless it is masked or in a queue, linked.
///
/// One compare-and-exchange does both where the guest leaves the word alone; single bits, which cannot fail, do it where
/// the guest does not.
pub(super) fn raise(word: &impl Word) -> Raised {
    let mut seen = word.load();
    for _ in 0..TRIES {
        let to_link = !seen.masked() && !seen.linked();
        let raised = if to_link { seen.with_pending(true).with_linked(true) } else { seen.with_pending(true) };
        let result = word.compare_exchange(seen.into(), raised.into());
        match result {
            Ok(_) => return Raised { was_pending: seen.pending(), to_link },
            Err(changed) => seen = changed.into(),
        }
    }
    let was_pending = word.fetch_or(PENDING) & PENDING != 0;
    let masked = u32::from(word.load()) & MASKED != 0;
    let to_link = !masked && word.fetch_or(LINKED) & LINKED == 0;
    Raised { was_pending, to_link }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use hypervisor_abi::Port;
    use hypervisor_abi::event::EventWord;
    use hypervisor_abi::event::EventWordValue;
    use hypervisor_abi::sync::AtomicU32;
    use hypervisor_abi::sync::Ordering;

    use super::Append;
    use super::append;
    use super::raise;

    fn word(value: EventWordValue) -> EventWord {
        EventWord(AtomicU32::new(value.into()))
    }

    #[test]
    fn a_port_is_appended_to_a_linked_tail_and_not_to_an_unlinked_one() {
        let tail = word(EventWordValue::new().with_linked(true).with_pending(true).with_masked(true));
        assert_eq!(append(&tail, Port(9)), Append::Linked);
        let expected = EventWordValue::new().with_linked(true).with_pending(true).with_masked(true).with_link(9);
        assert_eq!(tail.load(Ordering::Acquire), expected);

        let unlinked = word(EventWordValue::new().with_pending(true));
        assert_eq!(append(&unlinked, Port(9)), Append::Empty);
        assert_eq!(unlinked.load(Ordering::Acquire), EventWordValue::new().with_pending(true));
    }

    #[test]
    fn raising_links_only_what_is_neither_masked_nor_linked() {
        let cases = [(false, false, true), (false, true, false), (true, false, false), (true, true, false)];
        for (masked, linked, to_link) in cases {
            for pending in [false, true] {
                let before = EventWordValue::new().with_masked(masked).with_linked(linked).with_pending(pending);
                let cell = word(before);
                let raised = raise(&cell);
                assert_eq!((raised.was_pending, raised.to_link), (pending, to_link), "{before:?}");
                let after = before.with_pending(true).with_linked(linked || to_link);
                assert_eq!(cell.load(Ordering::Acquire), after);
            }
        }
    }
}
