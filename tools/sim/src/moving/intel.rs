//! A host with Intel's hardware: VT-d before the device, IPI virtualization beside the sender, and a posted-interrupt descriptor
//! behind both.

use std::cell::Cell;
use std::cell::RefCell;

use carillon_machine::InterruptMessage;
use carillon_machine::PostedMemory;
use carillon_machine::Signal;
use carillon_machine::iommu::Request;
use carillon_machine::iommu::Vtd;
use carillon_machine::iommu::VtdMemory;
use carillon_machine::iommu::VtdRegisters;
use carillon_machine::vmx::Access;
use carillon_machine::vmx::Guest;
use carillon_machine::vmx::PhysicalWidth;
use carillon_machine::vmx::PidMemory;
use carillon_machine::vmx::Tertiary;
use carillon_machine::vmx::VirtualApicPage;
use carillon_machine::vmx::Vmcs;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::MsiAddress;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::pid_pointer::PidPointer;
use hypervisor_abi::pid_pointer::PidPointerCell;
use hypervisor_abi::posted::PostedControl;
use hypervisor_abi::posted::PostedDescriptor;
use hypervisor_abi::posted::PostedDestination;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::vtd::DescriptorAddress;
use hypervisor_abi::vtd::EntryInvalidation;
use hypervisor_abi::vtd::Irte;
use hypervisor_lib::delivery::Engine;
use hypervisor_lib::delivery::posted::PostedVcpu;
use hypervisor_lib::delivery::posted::PostingAction;
use hypervisor_lib::delivery::posted::PostingHost;
use hypervisor_lib::delivery::posted::Protocol;
use hypervisor_lib::delivery::posted::Urgency;
use hypervisor_lib::delivery::posted::VcpuKey;
use hypervisor_lib::delivery::posted::WakeLists;
use hypervisor_lib::delivery::posted::post;
use hypervisor_lib::migration::NotProgrammed;
use hypervisor_lib::migration::Source;
use hypervisor_lib::migration::SourceHost;
use hypervisor_lib::remapping;
use hypervisor_lib::remapping::Delivery;
use hypervisor_lib::remapping::RequesterId;
use hypervisor_lib::remapping::SourceCheck;
use parking_lot::RawMutex;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::Evacuation;
use vector_allocator::Vector;
use vector_allocator::VectorSet;

use super::DEVICE;
use super::Effect;
use super::FIRST_IRQ;
use super::Move;
use super::Silence;
use super::wires::NOTIFICATION;
use super::wires::Wires;
use super::wires::host_vector;

/// The vector of the IPI.
pub(super) const IPI: u8 = 0xe1;
/// The vector of the device's first interrupt; the others follow.
const FIRST_VECTOR: u8 = 0x31;
/// The host's vector that wakes blocked vCPUs.
const WAKE_UP: Vector = host_vector(0xf1);
/// Where the descriptor is.
pub(super) const DESCRIPTOR: u64 = 0x4000;
/// Where the PID-pointer table is.
const PID_TABLE: u64 = 0x5000;
/// Where the remapping table is, of 256 entries.
const TABLE: u64 = 0x8_0000;
const TABLE_SIZE: u8 = 7;
/// Only the device itself raises its interrupts.
const CHECK: SourceCheck = match SourceCheck::of(remapping::Sender::Integrated(RequesterId(DEVICE))) {
    Ok(check) => check,
    Err(_) => panic!("a device of no kind"),
};
/// How wide physical addresses are.
pub(super) const WIDTH: PhysicalWidth = PhysicalWidth(46);

/// The host, around one vCPU's descriptor.
pub(super) struct Intel {
    pub(super) wires: Wires,
    vcpu: PostedVcpu,
    lists: WakeLists<RawMutex>,
    pid_pointer: PidPointerCell,
    entries: Vec<Cell<Irte>>,
    vtd: RefCell<Vtd>,
}

/// The guest's vector of a device's interrupt.
pub(super) fn vector_of(irq: u32) -> u8 {
    let [offset, ..] = irq.wrapping_sub(FIRST_IRQ).to_le_bytes();
    FIRST_VECTOR.wrapping_add(offset)
}

impl Intel {
    /// A host whose IOMMU posts the device's interrupts to the descriptor.
    pub(super) fn new(of: &Move) -> Self {
        let cpus = of.from.0.max(of.to.0) + 1;
        let pointer = PidPointer::new().with_is_valid(true).with_line(DESCRIPTOR >> 6);
        Self {
            wires: Wires::new(of.from, of.to),
            vcpu: PostedVcpu::default(),
            lists: WakeLists::new(cpus),
            pid_pointer: PidPointerCell(u64::from(pointer).into()),
            entries: of.irqs().map(|irq| Cell::new(posted_entry(irq))).collect(),
            vtd: RefCell::new(Vtd::new(VtdRegisters::new(TABLE, TABLE_SIZE, ApicMode::X2Apic))),
        }
    }

    pub(super) fn descriptor(&self) -> &PostedDescriptor {
        &self.vcpu.descriptor
    }

    fn control(&self) -> PostedControl {
        self.descriptor().control.load(Ordering::SeqCst).into()
    }

    /// The device sends its interrupt.
    pub(super) fn request(&self, irq: u32) {
        let Some(entry) = self.entries.get(entry_of(irq)).map(Cell::get) else { return };
        let handle = u32::try_from(entry_of(irq)).unwrap_or(u32::MAX);
        // Remappable format, the handle in bits 19:5 (VT-d, 5.1.2.2).
        let address = MsiAddress::from(0xfee0_0010 | handle << 5);
        let request = Request { address, data: 0, requester: DEVICE };
        let send =
            |signal: &mut dyn FnMut(Signal)| self.vtd.borrow_mut().request(request, self, &mut |one| signal(one));
        let result = if entry.is_posted() {
            self.posting(vector_of(irq), send)
        } else {
            send(&mut |signal| self.wires.send(signal))
        };
        if let Err((fault, _)) = result {
            self.wires.note(Effect::Blocked(fault.to_string()));
        }
    }

    /// The other vCPU writes its interrupt command, by MSR.
    pub(super) fn command(&self) {
        let mut sender = sender();
        let icr = Icr::new().with_vector(IPI).with_destination(0);
        let Access::Virtual(Some(ipi)) = sender.wrmsr(ApicRegister::IcrLow.msr(), icr.into()) else {
            return self.wires.note(Effect::SenderExits);
        };
        let sent =
            self.posting(IPI, |signal| sender.send_ipi(ipi, WIDTH, ApicMode::X2Apic, self, &mut |one| signal(one)));
        if sent != Access::Virtual(()) {
            self.wires.note(Effect::SenderExits);
        }
    }

    /// The host posts a device's interrupt itself.
    pub(super) fn post_by_software(&self, irq: u32) {
        let Ok(vector) = Vector::new(vector_of(irq)) else { return };
        self.posting(vector.number(), |signal| {
            if let Some(notice) = post(self.descriptor(), vector, Urgency::Ordinary) {
                let (vector, destination) = (notice.vector, notice.destination);
                let message = InterruptMessage::notification(vector, destination, ApicMode::X2Apic);
                signal(Signal::Interrupt(message));
            }
        });
    }

    /// Notes what becomes of a post: its bit, and who is notified of it or why nobody is.
    fn posting<T>(&self, vector: u8, post: impl FnOnce(&mut dyn FnMut(Signal)) -> T) -> T {
        let (before, mut sent) = (self.control(), None);
        let result = post(&mut |signal| sent = Some(signal));
        self.wires.note(Effect::Posted(vector));
        match sent {
            Some(signal) => self.wires.send(signal),
            None if before.outstanding() => self.wires.note(Effect::Silent(Silence::Outstanding)),
            None => self.wires.note(Effect::Silent(Silence::Suppressed)),
        }
        result
    }
}

/// The entry that posts a device's interrupt.
fn posted_entry(irq: u32) -> Irte {
    let (Ok(vector), Ok(descriptor)) = (Vector::new(vector_of(irq)), DescriptorAddress::new(DESCRIPTOR)) else {
        return Irte::ABSENT;
    };
    let (urgency, engine) = (Urgency::Ordinary, Engine::IpiVirtualization);
    Delivery::Vcpu { vector, descriptor, urgency, engine }.entry(CHECK)
}

/// Which entry a device's interrupt has.
fn entry_of(irq: u32) -> usize {
    usize::try_from(irq.wrapping_sub(FIRST_IRQ)).unwrap_or(usize::MAX)
}

/// A vCPU with everything a processor virtualizes, reached by MSRs, interrupts enabled.
pub(super) fn vcpu() -> Guest {
    let mut vmcs = Vmcs {
        virtual_apic_address: 0x1000,
        descriptor_address: DESCRIPTOR,
        pid_pointer_table: PID_TABLE,
        last_pid_pointer: 0,
        notification_vector: NOTIFICATION.number().into(),
        ..Vmcs::default()
    };
    vmcs.controls.pin.set_external_interrupt_exiting(true);
    vmcs.controls.pin.set_process_posted_interrupts(true);
    vmcs.controls.primary.set_use_tpr_shadow(true);
    vmcs.controls.primary.set_use_msr_bitmaps(true);
    vmcs.controls.primary.set_activate_secondary(true);
    vmcs.controls.primary.set_activate_tertiary(true);
    vmcs.controls.secondary.set_virtualize_x2apic_mode(true);
    vmcs.controls.secondary.set_apic_register_virtualization(true);
    vmcs.controls.secondary.set_virtual_interrupt_delivery(true);
    vmcs.controls.tertiary = Tertiary::new().with_ipi_virtualization(true);
    vmcs.controls.exit.set_acknowledge_interrupt_on_exit(true);
    vmcs.interrupt_flag = carillon_machine::InterruptFlag::Set;
    Guest::new(vmcs, VirtualApicPage::new())
}

/// The vCPU that sends, on a CPU of its own.
fn sender() -> Guest {
    vcpu()
}

impl PostedMemory for Intel {
    fn descriptor(&self, address: u64) -> Option<&PostedDescriptor> {
        (address == DESCRIPTOR).then_some(&self.vcpu.descriptor)
    }
}

impl VtdMemory for Intel {
    fn remapping_entry(&self, address: u64) -> Option<Irte> {
        let index = usize::try_from(address.checked_sub(TABLE)? / 16).ok()?;
        Some(self.entries.get(index).map_or(Irte::ABSENT, Cell::get))
    }
}

impl PidMemory for Intel {
    fn pid_pointer(&self, address: u64) -> Option<&PidPointerCell> {
        (address == PID_TABLE).then_some(&self.pid_pointer)
    }
}

impl PostingHost for Intel {
    type Lock = RawMutex;

    fn posted_vcpu(&self, _: VcpuKey) -> Option<&PostedVcpu> {
        Some(&self.vcpu)
    }

    fn wake_lists(&self) -> &WakeLists<RawMutex> {
        &self.lists
    }

    fn destination(&self, cpu: CpuId) -> PostedDestination {
        PostedDestination::new(ApicId(cpu.0), ApicMode::X2Apic)
    }

    fn notification_vector(&self) -> Vector {
        NOTIFICATION
    }

    fn wake_up_vector(&self) -> Vector {
        WAKE_UP
    }

    fn protocol(&self) -> Protocol {
        Protocol::Xen
    }

    fn act(&self, action: PostingAction) {
        if let PostingAction::Wake(_) = action {
            self.wires.note(Effect::Woken);
        }
    }
}

impl SourceHost for Intel {
    fn program(&self, source: Source, vector: Vector, target: CpuId) -> Result<(), NotProgrammed> {
        let entry = self.entries.get(entry_of(source.irq)).ok_or(NotProgrammed)?;
        let (destination, trigger) = (PostingHost::destination(self, target), TriggerMode::Edge);
        entry.set(Delivery::Host { vector, destination, trigger }.entry(CHECK));
        self.vtd.borrow_mut().invalidate(EntryInvalidation::new());
        Ok(())
    }

    fn live_on(&self, vector: Vector) -> CpuSet {
        self.wires.live_on(vector)
    }

    fn waiting_on(&self, cpu: CpuId) -> VectorSet {
        self.wires.with_lapic(cpu, |lapic| *lapic.waiting()).unwrap_or(VectorSet::EMPTY)
    }

    /// No CPU goes while a vCPU moves.
    fn evacuated(&self, _: Evacuation) {}
}
