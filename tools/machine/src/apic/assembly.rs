//! The virtual local APICs of a configuration.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::RefCell;

use hypervisor_abi::DomainId;
use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::avic::PhysicalCell;
use hypervisor_abi::pid_pointer::PidPointerCell;
use hypervisor_lib::delivery::ApicBus;
use hypervisor_lib::delivery::Engine;
use hypervisor_lib::delivery::Moment;
use hypervisor_lib::delivery::avic::Acceleration;
use hypervisor_lib::delivery::avic::AvicVcpu;
use hypervisor_lib::delivery::avic::ExtendedLvt;
use hypervisor_lib::delivery::avic::Inhibits;
use hypervisor_lib::delivery::avic::IrteIndex;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::engine::AnyEngine;
use hypervisor_lib::delivery::engine::Apicv;
use hypervisor_lib::delivery::engine::ApicvLevel;
use hypervisor_lib::delivery::engine::Avic;
use hypervisor_lib::delivery::engine::Software;
use hypervisor_lib::delivery::engine::VcpuApic;
use hypervisor_lib::delivery::ipiv::PidTable;
use hypervisor_lib::delivery::posted::Offline;
use hypervisor_lib::delivery::posted::PostedVcpu;
use hypervisor_lib::delivery::posted::VcpuKey;
use hypervisor_lib::delivery::posted::WakeLists;
use hypervisor_lib::delivery::software::ApicFeatures;
use hypervisor_lib::delivery::software::LocalApicConfig;
use hypervisor_lib::delivery::software::ProcessorRole;
use vector_allocator::CpuId;
use vector_allocator::Vector;
use vector_allocator::VectorSet;

use super::ApicSlot;
use super::Apics;
use super::Hall;
use super::Referrers;
use super::VirtualApic;
use super::gates;
use super::hypervisor::Household;
use super::hypervisor::Hypervisor;
use super::hypervisor::Seat;
use super::hypervisor::descriptor_address;
use super::hypervisor::page_frame;
use super::iommu::Iommu;
use super::iommu::Meaning;
use super::iommu::Messages;
use super::iommu::TooManyMessages;
use super::page::SharedPage;
use super::processor::Plain;
use super::processor::Processor;
use super::residency::Posted;
use super::residency::Resident;
use super::residency::Residents;
use crate::InterruptFlag;
use crate::Vendor;
use crate::vcpu::VcpuIndex;

/// Physical addresses of the modelled processors, bits.
const PHYSICAL_BITS: u8 = 46;

/// IA32_APIC_BASE of a local APIC in x2APIC mode, and SVR of one that software has enabled.
const X2APIC_BASE: u64 = 0xfee0_0c00;
const BOOTSTRAP: u64 = 1 << 8;
const MSR_APIC_BASE: u32 = 0x1b;
const MSR_SVR: u32 = 0x80f;
const ENABLED: u64 = 0x1ff;

/// The machine numbers descriptors without regard to domains.
const NOBODYS: DomainId = DomainId(0);

/// A domain whose vCPUs have local APICs.
#[derive(Clone, Debug)]
pub(crate) struct Tenancy {
    /// How they are served.
    pub(crate) engine: Engine,
    /// Its vCPUs.
    pub(crate) vcpus: Vec<VcpuIndex>,
}

/// What the machine adds to all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings {
    pub(crate) vendor: Vendor,
    pub(crate) cpus: u32,
    pub(crate) notification: Vector,
    pub(crate) wake_up: Vector,
}

/// What one of a vCPU's vectors needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing but delivery.
    Edge,
    /// Edge-triggered; the host has to hear of its end.
    EndOfEdge,
    /// Level-triggered; the host has to hear of its end.
    Level,
    /// An entry of the IOMMU that posts it.
    Posting(IrteIndex),
}

impl Apics {
    /// The local APICs of these domains, slot after slot. None of a domain is refused that the configuration's check lets
    /// through: all its vCPUs fit on a bus and into the tables.
    ///
    /// # Errors
    /// The IOMMU has no entries for so many messages.
    pub(crate) fn new(domains: &[Tenancy], around: Surroundings, messages: &Messages) -> Result<Self, TooManyMessages> {
        let mut first = 0;
        let mut households = Vec::new();
        let mut seats = Vec::new();
        for (number, domain) in (0u32..).zip(domains) {
            let vcpus = u32::try_from(domain.vcpus.len()).unwrap_or(u32::MAX);
            households.push(Household::new(domain.engine, first, vcpus));
            let page = || (domain.engine != Engine::Software).then(SharedPage::default);
            seats.extend((0..vcpus).map(|_| Seat { household: number, page: page(), posted: PostedVcpu::default() }));
            first += vcpus;
        }
        let hypervisor = Hypervisor {
            households: households.into(),
            seats: seats.into(),
            lists: WakeLists::new(if first > 0 { around.cpus } else { 0 }),
            iommu: Iommu::new(around.vendor, messages.functions(), (around.wake_up, CpuId::BOOT))?,
            notification: around.notification,
            wake_up: around.wake_up,
            requests: RefCell::new(VecDeque::new()),
            settings: RefCell::new(Vec::new()),
        };
        for household in &hypervisor.households {
            household.fill_tables();
        }
        let vcpus = domains.iter().flat_map(|domain| &domain.vcpus).zip(0u32..);
        let vcpus = vcpus.map(|(vcpu, slot)| VirtualApic::new(*vcpu, ApicSlot(slot), &hypervisor, around)).collect();
        hypervisor.requests.borrow_mut().clear();
        let hall = Hall::new(hypervisor, |hypervisor| Referrers {
            residents: residents(hypervisor),
            log: hypervisor.iommu.log(),
        });
        Ok(Self { hall, vcpus })
    }

    /// Says what a vector of a vCPU needs.
    pub(crate) fn route(&mut self, slot: ApicSlot, vector: Vector, need: Need) {
        let vcpu = &mut self.vcpus[slot.index()];
        match need {
            Need::Edge => {}
            // Under AVIC nothing tells it; to ask for it nevertheless is to do without AVIC.
            Need::EndOfEdge if matches!(vcpu.apic.engine(), Engine::Avic(_)) => {}
            Need::EndOfEdge => vcpu.apic.routes_mut().add(vector),
            Need::Level => _ = vcpu.level.insert(vector),
            Need::Posting(message) => self.hall.with_dependent_mut(|hypervisor, own| {
                let view = hypervisor.view(slot);
                match &mut own.residents[slot.index()] {
                    // Every vCPU of the machine is in its table for good.
                    Resident::Avic(vcpu) => _ = vcpu.attach(message, vector, &view),
                    Resident::Untold | Resident::Posted(_) => {
                        let engine = view.household.engine;
                        hypervisor.iommu.write(message, Meaning::Vcpu { vector, slot, engine });
                    }
                }
            }),
        }
    }
}

impl Household {
    fn new(engine: Engine, first: u32, vcpus: u32) -> Self {
        let ids: Vec<ApicId> = (0..vcpus).map(ApicId).collect();
        let cells = |wanted: bool| (0..if wanted { vcpus } else { 0 }).map(|_| PhysicalCell::default()).collect();
        let is_avic = matches!(engine, Engine::Avic(_));
        let pid_pointers = if engine == Engine::IpiVirtualization { vcpus } else { 0 };
        Self {
            engine,
            first,
            // Numbers from 0 on are there once each, and the check has seen that they are not too many.
            bus: ApicBus::new(&ids).or_else(|_| ApicBus::new(&[])).expect("a bus of nobody can be had"),
            pid_pointers: (0..pid_pointers).map(|_| PidPointerCell::default()).collect(),
            physical: cells(is_avic),
            residence: cells(is_avic),
            inhibits: Inhibits::default(),
        }
    }

    /// Enters every vCPU into the tables that processors look targets up in. Each belongs there once, so none is refused.
    fn fill_tables(&self) {
        if let Ok(table) = PidTable::new(&self.pid_pointers, u32::from(PHYSICAL_BITS)) {
            for (id, _) in (0u32..).zip(&self.pid_pointers) {
                let _ = table.insert(id, descriptor_address(ApicSlot(self.first + id)));
            }
        }
        if let Some(table) = self.physical_table() {
            for (id, _) in (0u32..).zip(&self.physical) {
                let _ = table.insert(ApicId(id), page_frame(ApicSlot(self.first + id)));
            }
        }
    }
}

impl VirtualApic {
    fn new(vcpu: VcpuIndex, slot: ApicSlot, hypervisor: &Hypervisor, around: Surroundings) -> Self {
        let view = hypervisor.view(slot);
        let number = slot.0 - view.household.first;
        let role = if number == 0 { ProcessorRole::Bootstrap } else { ProcessorRole::Application };
        let config = LocalApicConfig {
            vcpu: VcpuId(number),
            id: ApicId(number),
            role,
            features: ApicFeatures { x2apic: true, ..ApicFeatures::default() },
            physical_bits: PHYSICAL_BITS,
        };
        let mut apic = VcpuApic::new(config, engine(view.household.engine), &view);
        let base = X2APIC_BASE | if role == ProcessorRole::Bootstrap { BOOTSTRAP } else { 0 };
        for (msr, value) in [(MSR_APIC_BASE, base), (MSR_SVR, ENABLED)] {
            let written = apic.write_msr(Moment::default(), msr, value, &view);
            debug_assert_eq!(written, Ok(()));
        }
        let mut processor = processor(slot, hypervisor, around);
        // It has run once: what it does itself and where vectors are to be left is settled at entries.
        let injected = apic.enter(gates(InterruptFlag::Clear), Moment::default(), &view);
        debug_assert_eq!(injected, None);
        for setting in hypervisor.settings.borrow_mut().drain(..) {
            processor.set(setting);
        }
        apic.exited(None, &view);
        Self { vcpu, apic, processor, injected: None, unfinished: None, level: VectorSet::EMPTY }
    }
}

fn engine(engine: Engine) -> AnyEngine {
    let acceleration = Acceleration { mode: Mode::X2Avic, extended_lvt: ExtendedLvt::Faults };
    match engine {
        Engine::Software => Software.into(),
        Engine::Apicv => Apicv::new(ApicvLevel::Delivery).into(),
        Engine::Posted => Apicv::new(ApicvLevel::Posting).into(),
        Engine::IpiVirtualization => Apicv::new(ApicvLevel::Ipis).into(),
        Engine::Avic(ringer) => Avic::new(acceleration, ringer).into(),
    }
}

fn processor(slot: ApicSlot, hypervisor: &Hypervisor, around: Surroundings) -> Processor {
    let seat = &hypervisor.seats[slot.index()];
    let household = hypervisor.view(slot).household;
    let last = |cells: usize| u16::try_from(cells.saturating_sub(1)).unwrap_or(u16::MAX);
    match (household.engine, &seat.page) {
        (Engine::Avic(ringer), Some(page)) => {
            let table = (Household::physical_table_frame(seat.household), last(household.physical.len()));
            Processor::svm(page.clone(), page_frame(slot), table, ringer)
        }
        (Engine::Software, _) | (_, None) => Processor::Plain(Plain::new(around.vendor)),
        (_, Some(page)) => {
            let table = (Household::pid_table(seat.household), last(household.pid_pointers.len()));
            Processor::vmx(page.clone(), descriptor_address(slot), table, around.notification)
        }
    }
}

/// Nobody runs yet.
fn residents(hypervisor: &Hypervisor) -> Residents<'_> {
    let resident = |(slot, seat): (u32, &'_ Seat)| {
        let slot = ApicSlot(slot);
        let household = &hypervisor.households[seat.household as usize];
        let number = slot.0 - household.first;
        if household.posts() {
            let key = VcpuKey { domain: NOBODYS, vcpu: VcpuId(slot.0) };
            return Offline::new(hypervisor, key)
                .map_or(Resident::Untold, |state| Resident::Posted(Posted::Offline(state)));
        }
        let page = hypervisor.seats[slot.index()].page.as_ref();
        let (Some(table), Some(page), Some(tag)) = (household.physical_table(), page, hypervisor.tag(slot)) else {
            return Resident::Untold;
        };
        AvicVcpu::new(ApicId(number), tag, table, &page.0).map_or(Resident::Untold, Resident::Avic)
    };
    (0u32..).zip(&hypervisor.seats).map(resident).collect()
}
