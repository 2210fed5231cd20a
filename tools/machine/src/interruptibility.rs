//! Two flags of a processor in guest mode, on which it depends whether a virtual interrupt is delivered.

/// The guest's RFLAGS.IF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterruptFlag {
    /// Virtual interrupts are delivered.
    Set,
    /// They wait. External interrupts exit all the same.
    Clear,
}

/// Whether a pending virtual interrupt is recognised: a flag of the processor, set only by evaluation
/// (SDM vol. 3C, 30.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognition {
    /// The next boundary that allows it delivers the highest waiting vector.
    Recognised,
    /// Nothing is delivered until something evaluates again.
    NotRecognised,
}
