//! A vCPU: an engine of the library's, and the processor it has.

use hypervisor_abi::apic::ApicMode;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::AddressMode;
use hypervisor_lib::delivery::DoorbellRinger;
use hypervisor_lib::delivery::Host;
use hypervisor_lib::delivery::Moment;
use hypervisor_lib::delivery::Switch;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::engine::AnyEngine;
use hypervisor_lib::delivery::engine::Apicv;
use hypervisor_lib::delivery::engine::ApicvLevel;
use hypervisor_lib::delivery::engine::Avic;
use hypervisor_lib::delivery::engine::Event;
use hypervisor_lib::delivery::engine::Exit;
use hypervisor_lib::delivery::engine::Finished;
use hypervisor_lib::delivery::engine::Gate;
use hypervisor_lib::delivery::engine::Gates;
use hypervisor_lib::delivery::engine::SavedVcpuApic;
use hypervisor_lib::delivery::engine::Software;
use hypervisor_lib::delivery::engine::VcpuApic;
use hypervisor_lib::delivery::software::AccessWidth;

use crate::core::Boundary;
use crate::core::Core;
use crate::core::Done;
use crate::core::Place;
use crate::host::Platform;
use crate::host::acceleration;
use crate::seen::Seen;
use crate::svm_core::SvmCore;
use crate::vmx_core::VmxCore;

/// Which engine a vCPU has, on which processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// The software engine.
    Software,
    /// One of Intel's.
    Apicv(ApicvLevel),
    /// AMD's, in this mode.
    Avic(Mode),
}

impl EngineKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Software,
        Self::Apicv(ApicvLevel::TprShadow),
        Self::Apicv(ApicvLevel::Registers),
        Self::Apicv(ApicvLevel::Delivery),
        Self::Apicv(ApicvLevel::Posting),
        Self::Apicv(ApicvLevel::Ipis),
        Self::Avic(Mode::XAvic),
        Self::Avic(Mode::X2Avic),
    ];

    pub(crate) fn engine(self) -> AnyEngine {
        match self {
            Self::Software => Software.into(),
            Self::Apicv(level) => Apicv::new(level).into(),
            Self::Avic(mode) => Avic::new(acceleration(mode), DoorbellRinger::Processor).into(),
        }
    }

    /// Which of AVIC's modes it has.
    pub(crate) fn avic_mode(self) -> Option<Mode> {
        match self {
            Self::Avic(mode) => Some(mode),
            Self::Software | Self::Apicv(_) => None,
        }
    }

    pub(crate) fn core(self, vcpu: usize, platform: &Platform) -> Core {
        match self {
            Self::Software => Core::Plain { windows: [Switch::Off; 2], interrupt: None },
            Self::Apicv(_) => Core::Vmx(Box::new(VmxCore::new(vcpu, platform))),
            Self::Avic(_) => Core::Svm(Box::new(SvmCore::new(vcpu, platform))),
        }
    }
}

/// A vCPU that is always in the guest between two steps.
#[derive(Debug)]
pub(crate) struct Vcpu {
    number: usize,
    pub(crate) apic: VcpuApic<AnyEngine>,
    pub(crate) core: Core,
    gates: Gates,
    pub(crate) seen: Vec<Seen>,
    pub(crate) exits: usize,
}

impl Vcpu {
    pub(crate) fn new(number: usize, apic: VcpuApic<AnyEngine>, core: Core) -> Self {
        let gates = Gates { interrupts: Gate::Closed, nmis: Gate::Open };
        Self { number, apic, core, gates, seen: Vec::new(), exits: 0 }
    }

    /// Enters the guest, whatever exits come before its first instruction.
    pub(crate) fn enter(&mut self, now: Moment, platform: &Platform, kicks: &mut Vec<Action>) {
        for _ in 0..4 {
            platform.serve(self.number);
            let event = self.apic.enter(self.gates, now, platform);
            self.carry_out(platform, kicks);
            if let Some(event) = event {
                self.took(event);
            }
            let Some(exit) = self.core.enter(platform, self.gates) else { return };
            self.leave(platform);
            self.finish(exit, now, platform, kicks);
        }
        panic!("vCPU {} never gets into the guest", self.number);
    }

    /// Leaves the guest.
    pub(crate) fn leave(&mut self, platform: &Platform) {
        self.exits += 1;
        platform.serve(self.number);
        self.core.leave(platform);
        self.apic.exited(None, platform);
    }

    /// Leaves the guest, does something, enters it again.
    pub(crate) fn outside(
        &mut self,
        now: Moment,
        platform: &Platform,
        kicks: &mut Vec<Action>,
        act: impl FnOnce(&mut VcpuApic<AnyEngine>) -> Option<Seen>,
    ) {
        self.leave(platform);
        let seen = act(&mut self.apic);
        self.carry_out(platform, kicks);
        self.seen.extend(seen);
        self.enter(now, platform, kicks);
    }

    /// Leaves the guest by an exit that comes after the instruction, finishes it and enters the guest again.
    fn exit(&mut self, exit: Exit, seen: Option<Seen>, now: Moment, platform: &Platform, kicks: &mut Vec<Action>) {
        self.leave(platform);
        self.finish(exit, now, platform, kicks);
        self.seen.extend(seen);
        self.enter(now, platform, kicks);
    }

    fn finish(&mut self, exit: Exit, now: Moment, platform: &Platform, kicks: &mut Vec<Action>) {
        let finished = self.apic.finish(exit, now, platform);
        assert_eq!(finished, Ok(Finished::Enter), "{exit:?}");
        self.carry_out(platform, kicks);
    }

    /// Carries out what concerns this vCPU; what is for others goes to `kicks`.
    pub(crate) fn carry_out(&mut self, platform: &Platform, kicks: &mut Vec<Action>) {
        for (of, action) in platform.take() {
            match action {
                Action::Kick(_) | Action::Notify(_) | Action::RingDoorbell(_) => kicks.push(action),
                _ if of != self.number => panic!("{action:?} of vCPU {of} while {} is served", self.number),
                Action::Set(setting) => self.core.set(setting, platform),
                Action::EndOfInterrupt(vector) => self.seen.push(Seen::EndOfInterrupt(vector.number())),
                Action::VectorEnded(vector) => self.seen.push(Seen::VectorEnded(vector.number())),
                Action::SetTimer(deadline) => self.seen.push(Seen::Timer(deadline)),
                Action::Nmi => panic!("the engine injects these"),
                Action::Smi => self.seen.push(Seen::Smi),
                Action::Init => self.seen.push(Seen::Init),
                Action::StartUp(page) => self.seen.push(Seen::StartUp(page)),
                Action::BaseChanged(base) => self.seen.push(Seen::Mode(base.mode())),
                Action::SoftwareEnabled => self.seen.push(Seen::SoftwareEnabled),
                Action::LogicalIdChanged => platform.rebuild_logical_table(),
            }
        }
    }

    fn took(&mut self, event: Event) {
        match event {
            Event::Nmi => assert_eq!(std::mem::replace(&mut self.gates.nmis, Gate::Closed), Gate::Open),
            Event::Vector(_) | Event::External(_) => assert_eq!(self.gates.interrupts, Gate::Open, "{event:?}"),
        }
        self.seen.push(Seen::Took(event));
    }

    /// Passes one boundary; whether the guest is at another.
    pub(crate) fn pass(&mut self, now: Moment, platform: &Platform, kicks: &mut Vec<Action>) -> bool {
        match self.core.boundary(self.gates, platform) {
            Boundary::Nothing => return false,
            Boundary::Again => {}
            Boundary::Delivered(vector) => self.took(Event::Vector(vector)),
            Boundary::Leave => self.outside(now, platform, kicks, |_| None),
            Boundary::Exit(exit) => self.exit(exit, None, now, platform, kicks),
        }
        true
    }

    pub(crate) fn read(&mut self, place: Place, now: Moment, platform: &Platform, kicks: &mut Vec<Action>) {
        match self.core.read(place, platform) {
            Done::Virtual(value) => self.seen.push(Seen::Read(Some(value))),
            Done::Fault => self.seen.push(Seen::Read(None)),
            Done::Exit(exit) => panic!("{exit:?} of a read"),
            Done::Emulate => self.outside(now, platform, kicks, |apic| emulate_read(apic, place, now, platform)),
            Done::Ask(exit) => self.outside(now, platform, kicks, |apic| {
                assert_eq!(apic.finish(exit, now, platform), Ok(Finished::Emulate));
                emulate_read(apic, place, now, platform)
            }),
        }
    }

    pub(crate) fn write(
        &mut self,
        place: Place,
        value: u64,
        now: Moment,
        platform: &Platform,
        kicks: &mut Vec<Action>,
    ) {
        match self.core.write(place, value, platform) {
            Done::Virtual(()) => {
                self.carry_out(platform, kicks);
                self.seen.push(Seen::Wrote);
            }
            Done::Fault => self.seen.push(Seen::WriteFaulted),
            Done::Exit(exit) => self.exit(exit, Some(Seen::Wrote), now, platform, kicks),
            Done::Emulate => {
                self.outside(now, platform, kicks, |apic| emulate_write(apic, place, value, now, platform));
            }
            Done::Ask(exit) => self.outside(now, platform, kicks, |apic| {
                assert_eq!(apic.finish(exit, now, platform), Ok(Finished::Emulate));
                emulate_write(apic, place, value, now, platform)
            }),
        }
    }

    pub(crate) fn write_cr8(&mut self, class: u8, now: Moment, platform: &Platform, kicks: &mut Vec<Action>) {
        match self.core.write_cr8(class, platform) {
            Done::Virtual(()) => {}
            Done::Fault | Done::Ask(_) => panic!("CR8 is there, and has four bits"),
            Done::Exit(exit) => self.exit(exit, None, now, platform, kicks),
            Done::Emulate => self.outside(now, platform, kicks, |apic| {
                apic.set_cr8(class, platform);
                None
            }),
        }
    }

    pub(crate) fn set_interrupts(&mut self, interrupts: Gate) {
        self.gates.interrupts = interrupts;
        self.core.set_interrupt_flag(interrupts);
    }

    pub(crate) fn return_from_nmi(&mut self) {
        self.gates.nmis = Gate::Open;
    }

    pub(crate) fn ask_to_wake(&mut self, now: Moment, platform: &Platform, kicks: &mut Vec<Action>) {
        self.outside(now, platform, kicks, |apic| {
            Some(if apic.wakes(Gates::OPEN, platform) { Seen::Wakes } else { Seen::Sleeps })
        });
    }

    /// A write of an MSR that always exits.
    pub(crate) fn write_intercepted(
        &mut self,
        msr: u32,
        value: u64,
        now: Moment,
        platform: &Platform,
        kicks: &mut Vec<Action>,
    ) {
        self.outside(now, platform, kicks, |apic| written(apic.write_msr(now, msr, value, platform)));
    }

    /// The mode its local APIC is in.
    pub(crate) fn mode(&self, platform: &Platform) -> ApicMode {
        let address = platform.bus().address(self.apic.vcpu()).expect("on the bus");
        match address.mode() {
            AddressMode::Disabled => ApicMode::Disabled,
            AddressMode::X2Apic => ApicMode::X2Apic,
            AddressMode::Flat | AddressMode::Cluster | AddressMode::Unmodelled => ApicMode::XApic,
        }
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Out of the guest for good; its interrupts as data.
    pub(crate) fn save(&mut self, now: Moment, platform: &Platform) -> SavedVcpuApic {
        self.leave(platform);
        self.apic.save(now, platform)
    }

    pub(crate) fn change_core(&mut self, kind: EngineKind, platform: &Platform) {
        self.core = kind.core(self.number, platform);
    }

    /// What was saved goes on here.
    pub(crate) fn move_in(&mut self, apic: VcpuApic<AnyEngine>, kind: EngineKind, platform: &Platform) {
        self.apic = apic;
        self.change_core(kind, platform);
        // Whoever restores asks for the timer anew: that is no news to the guest.
        platform.take();
    }
}

fn written<E>(result: Result<(), E>) -> Option<Seen> {
    Some(result.map_or(Seen::WriteFaulted, |()| Seen::Wrote))
}

fn emulate_read(apic: &mut VcpuApic<AnyEngine>, place: Place, now: Moment, platform: &Platform) -> Option<Seen> {
    Some(Seen::Read(match place {
        Place::Page(offset) => apic.read_mmio(now, offset, AccessWidth::Dword, platform).ok().map(Into::into),
        Place::Msr(msr) => apic.read_msr(now, msr, platform).ok(),
    }))
}

fn emulate_write(
    apic: &mut VcpuApic<AnyEngine>,
    place: Place,
    value: u64,
    now: Moment,
    platform: &Platform,
) -> Option<Seen> {
    match place {
        Place::Page(offset) => {
            let [a, b, c, d, ..] = value.to_le_bytes();
            let value = u32::from_le_bytes([a, b, c, d]);
            written(apic.write_mmio(now, offset, AccessWidth::Dword, value, platform))
        }
        Place::Msr(msr) => written(apic.write_msr(now, msr, value, platform)),
    }
}
