//! What every call does at the border: no panic crosses it, errors leave a text, and no callback calls back.

use std::any::Any;
use std::cell::Cell;
use std::cell::RefCell;
use std::ffi::c_char;
use std::panic;
use std::panic::AssertUnwindSafe;

use crate::pointer::from_c;
use crate::pointer::text_output;
use crate::status::Failure;
use crate::status::Status;

thread_local! {
    static LAST_ERROR: RefCell<String> = const { RefCell::new(String::new()) };
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// Carries out a call.
pub(crate) fn enter(body: impl FnOnce() -> Result<(), Failure>) -> Status {
    // A thread that is ending has no thread-locals left, and so nobody to ask for the text.
    if IN_CALLBACK.try_with(Cell::get).unwrap_or(false) {
        return report(Failure::new(Status::InCallback, "a callback must not call the library, which holds its locks"));
    }
    run(body)
}

/// Carries out a call that a callback may make too.
fn run(body: impl FnOnce() -> Result<(), Failure>) -> Status {
    // What a panic leaves half done is memory-safe, and the status tells the caller not to use it any more.
    match panic::catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => Status::Ok,
        Ok(Err(failure)) => report(failure),
        Err(payload) => report(Failure::new(Status::Panicked, format!("panicked: {}", message(&*payload)))),
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

fn report(failure: Failure) -> Status {
    let Failure { status, text } = failure;
    let _ = LAST_ERROR.try_with(|last| last.replace(text));
    status
}

/// Calls one of the caller's functions: until it returns, this thread may not call the library.
pub(crate) fn call_back<R>(callback: impl FnOnce() -> R) -> R {
    IN_CALLBACK.with(|flag| flag.set(true));
    let answer = callback();
    IN_CALLBACK.with(|flag| flag.set(false));
    answer
}

/// Tells why the last call of this thread failed that did; empty if none has. A callback may call it.
///
/// @param buffer  Where the text goes, with a zero at its end; null with size 0 to ask for the size only.
/// @param size    The size of the buffer.
/// @param needed  The size the text needs, with its zero.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_last_error(buffer: *mut c_char, size: usize, needed: *mut usize) -> Status {
    run(|| {
        let output = from_c!(text_output(buffer, size, needed))?;
        let text = LAST_ERROR.try_with(|last| last.borrow().clone()).unwrap_or_default();
        output.write(text.as_bytes())
    })
}

/// The version of the library: major in bits 31:16, minor in bits 15:8, patch in bits 7:0.
#[unsafe(no_mangle)]
pub extern "C" fn carillon_version() -> u32 {
    let part = |text: &str| text.parse::<u32>().unwrap_or(0);
    part(env!("CARGO_PKG_VERSION_MAJOR")) << 16
        | part(env!("CARGO_PKG_VERSION_MINOR")) << 8
        | part(env!("CARGO_PKG_VERSION_PATCH"))
}

#[cfg(test)]
mod tests {
    use super::LAST_ERROR;
    use super::call_back;
    use super::enter;
    use crate::status::Status;

    fn last() -> String {
        LAST_ERROR.with(|last| last.borrow().clone())
    }

    #[test]
    fn a_panic_becomes_a_status_and_its_message_the_text() {
        assert_eq!(enter(|| panic!("on {}", "purpose")), Status::Panicked);
        assert_eq!(last(), "panicked: on purpose");
        assert_eq!(enter(|| Ok(())), Status::Ok);
        assert_eq!(last(), "panicked: on purpose", "a call that succeeds leaves the text alone");
    }

    #[test]
    fn a_callback_cannot_enter_and_whoever_called_it_can_again() {
        assert_eq!(call_back(|| enter(|| Ok(()))), Status::InCallback);
        assert!(last().contains("callback"), "{}", last());
        assert_eq!(enter(|| Ok(())), Status::Ok);
    }

    #[test]
    fn texts_are_per_thread() {
        assert_eq!(enter(|| panic!("here")), Status::Panicked);
        assert_eq!(std::thread::spawn(last).join().expect("no panic"), "");
        assert_eq!(last(), "panicked: here");
    }
}
