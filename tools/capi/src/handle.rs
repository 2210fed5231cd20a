//! Handles: numbers for what the library made, so that a wrong one is an error and never a wrong pointer.
//!
//! ```text
//! 63            32 31             0
//! │  generation   │   slot + 1    │     0 is never a handle
//! ```
//!
//! A slot that is used again has the next generation; one whose generations are used up is not used again.

use std::any::Any;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::call::enter;
use crate::status::Failure;
use crate::status::Status;

/// What the library made for the caller; 0 is never one. It lives until `carillon_destroy`.
pub type Handle = u64;

/// The most objects there can be at one time.
const MOST: usize = 1 << 20;

/// Anything behind a handle.
pub(crate) trait Object: Any + Send + Sync {
    /// What a person calls it.
    const NAME: &'static str;

    /// It is no longer to be found: ends what must not go on after its destruction has returned.
    fn close(&self) {}
}

/// An object of whatever kind.
trait Erased: Any + Send + Sync {
    fn name(&self) -> &'static str;
    fn close(&self);
}

impl<T: Object> Erased for T {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn close(&self) {
        Object::close(self);
    }
}

struct Slot {
    generation: u32,
    object: Option<Arc<dyn Erased>>,
}

struct Table {
    slots: Vec<Slot>,
    /// Slots to be used again, the latest first.
    vacant: Vec<u32>,
}

static TABLE: RwLock<Table> = RwLock::new(Table { slots: Vec::new(), vacant: Vec::new() });

const fn handle(slot: u32, generation: u32) -> Handle {
    (generation as u64) << 32 | (slot as u64 + 1)
}

fn stale(handle: Handle) -> Failure {
    Failure::new(Status::BadHandle, format!("handle {handle:#x} is none, or was destroyed"))
}

impl Table {
    fn insert(&mut self, object: Arc<dyn Erased>) -> Option<Handle> {
        let slot = match self.vacant.pop() {
            Some(slot) => slot,
            None if self.slots.len() < MOST => {
                self.slots.push(Slot { generation: 0, object: None });
                u32::try_from(self.slots.len() - 1).ok()?
            }
            None => return None,
        };
        let entry = self.slots.get_mut(slot as usize)?;
        entry.object = Some(object);
        Some(handle(slot, entry.generation))
    }

    /// Where a handle that may be anything would be found.
    fn place(wanted: Handle) -> Option<(u32, u32)> {
        let [slot, generation] = [wanted & u64::from(u32::MAX), wanted >> 32].map(u32::try_from);
        Some((slot.ok()?.checked_sub(1)?, generation.ok()?))
    }

    fn get(&self, wanted: Handle) -> Option<Arc<dyn Erased>> {
        let (slot, generation) = Self::place(wanted)?;
        let entry = self.slots.get(slot as usize).filter(|entry| entry.generation == generation)?;
        entry.object.clone()
    }

    fn remove(&mut self, wanted: Handle) -> Option<Arc<dyn Erased>> {
        let (slot, generation) = Self::place(wanted)?;
        let entry = self.slots.get_mut(slot as usize).filter(|entry| entry.generation == generation)?;
        let object = entry.object.take()?;
        if let Some(next) = entry.generation.checked_add(1) {
            entry.generation = next;
            self.vacant.push(slot);
        }
        Some(object)
    }
}

/// Gives an object a handle.
pub(crate) fn insert(object: impl Object) -> Result<Handle, Failure> {
    let inserted = TABLE.write().insert(Arc::new(object));
    inserted.ok_or_else(|| Failure::new(Status::Exhausted, format!("there are {MOST} objects, the most there can be")))
}

/// Works with the object of a handle. It lives until the work is done, whoever destroys it meanwhile.
pub(crate) fn with<T: Object, R>(handle: Handle, work: impl FnOnce(&T) -> Result<R, Failure>) -> Result<R, Failure> {
    let object = TABLE.read().get(handle).ok_or_else(|| stale(handle))?;
    let any: &dyn Any = &*object;
    match any.downcast_ref::<T>() {
        Some(object) => work(object),
        None => Err(Failure::new(
            Status::BadHandle,
            format!("handle {handle:#x} is of {}, not of {}", object.name(), T::NAME),
        )),
    }
}

/// Ends an object, of whatever kind. Calls of other threads that are under way finish first where the object uses the
/// caller's memory or functions, which it does not after this has returned.
///
/// @param handle  The object.
#[unsafe(no_mangle)]
pub extern "C" fn carillon_destroy(handle: Handle) -> Status {
    enter(|| {
        let object = TABLE.write().remove(handle).ok_or_else(|| stale(handle))?;
        object.close();
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Object;
    use super::Slot;
    use super::Table;
    use super::carillon_destroy;
    use super::insert;
    use super::with;
    use crate::status::Status;

    struct One(u32);
    struct Other;

    impl Object for One {
        const NAME: &'static str = "one";
    }

    impl Object for Other {
        const NAME: &'static str = "another";
    }

    #[test]
    fn a_handle_finds_its_object_until_it_is_destroyed_and_never_again() {
        let first = insert(One(7)).expect("a handle");
        assert_eq!(with(first, |one: &One| Ok(one.0)).expect("the object"), 7);
        assert_eq!(carillon_destroy(first), Status::Ok);
        assert_eq!(carillon_destroy(first), Status::BadHandle);
        let next = insert(One(8)).expect("a handle");
        assert_ne!(first, next);
        assert_eq!(with(first, |one: &One| Ok(one.0)).expect_err("stale").status, Status::BadHandle);
        assert_eq!(carillon_destroy(next), Status::Ok);
    }

    #[test]
    fn a_handle_of_another_kind_is_refused_by_both_names() {
        let other = insert(Other).expect("a handle");
        let failure = with(other, |one: &One| Ok(one.0)).expect_err("another kind");
        assert_eq!(failure.status, Status::BadHandle);
        assert!(failure.text.ends_with("is of another, not of one"), "{}", failure.text);
        assert_eq!(carillon_destroy(other), Status::Ok);
    }

    #[test]
    fn numbers_that_were_never_given_out_are_refused() {
        for wrong in [0, 1 << 32, u64::MAX, u64::from(u32::MAX), 0xdead_beef_0000_0001] {
            assert_eq!(carillon_destroy(wrong), Status::BadHandle, "{wrong:#x}");
        }
    }

    #[test]
    fn a_slot_whose_generations_are_used_up_is_not_used_again() {
        let last = Slot { generation: u32::MAX, object: None };
        let mut table = Table { slots: vec![last], vacant: vec![0] };
        let handle = table.insert(Arc::new(Other)).expect("a handle");
        assert!(table.remove(handle).is_some());
        assert!(table.get(handle).is_none());
        assert_ne!(table.insert(Arc::new(Other)).expect("a handle") & 0xffff_ffff, handle & 0xffff_ffff);
    }
}
