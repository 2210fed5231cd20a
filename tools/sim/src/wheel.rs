//! The calendar of the simulation: a hierarchical timing wheel (Varghese and Lauck, 1987) over the whole range of `u64`.
//!
//! Eleven levels of 64 slots read a time as base-64 digits. An event waits on the level of the highest digit in which its
//! time differs from the wheel's, so every event is moved down at most once a level, and the next one is found by two
//! bit scans. A slot of level 0 holds one instant only, and slots are queues: events of one instant leave in the order
//! they came.
//!
//! ```
//! use carillon_sim::Wheel;
//!
//! let mut wheel = Wheel::new();
//! wheel.schedule(70, "second");
//! wheel.schedule(5, "first");
//! wheel.schedule(70, "third");
//! assert_eq!(wheel.pop_until(60), Some((5, "first")));
//! assert_eq!(wheel.pop_until(60), None);
//! assert_eq!(wheel.pop(), Some((70, "second")));
//! assert_eq!(wheel.pop(), Some((70, "third")));
//! ```

const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
const LEVELS: usize = u64::BITS.div_ceil(DIGIT_BITS) as usize;
const NIL: u32 = u32::MAX;

/// Events in order of time; those of the same time in the order they were scheduled.
///
/// Nothing is allocated once the wheel has held its largest number of events.
#[derive(Clone, Debug)]
pub struct Wheel<T> {
    now: u64,
    len: usize,
    /// Bit `l` is set while level `l` has an occupied slot.
    levels: u32,
    /// Bit `s` of word `l` is set while slot `s` of level `l` is occupied.
    occupied: [u64; LEVELS],
    slots: Box<[[Queue; SLOTS]; LEVELS]>,
    nodes: Vec<Node<T>>,
    free: u32,
}

/// A queue of nodes by index; the ends mean nothing while its slot is not occupied.
#[derive(Clone, Copy, Debug)]
struct Queue {
    head: u32,
    tail: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node<T> {
    time: u64,
    next: u32,
    event: T,
}

impl<T: Copy> Wheel<T> {
    /// An empty wheel at time 0.
    #[must_use]
    pub fn new() -> Self {
        Self {
            now: 0,
            len: 0,
            levels: 0,
            occupied: [0; LEVELS],
            slots: Box::new([[Queue { head: NIL, tail: NIL }; SLOTS]; LEVELS]),
            nodes: Vec::new(),
            free: NIL,
        }
    }

    /// The time reached: that of the latest event popped, or some instant up to the next one.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// How many events wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no event waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes the wheel keeps, waiting events and free places together.
    #[must_use]
    pub fn footprint(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.slots) + self.nodes.capacity() * size_of::<Node<T>>()
    }

    /// Has `event` come back at `at`. A time that is already over counts as the time of the latest event popped: the past
    /// stays as it was.
    ///
    /// # Panics
    /// When 2³² − 1 events wait.
    #[inline]
    pub fn schedule(&mut self, at: u64, event: T) {
        let node = Node { time: at.max(self.now), next: NIL, event };
        let index = self.free;
        if let Some(place) = self.nodes.get_mut(index as usize) {
            self.free = place.next;
            *place = node;
            self.append(index, node.time);
        } else {
            let index = u32::try_from(self.nodes.len()).ok().filter(|index| *index != NIL);
            let index = index.expect("a wheel holds fewer than 2^32 - 1 events");
            self.nodes.push(node);
            self.append(index, node.time);
        }
        self.len += 1;
    }

    /// The next event with its time.
    #[inline]
    pub fn pop(&mut self) -> Option<(u64, T)> {
        self.pop_until(u64::MAX)
    }

    /// The next event with its time, if it is due at `limit` or before.
    #[inline]
    pub fn pop_until(&mut self, limit: u64) -> Option<(u64, T)> {
        loop {
            if self.levels == 0 {
                return None;
            }
            let level = self.levels.trailing_zeros() as usize;
            let slot = self.occupied[level].trailing_zeros() as usize;
            let queue = self.slots[level][slot];
            let first = self.nodes[queue.head as usize];
            if level == 0 || queue.head == queue.tail {
                if first.time > limit {
                    return None;
                }
                self.now = first.time;
                if queue.head == queue.tail {
                    self.vacate(level, slot);
                } else {
                    self.slots[level][slot].head = first.next;
                }
                self.release(queue.head);
                self.len -= 1;
                return Some((first.time, first.event));
            }
            let start = first.time & !below(level);
            if limit < start || limit - start < below(level) && self.earliest(queue.head) > limit {
                return None;
            }
            self.now = start;
            self.vacate(level, slot);
            self.cascade(queue.head);
        }
    }

    /// The earliest time in a queue.
    #[cold]
    fn earliest(&self, head: u32) -> u64 {
        let mut node = self.nodes[head as usize];
        let mut earliest = node.time;
        while node.next != NIL {
            node = self.nodes[node.next as usize];
            earliest = earliest.min(node.time);
        }
        earliest
    }

    /// Moves the nodes of a queue down to where they belong by now, in their order.
    #[inline]
    fn cascade(&mut self, head: u32) {
        let mut index = head;
        while index != NIL {
            let node = &mut self.nodes[index as usize];
            let (time, next) = (node.time, node.next);
            node.next = NIL;
            self.append(index, time);
            index = next;
        }
    }

    /// Appends a node to the slot of its time.
    #[inline]
    fn append(&mut self, index: u32, time: u64) {
        let level = level_of(time ^ self.now);
        let slot = digit(time, level);
        let queue = &mut self.slots[level][slot];
        let bit = 1 << slot;
        if self.occupied[level] & bit == 0 {
            self.occupied[level] |= bit;
            self.levels |= 1 << level;
            *queue = Queue { head: index, tail: index };
        } else {
            self.nodes[queue.tail as usize].next = index;
            queue.tail = index;
        }
    }

    #[inline]
    fn vacate(&mut self, level: usize, slot: usize) {
        self.occupied[level] &= !(1 << slot);
        self.levels &= !(u32::from(self.occupied[level] == 0) << level);
    }

    #[inline]
    fn release(&mut self, index: u32) {
        self.nodes[index as usize].next = self.free;
        self.free = index;
    }
}

impl<T: Copy> Default for Wheel<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The level of the highest digit that is not zero.
#[inline]
const fn level_of(difference: u64) -> usize {
    ((u64::BITS - 1 - (difference | 1).leading_zeros()) / DIGIT_BITS) as usize
}

/// The digit of `time` on which its slot of `level` hangs.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a digit is below 64")]
const fn digit(time: u64, level: usize) -> usize {
    ((time >> (level * DIGIT_BITS as usize)) & (SLOTS as u64 - 1)) as usize
}

/// The bits of a time that a slot of `level` does not tell.
#[inline]
const fn below(level: usize) -> u64 {
    (1 << (level * DIGIT_BITS as usize)) - 1
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use proptest::collection::vec;
    use proptest::prelude::Just;
    use proptest::prelude::Strategy;
    use proptest::prelude::any;
    use proptest::prop_oneof;
    use proptest::proptest;

    use super::Wheel;

    /// The obvious calendar: a heap by time, then by number.
    #[derive(Default)]
    struct Oracle {
        heap: BinaryHeap<Reverse<(u64, u32)>>,
        now: u64,
    }

    impl Oracle {
        fn schedule(&mut self, at: u64, event: u32) {
            self.heap.push(Reverse((at.max(self.now), event)));
        }

        fn pop_until(&mut self, limit: u64) -> Option<(u64, u32)> {
            let Reverse((time, _)) = *self.heap.peek()?;
            if time > limit {
                return None;
            }
            self.now = time;
            self.heap.pop().map(|Reverse(event)| event)
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// So far after the latest event popped.
        After(u64),
        /// At a time of its own, perhaps over.
        At(u64),
        /// Several at one instant.
        Burst {
            after: u64,
            count: u32,
        },
        /// Whatever is due so far after the latest event popped.
        PopWithin(u64),
        Pop,
    }

    fn distance() -> impl Strategy<Value = u64> {
        prop_oneof![0..3u64, 0..200u64, 0..100_000u64, (0..64u32).prop_map(|bit| 1 << bit), any::<u64>()]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => distance().prop_map(Step::After),
            1 => prop_oneof![any::<u64>(), Just(u64::MAX)].prop_map(Step::At),
            1 => (distance(), 1..20u32).prop_map(|(after, count)| Step::Burst { after, count }),
            2 => distance().prop_map(Step::PopWithin),
            4 => Just(Step::Pop),
        ]
    }

    proptest! {
        #[test]
        fn events_leave_in_the_order_of_a_heap_by_time_and_number(steps in vec(step(), 0..400)) {
            let mut wheel = Wheel::new();
            let mut oracle = Oracle::default();
            let mut number = 0;
            let mut both = |wheel: &mut Wheel<u32>, oracle: &mut Oracle, at| {
                wheel.schedule(at, number);
                oracle.schedule(at, number);
                number += 1;
            };
            for step in steps {
                match step {
                    Step::After(span) => {
                        let at = oracle.now.saturating_add(span);
                        both(&mut wheel, &mut oracle, at);
                    }
                    Step::At(at) => both(&mut wheel, &mut oracle, at),
                    Step::Burst { after, count } => {
                        let at = oracle.now.saturating_add(after);
                        (0..count).for_each(|_| both(&mut wheel, &mut oracle, at));
                    }
                    Step::PopWithin(span) => {
                        let limit = oracle.now.saturating_add(span);
                        assert_eq!(wheel.pop_until(limit), oracle.pop_until(limit));
                    }
                    Step::Pop => assert_eq!(wheel.pop(), oracle.pop_until(u64::MAX)),
                }
                assert_eq!(wheel.len(), oracle.heap.len());
                assert_eq!(wheel.is_empty(), oracle.heap.is_empty());
            }
            while let Some(expected) = oracle.pop_until(u64::MAX) {
                assert_eq!(wheel.pop(), Some(expected));
            }
            assert_eq!(wheel.pop(), None);
        }
    }

    #[test]
    fn the_ends_of_time_are_times_like_any_other() {
        let mut wheel = Wheel::new();
        for (event, at) in [u64::MAX, 0, u64::MAX - 1, u64::MAX, 1 << 63, 0].into_iter().enumerate() {
            wheel.schedule(at, event);
        }
        let order: Vec<_> = std::iter::from_fn(|| wheel.pop()).collect();
        assert_eq!(order, [(0, 1), (0, 5), (1 << 63, 4), (u64::MAX - 1, 2), (u64::MAX, 0), (u64::MAX, 3)],);
        wheel.schedule(3, 9);
        assert_eq!(wheel.pop(), Some((u64::MAX, 9)), "the past is over");
    }

    #[test]
    fn an_event_scheduled_at_the_current_instant_comes_after_those_already_there() {
        let mut wheel = Wheel::new();
        (0..3).for_each(|event| wheel.schedule(4096, event));
        assert_eq!(wheel.pop(), Some((4096, 0)));
        wheel.schedule(4096, 3);
        assert_eq!((1..4).map(|_| wheel.pop()).collect::<Vec<_>>(), [1, 2, 3].map(|event| Some((4096, event))));
    }

    #[test]
    fn a_refused_event_leaves_room_for_one_before_it() {
        let mut wheel = Wheel::new();
        wheel.schedule(1_000_000, 'b');
        wheel.schedule(1_000_001, 'c');
        assert_eq!(wheel.pop_until(999_999), None);
        wheel.schedule(999_999, 'a');
        assert_eq!(
            [wheel.pop(), wheel.pop(), wheel.pop()].map(|event| event.map(|(_, name)| name)),
            [Some('a'), Some('b'), Some('c')]
        );
    }

    #[test]
    fn a_warm_wheel_allocates_nothing() {
        let mut wheel = Wheel::new();
        for at in 0..1000u64 {
            wheel.schedule(at * at, at);
        }
        let warm = wheel.footprint();
        for round in 0..100_000u64 {
            let (time, event) = wheel.pop().expect("a thousand events wait");
            wheel.schedule(time + (event * round) % 1_000_003, event);
        }
        assert_eq!(wheel.footprint(), warm);
        assert_eq!(wheel.len(), 1000);
    }
}
