//! `hypervisor-lib`'s engines as the hypervisor of this CPU.
//!
//! ```text
//!                       ┌─► vcpu.rs: VcpuApic<Apicv>; settings go into the VMCS, exits come from the CPU ─┐
//!  messages, program ───┤                                                                                ├─► equal? what the
//!                       └─► reference.rs: VcpuApic<Software>, the program executed by this image ────────┘   guest saw, its
//!                                                                                                            local APIC
//! ```
//!
//! What moves between two CPUs under load has no twin: there every posted vector is counted (`moving.rs`).
//!
//! What the guest saw is its handlers' vectors, the values it read and its faults; among them stands what the engine told of
//! ended interrupts. Exits differ from engine to engine; the named cases count them.

mod batches;
mod cases;
mod hypervisor;
mod load;
mod moving;
mod pair;
mod reference;
mod settings;
mod side;
mod vcpu;

use hypervisor_lib::delivery::engine::ApicvLevel;

use crate::checks::Tally;
use crate::cpu::Capabilities;
use crate::random::Seed;

/// The host vector that wakes blocked vCPUs.
pub(crate) const WAKE_UP: u8 = 0xf1;

/// Runs the checks.
pub(crate) fn run(seed: Seed, capabilities: &Capabilities, tally: &mut Tally) {
    cases::run(capabilities, tally);
    batches::run(seed, capabilities, tally);
    if capabilities.posts {
        moving::run(seed, tally);
    }
}

/// The engines that this CPU has.
fn levels(capabilities: &Capabilities) -> &'static [ApicvLevel] {
    const ALL: [ApicvLevel; 4] =
        [ApicvLevel::TprShadow, ApicvLevel::Registers, ApicvLevel::Delivery, ApicvLevel::Posting];
    if capabilities.posts { &ALL } else { &ALL[..3] }
}
