//! The guest's side beside the hypervisor's, in every interleaving and with weak memory, up to a bound on pre-emptions.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p guest-shim --test loom --release`. In an ordinary build there is nothing
//! here.
#![cfg(loom)]
#![expect(
    unsafe_code,
    reason = "loom's threads need references that outlive them, and a lock of lock_api is unsafe to implement"
)]

mod events;
#[path = "../guest/interrupts.rs"]
mod interrupts;
#[path = "../../../hypervisor-lib/tests/loom/lock.rs"]
mod lock;
#[path = "../guest/machine.rs"]
#[expect(dead_code, reason = "the tests with real threads need more of it")]
mod machine;

use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_lib::event::GuestPlace;
use hypervisor_lib::event::ResetStep;

use crate::lock::LoomLock;
use crate::machine::Machine;
use crate::machine::V0;
use crate::machine::V1;

/// Runs a test in every interleaving with at most `preemptions` pre-emptions. The machine outlives all threads the test
/// joins.
pub(crate) fn explore(preemptions: usize, test: impl Fn(&'static Machine<LoomLock>) + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 100_000;
    builder.check(move || {
        let machine = Box::into_raw(Box::new(Machine::new(2, 63)));
        // SAFETY: the pointer is a box's, and the box is not touched before the test has joined its threads.
        let shared = unsafe { &*machine };
        take_every_lock(shared);
        test(shared);
        // SAFETY: the test has joined its threads, and keeps no reference.
        drop(unsafe { Box::from_raw(machine) });
    });
}

/// Locks come to be when they are first taken; loom must have seen that before there are threads.
fn take_every_lock(machine: &Machine<LoomLock>) {
    for domain in [machine.guest(), machine.peer()] {
        for vcpu in [V0, V1] {
            let place = GuestPlace { gfn: 0x1f0, offset: 128 * vcpu.0 };
            domain.init_control(machine, vcpu, place).expect("a control block");
        }
        for port in 0..64 {
            domain.status(machine, DomainId::SELF, Port(port)).expect("a valid port");
        }
        domain.update_callback_line(machine);
        domain.reset(machine, DomainId::SELF, ResetStep::Begin).expect("nobody is preempted");
    }
}
