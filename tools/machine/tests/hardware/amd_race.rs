//! Devices of vCPUs that come and go under AVIC: whatever the order of requests, invalidations, moves, doorbells and rounds over
//! the log, no interrupt is lost and nobody sleeps over one.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::collections::VecDeque;

use carillon_machine::InterruptMessage;
use carillon_machine::Recognition;
use carillon_machine::Signal;
use carillon_machine::iommu::Amd;
use carillon_machine::iommu::AmdFlight;
use carillon_machine::iommu::AmdMemory;
use carillon_machine::iommu::DeviceInterrupts;
use carillon_machine::iommu::GuestNotice;
use carillon_machine::iommu::InterruptControl;
use carillon_machine::iommu::Request;
use carillon_machine::svm::BackingPages;
use carillon_machine::svm::Guest;
use carillon_machine::svm::Processor;
use hypervisor_abi::amd_iommu::GaLogCell;
use hypervisor_abi::amd_iommu::GaLogControl;
use hypervisor_abi::amd_iommu::GaLogStatus;
use hypervisor_abi::amd_iommu::GaTag;
use hypervisor_abi::amd_iommu::Irte;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::MsiAddress;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::VectorBits;
use hypervisor_lib::delivery::avic::Action;
use hypervisor_lib::delivery::avic::AvicVcpu;
use hypervisor_lib::delivery::avic::Completeness;
use hypervisor_lib::delivery::avic::GaLog;
use hypervisor_lib::delivery::avic::Host;
use hypervisor_lib::delivery::avic::IrteIndex;
use hypervisor_lib::delivery::avic::Leaving;
use hypervisor_lib::delivery::avic::Left;
use hypervisor_lib::delivery::avic::PhysicalTable;
use hypervisor_lib::delivery::avic::Place;
use hypervisor_lib::delivery::avic::RESTART;
use hypervisor_lib::delivery::avic::RestartStep;
use hypervisor_lib::delivery::avic::tell;
use proptest::collection::vec;
use proptest::prelude::Just;
use proptest::prelude::Strategy;
use proptest::prelude::prop_oneof;
use proptest::proptest;
use vector_allocator::Vector;

use crate::amd::TABLE;
use crate::avic_vm::Addressing;
use crate::avic_vm::Memory;
use crate::avic_vm::Ringer;
use crate::avic_vm::core_of;

/// How many vCPUs there are; each has a device with as many interrupts.
const VCPUS: u16 = 4;
const LOG_ON: GaLogControl = GaLogControl::new().with_log_enable(true).with_interrupt_enable(true);

/// The vector of a device's interrupt.
fn vector_of(device: u16, index: u16) -> Vector {
    let [low, _] = (0x31 + device * 16 + index).to_le_bytes();
    Vector::new(low).expect("legal")
}

/// The IOMMU with its memory and what is under way, as the hypervisor's edge reaches it.
struct Platform<'a> {
    vm: &'a Memory,
    table: PhysicalTable<'a>,
    entries: Vec<Cell<Irte>>,
    ring: [GaLogCell; 4],
    iommu: RefCell<Amd>,
    flights: RefCell<VecDeque<AmdFlight>>,
    rung: RefCell<BTreeSet<u32>>,
    woken: RefCell<BTreeSet<u32>>,
    log_is_due: Cell<bool>,
}

impl BackingPages for Platform<'_> {
    fn backing_page(&self, frame: u64) -> Option<&BackingPage> {
        self.vm.backing_page(frame)
    }
}

impl AmdMemory for Platform<'_> {
    fn device(&self, requester: u16) -> Option<DeviceInterrupts> {
        let table = TABLE + u64::from(requester) * u64::from(VCPUS) * 16;
        let device = DeviceInterrupts::new().with_is_valid(true).with_control(InterruptControl::Remapped);
        (requester < VCPUS).then_some(device.with_table_length(2).with_table_line(table >> 6))
    }

    fn remapping_entry(&self, address: u64) -> Option<Irte> {
        self.entries.get(usize::try_from(address.checked_sub(TABLE)? / 16).ok()?).map(Cell::get)
    }

    fn ga_log(&self) -> &[GaLogCell] {
        &self.ring
    }
}

impl Platform<'_> {
    fn entry(&self, index: IrteIndex) -> &Cell<Irte> {
        &self.entries[usize::from(index.device * VCPUS + index.index)]
    }

    fn begin(&self, device: u16, index: u16) {
        let request = Request { address: MsiAddress::from(0xfee0_0000), data: index.into(), requester: device };
        let flight = self.iommu.borrow_mut().look_up(request, self).expect("a good entry");
        self.flights.borrow_mut().push_back(flight);
    }

    /// Lets the request that has been under way longest arrive; whether there was one.
    fn land(&self) -> bool {
        let flight = self.flights.borrow_mut().pop_front();
        let Some(flight) = flight else { return false };
        let landed = self.iommu.borrow_mut().deliver(flight, self, &mut |signal| match signal {
            Signal::Doorbell(host) => _ = self.rung.borrow_mut().insert(host.0),
            Signal::Interrupt(_) => self.log_is_due.set(true),
        });
        landed.expect("a page");
        true
    }

    /// The handler of the log's interrupt.
    fn read_log(&self, log: &mut GaLog<'_>) {
        self.log_is_due.set(false);
        let (status, tail) = {
            let mut iommu = self.iommu.borrow_mut();
            let status = iommu.log.status();
            iommu.log.write_status(GaLogStatus::new().with_interrupt(true));
            (status, iommu.log.tail())
        };
        let told = |tag: GaTag| _ = tell(self.table, ApicId(tag.vcpu()), self).expect("it is there");
        let drained = log.drain(tail, status, told).expect("a tail within the log");
        assert_eq!(drained.unknown, 0);
        if drained.completeness == Completeness::Complete {
            self.iommu.borrow_mut().log.write_head(drained.head);
            return;
        }
        for step in RESTART {
            let log = &mut self.iommu.borrow_mut().log;
            match step {
                RestartStep::Disable => log.write_control(GaLogControl::new()),
                RestartStep::ClearOverflow => log.write_status(GaLogStatus::new().with_has_overflowed(true)),
                RestartStep::SetHead => log.write_head(drained.head),
                RestartStep::Enable => log.write_control(LOG_ON),
            }
        }
        (0..u32::from(VCPUS)).for_each(|id| _ = tell(self.table, ApicId(id), self).expect("it is there"));
    }
}

impl Host for Platform<'_> {
    fn act(&self, action: Action) {
        match action {
            Action::RingDoorbell(host) => _ = self.rung.borrow_mut().insert(host.number()),
            Action::Wake(id) => _ = self.woken.borrow_mut().insert(id.0),
            Action::StoreIrteLow(index, low) => {
                let entry = self.entry(index);
                entry.set(Irte { low: low.into(), ..entry.get() });
            }
            Action::ReplaceIrte(index, entry) => self.entry(index).set(entry),
            Action::InvalidateIrtes => {
                self.iommu.borrow_mut().invalidate_all();
                // It is over when what has begun by an old entry is in the pages.
                while self.land() {}
            }
        }
    }
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A device sends.
    Begin(u16, u16),
    /// What was sent arrives.
    Land,
    Enter(usize),
    Leave(usize, Leaving),
    /// A doorbell is heard.
    Hear(usize),
    /// The log is read, due or not.
    ReadLog,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let vcpu = 0..usize::from(VCPUS);
    let step = prop_oneof![
        5 => (0..VCPUS, 0..VCPUS).prop_map(|(device, index)| Step::Begin(device, index)),
        4 => Just(Step::Land),
        2 => vcpu.clone().prop_map(Step::Enter),
        2 => vcpu.clone().prop_map(|which| Step::Leave(which, Leaving::Blocking)),
        1 => vcpu.clone().prop_map(|which| Step::Leave(which, Leaving::Preempting)),
        1 => vcpu.prop_map(Step::Hear),
        1 => Just(Step::ReadLog),
    ];
    vec(step, 0..120)
}

/// A vCPU with its thread.
struct Thread<'a> {
    id: u32,
    vcpu: AvicVcpu<'a>,
    guest: Guest,
    has_rung: bool,
    sleeps: bool,
}

impl Thread<'_> {
    fn runs(&self) -> bool {
        matches!(self.vcpu.place(), Place::On(_))
    }

    fn step(&mut self, step: Step, page: &BackingPage, platform: &Platform<'_>) {
        match step {
            Step::Enter(_) if !self.runs() => {
                self.vcpu.enter(core_of(self.id), platform).expect("it is there");
                self.guest.enter(page).expect("sensible fields");
                self.sleeps = false;
            }
            Step::Leave(_, why) if self.runs() => {
                let left = self.vcpu.leave(why, platform).expect("it is there");
                self.sleeps = why == Leaving::Blocking && left == Left::Gone;
                self.has_rung = false;
            }
            Step::Hear(_) if self.runs() && self.has_rung => {
                self.guest.hear_doorbell(page);
                self.has_rung = false;
            }
            _ => {}
        }
    }
}

/// Doorbells and wake-ups reach their vCPUs: a doorbell whose guest has left is lost.
fn settle(platform: &Platform<'_>, threads: &mut [Thread<'_>]) {
    let (rung, woken) = (platform.rung.take(), platform.woken.take());
    for thread in threads {
        thread.has_rung |= thread.runs() && rung.contains(&core_of(thread.id).number());
        thread.sleeps &= !woken.contains(&thread.id);
    }
}

proptest! {
    /// R-73, driven: the hypervisor keeps is_run, IsRunning and the IOMMU's copies so that none is missed.
    #[test]
    fn r73_no_device_interrupt_is_lost_or_slept_over_however_vcpus_come_and_go(steps in steps()) {
        let vm = Memory::new(Addressing::Derived, (0..u32::from(VCPUS)).collect(), 8);
        let (table, _) = vm.tables(Ringer::Processor);
        let iommu = Amd::new(GuestNotice::Log(InterruptMessage::fixed(0xf4, ApicId(0))));
        let platform = Platform {
            vm: &vm,
            table,
            entries: vec![Cell::new(Irte { low: 0, high: 0 }); usize::from(VCPUS * VCPUS)],
            ring: Default::default(),
            iommu: RefCell::new(iommu),
            flights: RefCell::default(),
            rung: RefCell::default(),
            woken: RefCell::default(),
            log_is_due: Cell::new(false),
        };
        platform.iommu.borrow_mut().log.write_control(LOG_ON);
        let mut log = GaLog::new(&platform.ring).expect("4 entries");
        let mut threads = Vec::new();
        for (id, device) in (0..u32::from(VCPUS)).zip(0..) {
            let tag = GaTag::new(1, id).expect("small");
            let mut vcpu = AvicVcpu::new(ApicId(id), tag, table, vm.page(id)).expect("it is there");
            for index in 0..VCPUS {
                vcpu.attach(IrteIndex { device, index }, vector_of(device, index), &platform).expect("it is there");
            }
            let guest = vm.guest(Processor::default());
            threads.push(Thread { id, vcpu, guest, has_rung: false, sleeps: false });
        }
        let mut sent = BTreeSet::new();
        for step in steps {
            match step {
                Step::Begin(device, index) => {
                    platform.begin(device, index);
                    sent.insert((u32::from(device), vector_of(device, index).number()));
                }
                Step::Land => _ = platform.land(),
                Step::ReadLog => platform.read_log(&mut log),
                Step::Enter(which) | Step::Leave(which, _) | Step::Hear(which) => {
                    let thread = &mut threads[which];
                    thread.step(step, vm.page(thread.id), &platform);
                }
            }
            settle(&platform, &mut threads);
        }
        // Everything arrives in the end; the log is read only if the IOMMU has asked for it.
        while platform.land() {}
        if platform.log_is_due.get() {
            platform.read_log(&mut log);
        }
        settle(&platform, &mut threads);
        for (which, thread) in threads.iter_mut().enumerate() {
            let page = vm.page(thread.id);
            thread.step(Step::Hear(which), page, &platform);
            let waiting = (0..=u8::MAX).filter(|vector| page.has(VectorBits::InterruptRequest, *vector));
            let expected = sent.iter().filter(|(id, _)| *id == thread.id).map(|(_, vector)| *vector);
            assert!(waiting.eq(expected), "vCPU {} has what was sent to it", thread.id);
            let is_due = page.highest(VectorBits::InterruptRequest).is_some();
            assert!(!is_due || !thread.sleeps, "vCPU {} sleeps on", thread.id);
            if thread.runs() && is_due {
                assert_eq!(thread.guest.recognition(), Recognition::Recognised, "vCPU {}", thread.id);
            }
        }
    }
}
