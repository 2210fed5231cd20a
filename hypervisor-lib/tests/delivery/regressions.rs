//! Bugs that shipped elsewhere, replayed: each test names its scenario's id.

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::LvtEntry;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::ApicBus;
use hypervisor_lib::delivery::Destination;
use hypervisor_lib::delivery::Message;
use hypervisor_lib::delivery::software::Acknowledged;
use hypervisor_lib::delivery::software::LocalApic;
use hypervisor_lib::delivery::software::MsrFault;
use hypervisor_lib::delivery::software::Pin;
use hypervisor_lib::event::Level;

use crate::machine::ALL_FEATURES;
use crate::machine::EOI;
use crate::machine::ICR;
use crate::machine::Machine;
use crate::machine::config;
use crate::machine::kick;
use crate::machine::vector;

fn fixed(to: u32, vector: u8, trigger: TriggerMode) -> Message {
    Message { destination: Destination::Physical(to), delivery: DeliveryMode::Fixed, vector, trigger }
}

#[test]
fn r30_a_message_to_a_software_disabled_apic_leaves_no_trace_and_enabling_says_so() {
    let mut machine = Machine::reset(&[0, 1]);
    for delivery in [DeliveryMode::Fixed, DeliveryMode::LowestPriority, DeliveryMode::ExtInt] {
        let message = Message { delivery, ..fixed(1, 0xf3, TriggerMode::Edge) };
        machine.host.bus.send(&message, &machine.host);
        machine.apics[1].receive(&message, &machine.host);
    }
    assert_eq!(machine.host.take(), [], "nobody is kicked");
    machine.write_page(1, ApicRegister::SpuriousVector, 0x1ff);
    assert_eq!(machine.host.take(), [Action::SoftwareEnabled], "the upcall is looked at again");
    assert_eq!(machine.drain(1), []);
    machine.write_page(1, ApicRegister::SpuriousVector, 0x1fe);
    assert_eq!(machine.host.take(), [], "it was enabled already");
}

#[test]
fn r33_an_external_interrupt_by_message_is_delivered_once() {
    let mut machine = Machine::xapic(&[0, 1]);
    let message = Message { delivery: DeliveryMode::ExtInt, ..fixed(1, 0, TriggerMode::Edge) };
    machine.host.bus.send(&message, &machine.host);
    assert_eq!(machine.host.take(), [kick(1)]);
    machine.apics[1].sync(&machine.host);
    assert_eq!(machine.apics[1].acknowledge(), Acknowledged::ExtInt);
    assert!(!machine.apics[1].has_interrupt());
}

#[test]
fn r43_a_restored_apic_knows_what_was_in_service() {
    let mut machine = Machine::x2apic(&[0]);
    for vector in [0x41_u64, 0x61, 0x81] {
        machine.write(0, 0x83f, vector).expect("a vector");
        machine.apics[0].acknowledge();
    }
    machine.write(0, 0x83f, 0x71).expect("a vector");
    let saved = machine.apics[0].save(machine.now);
    let restored = LocalApic::restore(config(0, 0, ALL_FEATURES), &saved, machine.now, &machine.host);
    machine.apics[0] = restored.expect("what was saved");
    assert_eq!(machine.read(0, 0x80a), Ok(0x80));
    assert_eq!(machine.apics[0].dispatchable(), None, "0x81 is still in service");
    machine.write(0, EOI, 0).expect("an EOI");
    assert_eq!(machine.apics[0].dispatchable(), Some(vector(0x71)));
}

#[test]
fn r45_the_end_of_a_lower_vector_is_told_once_though_a_higher_one_came_between() {
    let mut machine = Machine::xapic(&[0]);
    machine.host.bus.send(&fixed(0, 0xd1, TriggerMode::Level), &machine.host);
    machine.apics[0].sync(&machine.host);
    assert_eq!(machine.apics[0].acknowledge(), Acknowledged::Vector(vector(0xd1)));
    machine.host.bus.send(&fixed(0, 0xe1, TriggerMode::Edge), &machine.host);
    machine.host.take();
    assert_eq!(machine.drain(0), [0xe1]);
    assert_eq!(machine.host.take(), [], "the IPI's end is nobody's business");
    machine.write_page(0, ApicRegister::Eoi, 0);
    assert_eq!(machine.host.take(), [Action::EndOfInterrupt(vector(0xd1))]);
    machine.write_page(0, ApicRegister::Eoi, 0);
    assert_eq!(machine.host.take(), [], "nothing is in service");
}

#[test]
fn r51_what_was_posted_is_synced_although_an_external_interrupt_goes_first() {
    let mut machine = Machine::xapic(&[0]);
    machine.write_page(0, ApicRegister::Lvt(LvtEntry::Lint0), 0x700);
    machine.apics[0].set_pin(Pin::Lint0, Level::High, &machine.host);
    machine.host.bus.send(&fixed(0, 0x51, TriggerMode::Edge), &machine.host);
    machine.apics[0].sync(&machine.host);
    assert_eq!(machine.apics[0].acknowledge(), Acknowledged::ExtInt);
    assert_eq!(machine.register(0, ApicRegister::at_offset(0x220).expect("IRR2")), 1 << 17);
}

#[test]
fn r52_an_end_by_other_means_serves_what_remains() {
    let mut machine = Machine::x2apic(&[0]);
    for vector in [0x41_u64, 0x81] {
        machine.write(0, 0x83f, vector).expect("a vector");
        machine.apics[0].acknowledge();
    }
    machine.write(0, 0x83f, 0x51).expect("a vector");
    machine.apics[0].end_of_interrupt(&machine.host);
    assert_eq!(machine.read(0, 0x80a), Ok(0x40), "the priority is that of what remains");
    assert_eq!(machine.apics[0].acknowledge(), Acknowledged::Vector(vector(0x51)));
}

#[test]
fn r54_the_trigger_mode_is_that_of_the_last_message_accepted() {
    let mut machine = Machine::xapic(&[0]);
    for (trigger, told) in [(TriggerMode::Level, 1), (TriggerMode::Edge, 0), (TriggerMode::Level, 1)] {
        machine.host.bus.send(&fixed(0, 0x51, trigger), &machine.host);
        machine.host.take();
        assert_eq!(machine.drain(0), [0x51]);
        assert_eq!(machine.host.take().len(), told, "{trigger:?}");
    }
}

#[test]
fn r56_the_x2apic_logical_id_follows_from_the_number_and_a_migrated_one_is_kept() {
    let mut machine = Machine::x2apic(&[2, 0x23]);
    assert_eq!(machine.read(1, 0x80d), Ok(0x2_0008), "from the number, not from the vCPU");
    // An old hypervisor derived it from something else, and the guest has seen that.
    let mut saved = machine.apics[1].save(machine.now);
    saved.page.set(ApicRegister::LogicalDestination, 0x0000_0002);
    let restored = LocalApic::restore(config(1, 0x23, ALL_FEATURES), &saved, machine.now, &machine.host);
    machine.apics[1] = restored.expect("what was saved");
    assert_eq!(machine.read(1, 0x80d), Ok(2));
    machine.write(0, ICR, 0x0000_0002 << 32 | 0x4851).expect("a command");
    assert_eq!(machine.drain(1), [0x51], "it is found by what the guest knows");
    machine.write(0, ICR, 0x0002_0008 << 32 | 0x4852).expect("a command");
    assert_eq!(machine.drain(1), []);
}

#[test]
fn r57_the_error_status_shows_what_came_before_the_last_write_and_no_more() {
    let mut machine = Machine::x2apic(&[0]);
    machine.write(0, 0x83f, 3).expect("a vector");
    assert_eq!(machine.read(0, 0x828), Ok(0));
    machine.write(0, 0x828, 0).expect("zero");
    assert_eq!(machine.read(0, 0x828), Ok(0x60));
    assert_eq!(machine.read(0, 0x828), Ok(0x60), "a read changes nothing");
    machine.write(0, 0x828, 0).expect("zero");
    assert_eq!(machine.read(0, 0x828), Ok(0));
    assert_eq!(machine.write(0, 0x828, 1), Err(MsrFault::ReservedBits { msr: 0x828, value: 1 }));
}

#[test]
fn r59_no_msr_beyond_the_page_is_a_register() {
    let mut machine = Machine::x2apic(&[0]);
    for msr in (0x900..=0xbff).chain([0x7ff, 0xc00, u32::MAX]) {
        assert_eq!(machine.read(0, msr), Err(MsrFault::NotThere(msr)));
        assert_eq!(machine.write(0, msr, 0), Err(MsrFault::NotThere(msr)));
    }
}

#[test]
fn r61_a_destination_no_vcpu_has_reaches_nobody() {
    let mut machine = Machine::x2apic(&[0, 1]);
    let physical = [2, 0x40, 0xffff, 0x1_0000, 0x7fff_ffff, 0xffff_fffe_u64].map(|number| (number, 0x4051));
    let logical = [4, 0xfffc, 0x1_0000, 0x1_ffff, 0xffff_fffe_u64].map(|number| (number, 0x4851));
    for (destination, command) in physical.into_iter().chain(logical) {
        for lowest_priority in [0, 0x100] {
            machine.write(0, ICR, destination << 32 | command | lowest_priority).expect("a command");
            assert_eq!(machine.host.take(), [], "{destination:#x} {command:#x}");
        }
    }
    assert_eq!((machine.drain(0), machine.drain(1)), (vec![], vec![]));
}

#[test]
fn r63_all_but_self_stays_inside_the_domain() {
    let mut ours = Machine::x2apic(&[0, 1, 2]);
    let mut theirs = Machine::x2apic(&[0, 1, 2]);
    ours.write(1, ICR, 0xc_4051).expect("a command");
    assert_eq!(ours.host.take(), [kick(0), kick(2)]);
    assert_eq!((ours.drain(0), ours.drain(1), ours.drain(2)), (vec![0x51], vec![], vec![0x51]));
    theirs.sync();
    assert_eq!((theirs.host.take(), theirs.drain(0), theirs.drain(2)), (vec![], vec![], vec![]));
}

#[test]
fn r67_the_end_is_told_by_vector_whatever_has_become_of_the_route() {
    // The I/O APIC's entry may name another vector by now; it needs the old one to clear its remote IRR.
    let mut machine = Machine::xapic(&[0]);
    machine.host.bus.send(&fixed(0, 0x51, TriggerMode::Level), &machine.host);
    machine.apics[0].sync(&machine.host);
    machine.apics[0].acknowledge();
    machine.host.bus.send(&fixed(0, 0x61, TriggerMode::Level), &machine.host);
    machine.host.take();
    machine.write_page(0, ApicRegister::Eoi, 0);
    assert_eq!(machine.host.take(), [Action::EndOfInterrupt(vector(0x51))]);
}

#[test]
fn r70_software_disabling_keeps_what_others_have_staged() {
    let mut machine = Machine::xapic(&[0, 1]);
    machine.host.bus.send(&fixed(1, 0x51, TriggerMode::Edge), &machine.host);
    machine.host.bus.send(&fixed(1, 0x52, TriggerMode::Level), &machine.host);
    machine.write_page(1, ApicRegister::SpuriousVector, 0xff);
    machine.host.bus.send(&fixed(1, 0x53, TriggerMode::Edge), &machine.host);
    machine.write_page(1, ApicRegister::SpuriousVector, 0x1ff);
    assert_eq!(machine.drain(1), [0x52, 0x51]);
}

#[test]
fn r71_the_processor_priority_is_that_of_the_top_of_thirteen_nested_interrupts() {
    let mut machine = Machine::x2apic(&[0]);
    for class in 2..15_u64 {
        machine.write(0, 0x83f, class << 4 | 1).expect("a vector");
        machine.apics[0].acknowledge();
        assert_eq!(machine.read(0, 0x80a), Ok(class << 4));
    }
    for class in (2..15_u64).rev() {
        assert_eq!(machine.read(0, 0x80a), Ok(class << 4));
        machine.write(0, EOI, 0).expect("an EOI");
    }
    assert_eq!(machine.read(0, 0x80a), Ok(0));
}

#[test]
fn r60_a_write_by_one_vcpu_is_seen_by_no_other() {
    let mut machine = Machine::xapic(&[0, 1]);
    let before = machine.apics[1].page(machine.now);
    for offset in (0..0x400).step_by(16).filter(|offset| *offset != 0x300) {
        if let Some(register) = ApicRegister::at_offset(offset) {
            machine.write_page(0, register, 0x1_00e5);
        }
    }
    assert_eq!(machine.apics[1].page(machine.now), before);
}

#[test]
fn cve_2013_6376_no_logical_id_indexes_past_the_table() {
    let host = ApicBus::new(&[ApicId(0xffff)]).expect("one");
    assert!(host.inbox(VcpuId(1)).is_none() && host.address(VcpuId(u32::MAX)).is_none());
    let mut machine = Machine::x2apic(&[0, 0xffff]);
    for cluster in [0xfff_u64, 0x1000, 0x7fff, 0xffff] {
        machine.write(0, ICR, (cluster << 16 | 0xffff) << 32 | 0x4851).expect("a command");
        let reached = machine.host.take();
        // All ones is the broadcast.
        assert_eq!(reached.contains(&kick(1)), cluster == 0xfff || cluster == 0xffff, "{cluster:#x}");
        machine.sync();
    }
}

#[test]
fn cve_2013_6367_a_count_of_zero_in_periodic_mode_divides_by_nothing() {
    let mut machine = Machine::xapic(&[0]);
    machine.write_page(0, ApicRegister::Lvt(LvtEntry::Timer), 0x2_0051);
    for count in [1, 0] {
        machine.write_page(0, ApicRegister::TimerInitialCount, count);
    }
    machine.now.bus = u64::MAX;
    machine.apics[0].tick(machine.now, &machine.host);
    assert_eq!(machine.read_page(0, ApicRegister::TimerCurrentCount), 0);
    assert_eq!(machine.drain(0), []);
}
