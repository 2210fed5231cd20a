//! The local vector table, the pins and the timer, as the guest programs them.

use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::LvtEntry;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::Deadline;
use hypervisor_lib::delivery::software::Acknowledged;
use hypervisor_lib::delivery::software::Pin;
use hypervisor_lib::event::Level;

use crate::machine::MSR_BASE;
use crate::machine::MSR_DEADLINE;
use crate::machine::Machine;
use crate::machine::OFF;
use crate::machine::vector;

const TIMER: ApicRegister = ApicRegister::Lvt(LvtEntry::Timer);
const LINT0: ApicRegister = ApicRegister::Lvt(LvtEntry::Lint0);
const INITIAL: ApicRegister = ApicRegister::TimerInitialCount;
const CURRENT: ApicRegister = ApicRegister::TimerCurrentCount;
const PERIODIC: u32 = 0x2_0000;
const DEADLINE: u32 = 0x4_0000;

/// What each delivery mode of an entry does when its source has something to say.
fn effect(machine: &mut Machine, entry: LvtEntry, value: u32) -> String {
    machine.write_page(0, entry.register(), value);
    machine.host.take();
    match entry {
        LvtEntry::Lint0 => machine.apics[0].set_pin(Pin::Lint0, Level::High, &machine.host),
        LvtEntry::Lint1 => machine.apics[0].set_pin(Pin::Lint1, Level::High, &machine.host),
        LvtEntry::Timer => {
            machine.write_page(0, INITIAL, 1);
            machine.now.bus += 2;
            machine.apics[0].tick(machine.now, &machine.host);
        }
        LvtEntry::Error => {
            machine.read_page(0, ApicRegister::SelfIpi);
        }
        other => machine.apics[0].raise(other, &machine.host),
    }
    let signals = machine.host.take().into_iter().find(|action| !matches!(action, Action::SetTimer(_)));
    if let Some(signal) = signals {
        return format!("{signal:?}");
    }
    match machine.apics[0].has_interrupt().then(|| machine.apics[0].acknowledge()) {
        Some(Acknowledged::Vector(vector)) => format!("{vector}"),
        Some(other) => format!("{other:?}"),
        None => "nothing".to_owned(),
    }
}

#[test]
fn every_entry_delivers_what_its_mode_says_unless_it_is_masked() {
    for entry in LvtEntry::ALL {
        for delivery in 0..8 {
            for masked in [0, 0x1_0000] {
                let value = masked | delivery << 8 | 0x51;
                let is_pin = matches!(entry, LvtEntry::Lint0 | LvtEntry::Lint1);
                let is_fixed = matches!(entry, LvtEntry::Timer | LvtEntry::Error) || delivery == 0;
                let expected = match delivery {
                    _ if masked != 0 => "nothing",
                    _ if is_fixed => "51",
                    2 => "Smi",
                    4 => "Nmi",
                    5 if is_pin => "Init",
                    7 if is_pin => "ExtInt",
                    _ => "nothing",
                };
                let mut machine = Machine::xapic(&[0]);
                assert_eq!(effect(&mut machine, entry, value), expected, "{entry:?} {value:#x}");
            }
        }
    }
}

#[test]
fn an_illegal_vector_of_an_entry_is_an_error() {
    for entry in [LvtEntry::Timer, LvtEntry::Thermal, LvtEntry::Lint0, LvtEntry::Lint1, LvtEntry::Performance] {
        let mut machine = Machine::xapic(&[0]);
        assert_eq!(effect(&mut machine, entry, 0x0f), "nothing");
        machine.write_page(0, ApicRegister::ErrorStatus, 0);
        assert_eq!(machine.read_page(0, ApicRegister::ErrorStatus), 0x40, "{entry:?}");
    }
}

#[test]
fn a_performance_counter_masks_its_own_entry() {
    let mut machine = Machine::xapic(&[0]);
    assert_eq!(effect(&mut machine, LvtEntry::Performance, 0x451), "Nmi");
    assert_eq!(machine.read_page(0, ApicRegister::Lvt(LvtEntry::Performance)), 0x1_0451);
}

#[test]
fn a_level_on_lint0_is_one_interrupt_until_its_end_and_comes_again_while_it_lasts() {
    let mut machine = Machine::xapic(&[0]);
    machine.write_page(0, LINT0, 0x8051);
    machine.apics[0].set_pin(Pin::Lint0, Level::High, &machine.host);
    assert_eq!(machine.read_page(0, LINT0), 0xc051, "remote IRR");
    assert_eq!(machine.apics[0].acknowledge(), Acknowledged::Vector(vector(0x51)));
    assert!(!machine.apics[0].has_interrupt());
    machine.apics[0].end_of_interrupt(&machine.host);
    assert_eq!(machine.host.take(), [Action::EndOfInterrupt(vector(0x51))]);
    assert_eq!(machine.apics[0].acknowledge(), Acknowledged::Vector(vector(0x51)));
    machine.apics[0].set_pin(Pin::Lint0, Level::Low, &machine.host);
    machine.apics[0].end_of_interrupt(&machine.host);
    assert_eq!(machine.read_page(0, LINT0), 0x8051);
    assert_eq!(machine.drain(0), []);
}

#[test]
fn a_level_that_comes_while_masked_is_seen_when_the_mask_goes() {
    for (polarity, asserted) in [(0, Level::High), (0x2000, Level::Low)] {
        let mut machine = Machine::xapic(&[0]);
        machine.apics[0].set_pin(Pin::Lint0, Level::High, &machine.host);
        machine.write_page(0, LINT0, 0x1_8051 | polarity);
        machine.apics[0].set_pin(Pin::Lint0, asserted, &machine.host);
        assert!(!machine.apics[0].has_interrupt());
        machine.write_page(0, LINT0, 0x8051 | polarity);
        assert_eq!(machine.apics[0].acknowledge(), Acknowledged::Vector(vector(0x51)));
    }
}

#[test]
fn external_interrupts_come_first_for_as_long_as_the_pin_asks() {
    let mut machine = Machine::xapic(&[0]);
    machine.write_page(0, LINT0, 0x700);
    machine.write_page(0, ApicRegister::IcrLow, 0x4_40f1);
    machine.apics[0].set_pin(Pin::Lint0, Level::High, &machine.host);
    assert_eq!(machine.apics[0].acknowledge(), Acknowledged::ExtInt);
    assert_eq!(machine.apics[0].acknowledge(), Acknowledged::ExtInt, "the controller still has one");
    machine.apics[0].set_pin(Pin::Lint0, Level::Low, &machine.host);
    assert_eq!(machine.drain(0), [0xf1]);
}

#[test]
fn without_a_local_apic_the_pins_are_intr_and_nmi() {
    let mut machine = Machine::reset(&[0]);
    machine.write(0, MSR_BASE, OFF).expect("an allowed change");
    machine.host.take();
    machine.apics[0].set_pin(Pin::Lint0, Level::High, &machine.host);
    assert_eq!(machine.apics[0].acknowledge(), Acknowledged::ExtInt);
    machine.apics[0].set_pin(Pin::Lint1, Level::High, &machine.host);
    assert_eq!(machine.host.take(), [Action::Nmi]);
}

#[test]
fn an_acknowledge_with_nothing_to_dispatch_gives_the_spurious_vector_and_serves_nothing() {
    let mut machine = Machine::xapic(&[0]);
    machine.write_page(0, ApicRegister::SpuriousVector, 0x1ef);
    machine.write_page(0, ApicRegister::IcrLow, 0x4_4051);
    machine.write_page(0, ApicRegister::TaskPriority, 0x50);
    assert_eq!(machine.apics[0].acknowledge(), Acknowledged::Spurious(0xef));
    machine.apics[0].end_of_interrupt(&machine.host);
    machine.write_page(0, ApicRegister::TaskPriority, 0);
    assert_eq!(machine.drain(0), [0x51]);
}

#[test]
fn control_register_8_is_the_class_of_the_task_priority() {
    let mut machine = Machine::xapic(&[0]);
    for class in 0..16 {
        machine.apics[0].set_cr8(class, &machine.host);
        assert_eq!(machine.read_page(0, ApicRegister::TaskPriority), u32::from(class) << 4);
        machine.write_page(0, ApicRegister::TaskPriority, u32::from(class) << 4 | 0xd);
        assert_eq!(machine.apics[0].cr8(), class);
        assert_eq!(machine.read_page(0, ApicRegister::ProcessorPriority), u32::from(class) << 4 | 0xd);
    }
}

#[test]
fn between_one_shot_and_periodic_the_count_goes_on() {
    let mut machine = Machine::xapic(&[0]);
    machine.write_page(0, ApicRegister::TimerDivide, 0xb);
    machine.write_page(0, TIMER, PERIODIC | 0x51);
    machine.write_page(0, INITIAL, 100);
    assert_eq!(machine.host.take(), [Action::SetTimer(Some(Deadline::Bus(100)))]);
    machine.now.bus = 130;
    machine.write_page(0, TIMER, 0x51);
    assert_eq!(machine.read_page(0, CURRENT), 70);
    assert_eq!(machine.drain(0), [0x51], "the period that has ended");
    machine.now.bus = 200;
    assert_eq!(machine.read_page(0, CURRENT), 0);
    machine.apics[0].tick(machine.now, &machine.host);
    assert_eq!(machine.drain(0), [0x51]);
    machine.write_page(0, TIMER, PERIODIC | 0x51);
    machine.now.bus = 1000;
    assert_eq!(machine.read_page(0, CURRENT), 0, "a timer that has stopped stays stopped");
}

#[test]
fn periods_that_pass_under_the_mask_are_not_made_up_for() {
    let mut machine = Machine::xapic(&[0]);
    machine.write_page(0, ApicRegister::TimerDivide, 0xb);
    machine.write_page(0, TIMER, 0x1_0000 | PERIODIC | 0x51);
    machine.write_page(0, INITIAL, 100);
    assert_eq!(machine.host.take(), [], "nobody need look at a masked timer");
    machine.now.bus = 550;
    machine.write_page(0, TIMER, PERIODIC | 0x51);
    assert_eq!(machine.host.take(), [Action::SetTimer(Some(Deadline::Bus(600)))]);
    assert_eq!(machine.drain(0), []);
}

#[test]
fn the_deadline_mode_ignores_counts_and_the_others_deadlines() {
    let mut machine = Machine::xapic(&[0]);
    machine.write(0, MSR_DEADLINE, 500).expect("an MSR");
    assert_eq!(machine.read(0, MSR_DEADLINE), Ok(0));
    machine.write_page(0, TIMER, DEADLINE | 0x51);
    machine.write_page(0, INITIAL, 100);
    assert_eq!(machine.read_page(0, INITIAL), 0);
    machine.write(0, MSR_DEADLINE, 500).expect("an MSR");
    assert_eq!(machine.host.take(), [Action::SetTimer(Some(Deadline::Tsc(500)))]);
    machine.now.tsc = 499;
    assert_eq!(machine.read(0, MSR_DEADLINE), Ok(500));
    assert_eq!(machine.drain(0), []);
    machine.now.tsc = 500;
    assert_eq!(machine.read(0, MSR_DEADLINE), Ok(0), "disarmed as it fires");
    assert_eq!(machine.host.take(), [Action::SetTimer(None)]);
    assert_eq!(machine.drain(0), [0x51]);
    machine.write(0, MSR_DEADLINE, 400).expect("an MSR");
    assert_eq!(machine.drain(0), [0x51], "one that has passed fires at once");
    machine.write(0, MSR_DEADLINE, 900).expect("an MSR");
    machine.write_page(0, TIMER, 0x51);
    assert_eq!(machine.host.take().last(), Some(&Action::SetTimer(None)), "another mode disarms it");
}
