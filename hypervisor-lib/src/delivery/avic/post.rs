//! How the hypervisor makes a vector pending in a vCPU that AVIC may be running.

use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::VectorBits;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::sync::change_before_look;
use vector_allocator::Vector;

use super::host::Action;
use super::host::Host;
use super::table::EntryCell;
use super::table::PhysicalTable;
use super::table::Residence;
use super::table::TableError;

/// How a vCPU was told that a vector waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Told {
    /// By a doorbell.
    Doorbell,
    /// By being woken.
    Woken,
    /// Not at all: the vector waited already, and whoever set it tells the vCPU.
    Already,
}

/// Makes a vector pending, and tells the vCPU.
///
/// The trigger mode is set before the vector: the processor may deliver the vector, and the guest end it, as soon as it is
/// pending, and only the trigger mode makes that end exit. There is no other sign of it: AVIC has no EOI-exit bitmap.
///
/// # Errors
/// The vCPU is not in the table; its page is as it was.
pub fn post<C: EntryCell>(
    table: PhysicalTable<'_, C>,
    id: ApicId,
    page: &BackingPage,
    vector: Vector,
    trigger: TriggerMode,
    host: &impl Host,
) -> Result<Told, TableError> {
    table.entry(id)?;
    let vector = vector.number();
    match (trigger, page.has(VectorBits::TriggerMode, vector)) {
        (TriggerMode::Level, false) => _ = page.set(VectorBits::TriggerMode, vector),
        (TriggerMode::Edge, true) => _ = page.clear(VectorBits::TriggerMode, vector),
        _ => {}
    }
    if page.set(VectorBits::InterruptRequest, vector) {
        return Ok(Told::Already);
    }
    change_before_look();
    tell(table, id, host)
}

/// Tells a vCPU to look at its IRR, where a vector is pending by now. Once too often does no harm.
///
/// # Errors
/// The vCPU is not in the table.
pub fn tell<C: EntryCell>(table: PhysicalTable<'_, C>, id: ApicId, host: &impl Host) -> Result<Told, TableError> {
    Ok(match table.residence(id)? {
        Residence::On(core) => {
            host.act(Action::RingDoorbell(core));
            Told::Doorbell
        }
        Residence::Away => {
            host.act(Action::Wake(id));
            Told::Woken
        }
    })
}

/// The vector that would be delivered to a vCPU that takes interrupts: the highest pending one, if its class is above that of
/// the task priority and of everything in service (SDM vol. 3A, 11.8.3.1; APM vol. 2, 16.6.4).
#[must_use]
pub fn due(page: &BackingPage) -> Option<Vector> {
    let pending = Vector::new(page.highest(VectorBits::InterruptRequest)?).ok()?;
    let [task, ..] = page.register(ApicRegister::TaskPriority).load(Ordering::Acquire).to_le_bytes();
    let in_service = page.highest(VectorBits::InService).unwrap_or(0);
    (pending.number() >> 4 > (task >> 4).max(in_service >> 4)).then_some(pending)
}

#[cfg(test)]
mod tests {
    use core::cell::RefCell;

    use hypervisor_abi::apic::ApicId;
    use hypervisor_abi::apic::ApicRegister;
    use hypervisor_abi::apic::TriggerMode;
    use hypervisor_abi::avic::BackingPage;
    use hypervisor_abi::avic::HostApicId;
    use hypervisor_abi::avic::PhysicalCell;
    use hypervisor_abi::avic::VectorBits;
    use hypervisor_abi::sync::Ordering;
    use vector_allocator::Vector;

    use super::Told;
    use super::due;
    use super::post;
    use crate::delivery::avic::Action;
    use crate::delivery::avic::Host;
    use crate::delivery::avic::IpiVirtualization;
    use crate::delivery::avic::Mode;
    use crate::delivery::avic::PhysicalTable;
    use crate::delivery::avic::Residence;
    use crate::delivery::avic::TableError;
    use crate::delivery::avic::X2AvicReach;
    use alloc::vec::Vec;

    const ID: ApicId = ApicId(0);

    #[derive(Default)]
    struct Log(RefCell<Vec<Action>>);

    impl Host for Log {
        fn act(&self, action: Action) {
            self.0.borrow_mut().push(action);
        }
    }

    fn vector(number: u8) -> Vector {
        Vector::new(number).expect("16 or more")
    }

    fn table(cells: &[PhysicalCell]) -> PhysicalTable<'_> {
        let table = PhysicalTable::new(Mode::XAvic, X2AvicReach::Standard, cells, IpiVirtualization::On).expect("fits");
        table.insert(ID, 1).expect("room");
        table
    }

    #[test]
    fn a_vcpu_on_a_processor_hears_its_doorbell_and_another_is_woken() {
        let (cells, page, log) = ([PhysicalCell::default()], BackingPage::default(), Log::default());
        let table = table(&cells);
        let core = HostApicId::new(0x12).expect("small");
        assert_eq!(post(table, ID, &page, vector(0x51), TriggerMode::Edge, &log), Ok(Told::Woken));
        assert_eq!(post(table, ID, &page, vector(0x51), TriggerMode::Edge, &log), Ok(Told::Already));
        table.set_residence(ID, Residence::On(core)).expect("there");
        assert_eq!(post(table, ID, &page, vector(0x52), TriggerMode::Edge, &log), Ok(Told::Doorbell));
        assert_eq!(log.0.take(), [Action::Wake(ID), Action::RingDoorbell(core)]);
    }

    #[test]
    fn the_trigger_mode_is_that_of_the_last_that_came() {
        let (cells, page, log) = ([PhysicalCell::default()], BackingPage::default(), Log::default());
        let table = table(&cells);
        for trigger in [TriggerMode::Edge, TriggerMode::Level, TriggerMode::Level, TriggerMode::Edge] {
            post(table, ID, &page, vector(0x51), trigger, &log).expect("there");
            assert_eq!(page.has(VectorBits::TriggerMode, 0x51), trigger == TriggerMode::Level);
        }
    }

    #[test]
    fn a_vcpu_that_is_not_there_keeps_its_page() {
        let (cells, page, log) = ([PhysicalCell::default()], BackingPage::default(), Log::default());
        let table = table(&cells);
        table.remove(ID).expect("there");
        let refused = post(table, ID, &page, vector(0x51), TriggerMode::Level, &log);
        assert_eq!(refused, Err(TableError::Absent(ID)));
        assert_eq!(page.highest(VectorBits::InterruptRequest), None);
        assert_eq!(page.highest(VectorBits::TriggerMode), None);
        assert_eq!(log.0.take(), []);
    }

    #[test]
    fn a_vector_is_due_if_its_class_outranks_task_priority_and_service() {
        for pending in 0..=u8::MAX {
            for other in (0..=u8::MAX).step_by(5) {
                let page = BackingPage::default();
                page.set(VectorBits::InterruptRequest, pending);
                let expected = (pending >= 16 && pending >> 4 > other >> 4).then(|| vector(pending));
                page.register(ApicRegister::TaskPriority).store(other.into(), Ordering::Relaxed);
                assert_eq!(due(&page), expected, "{pending:#x} under task priority {other:#x}");
                page.register(ApicRegister::TaskPriority).store(0, Ordering::Relaxed);
                page.set(VectorBits::InService, other);
                assert_eq!(due(&page), expected, "{pending:#x} above {other:#x} in service");
            }
        }
    }
}
