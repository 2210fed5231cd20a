//! `hypervisor-lib`'s engines as the hypervisor of this CPU.
//!
//! ```text
//!                       ┌─► vcpu.rs: VcpuApic<Apicv>; settings go into the VMCS, exits come from the CPU ─┐
//!  messages, program ───┤                                                                                ├─► equal? what the
//!                       └─► reference.rs: VcpuApic<Software>, the program executed by this image ────────┘   guest saw, its
//!                                                                                                            local APIC
//! ```
//!
//! What the guest saw is its handlers' vectors, the values it read and its faults; among them stands what the engine told of
//! ended interrupts. Exits differ from engine to engine; the named cases count them.

mod batches;
mod cases;
mod hypervisor;
mod pair;
mod reference;
mod settings;
mod side;
mod vcpu;

use hypervisor_lib::delivery::engine::ApicvLevel;

use crate::checks::Tally;
use crate::cpu::Capabilities;
use crate::random::Seed;

/// Runs the checks.
pub(crate) fn run(seed: Seed, capabilities: &Capabilities, tally: &mut Tally) {
    cases::run(capabilities, tally);
    batches::run(seed, capabilities, tally);
}

/// The engines that this CPU has.
fn levels(capabilities: &Capabilities) -> &'static [ApicvLevel] {
    const ALL: [ApicvLevel; 4] =
        [ApicvLevel::TprShadow, ApicvLevel::Registers, ApicvLevel::Delivery, ApicvLevel::Posting];
    if capabilities.posts { &ALL } else { &ALL[..3] }
}
