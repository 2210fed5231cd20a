//! Model and CPU side by side: the same guest, the same program, and everything that must be equal afterwards.

use core::fmt;

use carillon_machine::InterruptFlag;
use carillon_machine::vmx::Descriptor;
use carillon_machine::vmx::Guest;
use carillon_machine::vmx::GuestInterruptStatus;
use carillon_machine::vmx::PageOffset;
use carillon_machine::vmx::PhysicalWidth;
use vector_allocator::Vector;

use crate::cpu;
use crate::event::Event;
use crate::event::Listed;
use crate::memory::VIRTUAL_APIC;
use crate::println;
use crate::processor::Processor;
use crate::program::Operation;
use crate::twin::Twin;

/// The notification vector of posted interrupts.
pub(crate) const NOTIFICATION: u8 = 0xf2;

/// How many events before the first difference are shown.
const MEMORY: usize = 8;
/// A program longer than this is not shown.
const READABLE: usize = 20;

/// A guest on both sides.
pub(crate) struct Pair {
    /// The model.
    pub(crate) twin: Twin,
    /// The CPU.
    pub(crate) processor: Processor,
}

/// The first thing that differs.
enum Difference {
    /// In the logs, at this entry.
    Event { at: usize, model: Option<Event>, cpu: Option<Event> },
    /// In the virtual-APIC page.
    Page { offset: usize, model: u32, cpu: u32 },
    /// In RVI or SVI.
    Status { model: GuestInterruptStatus, cpu: GuestInterruptStatus },
    /// In RFLAGS.IF.
    InterruptFlag { model: InterruptFlag },
    /// In the posted-interrupt descriptor.
    Descriptor { model: Descriptor, cpu: Descriptor },
}

/// Model and CPU did not do the same; what differs has been printed.
pub(crate) struct Differs;

/// What a run did on both sides.
#[derive(Default)]
pub(crate) struct Ran {
    /// How many interrupts the guest took on the CPU.
    pub(crate) interrupts: u32,
    /// How many exits it had, the last one not counted.
    pub(crate) exits: u32,
}

/// How much of the virtual-APIC page is compared, in words: a whole comparison takes long.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The 1 KiB that registers lie in.
    Registers,
    /// The page.
    Page,
}

impl Pair {
    /// Loads a guest on both sides.
    pub(crate) fn new(guest: Guest, width: PhysicalWidth) -> Self {
        let processor = Processor::load(&guest);
        Self { twin: Twin::new(guest, width), processor }
    }

    /// Makes a vector wait on both sides.
    pub(crate) fn inject(&mut self, vector: u8) {
        self.twin.inject(vector);
        self.processor.set(self.twin.guest.vmcs.status, &self.twin.guest);
    }

    /// Posts vectors on both sides and notifies.
    pub(crate) fn post(&mut self, vectors: &[Vector]) {
        vectors.iter().for_each(|vector| self.twin.post(*vector));
        self.processor.set_descriptor(&self.twin.descriptor, 0);
        self.interrupt(Vector::new(NOTIFICATION).expect("a legal vector"));
    }

    /// An external interrupt comes on both sides.
    pub(crate) fn interrupt(&mut self, vector: Vector) {
        self.twin.lapic.accept(vector);
        cpu::interrupt_self(vector.number());
    }

    /// Runs a program on both sides and compares.
    ///
    /// # Errors
    /// [`Differs`], after the program, both logs and the first difference were printed.
    pub(crate) fn run(&mut self, operations: &[Operation], extent: Extent) -> Result<Ran, Differs> {
        let model = self.twin.run(operations);
        let cpu = self.processor.run(operations);
        let event = differing_event(model, cpu);
        let mut ran = Ran::default();
        for event in cpu {
            match event {
                Event::Interrupt(_) => ran.interrupts += 1,
                Event::Exit { .. } => ran.exits += 1,
                _ => {}
            }
        }
        if let Some(Difference::Event { at, .. }) = event {
            let before = |events: &'_ [Event]| at.saturating_sub(MEMORY).min(events.len())..at.min(events.len());
            println!("     after: {}", Listed(&cpu[before(cpu)]));
        }
        let difference = event
            .or_else(|| self.differing_status())
            .or_else(|| self.differing_flag())
            .or_else(|| self.differing_descriptor())
            .or_else(|| self.differing_word(extent));
        let Some(difference) = difference else { return Ok(ran) };
        println!("     {difference}");
        if operations.len() <= READABLE {
            println!("     program: {operations:x?}");
        }
        Err(Differs)
    }

    fn differing_status(&self) -> Option<Difference> {
        let (model, cpu) = (self.twin.guest.vmcs.status, self.processor.status());
        (model != cpu).then_some(Difference::Status { model, cpu })
    }

    fn differing_flag(&self) -> Option<Difference> {
        let model = self.twin.guest.vmcs.interrupt_flag;
        let differs = (model == InterruptFlag::Set) != self.processor.has_interrupts_enabled();
        differs.then_some(Difference::InterruptFlag { model })
    }

    fn differing_descriptor(&self) -> Option<Difference> {
        if !self.twin.guest.vmcs.controls.pin.process_posted_interrupts() {
            return None;
        }
        // What stands beside ON and PIR is software's, and is written together with them.
        let quiet = Descriptor { pir: [0; 4], control: self.twin.descriptor.control };
        let (model, cpu) = (self.twin.descriptor, self.processor.descriptor());
        let untouched = model == quiet && cpu == Descriptor::default();
        (model != cpu && !untouched).then_some(Difference::Descriptor { model, cpu })
    }

    fn differing_word(&self, extent: Extent) -> Option<Difference> {
        let words = self.twin.guest.page.words();
        let compared = if extent == Extent::Page { words } else { &words[..0x400 / 4] };
        // Deviation D7: Bochs does not store what a self-IPI in x2APIC mode writes.
        let unstored = usize::from(PageOffset::SELF_IPI.bytes()) / 4;
        let mut numbered = compared.iter().copied().enumerate().filter(|(word, _)| word / 4 != unstored / 4);
        numbered.find_map(|(word, model)| {
            let cpu = VIRTUAL_APIC.load(word);
            (model != cpu).then_some(Difference::Page { offset: 4 * word, model, cpu })
        })
    }
}

fn differing_event(model: &[Event], cpu: &[Event]) -> Option<Difference> {
    let at = (0..model.len().max(cpu.len())).find(|at| model.get(*at) != cpu.get(*at))?;
    Some(Difference::Event { at, model: model.get(at).copied(), cpu: cpu.get(at).copied() })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event { at, model, cpu } => {
                let (model, cpu) = (Listed(model.as_slice()), Listed(cpu.as_slice()));
                write!(f, "event {at}: the model has {model}, the CPU {cpu}")
            }
            Self::Page { offset, model, cpu } => {
                write!(f, "virtual-APIC page, {offset:03X}H: the model has {model:#010x}, the CPU {cpu:#010x}")
            }
            Self::Status { model, cpu } => {
                let (rvi, svi) = (model.rvi(), model.svi());
                write!(f, "the model has RVI {rvi} and SVI {svi}, the CPU {} and {}", cpu.rvi(), cpu.svi())
            }
            Self::InterruptFlag { model } => write!(f, "RFLAGS.IF: the model has {model:?}, the CPU not"),
            Self::Descriptor { model, cpu } => {
                write!(f, "descriptor: the model has {:x?}, the CPU {:x?}", model, cpu)
            }
        }
    }
}
