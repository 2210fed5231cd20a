//! Where the guest writes: a serial port if there is one, else the debug port of emulators and hypervisors.

use core::fmt;
use core::hint::spin_loop;

use hypervisor_abi::sync::AtomicU32;
use hypervisor_abi::sync::Ordering;
use spin::Once;
use x86_64::instructions::port::Port;

/// The first serial port (16550).
const SERIAL: u16 = 0x3f8;
/// The port whose bytes an emulator or hypervisor logs.
const DEBUG: u16 = 0xe9;
/// Any value that is not what a port without a device reads as.
const SCRATCH_VALUE: u8 = 0x5a;
/// The line status register's bit: the transmitter takes a byte.
const TRANSMITTER_EMPTY: u8 = 1 << 5;
/// How often the transmitter is asked before the byte is written all the same.
const TURNS: u32 = 100_000;

/// Not 0 while a vCPU writes a line.
static WRITING: AtomicU32 = AtomicU32::new(0);

/// One line to be written, which no other vCPU writes into.
#[derive(Debug)]
pub(crate) struct Line(());

impl Line {
    /// Begins a line. A vCPU that was stopped in the middle of one does not hold others up for ever.
    pub(crate) fn begin() -> Self {
        for _ in 0..TURNS {
            if WRITING.swap(1, Ordering::Acquire) == 0 {
                break;
            }
            spin_loop();
        }
        Self(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        put(b'\n');
        WRITING.store(0, Ordering::Release);
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(put);
        Ok(())
    }
}

fn put(byte: u8) {
    if !has_serial() {
        return output(DEBUG, byte);
    }
    for _ in 0..TURNS {
        if input(SERIAL + 5) & TRANSMITTER_EMPTY != 0 {
            break;
        }
    }
    output(SERIAL, byte);
}

/// Whether the serial port's scratch register keeps what is written.
fn has_serial() -> bool {
    static HAS_SERIAL: Once<bool> = Once::new();
    *HAS_SERIAL.call_once(|| {
        output(SERIAL + 7, SCRATCH_VALUE);
        input(SERIAL + 7) == SCRATCH_VALUE
    })
}

fn input(port: u16) -> u8 {
    // SAFETY: reading a status or scratch register changes nothing.
    unsafe { Port::new(port).read() }
}

fn output(port: u16, byte: u8) {
    // SAFETY: a byte to a serial or debug port touches no memory.
    unsafe { Port::new(port).write(byte) }
}
