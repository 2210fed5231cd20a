//! Pointers of C callers, turned into values: the checks every one of them gets.
//!
//! Outputs are checked before the work is done, so that nothing is made that cannot be handed over, and written after it.
//! Structures are copied whole and may lie at any address.

use std::ffi::CStr;
use std::ffi::c_char;

use vector_allocator::CpuSet;
use vector_allocator::VectorAllocator;

use crate::status::Failure;
use crate::status::Status;

/// Calls one of this file's functions on what a C caller passed. To be used in entry points only.
macro_rules! from_c {
    ($call:expr) => {
        // SAFETY: an entry point is an unsafe function, and what it asks of its caller for each pointer (the crate's
        // "Pointers") is what the functions of this file ask of theirs. It hands each pointer on as it got it, with the
        // size that came with it, and uses what it makes of it no longer than its own call lasts.
        unsafe { $call }
    };
}

pub(crate) use from_c;

/// A structure a C caller can fill in.
///
/// # Safety
/// Whatever bits a C compiler can leave in it are a valid value: its fields are integers, raw pointers, and function
/// pointers that may be null.
pub(crate) unsafe trait Plain: Copy {}

/// The most words a set of CPUs can have.
const MOST_WORDS: usize = (VectorAllocator::MAX_CPUS / u64::BITS) as usize;

fn check(is_null: bool, size: usize, expected: usize, what: &str) -> Result<(), Failure> {
    if is_null {
        return Err(Failure::new(Status::NullPointer, format!("{what} is null")));
    }
    if size != expected {
        return Err(Failure::new(Status::WrongSize, format!("{what} has {expected} bytes, not {size}")));
    }
    Ok(())
}

/// A structure the caller filled in.
///
/// # Safety
/// `at` is null or points to `size` readable bytes.
pub(crate) unsafe fn input<T: Plain>(at: *const T, size: usize, what: &str) -> Result<T, Failure> {
    check(at.is_null(), size, size_of::<T>(), what)?;
    // SAFETY: it is not null, so by the caller's word it points to as many readable bytes as the structure has; any bits
    // are a value of it (`Plain`); the read does not care for alignment.
    Ok(unsafe { at.read_unaligned() })
}

/// Bytes the caller passed; null only if there are none.
///
/// # Safety
/// `at` is null or points to `size` readable bytes, which nobody writes while the slice is in use.
pub(crate) unsafe fn bytes<'a>(at: *const u8, size: usize, what: &str) -> Result<&'a [u8], Failure> {
    if size == 0 {
        return Ok(&[]);
    }
    if isize::try_from(size).is_err() {
        return Err(Failure::new(Status::WrongSize, format!("{what} cannot have {size} bytes")));
    }
    check(at.is_null(), size, size, what)?;
    // SAFETY: it is not null, so by the caller's word that many bytes are readable and nobody writes them; the number is
    // no more than an object can have; bytes need no alignment.
    Ok(unsafe { std::slice::from_raw_parts(at, size) })
}

/// A set of CPUs the caller passed: CPU 0 is bit 0 of the first word. Null only if there are no words.
///
/// # Safety
/// `at` is null or points to `words` readable words.
pub(crate) unsafe fn cpus(at: *const u64, words: usize, what: &str) -> Result<CpuSet, Failure> {
    if words > MOST_WORDS {
        return Err(Failure::new(Status::WrongSize, format!("{what} has at most {MOST_WORDS} words, not {words}")));
    }
    // SAFETY: the caller's word is for this many words, and so for eight times as many bytes, which cannot overflow: it is
    // checked above.
    let bytes = unsafe { bytes(at.cast(), words * size_of::<u64>(), what) }?;
    let (words, _) = bytes.as_chunks();
    let words: Vec<u64> = words.iter().map(|word| u64::from_ne_bytes(*word)).collect();
    Ok(CpuSet::from_words(&words))
}

/// A text the caller passed.
///
/// # Safety
/// `at` is null or points to readable bytes up to the first zero, which nobody writes while the text is in use.
pub(crate) unsafe fn text<'a>(at: *const c_char, what: &str) -> Result<&'a str, Failure> {
    check(at.is_null(), 0, 0, what)?;
    // SAFETY: it is not null, so by the caller's word the bytes up to a zero are readable and stay as they are.
    let text = unsafe { CStr::from_ptr(at) };
    text.to_str().map_err(|_| Failure::new(Status::BadInput, format!("{what} is not UTF-8")))
}

/// Where a value goes.
pub(crate) struct Output<T>(*mut T);

/// A place for a structure.
///
/// # Safety
/// `at` is null or points to `size` writable bytes, which stay so until the output has been written.
pub(crate) unsafe fn output<T: Copy>(at: *mut T, size: usize, what: &str) -> Result<Output<T>, Failure> {
    check(at.is_null(), size, size_of::<T>(), what)?;
    Ok(Output(at))
}

/// A place for a number, whose size the interface has fixed.
///
/// # Safety
/// `at` is null or points to a writable number, which stays so until the output has been written.
pub(crate) unsafe fn number<T: Copy>(at: *mut T, what: &str) -> Result<Output<T>, Failure> {
    check(at.is_null(), 0, 0, what)?;
    Ok(Output(at))
}

impl<T: Copy> Output<T> {
    pub(crate) fn write(&self, value: T) {
        // SAFETY: whoever made the output vouched that the place is writable until now, and that it is not null was
        // checked; the write does not care for alignment.
        unsafe { self.0.write_unaligned(value) }
    }
}

/// Where bytes of a length that is not known before go.
pub(crate) struct Buffer {
    at: *mut u8,
    size: usize,
    needed: Output<usize>,
    end: End,
}

/// What stands behind the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// A zero, as C has it.
    Zero,
    /// Nothing.
    Nothing,
}

/// A place for a text and its zero. Null with size 0 asks for the size only.
///
/// # Safety
/// `at` is null or points to `size` writable bytes and `needed` to a writable number, which stay so until the text has
/// been written.
pub(crate) unsafe fn text_output(at: *mut c_char, size: usize, needed: *mut usize) -> Result<Buffer, Failure> {
    // SAFETY: the caller's word is the same.
    unsafe { buffer(at.cast(), size, needed, End::Zero) }
}

/// A place for bytes. Null with size 0 asks for the size only.
///
/// # Safety
/// As [`text_output`].
pub(crate) unsafe fn bytes_output(at: *mut u8, size: usize, needed: *mut usize) -> Result<Buffer, Failure> {
    // SAFETY: the caller's word is the same.
    unsafe { buffer(at, size, needed, End::Nothing) }
}

/// # Safety
/// As [`text_output`].
unsafe fn buffer(at: *mut u8, size: usize, needed: *mut usize, end: End) -> Result<Buffer, Failure> {
    // SAFETY: the caller's word for the number is the same.
    let needed = unsafe { number(needed, "needed") }?;
    check(at.is_null() && size > 0, 0, 0, "buffer")?;
    Ok(Buffer { at, size, needed, end })
}

impl Buffer {
    /// Writes the bytes if there is room, and in any case the size they need.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        let needed = bytes.len() + usize::from(self.end == End::Zero);
        self.needed.write(needed);
        if self.at.is_null() {
            return Ok(());
        }
        if needed > self.size {
            return Err(Failure::new(Status::WrongSize, format!("buffer has {} bytes, not {needed}", self.size)));
        }
        // SAFETY: whoever made the buffer vouched for as many writable bytes as its size says, which is at least as many
        // as there are bytes; what is written is the library's own memory, so the two do not overlap.
        unsafe { self.at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        if self.end == End::Zero {
            // SAFETY: the zero is the last of the needed bytes, so inside the buffer, as above.
            let end = unsafe { self.at.add(bytes.len()) };
            // SAFETY: as above; a byte needs no alignment.
            unsafe { end.write(0) };
        }
        Ok(())
    }
}

/// Where a set of CPUs goes.
pub(crate) struct Cpus {
    at: *mut u64,
    words: usize,
}

/// A place for a set of CPUs. Null with 0 words if it is not wanted.
///
/// # Safety
/// `at` is null or points to `words` writable words, which stay so until the set has been written.
pub(crate) unsafe fn cpus_output(at: *mut u64, words: usize, what: &str) -> Result<Cpus, Failure> {
    check(at.is_null() && words > 0, 0, 0, what)?;
    Ok(Cpus { at, words })
}

impl Cpus {
    /// Whether a set has its place here; to be asked before the work is done where that cannot be undone.
    pub(crate) fn check(&self, cpus: &CpuSet) -> Result<(), Failure> {
        let needed = cpus.iter().last().map_or(0, |cpu| cpu.index() / 64 + 1);
        match self.words == 0 || needed <= self.words {
            true => Ok(()),
            false => Err(Failure::new(Status::WrongSize, format!("{cpus} needs {needed} words, not {}", self.words))),
        }
    }

    /// Writes the set, and zeros behind it.
    pub(crate) fn write(&self, cpus: &CpuSet) -> Result<(), Failure> {
        self.check(cpus)?;
        for word in 0..self.words {
            let value = cpus.words().get(word).copied().unwrap_or(0);
            // SAFETY: whoever made this vouched for that many writable words, and this is one of them.
            let place = unsafe { self.at.add(word) };
            // SAFETY: as above; the write does not care for alignment.
            unsafe { place.write_unaligned(value) };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use vector_allocator::CpuId;
    use vector_allocator::CpuSet;

    use super::bytes;
    use super::bytes_output;
    use super::cpus;
    use super::cpus_output;
    use super::text;
    use super::text_output;
    use crate::status::Status;

    #[test]
    fn null_is_an_error_but_where_there_is_nothing_to_read() {
        // SAFETY: null is allowed.
        let nothing = unsafe { bytes(ptr::null(), 0, "x") };
        assert_eq!(nothing.expect("no bytes"), b"");
        // SAFETY: null is allowed.
        let missing = unsafe { bytes(ptr::null(), 1, "x") };
        assert_eq!(missing.expect_err("null").status, Status::NullPointer);
        // SAFETY: null is allowed.
        let missing = unsafe { text(ptr::null(), "x") };
        assert_eq!(missing.expect_err("null").status, Status::NullPointer);
        // SAFETY: nothing is read from a size no object can have.
        let huge = unsafe { bytes(ptr::dangling(), usize::MAX, "x") };
        assert_eq!(huge.expect_err("huge").status, Status::WrongSize);
    }

    #[test]
    fn a_text_goes_with_its_zero_or_not_at_all() {
        let mut needed = 0;
        let mut buffer = [1_u8; 8];
        for (size, fits) in [(4, true), (3, false)] {
            buffer.fill(1);
            // SAFETY: the buffer is larger than said, and the number is writable.
            let output = unsafe { text_output(buffer.as_mut_ptr().cast(), size, &raw mut needed) };
            let written = output.expect("a place").write(b"abc");
            assert_eq!((written.is_ok(), needed), (fits, 4));
            assert_eq!(buffer[..5] == *b"abc\0\x01", fits, "{buffer:?}");
            assert_eq!(buffer[4..], [1; 4], "nothing is written past the end");
        }
        // SAFETY: null with size 0 is allowed, and the number is writable.
        let output = unsafe { bytes_output(ptr::null_mut(), 0, &raw mut needed) };
        assert!(output.expect("a question").write(b"abc").is_ok());
        assert_eq!(needed, 3);
    }

    #[test]
    fn a_set_of_cpus_survives_the_border_at_any_alignment() {
        let mut raw = [0xff_u8; 33];
        let set: CpuSet = [0, 63, 64, 130].map(CpuId).into_iter().collect();
        // SAFETY: 32 bytes follow the first, for 4 words.
        let output = unsafe { cpus_output(raw.as_mut_ptr().wrapping_add(1).cast(), 4, "x") };
        output.expect("a place").write(&set).expect("room");
        // SAFETY: 32 bytes follow the first, for 4 words.
        let back = unsafe { cpus(raw.as_ptr().wrapping_add(1).cast(), 4, "x") };
        assert_eq!(back.expect("a set"), set);
        // SAFETY: fewer words than there are.
        let short = unsafe { cpus_output(raw.as_mut_ptr().cast(), 2, "x") };
        assert_eq!(short.expect("a place").write(&set).expect_err("too few").status, Status::WrongSize);
        // SAFETY: nothing is read from more words than a set can have.
        let huge = unsafe { cpus(raw.as_ptr().cast(), usize::MAX, "x") };
        assert_eq!(huge.expect_err("huge").status, Status::WrongSize);
    }
}
