//! The hypervisor around the engines: what it shares with processors, and what it is asked to do.

use std::cell::Cell;
use std::cell::RefCell;

use carillon_machine::PostedMemory;
use carillon_machine::vmx::PidMemory;
use carillon_machine::vmx::PostedControl;
use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::pid_pointer::PidPointerCell;
use hypervisor_abi::posted::PostedDescriptor;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::ApicBus;
use hypervisor_lib::delivery::Host;
use hypervisor_lib::delivery::ipiv::LookUp;
use hypervisor_lib::delivery::ipiv::PidTable;

/// Where the modelled memory holds things.
pub(crate) const DESCRIPTORS: u64 = 0x10_0000;
pub(crate) const PID_TABLE: u64 = 0x20_0000;
/// How many bits a physical address has.
pub(crate) const WIDTH: u8 = 40;
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
    pub(crate) fn new(ids: &[ApicId]) -> Self {
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
        }
    }

    fn pid_table(&self) -> PidTable<'_> {
        PidTable::new(&self.pid_pointers, WIDTH.into()).expect("a legal table")
    }
}
