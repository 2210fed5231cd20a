//! What the guest tells: one record a line, `carillon: key=value key="words and numbers"`.
//!
//! ```text
//! carillon: guest name=callback vcpus=2 hypervisor="Xen 4.17"
//! carillon: note case=two_level.ipi text="..."          any number, before the verdict; why a case failed is one of them
//! carillon: case name=two_level.ipi verdict=pass         or fail, or skip with reason="..."
//! carillon: end cases=40
//! ```

use core::fmt;
use core::fmt::Write;
use core::panic::PanicInfo;

use heapless::String;

use crate::cases;
use crate::console::Line;

/// The longest text of a note, in bytes: Xen breaks lines of its guests after 198.
const NOTE_LENGTH: usize = 120;

/// Writes one record.
pub(crate) fn write(record: fmt::Arguments<'_>) {
    // The console takes everything.
    let _ = write!(Line::begin(), "carillon: {record}");
}

/// Tells something about the case that is running, in as many records as it takes.
pub(crate) fn note(text: fmt::Arguments<'_>) {
    let mut notes = Notes(String::new());
    // The notes take everything.
    let _ = notes.write_fmt(text);
    notes.flush();
}

/// Tells that the case that is running has failed, and why.
pub(crate) fn failed(info: &PanicInfo<'_>) {
    note(format_args!("{info}"));
    write(format_args!("case name={} verdict=fail", cases::current()));
}

/// A text that is cut into notes.
struct Notes(String<NOTE_LENGTH>);

impl Notes {
    fn flush(&mut self) {
        if !self.0.is_empty() {
            write(format_args!("note case={} text=\"{}\"", cases::current(), self.0));
            self.0.clear();
        }
    }
}

impl Write for Notes {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            let letter = match letter {
                '"' => '\'',
                '\n' => ' ',
                other => other,
            };
            if self.0.push(letter).is_err() {
                self.flush();
                // There is room now.
                let _ = self.0.push(letter);
            }
        }
        Ok(())
    }
}
