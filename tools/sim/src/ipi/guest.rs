//! The benchmark's guest: the library's local APICs on their bus, whichever engine stands in for them.

use std::cell::RefCell;

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::Shorthand;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::ApicBus;
use hypervisor_lib::delivery::BusError;
use hypervisor_lib::delivery::GuestMode;
use hypervisor_lib::delivery::Host;
use hypervisor_lib::delivery::Moment;
use hypervisor_lib::delivery::software::AccessWidth;
use hypervisor_lib::delivery::software::Acknowledged;
use hypervisor_lib::delivery::software::ApicFeatures;
use hypervisor_lib::delivery::software::LocalApic;
use hypervisor_lib::delivery::software::LocalApicConfig;
use hypervisor_lib::delivery::software::ProcessorRole;

/// The vector that is sent.
const VECTOR: u8 = 0xfb;
/// SVR: enabled, spurious vector FFh.
const ENABLED: u32 = 0x1ff;

/// What a vCPU sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// To itself.
    Myself,
    /// To the vCPU of this number.
    One(u32),
    /// To all others, by shorthand.
    Others,
}

impl Command {
    /// Where it is written.
    pub(super) fn register(self, mode: GuestMode) -> ApicRegister {
        match (self, mode) {
            (Self::Myself, GuestMode::X2Apic) => ApicRegister::SelfIpi,
            _ => ApicRegister::IcrLow,
        }
    }

    /// What is written; in xAPIC mode with the destination register as the upper half.
    pub(super) fn value(self, mode: GuestMode) -> u64 {
        let plain = Icr::new().with_vector(VECTOR);
        match (self, mode) {
            (Self::Myself, GuestMode::X2Apic) => VECTOR.into(),
            (Self::Myself, GuestMode::XApic) => plain.with_shorthand(Shorthand::Myself).into(),
            (Self::One(id), GuestMode::XApic) => plain.with_destination(id << 24).into(),
            (Self::One(id), GuestMode::X2Apic) => plain.with_destination(id).into(),
            (Self::Others, _) => plain.with_shorthand(Shorthand::Others).into(),
        }
    }
}

/// Who was kicked since somebody last looked.
struct Kicks {
    bus: ApicBus,
    kicked: RefCell<Vec<VcpuId>>,
}

impl Host for Kicks {
    fn bus(&self) -> &ApicBus {
        &self.bus
    }

    fn act(&self, action: Action) {
        if let Action::Kick(vcpu) = action {
            self.kicked.borrow_mut().push(vcpu);
        }
    }
}

/// A guest whose local APICs are enabled, in one mode.
pub(super) struct Guest {
    mode: GuestMode,
    host: Kicks,
    apics: Vec<LocalApic>,
}

impl Guest {
    pub(super) fn new(mode: GuestMode, vcpus: u32) -> Result<Self, BusError> {
        let ids: Vec<ApicId> = (0..vcpus).map(ApicId).collect();
        let host = Kicks { bus: ApicBus::new(&ids)?, kicked: RefCell::default() };
        let config = |number| LocalApicConfig {
            vcpu: VcpuId(number),
            id: ApicId(number),
            role: if number == 0 { ProcessorRole::Bootstrap } else { ProcessorRole::Application },
            features: ApicFeatures { x2apic: true, ..ApicFeatures::default() },
            physical_bits: 46,
        };
        let apics = (0..vcpus).map(|number| LocalApic::new(config(number), &host)).collect();
        let mut guest = Self { mode, host, apics };
        for vcpu in (0..vcpus).map(VcpuId) {
            if mode == GuestMode::X2Apic {
                let apic = &mut guest.apics[vcpu.index()];
                let base = apic.base().with_extended(true);
                apic.write_base(base.into(), &guest.host).expect("x2APIC mode follows xAPIC mode");
            }
            guest.write(vcpu, ApicRegister::SpuriousVector, ENABLED.into());
        }
        Ok(guest)
    }

    /// Sends a command: to whom it goes, in the order in which they are told.
    pub(super) fn send(&mut self, sender: VcpuId, command: Command) -> Vec<VcpuId> {
        self.host.kicked.borrow_mut().clear();
        self.write(sender, command.register(self.mode), command.value(self.mode));
        let own = self.apics[sender.index()].has_interrupt().then_some(sender);
        own.into_iter().chain(self.host.kicked.take()).collect()
    }

    /// A vCPU takes what has come: whether it is the vector that was sent.
    pub(super) fn take(&mut self, vcpu: VcpuId) -> bool {
        let apic = &mut self.apics[vcpu.index()];
        apic.sync(&self.host);
        matches!(apic.acknowledge(), Acknowledged::Vector(vector) if vector.number() == VECTOR)
    }

    /// A vCPU ends its interrupt.
    pub(super) fn end(&mut self, vcpu: VcpuId) {
        self.write(vcpu, ApicRegister::Eoi, 0);
    }

    fn write(&mut self, vcpu: VcpuId, register: ApicRegister, value: u64) {
        let (apic, host, now) = (&mut self.apics[vcpu.index()], &self.host, Moment::default());
        match self.mode {
            GuestMode::X2Apic => {
                apic.write_msr(now, register.msr(), value, host).expect("a register of x2APIC mode, and a legal value");
            }
            GuestMode::XApic => {
                let icr = Icr::from(value);
                let mut write = |register: ApicRegister, value| {
                    let written = apic.write_mmio(now, register.offset(), AccessWidth::Dword, value, host);
                    written.expect("there is a page in xAPIC mode");
                };
                if register == ApicRegister::IcrLow {
                    write(ApicRegister::IcrHigh, icr.destination());
                }
                write(register, icr.low());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hypervisor_abi::VcpuId;
    use hypervisor_lib::delivery::GuestMode;

    use super::Command;
    use super::Guest;

    #[test]
    fn a_command_reaches_whom_it_names_once() {
        for mode in [GuestMode::XApic, GuestMode::X2Apic] {
            let mut guest = Guest::new(mode, 4).unwrap();
            for (command, reached) in
                [(Command::Myself, &[1][..]), (Command::One(3), &[3]), (Command::Others, &[0, 2, 3])]
            {
                let told: Vec<u32> = guest.send(VcpuId(1), command).iter().map(|vcpu| vcpu.0).collect();
                assert_eq!(told, reached, "{mode:?} {command:?}");
                for vcpu in (0..4).map(VcpuId) {
                    assert_eq!(guest.take(vcpu), reached.contains(&vcpu.0), "{mode:?} {command:?} {vcpu:?}");
                    guest.end(vcpu);
                }
            }
        }
    }
}
