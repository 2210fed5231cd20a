//! The two changes of an event word that more than one bit of it decides, on the guest's side.

use hypervisor_abi::Port;
use hypervisor_abi::event::EventWord;
use hypervisor_abi::event::EventWordValue;
use hypervisor_abi::event::LINK_MASK;
use hypervisor_abi::event::LINKED;
use hypervisor_abi::event::MASKED;
use hypervisor_abi::event::PENDING;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::sync::change_before_look;

use crate::abi::Admission;
use crate::abi::Found;
use crate::abi::Unmasked;

/// How often the guest tries to unmask a word the hypervisor is changing, before it asks the hypervisor to do it.
const UNMASK_TRIES: u32 = 4;

/// Takes a port off its queue: the port after it (0 ends the queue), and whether it had a deliverable event.
///
/// One compare-and-exchange decides everything, so that no event comes between leaving the queue and clearing `PENDING`,
/// and no mask is overlooked. It fails only if the hypervisor has changed the word, which it does a bounded number of times
/// an event.
#[inline]
pub(crate) fn take(word: &EventWord, admission: Admission) -> (Port, Found) {
    let mut seen = word.0.load(Ordering::Acquire);
    loop {
        let event = if seen & (PENDING | MASKED) == PENDING { Found::Event } else { Found::Nothing };
        let left = seen & !(LINKED | LINK_MASK);
        let left = match (event, admission) {
            // The event stays: what was masked when it came is told by PENDING alone.
            (Found::Nothing, _) => left,
            (Found::Event, Admission::Early) => left & !PENDING,
            (Found::Event, Admission::Late { .. }) => left & !PENDING | MASKED,
            (Found::Event, Admission::Aside) => left | MASKED,
        };
        match word.0.compare_exchange_weak(seen, left, Ordering::SeqCst, Ordering::Acquire) {
            Ok(_) => {
                change_before_look();
                return (Port(seen & LINK_MASK), event);
            }
            Err(changed) => seen = changed,
        }
    }
}

/// Clears `MASKED` where that is the guest's to do (`public/event_channel.h`; XSA-332): not while the word is `BUSY`, nor while
/// an event waits outside its queue, which only the hypervisor can put there.
///
/// An event that waits inside its queue needs no hypervisor, and must not have it: `EVTCHNOP_unmask` looks at `PENDING` and
/// then sets it, so the event would come twice if its vCPU took it in between.
pub(crate) fn unmask(word: &EventWord) -> Unmasked {
    let mut seen = word.load(Ordering::Acquire);
    for _ in 0..UNMASK_TRIES {
        if !seen.masked() {
            return Unmasked::Done;
        }
        if seen.pending() && !seen.linked() {
            return Unmasked::AskHypervisor;
        }
        let idle: EventWordValue = seen.with_busy(false);
        let unmasked = idle.with_masked(false);
        match word.0.compare_exchange(idle.into(), unmasked.into(), Ordering::SeqCst, Ordering::Acquire) {
            Ok(_) => return Unmasked::Done,
            Err(changed) => seen = changed.into(),
        }
    }
    Unmasked::AskHypervisor
}

#[cfg(all(test, not(loom)))]
mod tests {
    use hypervisor_abi::Port;
    use hypervisor_abi::event::EventWord;
    use hypervisor_abi::event::EventWordValue;
    use hypervisor_abi::sync::AtomicU32;
    use hypervisor_abi::sync::Ordering;

    use super::Admission;
    use super::Found;
    use super::Unmasked;
    use super::take;
    use super::unmask;
    use crate::abi::Duty;

    fn word(value: EventWordValue) -> EventWord {
        EventWord(AtomicU32::new(value.into()))
    }

    /// All values of the four flags, with a link.
    fn values() -> impl Iterator<Item = EventWordValue> {
        (0..16_u32).map(|flags| {
            EventWordValue::new()
                .with_link(9)
                .with_busy(flags & 1 != 0)
                .with_linked(flags & 2 != 0)
                .with_masked(flags & 4 != 0)
                .with_pending(flags & 8 != 0)
        })
    }

    #[test]
    fn taking_a_port_ends_its_link_whatever_its_flags_and_loses_no_masked_event() {
        let late = Admission::Late { duty: Duty::None };
        for (before, admission) in
            values().flat_map(|value| [Admission::Early, late, Admission::Aside].map(|a| (value, a)))
        {
            let cell = word(before);
            let (next, event) = take(&cell, admission);
            let after = cell.load(Ordering::Acquire);
            assert_eq!(next, Port(9));
            assert!(!after.linked() && after.link() == 0 && after.busy() == before.busy(), "{before:?} {admission:?}");
            let had = before.pending() && !before.masked();
            assert_eq!(event, if had { Found::Event } else { Found::Nothing }, "{before:?}");
            assert_eq!(after.pending(), before.pending() && (!had || admission == Admission::Aside), "{before:?}");
            assert_eq!(after.masked(), before.masked() || (had && admission != Admission::Early), "{before:?}");
        }
    }

    #[test]
    fn the_hypervisor_is_asked_only_for_a_busy_word_or_an_event_outside_its_queue() {
        for before in values() {
            let cell = word(before);
            let asked = unmask(&cell);
            let after = cell.load(Ordering::Acquire);
            if !before.masked() {
                assert_eq!((asked, after), (Unmasked::Done, before));
            } else if (before.pending() && !before.linked()) || before.busy() {
                assert_eq!((asked, after), (Unmasked::AskHypervisor, before));
            } else {
                assert_eq!((asked, after), (Unmasked::Done, before.with_masked(false)));
            }
        }
    }
}
