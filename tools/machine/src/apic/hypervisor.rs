//! The hypervisor around the virtual local APICs: what the library's engines ask for, and where they find their memory.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::RefCell;

use hypervisor_abi::VcpuId;
use hypervisor_abi::amd_iommu::GaTag;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::LogicalCell;
use hypervisor_abi::avic::PhysicalCell;
use hypervisor_abi::pid_pointer::PidPointerCell;
use hypervisor_abi::posted::PostedDescriptor;
use hypervisor_abi::posted::PostedDestination;
use hypervisor_lib::delivery;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::ApicBus;
use hypervisor_lib::delivery::DoorbellRinger;
use hypervisor_lib::delivery::Engine;
use hypervisor_lib::delivery::avic;
use hypervisor_lib::delivery::avic::GaLog;
use hypervisor_lib::delivery::avic::Inhibits;
use hypervisor_lib::delivery::avic::IpiVirtualization;
use hypervisor_lib::delivery::avic::LogicalIds;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::avic::PhysicalTable;
use hypervisor_lib::delivery::avic::X2AvicReach;
use hypervisor_lib::delivery::engine::AvicTables;
use hypervisor_lib::delivery::engine::Setting;
use hypervisor_lib::delivery::posted::PostedVcpu;
use hypervisor_lib::delivery::posted::PostingAction;
use hypervisor_lib::delivery::posted::PostingHost;
use hypervisor_lib::delivery::posted::Protocol;
use hypervisor_lib::delivery::posted::VcpuKey;
use hypervisor_lib::delivery::posted::WakeLists;
use vector_allocator::CpuId;
use vector_allocator::Vector;

use super::ApicSlot;
use super::iommu::Iommu;
use super::iommu::Lost;
use super::page::SharedPage;
use super::residency::Resident;
use crate::PostedMemory;
use crate::Signal;
use crate::svm::AvicMemory;
use crate::svm::BackingPages;
use crate::vmx::PidMemory;

/// A lock that is never contended: the machine does one thing at a time.
pub(super) type Lock = spinning_top::RawSpinlock;

/// Where the PID-pointer tables begin in physical memory, one every 512 KiB; descriptors lie below, 64 bytes each.
const PID_TABLES: u64 = 1 << 40;
const PID_TABLE_SIZE: u64 = 1 << 19;

/// Where AVIC's physical tables begin, one every 32 KiB; backing pages lie below, 4 KiB each.
const AVIC_TABLES: u64 = 1 << 44;
const AVIC_TABLE_SIZE: u64 = 1 << 15;

/// What an engine asks of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// The vCPU shall look at its inbox: out of the guest, or awake.
    Kick(ApicSlot),
    /// A host vector for a CPU.
    Notify { vector: u8, cpu: CpuId },
    /// AVIC's doorbell of a CPU.
    Doorbell(CpuId),
    /// The vCPU becomes runnable.
    Wake(ApicSlot),
    /// An interrupt has ended whose end the host has to hear of.
    Ended(Vector),
}

/// What the engines of all domains share.
#[derive(Debug)]
pub(super) struct Hypervisor {
    pub(super) households: Box<[Household]>,
    pub(super) seats: Box<[Seat]>,
    pub(super) lists: WakeLists<Lock>,
    pub(super) iommu: Iommu,
    pub(super) notification: Vector,
    pub(super) wake_up: Vector,
    pub(super) requests: RefCell<VecDeque<Request>>,
    /// For the vCPU that is being entered or has exited.
    pub(super) settings: RefCell<Vec<Setting>>,
}

/// What the vCPUs of one domain share.
#[derive(Debug)]
pub(super) struct Household {
    pub(super) engine: Engine,
    /// The slot of vCPU 0.
    pub(super) first: u32,
    pub(super) bus: ApicBus,
    pub(super) pid_pointers: Box<[PidPointerCell]>,
    pub(super) physical: Box<[PhysicalCell]>,
    /// Where vCPUs are, if the table must not say so.
    pub(super) residence: Box<[PhysicalCell]>,
    pub(super) inhibits: Inhibits,
}

/// What hardware knows of one vCPU.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) household: u32,
    pub(super) page: Option<SharedPage>,
    pub(super) posted: PostedVcpu,
}

/// The hypervisor as the engines of one domain see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'h> {
    pub(super) hypervisor: &'h Hypervisor,
    pub(super) household: &'h Household,
}

impl Hypervisor {
    pub(super) fn view(&self, slot: ApicSlot) -> View<'_> {
        let household = &self.households[self.seats[slot.index()].household as usize];
        View { hypervisor: self, household }
    }

    fn ask(&self, request: Request) {
        self.requests.borrow_mut().push_back(request);
    }

    /// Hardware has sent something to a CPU.
    pub(super) fn carry(&self, signal: Signal) {
        self.ask(match signal {
            Signal::Interrupt(message) => Request::Notify { vector: message.vector, cpu: CpuId(message.destination) },
            Signal::Doorbell(id) => Request::Doorbell(CpuId(id.0)),
        });
    }

    /// Wakes whom the IOMMU has logged; if it has lost entries, everybody a device delivers to.
    pub(super) fn hear_log(&self, log: &mut GaLog<'_>, residents: &[Resident<'_>]) {
        let wake = |slot: Option<ApicSlot>| slot.into_iter().for_each(|slot| self.ask(Request::Wake(slot)));
        if self.iommu.read_log(log, |tag| wake(self.slot(tag))) == Lost::Entries {
            let slots = (0u32..).map(ApicSlot).zip(residents);
            slots.filter(|(_, resident)| resident.has_devices()).for_each(|(slot, _)| wake(Some(slot)));
        }
    }

    /// Whose tag it is.
    fn slot(&self, tag: GaTag) -> Option<ApicSlot> {
        let household = self.households.get(tag.vm() as usize)?;
        let slot = ApicSlot(household.first + tag.vcpu());
        (slot.index() < self.seats.len()).then_some(slot)
    }

    /// What the IOMMU logs for a vCPU. There are fewer domains and vCPUs than a tag has room for, or the vCPU has no devices.
    pub(super) fn tag(&self, slot: ApicSlot) -> Option<GaTag> {
        let household = self.seats[slot.index()].household;
        GaTag::new(household, slot.0 - self.households[household as usize].first).ok()
    }
}

impl Household {
    /// The physical address of the domain's PID-pointer table.
    pub(super) fn pid_table(number: u32) -> u64 {
        PID_TABLES + u64::from(number) * PID_TABLE_SIZE
    }

    /// The frame of the domain's physical APIC-ID table.
    pub(super) fn physical_table_frame(number: u32) -> u64 {
        (AVIC_TABLES + u64::from(number) * AVIC_TABLE_SIZE) >> 12
    }

    /// Whether vectors are posted to descriptors.
    pub(super) const fn posts(&self) -> bool {
        matches!(self.engine, Engine::Posted | Engine::IpiVirtualization)
    }

    /// The physical APIC-ID table; none unless the engine is AVIC.
    pub(super) fn physical_table(&self) -> Option<PhysicalTable<'_>> {
        let ipis = match self.engine {
            Engine::Avic(DoorbellRinger::Processor) => IpiVirtualization::On,
            Engine::Avic(DoorbellRinger::Hypervisor) => IpiVirtualization::Off { residence: &self.residence },
            _ => return None,
        };
        PhysicalTable::new(Mode::X2Avic, X2AvicReach::Extended, &self.physical, ipis).ok()
    }
}

/// The physical address of a descriptor.
pub(super) fn descriptor_address(slot: ApicSlot) -> u64 {
    (slot.index() as u64 + 1) << 6
}

/// The frame of a backing page.
pub(super) fn page_frame(slot: ApicSlot) -> u64 {
    slot.index() as u64 + 1
}

impl View<'_> {
    const fn slot(&self, vcpu: VcpuId) -> ApicSlot {
        ApicSlot(self.household.first + vcpu.0)
    }
}

impl delivery::Host for View<'_> {
    fn bus(&self) -> &ApicBus {
        &self.household.bus
    }

    fn act(&self, action: Action) {
        match action {
            Action::Kick(vcpu) => self.hypervisor.ask(Request::Kick(self.slot(vcpu))),
            Action::Notify(notice) => {
                let cpu = CpuId(notice.destination.into_bits());
                self.hypervisor.ask(Request::Notify { vector: notice.vector, cpu });
            }
            Action::RingDoorbell(core) => self.hypervisor.ask(Request::Doorbell(CpuId(core.number()))),
            Action::Set(setting) => self.hypervisor.settings.borrow_mut().push(setting),
            Action::EndOfInterrupt(vector) | Action::VectorEnded(vector) => {
                self.hypervisor.ask(Request::Ended(vector));
            }
            // Guests of the machine change neither mode nor logical ID, set no timer, and send fixed interrupts alone.
            _ => {}
        }
    }

    fn page(&self, vcpu: VcpuId) -> Option<&BackingPage> {
        self.hypervisor.seats[self.slot(vcpu).index()].page.as_ref().map(|page| &*page.0)
    }

    fn descriptor(&self, vcpu: VcpuId) -> Option<&PostedDescriptor> {
        let descriptor = &self.hypervisor.seats[self.slot(vcpu).index()].posted.descriptor;
        self.household.posts().then_some(descriptor)
    }

    fn avic(&self) -> Option<AvicTables<'_>> {
        let physical = self.household.physical_table()?;
        Some(AvicTables { physical, logical: LogicalIds::Derived, inhibits: &self.household.inhibits })
    }
}

impl avic::Host for View<'_> {
    fn act(&self, action: avic::Action) {
        match action {
            avic::Action::RingDoorbell(core) => self.hypervisor.ask(Request::Doorbell(CpuId(core.number()))),
            avic::Action::Wake(id) => self.hypervisor.ask(Request::Wake(self.slot(VcpuId(id.0)))),
            avic::Action::StoreIrteLow(index, low) => self.hypervisor.iommu.store_low(index, low),
            avic::Action::ReplaceIrte(index, irte) => self.hypervisor.iommu.store(index, irte),
            avic::Action::InvalidateIrtes => self.hypervisor.iommu.forget(),
        }
    }
}

impl PostingHost for Hypervisor {
    type Lock = Lock;

    fn posted_vcpu(&self, key: VcpuKey) -> Option<&PostedVcpu> {
        Some(&self.seats.get(key.vcpu.index())?.posted)
    }

    fn wake_lists(&self) -> &WakeLists<Lock> {
        &self.lists
    }

    fn destination(&self, cpu: CpuId) -> PostedDestination {
        PostedDestination::new(ApicId(cpu.0), ApicMode::X2Apic)
    }

    fn notification_vector(&self) -> Vector {
        self.notification
    }

    fn wake_up_vector(&self) -> Vector {
        self.wake_up
    }

    fn protocol(&self) -> Protocol {
        Protocol::Xen
    }

    fn act(&self, action: PostingAction) {
        match action {
            PostingAction::Wake(key) => self.ask(Request::Wake(ApicSlot(key.vcpu.0))),
            PostingAction::WakeUpSelf(cpu) => self.ask(Request::Notify { vector: self.wake_up.number(), cpu }),
        }
    }
}

impl PostedMemory for Hypervisor {
    fn descriptor(&self, address: u64) -> Option<&PostedDescriptor> {
        let index = usize::try_from((address >> 6).checked_sub(1)?).ok()?;
        Some(&self.seats.get(index)?.posted.descriptor)
    }
}

impl PidMemory for Hypervisor {
    fn pid_pointer(&self, address: u64) -> Option<&PidPointerCell> {
        let offset = address.checked_sub(PID_TABLES)?;
        let household = self.households.get(usize::try_from(offset / PID_TABLE_SIZE).ok()?)?;
        household.pid_pointers.get(usize::try_from(offset % PID_TABLE_SIZE / 8).ok()?)
    }
}

impl BackingPages for Hypervisor {
    fn backing_page(&self, frame: u64) -> Option<&BackingPage> {
        let index = usize::try_from(frame.checked_sub(1)?).ok()?;
        Some(&self.seats.get(index)?.page.as_ref()?.0)
    }
}

impl AvicMemory for Hypervisor {
    fn physical_entry(&self, address: u64) -> Option<&PhysicalCell> {
        let offset = address.checked_sub(AVIC_TABLES)?;
        let household = self.households.get(usize::try_from(offset / AVIC_TABLE_SIZE).ok()?)?;
        household.physical.get(usize::try_from(offset % AVIC_TABLE_SIZE / 8).ok()?)
    }

    fn logical_entry(&self, _address: u64) -> Option<&LogicalCell> {
        // In x2AVIC mode there is no such table.
        None
    }
}
