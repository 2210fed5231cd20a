//! A vCPU under AVIC: the library's tables and entries, AMD's processors and IOMMU.

use std::cell::Cell;
use std::cell::RefCell;

use carillon_machine::Doorbell;
use carillon_machine::InterruptFlag;
use carillon_machine::InterruptMessage;
use carillon_machine::Signal;
use carillon_machine::iommu::Amd;
use carillon_machine::iommu::AmdMemory;
use carillon_machine::iommu::DeviceInterrupts;
use carillon_machine::iommu::GuestNotice;
use carillon_machine::iommu::InterruptControl;
use carillon_machine::iommu::Request;
use carillon_machine::svm::Access;
use carillon_machine::svm::AvicMemory;
use carillon_machine::svm::BackingPages;
use carillon_machine::svm::Event;
use carillon_machine::svm::Exit;
use carillon_machine::svm::Guest;
use carillon_machine::svm::InterruptIntercept;
use carillon_machine::svm::NestedPaging;
use carillon_machine::svm::Processor;
use carillon_machine::svm::RegisterOffset;
use carillon_machine::svm::Vmcb;
use hypervisor_abi::amd_iommu::GaLogCell;
use hypervisor_abi::amd_iommu::GaTag;
use hypervisor_abi::amd_iommu::GuestIrteLow;
use hypervisor_abi::amd_iommu::Irte;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::MsiAddress;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::HostApicId;
use hypervisor_abi::avic::IncompleteIpi;
use hypervisor_abi::avic::InterruptControl as AvicControl;
use hypervisor_abi::avic::LogicalCell;
use hypervisor_abi::avic::PhysicalCell;
use hypervisor_abi::avic::PhysicalTablePointer;
use hypervisor_abi::avic::TlbControl;
use hypervisor_lib::delivery::avic::Action;
use hypervisor_lib::delivery::avic::AvicVcpu;
use hypervisor_lib::delivery::avic::Host;
use hypervisor_lib::delivery::avic::IpiVirtualization;
use hypervisor_lib::delivery::avic::IrteIndex;
use hypervisor_lib::delivery::avic::LogicalIds;
use hypervisor_lib::delivery::avic::LogicalModel;
use hypervisor_lib::delivery::avic::LogicalTable;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::avic::PhysicalTable;
use hypervisor_lib::delivery::avic::SharedAsid;
use hypervisor_lib::delivery::avic::TableError;
use hypervisor_lib::delivery::avic::X2AvicReach;
use hypervisor_lib::delivery::avic::finish_ipi;
use hypervisor_lib::migration::AvicWords;
use hypervisor_lib::migration::Carrier;
use hypervisor_lib::migration::Outcome;
use hypervisor_lib::migration::Step;
use hypervisor_lib::migration::StepError;
use vector_allocator::CpuId;
use vector_allocator::Vector;

use super::DEVICE;
use super::Effect;
use super::Move;
use super::Sender;
use super::Silence;
use super::bed::Bed;
use super::intel::IPI;
use super::intel::vector_of;
use super::wires::Wires;

/// The vCPU that moves.
const MOVER: ApicId = ApicId(0);
/// The vCPU that sends.
const SENDER: ApicId = ApicId(1);
/// Where the first backing page is; the other follows.
const FIRST_FRAME: u64 = 0x100;
const PHYSICAL: u64 = 0x20_0000;
const LOGICAL: u64 = 0x21_0000;
/// The device's table of remapping entries, of 2 to the power of this.
const TABLE: u64 = 0x40_0000;
const TABLE_LENGTH: u8 = 8;
/// The interrupt of the guest-APIC log.
const LOG_VECTOR: u8 = 0xf4;

/// Memory, the IOMMU and the wires, as everybody reaches them.
#[derive(Debug)]
pub(super) struct Amds {
    wires: Wires,
    physical: [PhysicalCell; 2],
    logical: [LogicalCell; 64],
    pages: [BackingPage; 2],
    entries: Vec<Cell<Irte>>,
    ring: [GaLogCell; 4],
    iommu: RefCell<Amd>,
}

/// The remapping entry of a device's interrupt.
pub(super) fn entry_of(of: &Move, irq: u32) -> IrteIndex {
    let index = of.irqs().position(|known| known == irq).and_then(|index| u16::try_from(index).ok());
    IrteIndex { device: DEVICE, index: index.unwrap_or(u16::MAX) }
}

impl Amds {
    pub(super) fn new(of: &Move) -> Self {
        let log = GuestNotice::Log(InterruptMessage::fixed(LOG_VECTOR, ApicId(of.from.0)));
        Self {
            wires: Wires::new(of.from, of.to),
            physical: Default::default(),
            logical: std::array::from_fn(|_| LogicalCell::default()),
            pages: Default::default(),
            entries: (0..of.interrupts).map(|_| Cell::new(Irte { low: 0, high: 0 })).collect(),
            ring: Default::default(),
            iommu: RefCell::new(Amd::new(log)),
        }
    }

    fn table(&self) -> Result<PhysicalTable<'_>, TableError> {
        PhysicalTable::new(Mode::XAvic, X2AvicReach::Standard, &self.physical, IpiVirtualization::On)
    }

    fn entry(&self, index: IrteIndex) -> Option<&Cell<Irte>> {
        self.entries.get(usize::from(index.index)).filter(|_| index.device == DEVICE)
    }

    /// The device sends its interrupt.
    fn request(&self, index: IrteIndex, vector: u8) {
        let request = Request { address: MsiAddress::from(0xfee0_0000), data: index.index.into(), requester: DEVICE };
        let mut sent = None;
        let result = self.iommu.borrow_mut().request(request, self, &mut |signal| sent = Some(signal));
        if let Err(fault) = result {
            return self.wires.note(Effect::Blocked(fault.to_string()));
        }
        self.wires.note(Effect::Requested(vector));
        match sent {
            Some(signal) => self.wires.send(signal),
            None => self.wires.note(Effect::Silent(Silence::NotRunning)),
        }
    }

    /// The other vCPU writes its interrupt command.
    fn command(&self) {
        let [_, page] = &self.pages;
        let mut sender = vcpu(FIRST_FRAME + 1);
        let high = RegisterOffset::of_address(ApicRegister::IcrHigh.offset().into());
        let low = RegisterOffset::of_address(ApicRegister::IcrLow.offset().into());
        let addressed =
            sender.enter(page).is_ok() && sender.write_page(page, high, MOVER.0 << 24) == Access::Virtual(None);
        let Access::Virtual(Some(ipi)) = sender.write_page(page, low, IPI.into()) else {
            return self.wires.note(Effect::SenderExits);
        };
        if !addressed {
            return self.wires.note(Effect::SenderExits);
        }
        let mut rung = Vec::new();
        let sent = sender.send_ipi(ipi, page, self, &mut |signal: Signal| rung.push(signal));
        self.wires.note(Effect::Requested(IPI));
        rung.into_iter().for_each(|signal| self.wires.send(signal));
        if let Access::Exit(exit) = sent {
            self.wires.note(Effect::SenderExits);
            self.finish(IncompleteIpi::from_info(exit.info1(), exit.info2()));
        }
    }

    /// What the hypervisor does about a command that exited.
    fn finish(&self, exit: IncompleteIpi) {
        let logical = LogicalIds::Table(LogicalTable::new(&self.logical), LogicalModel::Flat);
        let finished = self.table().map(|table| finish_ipi(table, logical, SENDER, exit, self));
        match finished {
            Ok(Ok(_)) => {}
            Ok(Err(broken)) => self.wires.note(Effect::Blocked(broken.to_string())),
            Err(refused) => self.wires.note(Effect::Blocked(refused.to_string())),
        }
    }
}

/// A vCPU reached by its page, interrupts enabled.
fn vcpu(frame: u64) -> Guest {
    let vmcb = Vmcb {
        control: AvicControl::new().with_avic(true).with_masks_virtual_interrupts(true),
        backing_page: frame << 12,
        logical_table: LOGICAL,
        physical_table: PhysicalTablePointer::new().with_frame(PHYSICAL >> 12).with_max_index(1),
        nested_paging: NestedPaging::On,
        interrupt_intercept: InterruptIntercept::Exit,
        interrupt_flag: InterruptFlag::Set,
        ..Vmcb::default()
    };
    Guest::new(vmcb, Processor::default())
}

impl Host for Amds {
    fn act(&self, action: Action) {
        match action {
            Action::RingDoorbell(core) => self.wires.send(Signal::Doorbell(ApicId(core.number()))),
            Action::Wake(_) => self.wires.note(Effect::Woken),
            Action::StoreIrteLow(index, low) => {
                if let Some(entry) = self.entry(index) {
                    entry.set(Irte { low: GuestIrteLow::into_bits(low), ..entry.get() });
                }
            }
            Action::ReplaceIrte(index, irte) => {
                if let Some(entry) = self.entry(index) {
                    entry.set(irte);
                }
            }
            Action::InvalidateIrtes => self.iommu.borrow_mut().invalidate_all(),
        }
    }
}

impl BackingPages for Amds {
    fn backing_page(&self, frame: u64) -> Option<&BackingPage> {
        self.pages.get(usize::try_from(frame.checked_sub(FIRST_FRAME)?).ok()?)
    }
}

impl AvicMemory for Amds {
    fn physical_entry(&self, address: u64) -> Option<&PhysicalCell> {
        self.physical.get(usize::try_from(address.checked_sub(PHYSICAL)? / 8).ok()?)
    }

    fn logical_entry(&self, address: u64) -> Option<&LogicalCell> {
        self.logical.get(usize::try_from(address.checked_sub(LOGICAL)? / 4).ok()?)
    }
}

impl AmdMemory for Amds {
    fn device(&self, requester: u16) -> Option<DeviceInterrupts> {
        let device = DeviceInterrupts::new().with_is_valid(true).with_control(InterruptControl::Remapped);
        (requester == DEVICE).then_some(device.with_table_length(TABLE_LENGTH).with_table_line(TABLE >> 6))
    }

    fn remapping_entry(&self, address: u64) -> Option<Irte> {
        self.entries.get(usize::try_from(address.checked_sub(TABLE)? / 16).ok()?).map(Cell::get)
    }

    fn ga_log(&self) -> &[GaLogCell] {
        &self.ring
    }
}

/// The vCPU on its host.
#[derive(Debug)]
pub(super) struct AvicBed<'h> {
    host: &'h Amds,
    of: Move,
    vcpu: AvicVcpu<'h>,
    /// Who ran where: vCPU 1 last ran on the CPU that the other moves to.
    asid: SharedAsid,
    flush: TlbControl,
    guest: Guest,
}

impl<'h> AvicBed<'h> {
    /// A vCPU that has not run yet, to which the device's interrupts are delivered.
    pub(super) fn new(host: &'h Amds, of: &Move) -> Result<Self, TableError> {
        let table = host.table()?;
        table.insert(MOVER, FIRST_FRAME)?;
        table.insert(SENDER, FIRST_FRAME + 1)?;
        let [page, _] = &host.pages;
        let mut vcpu = AvicVcpu::new(MOVER, GaTag(0), table, page)?;
        for irq in of.irqs() {
            if let Ok(vector) = Vector::new(vector_of(irq)) {
                vcpu.attach(entry_of(of, irq), vector, host)?;
            }
        }
        let mut asid = SharedAsid::new(of.from.index().max(of.to.index()) + 1);
        let flush = asid.enter(of.to.index(), SENDER, Mode::XAvic).unwrap_or(TlbControl::Keep);
        Ok(Self { host, of: *of, vcpu, asid, flush, guest: self::vcpu(FIRST_FRAME) })
    }

    fn page(&self) -> &'h BackingPage {
        let [page, _] = &self.host.pages;
        page
    }

    fn vm_entry(&mut self) {
        if let Err(fault) = self.guest.enter(self.page()) {
            self.host.wires.note(Effect::Blocked(fault.to_string()));
        }
    }

    fn delivered(&mut self, vector: u8, cpu: CpuId) {
        let number = |sender: &Sender| match sender {
            Sender::Device(irq) => vector_of(*irq),
            Sender::Vcpu => IPI,
        };
        if let Some(sender) = self.of.senders().into_iter().find(|sender| number(sender) == vector) {
            self.host.wires.note(Effect::Delivered(sender, cpu));
        }
        // The handler ends it; of an edge-triggered interrupt the processor does that alone.
        let end = RegisterOffset::of_address(ApicRegister::Eoi.offset().into());
        self.guest.write_page(self.page(), end, 0);
    }
}

impl Carrier for AvicBed<'_> {
    fn carry_out(&mut self, step: &Step) -> Result<Outcome, StepError> {
        let number = |cpu: CpuId| HostApicId::new(cpu.0).ok();
        let space = Some((&mut self.asid, MOVER));
        let mut words = AvicWords { vcpu: &mut self.vcpu, host: self.host, number, space, flush: self.flush };
        let outcome = words.carry_out(step);
        self.flush = words.flush;
        outcome
    }
}

impl Bed for AvicBed<'_> {
    fn wires(&self) -> &Wires {
        &self.host.wires
    }

    fn send(&mut self, sender: Sender) {
        match sender {
            Sender::Device(irq) => self.host.request(entry_of(&self.of, irq), vector_of(irq)),
            Sender::Vcpu => self.host.command(),
        }
    }

    fn enter(&mut self, cpu: CpuId) {
        if std::mem::replace(&mut self.flush, TlbControl::Keep) != TlbControl::Keep {
            self.host.wires.note(Effect::Flushed);
        }
        // What rang while the host ran is over (APM vol. 2, 15.29.8.2).
        self.host.wires.hear(cpu);
        self.vm_entry();
        self.go_on(cpu);
    }

    fn go_on(&mut self, cpu: CpuId) {
        let (host, page) = (self.host, self.page());
        loop {
            if host.wires.hear(cpu) == Doorbell::Rung {
                host.wires.note(Effect::Heard(cpu));
                self.guest.hear_doorbell(page);
            }
            let guest = &mut self.guest;
            match host.wires.with_lapic(cpu, |lapic| guest.boundary(page, lapic)) {
                Some(Event::Delivered(vector)) => self.delivered(vector, cpu),
                Some(Event::Exited(Exit::Interrupt)) => {
                    self.take_in_host(cpu);
                    self.vm_entry();
                }
                Some(Event::Exited(_) | Event::External(_) | Event::Nothing) | None => break,
            }
        }
    }

    fn take_in_host(&mut self, cpu: CpuId) {
        for vector in self.host.wires.take_in_host(cpu) {
            self.host.wires.note(Effect::Noticed(vector.number(), cpu));
        }
    }
}
