//! A domain of vCPUs under engines, and time.

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicAccess;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::LvtEntry;
use hypervisor_abi::apic::MSR_APIC_BASE;
use hypervisor_abi::apic::MSR_TSC_DEADLINE;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::Host;
use hypervisor_lib::delivery::Moment;
use hypervisor_lib::delivery::engine::Gate;
use hypervisor_lib::delivery::engine::SavedVcpuApic;
use hypervisor_lib::delivery::engine::VcpuApic;
use hypervisor_lib::delivery::software::ApicFeatures;
use hypervisor_lib::delivery::software::LocalApicConfig;
use hypervisor_lib::delivery::software::ProcessorRole;
use vector_allocator::Vector;

use crate::core::Place;
use crate::host::Platform;
use crate::op::Act;
use crate::op::Op;
use crate::seen::Seen;
use crate::vcpu::EngineKind;
use crate::vcpu::Vcpu;

/// A domain whose vCPUs have the engines they are given.
#[derive(Debug)]
pub struct World {
    platform: Platform,
    vcpus: Vec<Vcpu>,
    now: Moment,
}

fn config(vcpu: usize) -> LocalApicConfig {
    let number = u32::try_from(vcpu).expect("few vCPUs");
    LocalApicConfig {
        vcpu: VcpuId(number),
        id: ApicId(number),
        role: if vcpu == 0 { ProcessorRole::Bootstrap } else { ProcessorRole::Application },
        features: ApicFeatures { x2apic: true, tsc_deadline: true, suppress_eoi: true, cmci: false },
        physical_bits: crate::host::WIDTH,
    }
}

/// Whether a register is one in this mode.
fn is_there(register: ApicRegister, mode: ApicMode) -> bool {
    let is_absent = register.xapic_access() == ApicAccess::Reserved || register == ApicRegister::Lvt(LvtEntry::Cmci);
    mode != ApicMode::XApic || !is_absent
}

impl World {
    /// A domain after reset, all of its vCPUs in the guest.
    #[must_use]
    pub fn new(engines: &[EngineKind]) -> Self {
        let ids: Vec<ApicId> = (0..).take(engines.len()).map(ApicId).collect();
        let platform = Platform::new(&ids, engines.iter().find_map(|kind| kind.avic_mode()));
        let vcpus = engines.iter().enumerate().map(|(number, kind)| {
            let apic = VcpuApic::new(config(number), kind.engine(), &platform);
            Vcpu::new(number, apic, kind.core(number, &platform))
        });
        let vcpus = vcpus.collect();
        let mut world = Self { platform, vcpus, now: Moment::default() };
        for number in 0..engines.len() {
            let mut kicks = Vec::new();
            world.vcpus[number].enter(world.now, &world.platform, &mut kicks);
            assert_eq!(kicks, []);
        }
        world
    }

    /// What each vCPU and its devices have seen so far.
    #[must_use]
    pub fn seen(&self) -> Vec<&[Seen]> {
        self.vcpus.iter().map(|vcpu| &vcpu.seen[..]).collect()
    }

    /// How many exits there were.
    #[must_use]
    pub fn exits(&self) -> usize {
        self.vcpus.iter().map(|vcpu| vcpu.exits).sum()
    }

    /// Does a step, and what follows from it until nothing happens any more.
    pub fn step(&mut self, op: Op) {
        let mut kicks = Vec::new();
        self.begin(op, &mut kicks);
        // Lowest-priority messages choose by the task priority of the last exit, and processors make none for a new one.
        if let Op::On(number, Act::Write(ApicRegister::TaskPriority, _) | Act::WriteCr8(_)) = op {
            self.begin(Op::On(number, Act::Leave), &mut kicks);
        }
        self.settle(kicks);
    }

    fn begin(&mut self, op: Op, kicks: &mut Vec<Action>) {
        let (now, platform) = (self.now, &self.platform);
        let last = self.vcpus.len() - 1;
        let (number, act) = match op {
            Op::On(number, act) => (number.min(last), act),
            Op::Pass(ticks) => return self.pass(ticks, kicks),
            Op::Send(source) => {
                platform.bus().send(&source.message(), platform);
                return kicks.extend(platform.take().into_iter().map(|(_, action)| action));
            }
        };
        platform.serve(number);
        let vcpu = &mut self.vcpus[number];
        match act {
            // AVIC takes what is no register for plain memory, and keeps reserved bits of commands it carries out.
            Act::Read(register) if !is_there(register, vcpu.mode(platform)) => {}
            Act::Write(register, _) if !is_there(register, vcpu.mode(platform)) => {}
            Act::Read(register) => match Place::of(register, vcpu.mode(platform)) {
                Some(place) => vcpu.read(place, now, platform, kicks),
                None => vcpu.seen.push(Seen::Read(None)),
            },
            Act::Write(register, value) => match Place::of(register, vcpu.mode(platform)) {
                Some(place @ Place::Page(0x300)) => {
                    vcpu.write(place, value & u64::from(Icr::WRITABLE_LOW), now, platform, kicks);
                }
                Some(place) => vcpu.write(place, value, now, platform, kicks),
                None => vcpu.seen.push(Seen::WriteFaulted),
            },
            Act::WriteBase(value) => vcpu.write_intercepted(MSR_APIC_BASE, value, now, platform, kicks),
            Act::WriteDeadline(value) => vcpu.write_intercepted(MSR_TSC_DEADLINE, value, now, platform, kicks),
            Act::WriteCr8(class) => vcpu.write_cr8(class & 0xf, now, platform, kicks),
            Act::EnableInterrupts => vcpu.set_interrupts(Gate::Open),
            Act::DisableInterrupts => vcpu.set_interrupts(Gate::Closed),
            Act::ReturnFromNmi => vcpu.return_from_nmi(),
            Act::Leave => vcpu.outside(now, platform, kicks, |_| None),
            Act::AskToWake => vcpu.ask_to_wake(now, platform, kicks),
            Act::Route(number) => {
                if let Ok(vector) = Vector::new(number) {
                    vcpu.outside(now, platform, kicks, |apic| {
                        apic.routes_mut().add(vector);
                        None
                    });
                }
            }
        }
    }

    fn pass(&mut self, ticks: u64, kicks: &mut Vec<Action>) {
        self.now = Moment { bus: self.now.bus + ticks, tsc: self.now.tsc + ticks };
        let (now, platform) = (self.now, &self.platform);
        for vcpu in &mut self.vcpus {
            vcpu.outside(now, platform, kicks, |apic| {
                apic.tick(now, platform);
                None
            });
        }
    }

    fn settle(&mut self, mut kicks: Vec<Action>) {
        let (now, platform) = (self.now, &self.platform);
        for _ in 0..10_000 {
            platform.update_tables();
            for action in std::mem::take(&mut kicks) {
                match action {
                    Action::Kick(vcpu) => self.vcpus[vcpu.index()].outside(now, platform, &mut kicks, |_| None),
                    Action::Notify(notice) => {
                        let processor = notice.destination.into_bits() as usize;
                        self.vcpus[processor].core.interrupt(notice.vector);
                    }
                    Action::RingDoorbell(core) => self.vcpus[core.number() as usize].core.ring(platform),
                    other => panic!("{other:?} kicks nobody"),
                }
            }
            let mut again = false;
            for vcpu in &mut self.vcpus {
                platform.serve(vcpu.number());
                again |= vcpu.pass(now, platform, &mut kicks);
            }
            if !again && kicks.is_empty() {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// A vCPU goes on under another engine, on a processor that has it, with a control structure of its own.
    pub fn switch(&mut self, number: usize, kind: EngineKind) {
        let (now, platform) = (self.now, &self.platform);
        let mut kicks = Vec::new();
        let vcpu = &mut self.vcpus[number];
        vcpu.leave(platform);
        vcpu.apic.switch(kind.engine(), platform);
        vcpu.carry_out(platform, &mut kicks);
        vcpu.change_core(kind, platform);
        vcpu.apic.forget_settings();
        vcpu.enter(now, platform, &mut kicks);
        self.settle(kicks);
    }

    /// The whole domain goes on elsewhere, under other engines.
    #[must_use]
    pub fn migrate(mut self, engines: &[EngineKind]) -> Self {
        let saved: Vec<SavedVcpuApic> = self.vcpus.iter_mut().map(|vcpu| vcpu.save(self.now, &self.platform)).collect();
        let ids: Vec<ApicId> = (0..).take(engines.len()).map(ApicId).collect();
        let platform = Platform::new(&ids, engines.iter().find_map(|kind| kind.avic_mode()));
        let now = self.now;
        for (vcpu, (saved, kind)) in self.vcpus.iter_mut().zip(saved.iter().zip(engines)) {
            platform.serve(vcpu.number());
            let restored = VcpuApic::restore(config(vcpu.number()), saved, kind.engine(), now, &platform);
            vcpu.move_in(restored.expect("what was saved"), *kind, &platform);
        }
        self.platform = platform;
        let mut kicks = Vec::new();
        for vcpu in &mut self.vcpus {
            vcpu.enter(now, &self.platform, &mut kicks);
        }
        self.settle(kicks);
        self
    }

    /// What is left waiting for a vCPU, and what it serves: IRR and ISR.
    #[must_use]
    pub fn registers(&mut self, number: usize) -> SavedVcpuApic {
        let (now, platform) = (self.now, &self.platform);
        let vcpu = &mut self.vcpus[number];
        let saved = vcpu.save(now, platform);
        let mut kicks = Vec::new();
        vcpu.enter(now, platform, &mut kicks);
        self.settle(kicks);
        saved
    }
}
