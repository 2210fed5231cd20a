//! AMD-Vi: entries, what they say, and whom the IOMMU tells.

use std::cell::Cell;

use carillon_machine::InterruptMessage;
use carillon_machine::Signal;
use carillon_machine::iommu::Amd;
use carillon_machine::iommu::AmdFault;
use carillon_machine::iommu::AmdMemory;
use carillon_machine::iommu::DeviceInterrupts;
use carillon_machine::iommu::GuestNotice;
use carillon_machine::iommu::InterruptControl;
use carillon_machine::iommu::Request;
use carillon_machine::svm::BackingPages;
use hypervisor_abi::amd_iommu::GaLogCell;
use hypervisor_abi::amd_iommu::GaLogControl;
use hypervisor_abi::amd_iommu::GaLogEntry;
use hypervisor_abi::amd_iommu::GaTag;
use hypervisor_abi::amd_iommu::GuestIrteHigh;
use hypervisor_abi::amd_iommu::GuestIrteLow;
use hypervisor_abi::amd_iommu::Irte;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::DestinationMode;
use hypervisor_abi::apic::MsiAddress;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::VectorBits;
use hypervisor_abi::sync::Ordering;

pub(crate) const TABLE: u64 = 0x80_0000;
const NIC: u16 = 0x0310;
const FRAME: u64 = 0x1234;
const LOG_INTERRUPT: InterruptMessage = InterruptMessage::fixed(0xf4, ApicId(1));

/// One device with a table of sixteen entries, one page, and a log.
struct Memory {
    device: Cell<DeviceInterrupts>,
    entries: [Cell<Irte>; 16],
    page: BackingPage,
    ring: [GaLogCell; 4],
}

impl Memory {
    fn new(entry: Irte) -> Self {
        let memory = Self {
            device: Cell::new(device()),
            entries: [const { Cell::new(Irte { low: 0, high: 0 }) }; 16],
            page: BackingPage::default(),
            ring: Default::default(),
        };
        memory.entries[3].set(entry);
        memory
    }

    fn logged(&self) -> Vec<GaLogEntry> {
        self.ring.iter().map(|cell| cell.0.load(Ordering::Relaxed).into()).collect()
    }
}

impl BackingPages for Memory {
    fn backing_page(&self, frame: u64) -> Option<&BackingPage> {
        (frame == FRAME).then_some(&self.page)
    }
}

impl AmdMemory for Memory {
    fn device(&self, requester: u16) -> Option<DeviceInterrupts> {
        (requester == NIC).then_some(self.device.get())
    }

    fn remapping_entry(&self, address: u64) -> Option<Irte> {
        self.entries.get(usize::try_from(address.checked_sub(TABLE)? / 16).ok()?).map(Cell::get)
    }

    fn ga_log(&self) -> &[GaLogCell] {
        &self.ring
    }
}

fn device() -> DeviceInterrupts {
    let device = DeviceInterrupts::new().with_is_valid(true).with_control(InterruptControl::Remapped);
    device.with_table_length(4).with_table_line(TABLE >> 6)
}

/// An MSI of the device; its data names an entry.
fn request(data: u32) -> Request {
    Request { address: MsiAddress::from(0xfee0_5000), data, requester: NIC }
}

fn log_on(notice: GuestNotice) -> Amd {
    let mut iommu = Amd::new(notice);
    iommu.log.write_control(GaLogControl::new().with_log_enable(true).with_interrupt_enable(true));
    iommu
}

fn outcome(iommu: &mut Amd, memory: &Memory, request: Request) -> Result<Vec<Signal>, AmdFault> {
    let mut sent = Vec::new();
    iommu.request(request, memory, &mut |signal| sent.push(signal)).map(|()| sent)
}

fn guest_entry() -> (GuestIrteLow, GuestIrteHigh) {
    let low = GuestIrteLow::new().with_is_valid(true).with_guest_mode(true).with_tag(GaTag(0x0005_00f3));
    let low = low.with_destination(0x00ab_cdef);
    (low, GuestIrteHigh::new().with_vector(0x61).with_backing_frame(FRAME).with_destination(0x77))
}

fn entry((low, high): (GuestIrteLow, GuestIrteHigh)) -> Irte {
    Irte { low: low.into(), high: high.into() }
}

#[test]
fn a_devices_entry_decides_what_passes_what_is_remapped_and_what_is_aborted() {
    let memory = Memory::new(Irte { low: 0x0000_0001_0000_0501, high: 0x51 });
    let with = |device: DeviceInterrupts, data| {
        memory.device.set(device);
        outcome(&mut log_on(GuestNotice::Interrupt), &memory, request(data))
    };
    let message = |vector, delivery| {
        Ok(vec![Signal::Interrupt(InterruptMessage { delivery, ..InterruptMessage::fixed(vector, ApicId(5)) })])
    };
    let remapped = message(0x51, DeliveryMode::Fixed);
    assert_eq!(with(device(), 3), remapped);
    // Bits 63:32 of an entry in remapped form mean nothing, and data above the index neither.
    assert_eq!(with(device(), 0xffff_f803), remapped);
    assert_eq!(with(device().with_is_valid(false), 0x31), message(0x31, DeliveryMode::Fixed));
    assert_eq!(with(device().with_control(InterruptControl::Passed), 0x31), message(0x31, DeliveryMode::Fixed));
    for control in [InterruptControl::Aborted, InterruptControl::Reserved] {
        assert_eq!(with(device().with_control(control), 3), Err(AmdFault::Aborted));
    }
    assert_eq!(with(device(), 16), Err(AmdFault::BeyondTable));
    assert_eq!(with(device().with_table_length(1), 3), Err(AmdFault::BeyondTable));
    // An index above 255 is the mode of lowest priority, as the data of an MSI has it.
    assert_eq!(with(device().with_table_length(8), 0x100), Err(AmdFault::BeyondTable));
    assert_eq!(with(device().with_table_length(9), 0x100), Err(AmdFault::NoTable));
    assert_eq!(with(device().with_table_line(1), 3), Err(AmdFault::NoTable));
    assert_eq!(with(device(), 2), Err(AmdFault::NotRemapping));
    for (kind, delivery, passing) in [
        (4, DeliveryMode::Nmi, device().with_passes_nmi(true)),
        (5, DeliveryMode::Init, device().with_passes_init(true)),
        (7, DeliveryMode::ExtInt, device().with_passes_ext_int(true)),
    ] {
        assert_eq!(with(passing, kind << 8), message(0, delivery));
        assert_eq!(with(device(), kind << 8), Err(AmdFault::Mode));
    }
    for reserved in [2, 3, 6] {
        assert_eq!(
            with(DeviceInterrupts::from(u64::MAX).with_table_line(TABLE >> 6), reserved << 8),
            Err(AmdFault::Mode)
        );
    }
    let stranger = Request { requester: 1, ..request(3) };
    assert_eq!(outcome(&mut log_on(GuestNotice::Interrupt), &memory, stranger), Err(AmdFault::NoDevice));
}

#[test]
fn a_remapped_entry_names_its_destination_in_eight_bits_or_in_thirty_two() {
    let sent = |low: u64, mode| {
        let memory = Memory::new(Irte { low: low | 1, high: 0x7700_0000_0000_0051 });
        let mut iommu = Amd::new(GuestNotice::Interrupt);
        iommu.mode = mode;
        outcome(&mut iommu, &memory, request(3))
    };
    let message = |destination| InterruptMessage::fixed(0x51, ApicId(destination));
    let only = |message| Ok(vec![Signal::Interrupt(message)]);
    assert_eq!(sent(0xabcd_ef00, ApicMode::X2Apic), only(message(0x77ab_cdef)));
    assert_eq!(sent(0xabcd_ef00, ApicMode::XApic), only(message(0xef)));
    let logical = InterruptMessage { destination_mode: DestinationMode::Logical, ..message(0xef) };
    assert_eq!(sent(0xabcd_ef40, ApicMode::XApic), only(logical));
    let arbitrated = InterruptMessage { delivery: DeliveryMode::LowestPriority, ..message(0xef) };
    assert_eq!(sent(0xabcd_ef04, ApicMode::XApic), only(arbitrated));
    for kind in 2..8 {
        assert_eq!(sent(kind << 2, ApicMode::XApic), Err(AmdFault::Reserved));
    }
}

/// Every combination of IsRun, GALogIntr and GAPPIDis, for a vCPU for which nothing waited and one for which something did.
#[test]
fn the_bit_is_always_set_and_who_is_told_depends_on_where_the_vcpu_is() {
    let notices = [GuestNotice::Log(LOG_INTERRUPT), GuestNotice::Interrupt];
    for notice in notices {
        for bits in 0..16_u8 {
            let [runs, logs, objects, waits] = [0, 1, 2, 3].map(|bit| bits >> bit & 1 == 1);
            let (low, high) = guest_entry();
            let low = low.with_is_running(runs).with_logs(logs).with_gappi_disabled(objects);
            let memory = Memory::new(entry((low, high)));
            if waits {
                memory.page.set(VectorBits::InterruptRequest, 0x41);
            }
            let mut iommu = log_on(notice);
            let sent = outcome(&mut iommu, &memory, request(3)).expect("it is delivered");
            assert!(memory.page.has(VectorBits::InterruptRequest, 0x61));
            let is_logged = matches!(notice, GuestNotice::Log(_)) && !runs && logs;
            let expected = match notice {
                _ if runs => Some(Signal::Doorbell(ApicId(0x77ab_cdef))),
                GuestNotice::Log(interrupt) => logs.then_some(Signal::Interrupt(interrupt)),
                GuestNotice::Interrupt => {
                    let own = InterruptMessage::fixed(0xf3, ApicId(0x77ab_cdef));
                    (!objects && !waits).then_some(Signal::Interrupt(own))
                }
            };
            assert_eq!(sent, expected.into_iter().collect::<Vec<_>>(), "{notice:?} {bits:#06b}");
            let first = GaLogEntry::new().with_tag(GaTag(0x0005_00f3)).with_device(NIC).with_kind(1);
            assert_eq!(memory.logged()[0], if is_logged { first } else { GaLogEntry::new() });
            assert_eq!(iommu.log.tail(), if is_logged { 8 } else { 0 });
        }
    }
}

#[test]
fn an_entry_for_guests_needs_the_guest_mode_of_the_iommu_and_a_page() {
    let (low, high) = guest_entry();
    let memory = Memory::new(entry((low, high)));
    let mut off = Amd::new(GuestNotice::Interrupt);
    off.guest_mode = false;
    assert_eq!(outcome(&mut off, &memory, request(3)), Err(AmdFault::Reserved));
    let memory = Memory::new(entry((low, high.with_backing_frame(FRAME + 1))));
    assert_eq!(outcome(&mut Amd::new(GuestNotice::Interrupt), &memory, request(3)), Err(AmdFault::NoPage));
    let memory = Memory::new(entry((low.with_is_valid(false), high)));
    assert_eq!(outcome(&mut Amd::new(GuestNotice::Interrupt), &memory, request(3)), Err(AmdFault::NotRemapping));
    assert_eq!(memory.page.highest(VectorBits::InterruptRequest), None);
}

/// an entry that is no longer true, because it is cached or because nobody has changed it, rings where the vCPU is not
/// or logs it though it runs. The vector waits in its page all the same.
#[test]
fn r73_a_stale_entry_tells_the_wrong_one_and_never_loses_the_vector() {
    let (low, high) = guest_entry();
    let memory = Memory::new(entry((low.with_is_running(true), high)));
    let mut iommu = log_on(GuestNotice::Log(LOG_INTERRUPT));
    let rung = Ok(vec![Signal::Doorbell(ApicId(0x77ab_cdef))]);
    assert_eq!(outcome(&mut iommu, &memory, request(3)), rung);
    memory.entries[3].set(entry((low.with_logs(true), high)));
    for stale in [true, true, false] {
        if !stale {
            iommu.invalidate(NIC);
        }
        memory.page.clear(VectorBits::InterruptRequest, 0x61);
        let logged = Ok(vec![Signal::Interrupt(LOG_INTERRUPT)]);
        assert_eq!(outcome(&mut iommu, &memory, request(3)), if stale { rung.clone() } else { logged });
        assert!(memory.page.has(VectorBits::InterruptRequest, 0x61));
    }
    // Another device's invalidation does not concern it; everybody's does.
    memory.entries[3].set(entry((low.with_is_running(true), high)));
    iommu.invalidate(NIC + 1);
    assert_eq!(outcome(&mut iommu, &memory, request(3)), Ok(vec![]), "the log's interrupt is still pending");
    iommu.invalidate_all();
    assert_eq!(outcome(&mut iommu, &memory, request(3)), rung);
}
