//! What happened, in order: the guest's interpreter, the host's exit loop and the model write the same entries.

use core::fmt;

use carillon_machine::vmx::GuestInterruptStatus;
use hypervisor_lib::delivery::Action;

use crate::program;

/// One entry of a log. Its kind is bits 63:60 of the encoded form, which `guest.s` writes too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The guest's handler for this vector ran.
    Interrupt(u8),
    /// The guest read this.
    Value(u32),
    /// A VM exit, with RVI and SVI as it left them.
    Exit {
        /// The basic exit reason.
        reason: u16,
        /// The exit qualification; of an external interrupt its vector, of an MSR access the MSR.
        qualification: u32,
        /// RVI and SVI.
        status: GuestInterruptStatus,
    },
    /// The guest's instruction faulted with this exception.
    Fault(u8),
    /// VM entry failed with this VM-instruction error.
    EntryFailed(u8),
    /// The guest did nothing any more, in HLT.
    Idle,
    /// An engine told of the end of this level-triggered vector.
    LevelEnded(u8),
    /// An engine told of the end of this edge-triggered vector, which a route asked for.
    EdgeEnded(u8),
    /// Nothing that this table knows.
    Unknown(u64),
}

impl Event {
    /// What an engine tells of ended interrupts; none if it asks for something else.
    pub(crate) fn of_action(action: Action) -> Option<Self> {
        match action {
            Action::EndOfInterrupt(vector) => Some(Self::LevelEnded(vector.number())),
            Action::VectorEnded(vector) => Some(Self::EdgeEnded(vector.number())),
            _ => None,
        }
    }

    /// As 64 bits.
    pub(crate) fn encode(self) -> u64 {
        match self {
            Self::Interrupt(vector) => 1 << 60 | u64::from(vector),
            Self::Value(value) => 2 << 60 | u64::from(value),
            Self::Exit { reason, qualification, status } => {
                3 << 60
                    | u64::from(reason & 0xfff) << 48
                    | u64::from(u16::from(status)) << 32
                    | u64::from(qualification)
            }
            Self::Fault(vector) => 4 << 60 | u64::from(vector),
            Self::EntryFailed(error) => 5 << 60 | u64::from(error),
            Self::Idle => 6 << 60,
            Self::LevelEnded(vector) => 7 << 60 | u64::from(vector),
            Self::EdgeEnded(vector) => 8 << 60 | u64::from(vector),
            Self::Unknown(bits) => bits,
        }
    }

    /// Back from 64 bits.
    pub(crate) fn decode(bits: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = bits.to_le_bytes();
        match bits >> 60 {
            1 => Self::Interrupt(a),
            2 => Self::Value(u32::from_le_bytes([a, b, c, d])),
            3 => Self::Exit {
                reason: u16::from_le_bytes([g, h & 0xf]),
                qualification: u32::from_le_bytes([a, b, c, d]),
                status: GuestInterruptStatus::from(u16::from_le_bytes([e, f])),
            },
            4 => Self::Fault(a),
            5 => Self::EntryFailed(a),
            6 => Self::Idle,
            7 => Self::LevelEnded(a),
            8 => Self::EdgeEnded(a),
            _ => Self::Unknown(bits),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupt(vector) => write!(f, "interrupt {vector:02X}"),
            Self::Value(value) => write!(f, "read {value:#x}"),
            Self::Exit { reason, qualification, status } => {
                let (rvi, svi) = (status.rvi(), status.svi());
                write!(f, "exit {reason} ({qualification:#x}; RVI {rvi}, SVI {svi})")
            }
            Self::Fault(vector) => write!(f, "fault {vector}"),
            Self::EntryFailed(error) => write!(f, "VM entry failed ({error})"),
            Self::Idle => write!(f, "idle"),
            Self::LevelEnded(vector) => write!(f, "end of level-triggered {vector:02X}"),
            Self::EdgeEnded(vector) => write!(f, "end of edge-triggered {vector:02X}"),
            Self::Unknown(bits) => write!(f, "unknown {bits:#x}"),
        }
    }
}

/// What one run of a program left.
pub(crate) struct Log {
    events: [Event; Self::CAPACITY],
    len: usize,
}

impl Log {
    /// How many events are kept: three an operation (an exit and two halves of a value), and every vector. `guest.s` is told.
    pub(crate) const CAPACITY: usize = 3 * program::LONGEST + 256;

    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self { events: [Event::Idle; Self::CAPACITY], len: 0 }
    }

    /// Forgets everything.
    pub(crate) const fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds an event; one too many is dropped.
    pub(crate) fn push(&mut self, event: Event) {
        if let Some(place) = self.events.get_mut(self.len) {
            *place = event;
            self.len += 1;
        }
    }

    /// Whether the next event would be dropped.
    pub(crate) const fn is_full(&self) -> bool {
        self.len == Self::CAPACITY
    }

    /// In order.
    pub(crate) fn events(&self) -> &[Event] {
        &self.events[..self.len]
    }
}

/// Shows events separated by commas, none as "nothing".
pub(crate) struct Listed<'a>(pub(crate) &'a [Event]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, event) in self.0.iter().enumerate() {
            write!(f, "{}{event}", if index == 0 { "" } else { ", " })?;
        }
        if self.0.is_empty() { write!(f, "nothing") } else { Ok(()) }
    }
}
