//! The hypervisor's trace buffers, read as `xentrace` reads them and written down as it does.
//!
//! Each CPU has a ring of records that the hypervisor fills and the control domain empties. Where the rings are says a table
//! of the hypervisor's (`struct t_info`): the pages of a ring in its first 16 bits, then, for each CPU, where its list of
//! frames begins, in words from the table's beginning.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use hypervisor_abi::sysctl;
use hypervisor_abi::sysctl::TbufOp;
use hypervisor_abi::trace::CPU_CHANGE;
use hypervisor_abi::trace::TraceBuffer;
use hypervisor_abi::trace::TraceHeader;

use crate::calls::Hypercalls;
use crate::calls::Refused;
use crate::error::XenError;
use crate::foreign::DOMID_XEN;
use crate::foreign::ForeignMemory;
use crate::foreign::Frame;
use crate::foreign::Words;
use crate::hypervisor::Hypervisor;
use crate::hypervisor::failed;
use crate::pages::PAGE;

/// Words of a page.
const PAGE_WORDS: usize = PAGE / size_of::<u32>();
/// Words before a ring's records.
const RING_HEADER_WORDS: usize = size_of::<TraceBuffer>() / size_of::<u32>();
/// The most the table takes, bytes: larger is not believed.
const TABLE_LIMIT: u32 = 16 << 20;

/// How large the rings are made if there are none yet. They stay until the host is booted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceSize {
    /// Pages for each CPU.
    pub pages_per_cpu: NonZeroU32,
}

/// The trace buffers of a host, with tracing switched on until this is dropped.
#[derive(Debug)]
pub struct TraceBuffers<'a, H: Hypercalls + ForeignMemory> {
    xen: &'a Hypervisor<H>,
    rings: Vec<Ring<H::Frames>>,
}

/// The ring of a CPU.
#[derive(Debug)]
struct Ring<F> {
    cpu: u32,
    frames: F,
}

impl<'a, H: Hypercalls + ForeignMemory> TraceBuffers<'a, H> {
    /// Switches tracing on for the events of a class mask (`xentrace -e`) and maps the rings. What is in them is from whoever
    /// traced before, and is thrown away.
    ///
    /// # Errors
    /// [`XenError::Call`] if the hypervisor was built without tracing or has no memory for it, [`XenError::Trace`] if its table
    /// makes no sense, [`XenError::Device`] if the rings cannot be mapped.
    pub fn start(xen: &'a Hypervisor<H>, events: u32, size: TraceSize) -> Result<Self, XenError> {
        let mut table = control(xen, TbufOp { cmd: sysctl::TBUFOP_GET_INFO, ..TbufOp::default() })?;
        if table.buffer_mfn == 0 {
            let pages = size.pages_per_cpu.get();
            control(xen, TbufOp { cmd: sysctl::TBUFOP_SET_SIZE, size: pages, ..TbufOp::default() })?;
            table = control(xen, TbufOp { cmd: sysctl::TBUFOP_GET_INFO, ..TbufOp::default() })?;
        }
        let cpus = xen.physical_info()?.max_cpu_id.saturating_add(1);
        let rings = map_rings(xen.calls(), &table, cpus)?;
        control(xen, TbufOp { cmd: sysctl::TBUFOP_SET_EVT_MASK, evt_mask: events, ..TbufOp::default() })?;
        control(xen, TbufOp { cmd: sysctl::TBUFOP_ENABLE, ..TbufOp::default() })?;
        let mut buffers = Self { xen, rings };
        buffers.drain(&mut Vec::new())?;
        Ok(buffers)
    }

    /// Takes what the rings hold and appends it as `xentrace` writes it: for each CPU with records, a CPU-change record and
    /// the records.
    ///
    /// # Errors
    /// [`XenError::Trace`] if a ring's offsets make no sense; what was taken before is appended.
    pub fn drain(&mut self, sink: &mut Vec<u8>) -> Result<(), XenError> {
        self.rings.iter().try_for_each(|ring| ring.drain(sink))
    }
}

impl<H: Hypercalls + ForeignMemory> Drop for TraceBuffers<'_, H> {
    fn drop(&mut self) {
        // Nothing is left to be told if it cannot be switched off.
        let _ = control(self.xen, TbufOp { cmd: sysctl::TBUFOP_DISABLE, ..TbufOp::default() });
    }
}

fn control<H: Hypercalls>(xen: &Hypervisor<H>, mut op: TbufOp) -> Result<TbufOp, XenError> {
    let answer = |refused: Refused| failed("to control its trace buffers")(refused);
    xen.sysctl(sysctl::SYSCTL_TBUF_OP, &mut op, &mut []).map_err(answer)?;
    Ok(op)
}

fn nonsense(what: impl Into<String>) -> XenError {
    XenError::Trace { what: what.into() }
}

/// Maps the rings the table names.
fn map_rings<M: ForeignMemory>(memory: &M, table: &TbufOp, cpus: u32) -> Result<Vec<Ring<M::Frames>>, XenError> {
    if table.buffer_mfn == 0 || table.size == 0 || table.size > TABLE_LIMIT {
        return Err(nonsense(format!("a table of {} bytes at frame {:#x}", table.size, table.buffer_mfn)));
    }
    let frames: Vec<Frame> =
        (0..u64::from(table.size).div_ceil(PAGE as u64)).map(|page| Frame(table.buffer_mfn + page)).collect();
    let words = memory.copy(DOMID_XEN, &frames)?;
    let half = |index: usize| words.get(index / 2).map(|word| (word >> (index % 2 * 16)) as usize & 0xffff);
    let pages = half(0).filter(|pages| *pages > 0).ok_or_else(|| nonsense("rings without pages"))?;
    let mut rings = Vec::new();
    for cpu in 0..cpus {
        let begin = half(1 + cpu as usize).ok_or_else(|| nonsense(format!("a table too short for CPU {cpu}")))?;
        // A CPU that is not there has no ring.
        if begin == 0 {
            continue;
        }
        let list =
            words.get(begin..begin + pages).ok_or_else(|| nonsense(format!("the list of CPU {cpu} is cut short")))?;
        let list: Vec<Frame> = list.iter().map(|frame| Frame((*frame).into())).collect();
        rings.push(Ring { cpu, frames: memory.map(DOMID_XEN, &list)? });
    }
    Ok(rings)
}

impl<F: Words> Ring<F> {
    /// Takes what is between the two offsets.
    fn drain(&self, sink: &mut Vec<u8>) -> Result<(), XenError> {
        let words = self.frames.words();
        let (header, records) =
            words.split_at_checked(RING_HEADER_WORDS).ok_or_else(|| nonsense("a ring without pages"))?;
        let [cons, prod] = header else { return Err(nonsense("a ring without offsets")) };
        let size = u32::try_from(size_of_val(records)).map_err(|_| nonsense("a ring of 4 GiB"))?;
        // The hypervisor writes the records before the offset.
        let (from, to) = (cons.load(Ordering::Relaxed), prod.load(Ordering::Acquire));
        let count = if to >= from { to - from } else { (to + 2 * size).wrapping_sub(from) };
        if from >= 2 * size || to >= 2 * size || count > size || !from.is_multiple_of(4) || !count.is_multiple_of(4) {
            return Err(nonsense(format!(
                "the offsets of CPU {} are {from} and {to} in a ring of {size} bytes",
                self.cpu
            )));
        }
        if count == 0 {
            return Ok(());
        }
        let change = TraceHeader::new().with_event(CPU_CHANGE).with_extra_words(2);
        for word in [u32::from(change), self.cpu, count] {
            sink.extend_from_slice(&word.to_le_bytes());
        }
        let begin = (from % size) as usize / 4;
        for index in begin..begin + count as usize / 4 {
            let word: &AtomicU32 = &records[index % records.len()];
            sink.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        // The hypervisor may write over them only after they were read.
        cons.store(to, Ordering::Release);
        Ok(())
    }
}

const _: () = assert!(PAGE_WORDS > RING_HEADER_WORDS);

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::atomic::Ordering;

    use super::PAGE_WORDS;
    use super::TraceBuffers;
    use super::TraceSize;
    use crate::error::XenError;
    use crate::fake::FakeXen;
    use crate::fake::Traits;
    use crate::hypervisor::Hypervisor;

    const SIZE: TraceSize = TraceSize { pages_per_cpu: NonZeroU32::MIN };
    /// Bytes of a ring of one page.
    const RING: u32 = 4096 - 8;

    fn words(bytes: &[u8]) -> Vec<u32> {
        bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes"))).collect()
    }

    #[test]
    fn records_are_taken_once_across_the_ring_s_end_and_told_by_cpu() {
        let xen = Hypervisor::new(FakeXen::new(Traits::default())).expect("known versions");
        let mut trace = TraceBuffers::start(&xen, 0x0080_f000, SIZE).expect("buffers");
        let ring = xen.calls().ring(1);
        // One word before the ring's end, one at its beginning.
        ring[0].store(RING - 4, Ordering::Relaxed);
        ring[1].store(RING + 4, Ordering::Relaxed);
        ring[PAGE_WORDS - 1].store(0x1111, Ordering::Relaxed);
        ring[2].store(0x2222, Ordering::Relaxed);
        let mut taken = Vec::new();
        trace.drain(&mut taken).expect("a drain");
        assert_eq!(words(&taken), [0x2001_f003, 1, 8, 0x1111, 0x2222]);
        assert_eq!(ring[0].load(Ordering::Relaxed), RING + 4);
        taken.clear();
        trace.drain(&mut taken).expect("a drain");
        assert!(taken.is_empty());
        // The offsets run to twice the ring's size, and begin again.
        ring[0].store(2 * RING - 4, Ordering::Relaxed);
        ring[1].store(4, Ordering::Relaxed);
        trace.drain(&mut taken).expect("a drain");
        assert_eq!(words(&taken), [0x2001_f003, 1, 8, 0x1111, 0x2222]);
    }

    #[test]
    fn tracing_is_on_while_it_is_read_and_off_afterwards() {
        let xen = Hypervisor::new(FakeXen::new(Traits::default())).expect("known versions");
        let trace = TraceBuffers::start(&xen, 0x0080_f000, SIZE).expect("buffers");
        assert_eq!(xen.calls().tracing(), Some(0x0080_f000));
        drop(trace);
        assert_eq!(xen.calls().tracing(), None);
    }

    #[test]
    fn offsets_that_make_no_sense_are_an_error_and_no_panic() {
        let xen = Hypervisor::new(FakeXen::new(Traits::default())).expect("known versions");
        let mut trace = TraceBuffers::start(&xen, 1, SIZE).expect("buffers");
        let ring = xen.calls().ring(0);
        for (cons, prod) in [(2 * RING, 0), (0, 2 * RING), (0, RING + 4), (u32::MAX, u32::MAX), (2, 4), (0, 2)] {
            ring[0].store(cons, Ordering::Relaxed);
            ring[1].store(prod, Ordering::Relaxed);
            let error = trace.drain(&mut Vec::new()).unwrap_err();
            assert!(matches!(error, XenError::Trace { .. }), "{cons} {prod}: {error}");
        }
    }
}
