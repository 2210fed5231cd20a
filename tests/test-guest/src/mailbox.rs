//! The page through which dom0 serves this guest (`tests/xen/dom0/peer.c`): requests and answers without event channels, since
//! these are what is tested. The far guest serves by it instead: dom0 passes on what the other guest asks of it.

use hypervisor_abi::event::EventOp;
use hypervisor_abi::sync::AtomicU32;
use hypervisor_abi::sync::AtomicU64;
use hypervisor_abi::sync::Ordering::SeqCst;
use zerocopy::FromBytes;

use crate::bed::FIRST;
use crate::bed::now;
use crate::machine::on_xen;
use crate::memory::Page;

/// How long dom0 may take for an answer, in ns.
const PATIENCE_NS: u64 = 10_000_000_000;

/// What dom0 is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Request {
    /// An event-channel operation of its own, with this guest's argument.
    EventChannelOp = 1,
    /// Connect to a port of this guest and send events, each to be echoed through the page; the answer is how many were.
    Ping = 2,
    /// Nothing more.
    Goodbye = 3,
    /// Save this guest, ask it by a port it offers to suspend itself, and restore it.
    Restore = 4,
    /// Save this guest likewise, but let it go on where it is.
    Checkpoint = 5,
    /// Passed on to the far guest: begin anew, over an ABI.
    FarBegin = 6,
    /// Passed on to the far guest: an event-channel operation of its own.
    FarEventOp = 7,
    /// Passed on to the far guest: take the events of a vCPU; the answer is how many, the argument says which.
    FarConsume = 8,
    /// Passed on to the far guest: connect to a port and send every event back.
    FarEcho = 9,
}

/// A request's argument.
pub(crate) type Argument = [u8; 32];

/// The page. The requester fills it in and makes `requests` one higher; dom0 answers and makes `answers` as high.
#[derive(Debug, FromBytes)]
#[repr(C)]
pub(crate) struct Mailbox {
    requests: AtomicU32,
    answers: AtomicU32,
    kind: AtomicU32,
    operation: AtomicU32,
    result: AtomicU64,
    argument: [AtomicU64; 4],
    /// The number of the last event dom0 has sent.
    pub(crate) sequence: AtomicU32,
    /// The number of the last one the guest has seen.
    pub(crate) echo: AtomicU32,
}

/// At frame 0x100, which dom0 knows: the first page of the image (`image.ld`).
#[unsafe(link_section = ".mailbox")]
#[used]
pub(crate) static MAILBOX: Page<Mailbox> = Page::ZERO;

impl Mailbox {
    /// Asks for something; [`answer`](Self::answer) gets what comes of it.
    pub(crate) fn ask(&self, request: Request, operation: u32, argument: &[u8]) {
        for (word, bytes) in self.argument.iter().zip(padded(argument)) {
            word.store(u64::from_le_bytes(bytes), SeqCst);
        }
        self.kind.store(request as u32, SeqCst);
        self.operation.store(operation, SeqCst);
        self.requests.fetch_add(1, SeqCst);
    }

    /// The result of what was asked, once it is there; fills in the argument.
    pub(crate) fn answer(&self, argument: &mut [u8]) -> Option<i64> {
        if self.answers.load(SeqCst) != self.requests.load(SeqCst) {
            return None;
        }
        for (bytes, word) in argument.chunks_mut(8).zip(&self.argument) {
            bytes.copy_from_slice(&word.load(SeqCst).to_le_bytes()[..bytes.len()]);
        }
        Some(self.result.load(SeqCst).cast_signed())
    }

    /// Asks, and leaves the processor to dom0 until it has answered.
    pub(crate) fn call(&self, request: Request, operation: u32, argument: &mut [u8]) -> i64 {
        self.ask(request, operation, argument);
        self.wait_for_answer(argument)
    }

    /// Leaves the processor to dom0 until it has answered what was asked.
    pub(crate) fn wait_for_answer(&self, argument: &mut [u8]) -> i64 {
        let deadline = now(FIRST).0 + PATIENCE_NS;
        loop {
            if let Some(result) = self.answer(argument) {
                return result;
            }
            assert!(now(FIRST).0 < deadline, "dom0 does not answer");
            on_xen().hypervisor.yield_processor();
        }
    }

    /// What dom0 asks of this guest, if it asks for something that has not got its answer: what, and of which kind.
    pub(crate) fn asked(&self) -> Option<(u32, u32, Argument)> {
        if self.answers.load(SeqCst) == self.requests.load(SeqCst) {
            return None;
        }
        let mut argument = Argument::default();
        for (bytes, word) in argument.chunks_mut(8).zip(&self.argument) {
            bytes.copy_from_slice(&word.load(SeqCst).to_le_bytes());
        }
        Some((self.kind.load(SeqCst), self.operation.load(SeqCst), argument))
    }

    /// Answers what dom0 asked.
    pub(crate) fn give(&self, result: i64, argument: &Argument) {
        for (word, bytes) in self.argument.iter().zip(padded(argument)) {
            word.store(u64::from_le_bytes(bytes), SeqCst);
        }
        self.result.store(result.cast_unsigned(), SeqCst);
        self.answers.store(self.requests.load(SeqCst), SeqCst);
    }

    /// An event-channel operation of dom0's.
    pub(crate) fn event_channel_op(&self, op: EventOp, argument: &mut [u8]) -> i64 {
        self.call(Request::EventChannelOp, op.number(), argument)
    }
}

fn padded(argument: &[u8]) -> [[u8; 8]; 4] {
    let mut words = [[0; 8]; 4];
    for (word, bytes) in words.iter_mut().zip(argument.chunks(8)) {
        word[..bytes.len()].copy_from_slice(bytes);
    }
    words
}
