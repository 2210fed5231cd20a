//! What only the FIFO ABI has: queues, which remember a port longer than its owner does.

use crate::bed::Bed;
use crate::bed::Who;
use crate::caller::Caller;

/// Priorities order what is taken, from the moment an event is queued; a port that is closed while it is queued is not given
/// to anybody before it has left the queue.
pub fn queues(bed: &impl Bed) {
    let one = Caller(bed, Who::One);
    let [low, high, other] = [(); 3].map(|()| one.bind_ipi(0).expect("a port"));
    one.send(low).expect("an IPI port");
    // It is queued by its old priority, and stays where it is.
    one.set_priority(low, 0).expect("a port");
    one.set_priority(high, 6).expect("a port");
    one.send(high).expect("an IPI port");
    one.send(other).expect("an IPI port");
    assert_eq!(bed.consume(Who::One, 0), [high, low, other]);
    one.send(other).expect("an IPI port");
    one.send(high).expect("an IPI port");
    one.send(low).expect("an IPI port");
    assert_eq!(bed.consume(Who::One, 0), [low, high, other]);

    one.send(low).expect("an IPI port");
    one.close(low).expect("open");
    let next = one.bind_ipi(0).expect("a port");
    assert_ne!(next, low, "it is still queued");
    assert_eq!(bed.consume(Who::One, 0), [], "the event went with the port");
    assert_eq!(one.bind_ipi(0), Ok(low), "it has left the queue");
}
