//! Changes of mode, RESET, INIT, and software-disabling.

use hypervisor_abi::apic::ApicBase;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::LvtEntry;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::software::MsrFault;

use crate::machine::ICR;
use crate::machine::MSR_BASE;
use crate::machine::Machine;
use crate::machine::OFF;
use crate::machine::X2APIC;
use crate::machine::XAPIC;
use crate::machine::kick;

/// By which steps a mode is reached.
fn ways() -> [(ApicMode, Vec<u64>); 3] {
    [(ApicMode::Disabled, vec![OFF]), (ApicMode::XApic, vec![]), (ApicMode::X2Apic, vec![X2APIC])]
}

#[test]
fn every_pair_of_modes_can_or_cannot_follow_each_other() {
    let invalid = OFF | 0x400;
    for (from, steps) in ways() {
        for (value, to) in [
            (OFF, Some(ApicMode::Disabled)),
            (XAPIC, Some(ApicMode::XApic)),
            (X2APIC, Some(ApicMode::X2Apic)),
            (invalid, None),
        ] {
            let mut machine = Machine::reset(&[5]);
            steps.iter().for_each(|step| machine.write(0, MSR_BASE, *step).expect("an allowed change"));
            machine.host.take();
            let is_allowed = matches!(
                (from, to),
                (_, Some(ApicMode::Disabled))
                    | (ApicMode::Disabled | ApicMode::XApic, Some(ApicMode::XApic))
                    | (ApicMode::XApic | ApicMode::X2Apic, Some(ApicMode::X2Apic))
            );
            let before = machine.apics[0].base();
            let written = machine.write(0, MSR_BASE, value);
            assert_eq!(written, if is_allowed { Ok(()) } else { Err(MsrFault::Transition { from, value }) });
            assert_eq!(machine.apics[0].mode(), to.filter(|_| is_allowed).unwrap_or(from));
            let changed = is_allowed && Some(from) != to;
            let expected: Vec<Action> =
                changed.then(|| Action::BaseChanged(ApicBase::from(value))).into_iter().collect();
            assert_eq!(machine.host.take(), expected, "{from:?} to {to:?}");
            assert_eq!(machine.apics[0].base() == before, !changed && value == u64::from(before) || !is_allowed);
        }
    }
}

#[test]
fn every_reserved_bit_of_the_base_faults() {
    for bit in 0..64 {
        let mut machine = Machine::reset(&[0]);
        let value = XAPIC | 1 << bit;
        let is_reserved = bit < 8 || bit == 9 || bit >= 46;
        let expected = if is_reserved { Err(MsrFault::ReservedBits { msr: MSR_BASE, value }) } else { Ok(()) };
        assert_eq!(machine.write(0, MSR_BASE, value), expected, "bit {bit}");
    }
}

#[test]
fn disabling_loses_the_registers_and_keeps_the_number() {
    let mut machine = Machine::x2apic(&[5, 6]);
    machine.write(0, 0x808, 0x40).expect("a TPR");
    machine.write(0, 0x838, 1000).expect("a count");
    machine.write(0, MSR_BASE, OFF).expect("an allowed change");
    machine.write(0, MSR_BASE, XAPIC).expect("an allowed change");
    let fresh = Machine::reset(&[5, 6]);
    assert_eq!(machine.apics[0].page(machine.now), fresh.apics[0].page(fresh.now));
    assert_eq!(machine.read_page(0, ApicRegister::Id), 5 << 24);
}

#[test]
fn nothing_reaches_a_disabled_apic() {
    let mut machine = Machine::x2apic(&[0, 1]);
    machine.write(1, MSR_BASE, OFF).expect("an allowed change");
    machine.host.take();
    for command in [0x4051, 0x4400, 0x4500, 0x4612, 0x4200] {
        for destination in [1_u64 << 32, 0xffff_ffff << 32] {
            machine.write(0, ICR, destination | command).expect("a command");
        }
    }
    machine.apics[1].sync(&machine.host);
    assert!(!machine.host.take().contains(&kick(1)));
    assert_eq!(machine.drain(1), []);
}

#[test]
fn the_way_to_x2apic_mode_keeps_all_but_the_logical_id_and_the_destination() {
    let mut machine = Machine::xapic(&[0x23, 1]);
    machine.write_page(0, ApicRegister::TaskPriority, 0x20);
    machine.write_page(0, ApicRegister::Lvt(LvtEntry::Thermal), 0x71);
    machine.write_page(0, ApicRegister::IcrHigh, 0xff00_0000);
    machine.write_page(0, ApicRegister::IcrLow, 0x4_4061);
    let before = machine.apics[0].page(machine.now);
    machine.write(0, MSR_BASE, X2APIC | 0x100).expect("an allowed change");
    let mut expected = before;
    expected.set(ApicRegister::Id, 0x23);
    expected.set(ApicRegister::LogicalDestination, 0x0002_0008);
    expected.set(ApicRegister::IcrHigh, 0);
    assert_eq!(machine.apics[0].page(machine.now), expected);
    assert_eq!(machine.drain(0), [0x61]);
}

#[test]
fn init_keeps_mode_and_number_and_reset_the_number_alone() {
    for (mode, steps) in ways() {
        let mut machine = Machine::reset(&[0x23]);
        steps.iter().for_each(|step| machine.write(0, MSR_BASE, *step).expect("an allowed change"));
        let fresh = machine.apics[0].page(machine.now);
        if mode == ApicMode::X2Apic {
            machine.write(0, 0x80f, 0x1ff).expect("enabled");
            machine.write(0, 0x83f, 0x41).expect("an interrupt to itself");
            machine.write(0, 0x838, 7).expect("a count");
        }
        machine.apics[0].init(&machine.host);
        assert_eq!(machine.apics[0].mode(), mode);
        assert_eq!(machine.apics[0].page(machine.now), fresh);
        machine.apics[0].reset(&machine.host);
        let begun = Machine::reset(&[0x23]);
        assert_eq!(machine.apics[0].page(machine.now), begun.apics[0].page(begun.now));
        assert_eq!(machine.apics[0].base(), begun.apics[0].base());
    }
}

#[test]
fn a_software_disabled_apic_takes_signals_and_no_vectors_and_keeps_what_waits() {
    let mut machine = Machine::x2apic(&[0, 1]);
    machine.write(0, ICR, 1 << 32 | 0x4051).expect("a command");
    machine.write(1, 0x833, 0x61).expect("an unmasked entry");
    machine.apics[1].sync(&machine.host);
    machine.write(1, 0x80f, 0xff).expect("disabled");
    assert_eq!(machine.read(1, 0x833), Ok(0x1_0061), "the table is masked");
    machine.write(1, 0x833, 0x61).expect("an entry");
    assert_eq!(machine.read(1, 0x833), Ok(0x1_0061), "and stays so");
    machine.host.take();
    for command in [0x4052, 0x4153, 0x4400, 0x4200, 0x4500, 0x4612] {
        machine.write(0, ICR, 1 << 32 | command).expect("a command");
    }
    assert_eq!(machine.host.take(), [kick(1)]);
    machine.apics[1].sync(&machine.host);
    assert_eq!(machine.host.take(), [Action::Smi, Action::Nmi, Action::Init, Action::StartUp(0x12)]);
    assert_eq!(machine.drain(1), [0x51]);
}
