//! A fuzzer's bytes, read as the numbers a hostile guest would try: mostly such as exist, often the edges, sometimes any.

use arbitrary::Unstructured;
use hypervisor_abi::event::BUSY;
use hypervisor_abi::event::LINKED;
use hypervisor_abi::event::MASKED;
use hypervisor_abi::event::PENDING;

/// Where ABIs, pages, words and integers end.
const EDGES: [u32; 16] =
    [31, 32, 63, 64, 127, 128, 1023, 1024, 4095, 4096, 0x7ff0, 0x1_ffff, 0x2_0000, 1 << 31, u32::MAX - 1, u32::MAX];

/// Reads a fuzzer's bytes. When they are used up, every number is 0.
#[derive(Debug)]
pub(super) struct Input<'d> {
    bytes: Unstructured<'d>,
}

impl<'d> Input<'d> {
    pub(super) fn new(bytes: &'d [u8]) -> Self {
        Self { bytes: Unstructured::new(bytes) }
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.bytes.arbitrary().unwrap_or_default()
    }

    pub(super) fn below(&mut self, end: u8) -> u8 {
        self.byte() % end
    }

    /// Any number of a hypercall's argument.
    pub(super) fn number(&mut self) -> u32 {
        match self.below(16) {
            0..=11 => u32::from(self.below(10)),
            12..=14 => EDGES[usize::from(self.below(16))],
            _ => self.bytes.arbitrary().unwrap_or_default(),
        }
    }

    /// A domain's number, [`DomainId::SELF`](hypervisor_abi::DomainId::SELF) among them.
    pub(super) fn domain(&mut self) -> u16 {
        match self.below(16) {
            0..=5 => 0x7ff0,
            6..=13 => u16::from(self.below(5)),
            _ => self.bytes.arbitrary().unwrap_or_default(),
        }
    }

    /// A frame's number.
    pub(super) fn gfn(&mut self) -> u64 {
        if self.below(16) < 14 { u64::from(self.below(10)) } else { self.bytes.arbitrary().unwrap_or_default() }
    }

    /// An offset within a frame.
    pub(super) fn offset(&mut self) -> u32 {
        if self.below(16) < 14 { 64 * u32::from(self.below(64)) } else { self.number() }
    }

    /// A value for a shared word: states of event words that nobody expects, links to anywhere, or any.
    pub(super) fn word(&mut self) -> u32 {
        match self.below(8) {
            0 => 0,
            1 => u32::MAX,
            2..=6 => {
                let bits = [PENDING, MASKED, LINKED, BUSY];
                let chosen = self.byte();
                let flags =
                    bits.iter().zip(0..).filter(|(_, at)| chosen >> at & 1 == 1).fold(0, |all, (bit, _)| all | bit);
                flags | self.number() & 0x0fff_ffff
            }
            _ => self.bytes.arbitrary().unwrap_or_default(),
        }
    }
}
