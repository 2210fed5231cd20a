//! What becomes of a guest's access to a register of its local APIC, on every engine: whether the processor completes it, it
//! exits after or before it is done, or faults; why, and what the hypervisor does then.
//!
//! ```text
//!                        ┌─ Intel: apicv's tables, ipiv's judge ─┐
//! RegisterAccess, Engine ┤                                       ├─► Case, one for each thing the answer depends on
//!                        └─ AMD: avic's rules                    ┘     │
//!                                                                      └─ exits before it is done: what the LocalApic says
//! ```
//!
//! What it is: the rules of the engines, asked. It decides nothing itself, and nothing on an interrupt's way calls it. What an
//! answer depends on and the access does not tell is spelled out as a [`When`], and a command whose value is not given is
//! answered by [`CommandClass`]: commands of a class fare alike.
//!
//! ```
//! use hypervisor_abi::avic::AccessKind;
//! use hypervisor_lib::delivery::Engine;
//! use hypervisor_lib::delivery::GuestMode;
//! use hypervisor_lib::delivery::register_access::Exit;
//! use hypervisor_lib::delivery::register_access::Fate;
//! use hypervisor_lib::delivery::register_access::RegisterAccess;
//! use hypervisor_lib::delivery::register_access::RegisterSlot;
//! use hypervisor_lib::delivery::register_access::judge_access;
//!
//! // The ICR: vector 51h to all others.
//! let slot = RegisterSlot::of_msr(0x830)?;
//! let access = RegisterAccess { mode: GuestMode::X2Apic, kind: AccessKind::Write, slot, value: Some(0xc_0051) };
//! let cases = judge_access(Engine::IpiVirtualization, access);
//! assert_eq!(cases[0].fate, Fate::Trap(Exit::ApicWrite(0x300)));
//! assert_eq!(cases[0].why.to_string(), "IPI virtualization takes no shorthand but the sender's own");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod amd;
mod answer;
mod command_class;
mod emulation;
mod intel;
mod slot;
mod words;

use alloc::vec::Vec;

use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::avic::AccessKind;

pub use answer::Case;
pub use answer::Duty;
pub use answer::Exit;
pub use answer::Fate;
pub use answer::Maker;
pub use answer::Notice;
pub use answer::When;
pub use answer::Why;
pub use command_class::CommandClass;
pub use emulation::Emulation;
pub use slot::NoSlot;
pub use slot::RegisterSlot;

use super::choice::DoorbellRinger;
use super::choice::Engine;
use super::choice::GuestMode;

/// Every engine there is, from the one that exits most.
pub const ENGINES: [Engine; 6] = [
    Engine::Software,
    Engine::Apicv,
    Engine::Posted,
    Engine::IpiVirtualization,
    Engine::Avic(DoorbellRinger::Processor),
    Engine::Avic(DoorbellRinger::Hypervisor),
];

/// A guest's access to a register: 32 bits of the page, or an MSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegisterAccess {
    /// How the guest reaches its local APIC.
    pub mode: GuestMode,
    /// Which way it goes.
    pub kind: AccessKind,
    /// Where.
    pub slot: RegisterSlot,
    /// What is written, if that is known; of a register other than ICR the lower 32 bits in xAPIC mode. A write of ICR in xAPIC
    /// mode has in its upper half what ICR's destination register holds. A read has none.
    pub value: Option<u64>,
}

impl RegisterAccess {
    /// Whether it is a write that sends.
    #[must_use]
    pub fn sends(self) -> bool {
        let sends = match self.slot.register() {
            Some(ApicRegister::IcrLow) => true,
            Some(ApicRegister::SelfIpi) => self.mode == GuestMode::X2Apic,
            _ => false,
        };
        sends && self.kind == AccessKind::Write
    }
}

/// What becomes of an access under an engine: at least one case. Several differ in what the access does not tell, and together
/// they are all there is.
#[must_use]
pub fn judge_access(engine: Engine, access: RegisterAccess) -> Vec<Case> {
    let known = |access| match engine {
        Engine::Software => {
            let mut cases = intel::cases(engine, access);
            cases.iter_mut().for_each(|case| case.maker = Some(Maker::Intel));
            cases.push(Case { maker: Some(Maker::Amd), ..amd::emulated(access) });
            cases
        }
        Engine::Apicv | Engine::Posted | Engine::IpiVirtualization => intel::cases(engine, access),
        Engine::Avic(ringer) => amd::cases(ringer, access),
    };
    if !access.sends() || access.value.is_some() {
        return known(access);
    }
    let of_class = |class: CommandClass| known(RegisterAccess { value: Some(class.example(access)), ..access });
    let mut groups: Vec<(Vec<CommandClass>, Vec<Case>)> = Vec::new();
    for class in CommandClass::of_register(access) {
        let cases = of_class(class);
        match groups.iter_mut().find(|(_, alike)| *alike == cases) {
            Some((classes, _)) => classes.push(class),
            None => groups.push((alloc::vec![class], cases)),
        }
    }
    if let [(_, cases)] = &mut groups[..] {
        return core::mem::take(cases);
    }
    let named = |(classes, cases): (Vec<CommandClass>, Vec<Case>)| {
        cases.into_iter().map(move |case| Case { commands: classes.clone(), ..case })
    };
    groups.into_iter().flat_map(named).collect()
}
