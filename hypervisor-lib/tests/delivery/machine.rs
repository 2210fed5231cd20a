//! A domain of local APICs, and a host that notes what it is asked.

use std::sync::Mutex;

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::ApicBus;
use hypervisor_lib::delivery::Host;
use hypervisor_lib::delivery::Moment;
use hypervisor_lib::delivery::software::AccessWidth;
use hypervisor_lib::delivery::software::Acknowledged;
use hypervisor_lib::delivery::software::ApicFeatures;
use hypervisor_lib::delivery::software::LocalApic;
use hypervisor_lib::delivery::software::LocalApicConfig;
use hypervisor_lib::delivery::software::MsrFault;
use hypervisor_lib::delivery::software::ProcessorRole;
use vector_allocator::Vector;

/// Everything a local APIC can do.
pub(crate) const ALL_FEATURES: ApicFeatures =
    ApicFeatures { x2apic: true, tsc_deadline: true, suppress_eoi: true, cmci: true };

/// `IA32_APIC_BASE`: disabled, xAPIC, x2APIC.
pub(crate) const OFF: u64 = 0xfee0_0000;
pub(crate) const XAPIC: u64 = 0xfee0_0800;
pub(crate) const X2APIC: u64 = 0xfee0_0c00;

pub(crate) const MSR_BASE: u32 = 0x1b;
pub(crate) const MSR_DEADLINE: u32 = 0x6e0;
pub(crate) const ICR: u32 = 0x830;
pub(crate) const EOI: u32 = 0x80b;

pub(crate) struct TestHost {
    pub(crate) bus: ApicBus,
    actions: Mutex<Vec<Action>>,
}

impl Host for TestHost {
    fn bus(&self) -> &ApicBus {
        &self.bus
    }

    fn act(&self, action: Action) {
        self.actions.lock().expect("nobody panicked").push(action);
    }
}

impl TestHost {
    pub(crate) fn new(ids: &[u32]) -> Self {
        let ids: Vec<ApicId> = ids.iter().copied().map(ApicId).collect();
        Self { bus: ApicBus::new(&ids).expect("different numbers"), actions: Mutex::default() }
    }

    pub(crate) fn take(&self) -> Vec<Action> {
        std::mem::take(&mut *self.actions.lock().expect("nobody panicked"))
    }
}

pub(crate) fn config(vcpu: u32, id: u32, features: ApicFeatures) -> LocalApicConfig {
    let role = if vcpu == 0 { ProcessorRole::Bootstrap } else { ProcessorRole::Application };
    LocalApicConfig { vcpu: VcpuId(vcpu), id: ApicId(id), role, features, physical_bits: 46 }
}

/// Local APICs of these numbers on one host, and a clock.
pub(crate) struct Machine {
    pub(crate) host: TestHost,
    pub(crate) apics: Vec<LocalApic>,
    pub(crate) now: Moment,
}

impl Machine {
    pub(crate) fn with_features(ids: &[u32], features: &[ApicFeatures]) -> Self {
        let host = TestHost::new(ids);
        let apics = (0..).zip(ids).zip(features);
        let apics = apics.map(|((vcpu, id), features)| LocalApic::new(config(vcpu, *id, *features), &host)).collect();
        Self { host, apics, now: Moment::default() }
    }

    /// After reset.
    pub(crate) fn reset(ids: &[u32]) -> Self {
        Self::with_features(ids, &vec![ALL_FEATURES; ids.len()])
    }

    /// Software-enabled, in xAPIC mode.
    pub(crate) fn xapic(ids: &[u32]) -> Self {
        let mut machine = Self::reset(ids);
        for apic in 0..ids.len() {
            machine.write_page(apic, ApicRegister::SpuriousVector, 0x1ff);
        }
        machine.host.take();
        machine
    }

    /// Software-enabled, in x2APIC mode.
    pub(crate) fn x2apic(ids: &[u32]) -> Self {
        let mut machine = Self::reset(ids);
        for apic in 0..ids.len() {
            machine.write(apic, MSR_BASE, X2APIC | u64::from(apic == 0) << 8).expect("x2APIC mode");
            machine.write(apic, ApicRegister::SpuriousVector.msr(), 0x1ff).expect("enabled");
        }
        machine.host.take();
        machine
    }

    pub(crate) fn write(&mut self, apic: usize, msr: u32, value: u64) -> Result<(), MsrFault> {
        self.apics[apic].write_msr(self.now, msr, value, &self.host)
    }

    pub(crate) fn read(&mut self, apic: usize, msr: u32) -> Result<u64, MsrFault> {
        self.apics[apic].read_msr(self.now, msr, &self.host)
    }

    pub(crate) fn write_page(&mut self, apic: usize, register: ApicRegister, value: u32) {
        let offset = register.offset();
        let written = self.apics[apic].write_mmio(self.now, offset, AccessWidth::Dword, value, &self.host);
        written.expect("xAPIC mode");
    }

    pub(crate) fn read_page(&mut self, apic: usize, register: ApicRegister) -> u32 {
        self.apics[apic].read_mmio(self.now, register.offset(), AccessWidth::Dword).expect("xAPIC mode")
    }

    /// The value of a register in either mode.
    pub(crate) fn register(&self, apic: usize, register: ApicRegister) -> u32 {
        self.apics[apic].page(self.now).get(register)
    }

    pub(crate) fn sync(&mut self) {
        self.apics.iter_mut().for_each(|apic| apic.sync(&self.host));
    }

    /// Lets a vCPU take what it is given, until nothing is left, and end each at once.
    pub(crate) fn drain(&mut self, apic: usize) -> Vec<u8> {
        self.apics[apic].sync(&self.host);
        let mut taken = Vec::new();
        while self.apics[apic].has_interrupt() {
            match self.apics[apic].acknowledge() {
                Acknowledged::Vector(vector) => taken.push(vector.number()),
                other => panic!("{other:?}"),
            }
            self.apics[apic].end_of_interrupt(&self.host);
        }
        taken
    }
}

pub(crate) fn vector(number: u8) -> Vector {
    Vector::new(number).expect("a legal vector")
}

pub(crate) fn kick(vcpu: u32) -> Action {
    Action::Kick(VcpuId(vcpu))
}
