//! A vCPU under AVIC: a device's IOMMU and another CPU set bits in its page and look where it is.

use std::sync::Mutex;

use hypervisor_abi::amd_iommu::GaTag;
use hypervisor_abi::amd_iommu::GuestIrteLow;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::HostApicId;
use hypervisor_abi::avic::PhysicalCell;
use hypervisor_abi::avic::TlbControl;
use hypervisor_abi::avic::VectorBits;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::delivery::avic::Action;
use hypervisor_lib::delivery::avic::AvicVcpu;
use hypervisor_lib::delivery::avic::Host;
use hypervisor_lib::delivery::avic::IpiVirtualization;
use hypervisor_lib::delivery::avic::IrteIndex;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::avic::PhysicalTable;
use hypervisor_lib::delivery::avic::X2AvicReach;
use hypervisor_lib::delivery::avic::post;
use hypervisor_lib::delivery::avic::tell;
use hypervisor_lib::migration::AvicWords;
use hypervisor_lib::migration::Blocking;
use hypervisor_lib::migration::Execution;
use hypervisor_lib::migration::Record;
use hypervisor_lib::migration::Residency;
use hypervisor_lib::migration::Vcpu;
use shuttle::sync::atomic::AtomicBool;
use shuttle::thread;
use vector_allocator::CpuId;
use vector_allocator::Vector;

use crate::explore;
use crate::linger;
use crate::posted::KEY;

const ID: ApicId = ApicId(0);
const CPUS: usize = 3;
const IRTE: IrteIndex = IrteIndex { device: 0x300, index: 0 };
/// What device and CPU send.
const SENT: [u8; 4] = [0x51, 0x61, 0x81, 0x82];

struct Machine {
    cells: [PhysicalCell; 1],
    page: BackingPage,
    rung: [AtomicBool; CPUS],
    is_woken: AtomicBool,
    /// The stored entry, and the copy the IOMMU goes by until it is invalidated. It treats an interrupt under the lock: an
    /// invalidation waits for that.
    iommu: shuttle::sync::Mutex<[GuestIrteLow; 2]>,
    logs: Mutex<u32>,
}

impl Host for Machine {
    fn act(&self, action: Action) {
        match action {
            Action::RingDoorbell(core) => self.rung[core.number() as usize].store(true, Ordering::SeqCst),
            Action::Wake(_) => self.is_woken.store(true, Ordering::SeqCst),
            Action::StoreIrteLow(_, low) => self.iommu.lock().expect("nobody panicked")[0] = low,
            Action::ReplaceIrte(_, irte) => self.iommu.lock().expect("nobody panicked")[0] = irte.low.into(),
            Action::InvalidateIrtes => {
                let mut iommu = self.iommu.lock().expect("nobody panicked");
                iommu[1] = iommu[0];
            }
        }
    }
}

impl Machine {
    fn table(&self) -> PhysicalTable<'_> {
        PhysicalTable::new(Mode::X2Avic, X2AvicReach::Standard, &self.cells, IpiVirtualization::On).expect("one entry")
    }

    /// The device interrupts: the IOMMU goes by its copy.
    fn interrupt(&self, number: u8) {
        linger();
        let is_logged = {
            let iommu = self.iommu.lock().expect("nobody panicked");
            let low = iommu[1];
            self.page.set(VectorBits::InterruptRequest, number);
            if low.is_running() {
                self.rung[low.destination() as usize].store(true, Ordering::SeqCst);
            }
            low.logs() && !low.is_running()
        };
        if is_logged {
            *self.logs.lock().expect("nobody panicked") += 1;
            tell(self.table(), ID, self).expect("in the table");
        }
    }

    /// The guest takes what is in its page: at an entry, and when the doorbell rings.
    fn take(&self, seen: &mut Vec<u8>) {
        while let Some(number) = self.page.highest(VectorBits::InterruptRequest) {
            self.page.clear(VectorBits::InterruptRequest, number);
            seen.push(number);
        }
    }

    fn run(&self, cpu: CpuId, seen: &mut Vec<u8>) {
        if self.rung[cpu.index()].swap(false, Ordering::SeqCst) {
            self.take(seen);
        }
        thread::yield_now();
    }
}

fn number(cpu: CpuId) -> Option<HostApicId> {
    HostApicId::new(cpu.0).ok()
}

fn scenario() {
    let machine = Machine {
        cells: Default::default(),
        page: BackingPage::default(),
        rung: Default::default(),
        is_woken: AtomicBool::new(false),
        iommu: shuttle::sync::Mutex::default(),
        logs: Mutex::default(),
    };
    machine.table().insert(ID, 1).expect("room");
    let mut seen = Vec::new();
    let mut avic = AvicVcpu::new(ID, GaTag(0), machine.table(), &machine.page).expect("in the table");
    avic.attach(IRTE, Vector::new(SENT[0]).expect("16 or more"), &machine).expect("in the table");
    thread::scope(|scope| {
        let machine = &machine;
        scope.spawn(move || [SENT[0], SENT[1]].into_iter().for_each(|number| machine.interrupt(number)));
        scope.spawn(move || {
            for number in [SENT[2], SENT[3]] {
                linger();
                let vector = Vector::new(number).expect("16 or more");
                post(machine.table(), ID, &machine.page, vector, TriggerMode::Edge, machine).expect("in the table");
            }
        });
        let (vcpu, flush) = (&mut avic, TlbControl::Keep);
        let mut words = AvicWords { vcpu, host: machine, number, space: None, flush };
        let record = Record::PhysicalTable { mode: Mode::X2Avic, irtes: vec![IRTE] };
        let vcpu = Residency::new(Vcpu { key: KEY, record });
        let mut running = vcpu.load(CpuId(0)).run(&mut words).expect("in the table");
        machine.take(&mut seen);
        for to in [1, 2, 0].map(CpuId) {
            machine.run(running.state().0, &mut seen);
            let mut execution = Execution::new(running.move_to(to, &[]));
            execution.run(&mut words).expect("nothing stands against it");
            running = execution.finish().expect("all steps are done");
            machine.take(&mut seen);
            machine.run(to, &mut seen);
            if seen.len() == SENT.len() {
                break;
            }
            machine.is_woken.store(false, Ordering::SeqCst);
            running = match running.block().run(&mut words).expect("in the table") {
                Blocking::Runnable(preempted) => preempted.load(to).run(&mut words).expect("in the table"),
                Blocking::Asleep(blocked) => {
                    while !machine.is_woken.load(Ordering::SeqCst) {
                        thread::yield_now();
                    }
                    blocked.load(to).run(&mut words).expect("in the table")
                }
                Blocking::GoesOn(_) => unreachable!("it has left its CPU"),
            };
            machine.take(&mut seen);
        }
        // Nothing but the doorbell tells it of the rest.
        while seen.len() < SENT.len() {
            machine.run(running.state().0, &mut seen);
        }
    });
    seen.sort_unstable();
    assert_eq!(seen, SENT, "each came once");
}

#[test]
fn a_vcpu_that_moves_and_halts_under_load_gets_every_interrupt_avic() {
    explore(1500, scenario);
}
