//! The first serial line, polled.

use core::fmt;

use crate::cpu;

const BASE: u16 = 0x3f8;
const LINE_STATUS: u16 = BASE + 5;
const HOLDING_EMPTY: u8 = 1 << 5;
const ALL_SENT: u8 = 1 << 6;

/// 115,200 baud, 8 data bits, no parity, no interrupts.
pub(crate) fn set_up() {
    for (offset, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 3), (2, 7)] {
        cpu::write_port(BASE + offset, value);
    }
}

/// Waits until everything has left.
pub(crate) fn drain() {
    while cpu::read_port(LINE_STATUS) & ALL_SENT == 0 {}
}

/// What `println!` writes to.
pub(crate) struct Serial;

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while cpu::read_port(LINE_STATUS) & HOLDING_EMPTY == 0 {}
            cpu::write_port(BASE, byte);
        }
        Ok(())
    }
}

/// Writes a line.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => {{
        use core::fmt::Write as _;
        // The serial line takes everything.
        let _ = writeln!($crate::serial::Serial, $($argument)*);
    }};
}
