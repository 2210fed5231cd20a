//! The hypervisor's console ring, read without emptying it, and what debug keys print to it.

use std::thread;
use std::time::Duration;

use hypervisor_abi::sysctl;
use hypervisor_abi::sysctl::DebugKeys;
use hypervisor_abi::sysctl::ReadConsole;

use crate::calls::Buffer;
use crate::calls::Hypercalls;
use crate::error::XenError;
use crate::hypervisor::Hypervisor;
use crate::hypervisor::failed;

/// What is read by one request, bytes.
const CHUNK: u32 = 16 * 1024;
/// How many requests one read takes at most: the hypervisor may write faster than it is read.
const REQUESTS: u32 = 4096;
/// How often a dump is looked for. Xen 4.17 prints it before the request to press the key returns.
const ATTEMPTS: u32 = 40;
/// How long to wait between.
const PAUSE: Duration = Duration::from_millis(5);

/// A key that makes the hypervisor print something about itself (`xen/common/keyhandler.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugKey {
    /// `i`: IRQs, their vectors and who is bound to them.
    Irqs,
    /// `M`: message-signalled interrupts.
    Messages,
    /// `z`: the IO-APICs.
    IoApics,
    /// `e`: event channels of every domain.
    EventChannels,
    /// `q`: domains.
    Domains,
}

impl DebugKey {
    /// All of them, in the order in which they are best pressed: what changes fastest first.
    pub const ALL: [Self; 5] = [Self::Irqs, Self::Messages, Self::IoApics, Self::EventChannels, Self::Domains];

    /// The key.
    #[must_use]
    pub const fn key(self) -> char {
        match self {
            Self::Irqs => 'i',
            Self::Messages => 'M',
            Self::IoApics => 'z',
            Self::EventChannels => 'e',
            Self::Domains => 'q',
        }
    }

    /// What one of the first lines of its dump says.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Irqs => "IRQ information:",
            Self::Messages => "MSI information:",
            Self::IoApics => "number of MP IRQ sources",
            Self::EventChannels => "'e' pressed",
            Self::Domains => "'q' pressed",
        }
    }
}

/// A piece of the console.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsoleText {
    /// What was printed; whole lines but for the last.
    pub text: Vec<u8>,
    /// How many bytes before it were written over before they could be read.
    pub lost: u32,
}

/// Reads the console ring from where it was last read. The ring is never emptied: `xl dmesg` still has everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsoleReader {
    next: Option<u32>,
}

impl ConsoleReader {
    /// Everything since the last read; at first, all the ring holds.
    ///
    /// # Errors
    /// [`XenError::Call`] or [`XenError::NotPrivileged`].
    pub fn read<H: Hypercalls>(&mut self, xen: &Hypervisor<H>) -> Result<ConsoleText, XenError> {
        let mut all = ConsoleText::default();
        for _ in 0..REQUESTS {
            let mut chunk = vec![0; CHUNK as usize];
            let mut request = ReadConsole {
                incremental: u8::from(self.next.is_some()),
                index: self.next.unwrap_or(0),
                count: CHUNK,
                ..ReadConsole::default()
            };
            let at = std::mem::offset_of!(ReadConsole, buffer);
            xen.sysctl(sysctl::SYSCTL_READCONSOLE, &mut request, &mut [Buffer { at, bytes: &mut chunk }])
                .map_err(failed("to show its console"))?;
            let count = request.count.min(CHUNK);
            chunk.truncate(count as usize);
            all.text.append(&mut chunk);
            if let Some(next) = self.next {
                // The index counts every byte, those that were written over among them.
                all.lost = all.lost.saturating_add(request.index.wrapping_sub(next).saturating_sub(count));
            }
            self.next = Some(request.index);
            if count < CHUNK {
                break;
            }
        }
        Ok(all)
    }

    /// Presses a key and reads what that printed, with what others may have printed meanwhile.
    ///
    /// The dump lies between two places in the ring: where the ring ends before the key is pressed, and where it ends when the
    /// dump's heading is there and nothing more comes.
    ///
    /// # Errors
    /// [`XenError::RingTooSmall`] if part of it was written over, [`XenError::NoDump`] if it did not come, and those of
    /// [`read`](Self::read).
    pub fn dump<H: Hypercalls>(&mut self, xen: &Hypervisor<H>, key: DebugKey) -> Result<ConsoleText, XenError> {
        self.read(xen)?;
        let mut keys = [u8::try_from(key.key()).expect("an ASCII key")];
        let mut request = DebugKeys { nr_keys: 1, ..DebugKeys::default() };
        let at = std::mem::offset_of!(DebugKeys, keys);
        xen.sysctl(sysctl::SYSCTL_DEBUG_KEYS, &mut request, &mut [Buffer { at, bytes: &mut keys }])
            .map_err(failed("to take debug keys"))?;
        let mut dump = ConsoleText::default();
        for _ in 0..ATTEMPTS {
            let more = self.read(xen)?;
            let is_quiet = more.text.is_empty();
            dump.text.extend_from_slice(&more.text);
            dump.lost = dump.lost.saturating_add(more.lost);
            if dump.lost > 0 {
                return Err(XenError::RingTooSmall { key: key.key(), lost: dump.lost });
            }
            if !is_quiet {
                continue;
            }
            if contains(&dump.text, key.heading().as_bytes()) {
                return Ok(dump);
            }
            thread::sleep(PAUSE);
        }
        Err(XenError::NoDump { key: key.key(), heading: key.heading() })
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::CHUNK;
    use super::ConsoleReader;
    use super::DebugKey;
    use crate::error::XenError;
    use crate::fake::FakeXen;
    use crate::fake::Traits;
    use crate::hypervisor::Hypervisor;

    fn xen(fake: FakeXen) -> Hypervisor<FakeXen> {
        Hypervisor::new(fake).expect("known versions")
    }

    #[test]
    fn the_ring_is_read_whole_and_then_only_what_is_new() {
        let xen = xen(FakeXen::new(Traits::default()));
        xen.calls().print(&"x".repeat(CHUNK as usize + 100));
        let mut console = ConsoleReader::default();
        assert_eq!(console.read(&xen).expect("a console").text.len(), CHUNK as usize + 100);
        xen.calls().print("(XEN) more\n");
        let more = console.read(&xen).expect("a console");
        assert_eq!((more.text.as_slice(), more.lost), (&b"(XEN) more\n"[..], 0));
        assert!(console.read(&xen).expect("a console").text.is_empty());
    }

    #[test]
    fn bytes_that_were_written_over_are_counted_across_the_wrap_of_the_index() {
        let xen = xen(FakeXen::new(Traits { ring_size: 64, printed: u32::MAX - 9, ..Traits::default() }));
        let mut console = ConsoleReader::default();
        console.read(&xen).expect("a console");
        xen.calls().print(&"y".repeat(100));
        let read = console.read(&xen).expect("a console");
        assert_eq!((read.text.len(), read.lost), (64, 36));
    }

    #[test]
    fn a_dump_is_what_its_key_printed_and_nothing_from_before() {
        let xen = xen(FakeXen::new(Traits::default()));
        xen.calls().print("(XEN) before\n");
        let dump = ConsoleReader::default().dump(&xen, DebugKey::Messages).expect("a dump");
        assert_eq!(String::from_utf8_lossy(&dump.text), "(XEN) MSI information:\n(XEN)  one line\n");
    }

    #[test]
    fn a_dump_the_ring_has_no_room_for_is_refused_with_the_option_that_helps() {
        let xen = xen(FakeXen::new(Traits { ring_size: 16, ..Traits::default() }));
        let error = ConsoleReader::default().dump(&xen, DebugKey::Irqs).unwrap_err();
        assert!(matches!(error, XenError::RingTooSmall { key: 'i', .. }), "{error}");
        assert!(error.remedy().expect("a remedy").contains("conring_size"));
    }

    #[test]
    fn a_key_that_prints_nothing_is_an_error() {
        let xen = xen(FakeXen::new(Traits { is_mute: true, ..Traits::default() }));
        let error = ConsoleReader::default().dump(&xen, DebugKey::Irqs).unwrap_err();
        assert_eq!(error.to_string(), "debug key 'i' printed no line with \"IRQ information:\"");
    }
}
