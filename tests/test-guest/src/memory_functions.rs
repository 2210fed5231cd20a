//! The functions that the compiler and the core library call for copies and comparisons, which a C library would bring.

use core::arch::asm;

/// `memcpy` of the C standard.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller says that both areas are that long and do not overlap.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack))
    }
    to
}

/// `memmove` of the C standard.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= count {
        // SAFETY: the caller's, and going up never reads a byte that was written.
        return unsafe { memcpy(to, from, count) };
    }
    for index in (0..count).rev() {
        // SAFETY: within the area the caller names.
        let byte = unsafe { from.wrapping_add(index).read_volatile() };
        // SAFETY: within the area the caller names.
        unsafe { to.wrapping_add(index).write_volatile(byte) }
    }
    to
}

/// `memset` of the C standard.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller says that the area is that long.
    unsafe { asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("eax") byte, options(nostack)) }
    to
}

/// `memcmp` of the C standard.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    for index in 0..count {
        // SAFETY: within the area the caller names.
        let a = unsafe { left.wrapping_add(index).read_volatile() };
        // SAFETY: within the area the caller names.
        let b = unsafe { right.wrapping_add(index).read_volatile() };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// `bcmp` of the C standard.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    // SAFETY: the caller's.
    unsafe { memcmp(left, right, count) }
}

/// `strlen` of the C standard.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the caller says that a zero ends the text, and none came before this place.
    while unsafe { text.wrapping_add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}

/// The core library refers to it, for unwinding that this image does not do.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
