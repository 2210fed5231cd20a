//! The arbiter of host vectors, for C.

mod book;
mod types;

pub use types::AllocatorOptions;
pub use types::Destination;
pub use types::Evacuee;
pub use types::Fate;
pub use types::IoApicAckName;
pub use types::Layout;
pub use types::OWNER_XEN;
pub use types::Placement;
pub use types::PolicyName;
pub use types::SourceKindName;

use parking_lot::Mutex;
use vector_allocator::CpuId;
use vector_allocator::Drain;
use vector_allocator::Vector;
use vector_allocator::VectorSet;

use crate::call::enter;
use crate::handle;
use crate::handle::Handle;
use crate::handle::Object;
use crate::pointer::cpus;
use crate::pointer::cpus_output;
use crate::pointer::from_c;
use crate::pointer::input;
use crate::pointer::number;
use crate::pointer::output;
use crate::status::Failure;
use crate::status::Status;
use book::Book;

/// A vector given out by one arbiter, until it is released; never given out twice. 0 is never one.
pub type Lease = u64;

/// An arbiter behind a handle: one caller at a time.
struct Allocator(Mutex<Book>);

impl Object for Allocator {
    const NAME: &'static str = "an allocator";
}

fn with<R>(allocator: Handle, work: impl FnOnce(&mut Book) -> Result<R, Failure>) -> Result<R, Failure> {
    handle::with(allocator, |allocator: &Allocator| work(&mut allocator.0.lock()))
}

/// Makes an arbiter of a host's vectors.
///
/// @param options       The host.
/// @param options_size  The size of the structure.
/// @param online        The CPUs that can take interrupts: CPU 0 is bit 0 of the first word.
/// @param online_words  How many words.
/// @param allocator     The arbiter.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_allocator_create(
    options: *const AllocatorOptions,
    options_size: usize,
    online: *const u64,
    online_words: usize,
    allocator: *mut Handle,
) -> Status {
    enter(|| {
        let options = from_c!(input(options, options_size, "options"))?;
        let online = from_c!(cpus(online, online_words, "online"))?;
        let allocator = from_c!(number(allocator, "allocator"))?;
        let book = Book::new(options.arbiter(&online)?);
        allocator.write(handle::insert(Allocator(Mutex::new(book)))?);
        Ok(())
    })
}

/// Puts a CPU into use. Nothing moves to it by itself.
///
/// @param allocator  The arbiter.
/// @param cpu        The CPU.
#[unsafe(no_mangle)]
pub extern "C" fn carillon_allocator_add_cpu(allocator: Handle, cpu: u32) -> Status {
    enter(|| with(allocator, |book| Ok(book.arbiter.bring_online(CpuId(cpu))?)))
}

/// Takes a CPU out of use. What was sent to it goes elsewhere; `carillon_allocator_evacuee` lists what became of it.
///
/// @param allocator  The arbiter.
/// @param cpu        The CPU.
/// @param pending    The CPU's IRR: 4 words, vector 0 is bit 0 of the first.
/// @param words      4.
/// @param evacuees   How many entries the list has.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_allocator_remove_cpu(
    allocator: Handle,
    cpu: u32,
    pending: *const u64,
    words: usize,
    evacuees: *mut usize,
) -> Status {
    enter(|| {
        let pending = from_c!(vectors(pending, words))?;
        let evacuees = from_c!(number(evacuees, "evacuees"))?;
        with(allocator, |book| {
            evacuees.write(book.take_offline(CpuId(cpu), &pending)?);
            Ok(())
        })
    })
}

/// Tells what became of one lease when a CPU was removed last.
///
/// @param allocator     The arbiter.
/// @param index         Which entry of the list.
/// @param evacuee       The entry.
/// @param evacuee_size  The size of the structure.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_allocator_evacuee(
    allocator: Handle,
    index: usize,
    evacuee: *mut Evacuee,
    evacuee_size: usize,
) -> Status {
    enter(|| {
        let evacuee = from_c!(output(evacuee, evacuee_size, "evacuee"))?;
        with(allocator, |book| {
            let found = book.evacuees.get(index);
            evacuee.write(*found.ok_or_else(|| Failure::index("evacuee", index, book.evacuees.len()))?);
            Ok(())
        })
    })
}

/// Does what a cleanup interrupt does on a CPU: frees the vectors that finished moves and releases left there, but for those
/// that are still pending.
///
/// @param allocator  The arbiter.
/// @param cpu        The CPU.
/// @param pending    The CPU's IRR: 4 words, vector 0 is bit 0 of the first.
/// @param words      4.
/// @param freed      How many it freed.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_allocator_clean_up(
    allocator: Handle,
    cpu: u32,
    pending: *const u64,
    words: usize,
    freed: *mut usize,
) -> Status {
    enter(|| {
        let pending = from_c!(vectors(pending, words))?;
        let freed = from_c!(number(freed, "freed"))?;
        with(allocator, |book| {
            freed.write(book.arbiter.clean_up(CpuId(cpu), &pending));
            Ok(())
        })
    })
}

/// Gives a source a vector on one CPU (or cluster) of its affinity, chosen by the policy.
///
/// @param allocator       The arbiter.
/// @param owner           The domain whose interrupt it is, or `CARILLON_OWNER_XEN`.
/// @param kind            One of `carillon_source_kind`.
/// @param affinity        The CPUs it may go to: CPU 0 is bit 0 of the first word.
/// @param affinity_words  How many words.
/// @param lease           The right to the vector.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_lease_allocate(
    allocator: Handle,
    owner: u32,
    kind: u32,
    affinity: *const u64,
    affinity_words: usize,
    lease: *mut Lease,
) -> Status {
    enter(|| {
        let affinity = from_c!(cpus(affinity, affinity_words, "affinity"))?;
        let place = from_c!(number(lease, "lease"))?;
        let (owner, kind) = (types::owner(owner)?, types::source_kind(kind)?);
        with(allocator, |book| {
            let lease = book.arbiter.allocate(owner, kind, &affinity)?;
            place.write(book.enter(lease));
            Ok(())
        })
    })
}

/// Takes over an assignment found on a host.
///
/// @param allocator      The arbiter.
/// @param owner          The domain whose interrupt it is, or `CARILLON_OWNER_XEN`.
/// @param kind           One of `carillon_source_kind`.
/// @param vector         The vector.
/// @param holders        The CPUs on which the vector is taken: CPU 0 is bit 0 of the first word.
/// @param holders_words  How many words.
/// @param target         The CPU the interrupt is sent to.
/// @param lease          The right to the vector.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_lease_adopt(
    allocator: Handle,
    owner: u32,
    kind: u32,
    vector: u32,
    holders: *const u64,
    holders_words: usize,
    target: u32,
    lease: *mut Lease,
) -> Status {
    enter(|| {
        let holders = from_c!(cpus(holders, holders_words, "holders"))?;
        let place = from_c!(number(lease, "lease"))?;
        let (owner, kind, vector) = (types::owner(owner)?, types::source_kind(kind)?, types::vector(vector)?);
        with(allocator, |book| {
            let lease = book.arbiter.adopt(owner, kind, vector, &holders, CpuId(target))?;
            place.write(book.enter(lease));
            Ok(())
        })
    })
}

/// Tells where a lease's interrupt goes.
///
/// @param allocator       The arbiter.
/// @param lease           The lease.
/// @param placement       Where.
/// @param placement_size  The size of the structure.
/// @param holders         Where the CPUs go on which the vector is taken; null with 0 words if they are not wanted.
/// @param holders_words   How many words.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_lease_placement(
    allocator: Handle,
    lease: Lease,
    placement: *mut Placement,
    placement_size: usize,
    holders: *mut u64,
    holders_words: usize,
) -> Status {
    enter(|| {
        let output = from_c!(output(placement, placement_size, "placement"))?;
        let holders = from_c!(cpus_output(holders, holders_words, "holders"))?;
        with(allocator, |book| {
            let placement = book.arbiter.placement(book.lease(lease)?)?;
            holders.write(&placement.holders.to_set())?;
            output.write(Placement::of(&placement));
            Ok(())
        })
    })
}

/// Begins to move a lease to other CPUs. If its vector is already taken on one of them it stays, and the move is over.
/// Otherwise program the source with the new vector, and call `carillon_lease_finish_move` when the first interrupt has
/// arrived on it.
///
/// @param allocator       The arbiter.
/// @param lease           The lease.
/// @param affinity        Where to: CPU 0 is bit 0 of the first word.
/// @param affinity_words  How many words.
/// @param placement       Where the interrupt goes now.
/// @param placement_size  The size of the structure.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_lease_begin_move(
    allocator: Handle,
    lease: Lease,
    affinity: *const u64,
    affinity_words: usize,
    placement: *mut Placement,
    placement_size: usize,
) -> Status {
    enter(|| {
        let affinity = from_c!(cpus(affinity, affinity_words, "affinity"))?;
        let output = from_c!(output(placement, placement_size, "placement"))?;
        with(allocator, |book| {
            let lease = book.lease(lease)?;
            book.arbiter.begin_move(lease, &affinity)?;
            output.write(Placement::of(&book.arbiter.placement(lease)?));
            Ok(())
        })
    })
}

/// Says that the first interrupt has arrived on the new vector: the old one is freed wherever it is not pending. To be
/// repeated until it has drained.
///
/// @param allocator      The arbiter.
/// @param lease          The lease.
/// @param pending        The old CPUs whose IRR still shows the old vector: CPU 0 is bit 0 of the first word.
/// @param pending_words  How many words.
/// @param is_drained     1 if the old vector is free everywhere, else 0.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_lease_finish_move(
    allocator: Handle,
    lease: Lease,
    pending: *const u64,
    pending_words: usize,
    is_drained: *mut u32,
) -> Status {
    enter(|| {
        let pending = from_c!(cpus(pending, pending_words, "pending"))?;
        let is_drained = from_c!(number(is_drained, "is_drained"))?;
        with(allocator, |book| {
            let drain = book.arbiter.finish_move(book.lease(lease)?, &pending)?;
            is_drained.write(u32::from(drain == Drain::Done));
            Ok(())
        })
    })
}

/// Takes a lease back; its source has been silenced.
///
/// @param allocator  The arbiter.
/// @param lease      The lease.
#[unsafe(no_mangle)]
pub extern "C" fn carillon_lease_release(allocator: Handle, lease: Lease) -> Status {
    enter(|| with(allocator, |book| book.release(lease)))
}

/// A set of vectors the caller passed, as 4 words.
///
/// # Safety
/// `at` is null or points to `words` readable words.
unsafe fn vectors(at: *const u64, words: usize) -> Result<VectorSet, Failure> {
    const WORDS: usize = 4;
    if words != WORDS {
        return Err(Failure::new(Status::WrongSize, format!("pending has {WORDS} words, not {words}")));
    }
    // SAFETY: the caller's word is the same. What is read is the bitmap of a set of CPUs, which is that of a set of vectors.
    let set = unsafe { cpus(at, words, "pending") }?;
    Ok(set.iter().filter_map(|bit| u8::try_from(bit.0).ok().and_then(|bit| Vector::new(bit).ok())).collect())
}
