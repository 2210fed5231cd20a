//! The 2-level ABI, taken from: two bitmaps in the shared page and a selector a vCPU.
//!
//! ```text
//! vcpu_info       evtchn_pending_sel   ...1...1     one bit a word
//! shared_info     evtchn_pending[w]    .1...1..     one bit a port,
//!                 evtchn_mask[w]       .....1..     likewise
//! ```
//!
//! The order is the protocol: the selector is taken before the words are looked at, a pending bit is cleared before its
//! handler runs. All vCPUs share the words, so a vCPU leaves alone what is not its own: the owner's selector tells the
//! owner.

use hypervisor_abi::Port;
use hypervisor_abi::SharedInfo64;
use hypervisor_abi::VcpuId;

use crate::abi::Admission;
use crate::abi::EventAbi;
use crate::abi::Found;
use crate::abi::Unmasked;
use crate::abi::VcpuInfoOf;
use crate::abi::Visit;
use crate::hypercall::Hypercalls;
use crate::hypercall::Refused;
use crate::layout::SharedInfo;
use crate::layout::VcpuBlock;

/// The 2-level ABI over a guest's shared page.
#[derive(Debug)]
pub struct TwoLevel<'a, S: SharedInfo = SharedInfo64> {
    shared: &'a S,
}

/// How far a vCPU has got: each round goes on where the last one ended, so that a busy port keeps no other waiting.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    /// The words still to be visited.
    words: u64,
    /// The word that is being visited.
    word: u32,
    /// Its ports still to be visited.
    bits: u64,
    /// Where the next round begins.
    next: Port,
}

impl<'a, S: SharedInfo> TwoLevel<'a, S> {
    /// The ABI over the guest's shared page, which the hypervisor was told of
    /// (`XENMEM_add_to_physmap`, `XENMAPSPACE_shared_info`).
    #[must_use]
    pub const fn new(shared: &'a S) -> Self {
        Self { shared }
    }

    /// The shared page.
    #[must_use]
    pub const fn shared(&self) -> &'a S {
        self.shared
    }

    const fn channels() -> u32 {
        S::WORD_BITS * S::WORD_BITS
    }
}

impl<S: SharedInfo> EventAbi for TwoLevel<'_, S> {
    type Shared = S;
    type Pages = ();
    type Queues = Scan;

    fn restart(&self) {
        self.shared.mask_all();
    }

    fn attach(&self, _: &impl Hypercalls, _: VcpuId, (): ()) -> Result<Scan, Refused> {
        Ok(Scan::default())
    }

    fn has(&self, port: Port) -> bool {
        port.0 < Self::channels()
    }

    fn mask(&self, port: Port) {
        self.shared.mask(port);
    }

    fn unmask(&self, port: Port) -> Unmasked {
        if self.shared.unmask_and_look(port) {
            // The hypervisor's unmask looks at the pending bit only if it finds the mask set.
            self.shared.mask(port);
            Unmasked::AskHypervisor
        } else {
            Unmasked::Done
        }
    }

    fn is_pending(&self, port: Port) -> bool {
        self.shared.is_pending(port)
    }

    fn is_masked(&self, port: Port) -> bool {
        self.shared.is_masked(port)
    }

    fn begin(&self, info: &VcpuInfoOf<Self>, scan: &mut Scan) {
        scan.words |= info.take_selector();
        // A round that stopped within a word goes on there; what came to the word since has selected it again. Were the
        // whole word visited again, rounds that stop early would never end while events of another vCPU wait in it.
        if scan.bits != 0 {
            return;
        }
        scan.word = scan.next.0 / S::WORD_BITS;
        if scan.words >> scan.word & 1 == 0 {
            return;
        }
        // The word of the last round is visited twice: its upper ports now, all of them when its turn comes, which is at once
        // if there is nothing else.
        let all = self.shared.deliverable(scan.word);
        scan.bits = all & (u64::MAX << (scan.next.0 % S::WORD_BITS));
        if scan.bits == 0 && scan.words == 1 << scan.word {
            (scan.words, scan.bits) = (0, all);
        }
    }

    fn next(&self, scan: &mut Scan, mut admit: impl FnMut(Port) -> Admission) -> Option<Visit> {
        let (mut word, mut bits) = (scan.word, scan.bits);
        while bits == 0 {
            word = next_word(scan.words, word)?;
            scan.words &= !(1 << word);
            bits = self.shared.deliverable(word);
        }
        // Not `trailing_zeros`: of one shifted by that the compiler makes something else, and of the claim below a loop.
        let lowest = bits & bits.wrapping_neg();
        let port = Port(word * S::WORD_BITS + (u64::BITS - 1 - lowest.leading_zeros()));
        (scan.word, scan.bits) = (word, bits ^ lowest);
        scan.next = Port((port.0 + 1) % Self::channels());
        let admission = admit(port);
        // A handler that ran in this round may have masked it.
        let event = match admission {
            Admission::Aside => Found::Nothing,
            _ if self.shared.is_masked(port) => Found::Nothing,
            Admission::Early | Admission::Late { .. } => {
                if admission != Admission::Early {
                    self.shared.mask(port);
                }
                self.shared.claim(port)
            }
        };
        Some(Visit { port, admission, event })
    }
}

/// The first of `words` to be visited after `word`, round about.
#[inline]
fn next_word(words: u64, word: u32) -> Option<u32> {
    if words == 0 {
        return None;
    }
    // After the last word comes the first: a rotation brings the one behind `word` to the front.
    let first = word + 1;
    Some((words.rotate_right(first).trailing_zeros() + first) % u64::BITS)
}
