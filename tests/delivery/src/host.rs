//! The hypervisor around the engines: what it shares with processors, and what it is asked to do.

use std::array::from_fn;
use std::cell::Cell;
use std::cell::RefCell;

use carillon_machine::PostedMemory;
use carillon_machine::svm::AvicMemory;
use carillon_machine::svm::BackingPages;
use carillon_machine::vmx::PidMemory;
use carillon_machine::vmx::PostedControl;
use hypervisor_abi::VcpuId;
use hypervisor_abi::amd_iommu::GaTag;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::HostApicId;
use hypervisor_abi::avic::LOGICAL_TABLE_ENTRIES;
use hypervisor_abi::avic::LogicalCell;
use hypervisor_abi::avic::PhysicalCell;
use hypervisor_abi::pid_pointer::PidPointerCell;
use hypervisor_abi::posted::PostedDescriptor;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::ApicBus;
use hypervisor_lib::delivery::Host;
use hypervisor_lib::delivery::avic;
use hypervisor_lib::delivery::avic::Acceleration;
use hypervisor_lib::delivery::avic::AvicVcpu;
use hypervisor_lib::delivery::avic::ExtendedLvt;
use hypervisor_lib::delivery::avic::InhibitReason;
use hypervisor_lib::delivery::avic::Inhibits;
use hypervisor_lib::delivery::avic::IpiVirtualization;
use hypervisor_lib::delivery::avic::LogicalIds;
use hypervisor_lib::delivery::avic::LogicalModel;
use hypervisor_lib::delivery::avic::LogicalTable;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::avic::PhysicalTable;
use hypervisor_lib::delivery::avic::X2AvicReach;
use hypervisor_lib::delivery::engine::AvicTables;
use hypervisor_lib::delivery::ipiv::LookUp;
use hypervisor_lib::delivery::ipiv::PidTable;

/// Where the modelled memory holds things.
pub(crate) const DESCRIPTORS: u64 = 0x10_0000;
pub(crate) const PID_TABLE: u64 = 0x20_0000;
/// How many bits a physical address has.
pub(crate) const WIDTH: u8 = 40;
pub(crate) const PHYSICAL_TABLE: u64 = 0x30_0000;
pub(crate) const LOGICAL_TABLE: u64 = 0x40_0000;
/// The frame of the first vCPU's backing page; the others follow.
const BACKING_PAGES: u64 = 0x500;
/// The host vector of notifications.
pub(crate) const NOTIFICATION: u8 = 0xf2;

/// The hypervisor, and the memory it shares with processors.
#[derive(Debug)]
pub struct Platform {
    bus: ApicBus,
    ids: Vec<ApicId>,
    pages: Vec<BackingPage>,
    descriptors: Vec<PostedDescriptor>,
    pid_pointers: Vec<PidPointerCell>,
    physical_cells: Vec<PhysicalCell>,
    logical_cells: [LogicalCell; LOGICAL_TABLE_ENTRIES],
    inhibits: Inhibits,
    /// The mode of AVIC's tables; none if no vCPU of the domain has AVIC.
    avic: Option<Mode>,
    /// What was asked for, and while which vCPU was served.
    asked: RefCell<Vec<(usize, Action)>>,
    current: Cell<usize>,
}

impl Host for Platform {
    fn bus(&self) -> &ApicBus {
        &self.bus
    }

    fn act(&self, action: Action) {
        self.asked.borrow_mut().push((self.current.get(), action));
    }

    fn page(&self, vcpu: VcpuId) -> Option<&BackingPage> {
        self.pages.get(vcpu.index())
    }

    fn descriptor(&self, vcpu: VcpuId) -> Option<&PostedDescriptor> {
        self.descriptors.get(vcpu.index())
    }

    fn avic(&self) -> Option<AvicTables<'_>> {
        let mode = self.avic?;
        let logical = match mode {
            Mode::X2Avic => LogicalIds::Derived,
            Mode::XAvic => {
                // A table has one model; what it holds follows the first member's.
                let model = self.bus.logical_members().find_map(|member| member.model);
                LogicalIds::Table(LogicalTable::new(&self.logical_cells), model.unwrap_or(LogicalModel::Flat))
            }
        };
        Some(AvicTables { physical: self.physical_table(mode), logical, inhibits: &self.inhibits })
    }
}

impl BackingPages for Platform {
    fn backing_page(&self, frame: u64) -> Option<&BackingPage> {
        self.pages.get(usize::try_from(frame.checked_sub(BACKING_PAGES)?).ok()?)
    }
}

impl AvicMemory for Platform {
    fn physical_entry(&self, address: u64) -> Option<&PhysicalCell> {
        self.physical_cells.get(usize::try_from(address.checked_sub(PHYSICAL_TABLE)? / 8).ok()?)
    }

    fn logical_entry(&self, address: u64) -> Option<&LogicalCell> {
        self.logical_cells.get(usize::try_from(address.checked_sub(LOGICAL_TABLE)? / 4).ok()?)
    }
}

impl PostedMemory for Platform {
    fn descriptor(&self, address: u64) -> Option<&PostedDescriptor> {
        self.descriptors.get(usize::try_from(address.checked_sub(DESCRIPTORS)? / 64).ok()?)
    }
}

impl PidMemory for Platform {
    fn pid_pointer(&self, address: u64) -> Option<&PidPointerCell> {
        self.pid_pointers.get(usize::try_from(address.checked_sub(PID_TABLE)? / 8).ok()?)
    }
}

impl Platform {
    /// A hypervisor for vCPUs whose local APICs have these numbers.
    pub(crate) fn new(ids: &[ApicId], avic: Option<Mode>) -> Self {
        let highest = ids.iter().max().map_or(0, |id| id.0);
        let descriptor = |number: usize| {
            let descriptor = PostedDescriptor::default();
            let control = PostedControl::new()
                .with_notification_vector(NOTIFICATION)
                .with_destination(u32::try_from(number).expect("few vCPUs"));
            descriptor.control.store(control.into(), Ordering::SeqCst);
            descriptor
        };
        Self {
            bus: ApicBus::new(ids).expect("different numbers"),
            ids: ids.to_vec(),
            pages: ids.iter().map(|_| BackingPage::default()).collect(),
            descriptors: (0..ids.len()).map(descriptor).collect(),
            pid_pointers: (0..=highest).map(|_| PidPointerCell::default()).collect(),
            physical_cells: (0..=highest).map(|_| PhysicalCell::default()).collect(),
            logical_cells: from_fn(|_| LogicalCell::default()),
            inhibits: Inhibits::default(),
            avic,
            asked: RefCell::default(),
            current: Cell::new(0),
        }
    }

    /// The last index of the PID-pointer table.
    pub(crate) fn last_pid_pointer(&self) -> u16 {
        self.pid_table().last_index()
    }

    /// A vCPU is served from now on.
    pub(crate) fn serve(&self, vcpu: usize) {
        self.current.set(vcpu);
    }

    /// What was asked for since the last call.
    pub(crate) fn take(&self) -> Vec<(usize, Action)> {
        self.asked.take()
    }

    /// Keeps the tables that processors look vCPUs up in as they must be: those of the vCPUs in them take vectors, for a
    /// processor that sends does not ask.
    pub(crate) fn update_tables(&self) {
        let table = self.pid_table();
        for (number, id) in (0..).zip(&self.ids) {
            let takes = self.bus.address(VcpuId(number)).is_some_and(|address| address.takes_vectors());
            let changed = match (takes, table.look_up(id.0)) {
                (true, LookUp::Exit) => table.insert(id.0, DESCRIPTORS + 64 * u64::from(number)),
                (false, LookUp::Post { .. }) => table.remove(id.0),
                _ => Ok(()),
            };
            changed.expect("a vCPU of the table");
            if let Some(mode) = self.avic {
                let physical = self.physical_table(mode);
                let changed = match (takes, physical.residence(*id)) {
                    (true, Err(_)) => physical.insert(*id, backing_frame(number as usize)),
                    (false, Ok(_)) => physical.remove(*id),
                    _ => Ok(()),
                };
                changed.expect("a vCPU of the table");
            }
        }
        self.rebuild_logical_table();
    }

    /// Makes the logical table of xAVIC say what the local APICs say. What no table can say inhibits AVIC.
    pub(crate) fn rebuild_logical_table(&self) {
        if self.avic != Some(Mode::XAvic) {
            return;
        }
        let table = LogicalTable::new(&self.logical_cells);
        let _ = match table.rebuild(self.bus.logical_members()) {
            Ok(()) => self.inhibits.clear(InhibitReason::LogicalIdAliased),
            Err(reason) => self.inhibits.set(reason),
        };
    }

    /// The greatest index of AVIC's physical table.
    pub(crate) fn max_avic_index(&self) -> u16 {
        self.avic.map_or(0, |mode| self.physical_table(mode).max_index())
    }

    /// A vCPU runs on `core` under AVIC from now on, or does not. One that is in no table is nowhere.
    pub(crate) fn reside(&self, vcpu: usize, core: Option<HostApicId>) {
        let Some(mode) = self.avic else { return };
        self.update_tables();
        let tag = GaTag::new(1, u8::try_from(vcpu).expect("few vCPUs").into()).expect("a domain");
        let vcpu = AvicVcpu::new(self.ids[vcpu], tag, self.physical_table(mode), &self.pages[vcpu]);
        if let (Ok(mut vcpu), Some(core)) = (vcpu, core) {
            vcpu.enter(core, &NoDevices).expect("it is in the table");
        }
    }

    fn physical_table(&self, mode: Mode) -> PhysicalTable<'_> {
        PhysicalTable::new(mode, X2AvicReach::Standard, &self.physical_cells, IpiVirtualization::On).expect("few vCPUs")
    }

    fn pid_table(&self) -> PidTable<'_> {
        PidTable::new(&self.pid_pointers, WIDTH.into()).expect("a legal table")
    }
}

/// The frame of a vCPU's backing page.
pub(crate) fn backing_frame(vcpu: usize) -> u64 {
    BACKING_PAGES + u64::try_from(vcpu).expect("few vCPUs")
}

/// What a processor with AVIC does, in this mode.
pub(crate) fn acceleration(mode: Mode) -> Acceleration {
    Acceleration { mode, extended_lvt: ExtendedLvt::ReadsAllowed }
}

/// A host without devices.
struct NoDevices;

impl avic::Host for NoDevices {
    fn act(&self, action: avic::Action) {
        assert_eq!(action, avic::Action::InvalidateIrtes, "a vCPU comes and goes");
    }
}
