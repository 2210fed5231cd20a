//! Every offset in every width and mode, every MSR, every value of a register's reserved bits.

use hypervisor_abi::apic::ApicAccess;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::LvtEntry;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::Destination;
use hypervisor_lib::delivery::Message;
use hypervisor_lib::delivery::software::AccessWidth;
use hypervisor_lib::delivery::software::ApicFeatures;
use hypervisor_lib::delivery::software::MmioFault;
use hypervisor_lib::delivery::software::MsrFault;

use crate::machine::ALL_FEATURES;
use crate::machine::MSR_BASE;
use crate::machine::Machine;
use crate::machine::OFF;
use crate::machine::X2APIC;
use crate::machine::kick;
use crate::machine::vector;

const WIDTHS: [AccessWidth; 4] = [AccessWidth::Byte, AccessWidth::Word, AccessWidth::Dword, AccessWidth::Qword];
const ESR: ApicRegister = ApicRegister::ErrorStatus;

/// The errors that are shown after a write of the register.
fn errors(machine: &mut Machine) -> u32 {
    machine.write_page(0, ESR, 0);
    machine.read_page(0, ESR)
}

/// The value of each register of a local APIC that has been used a little.
fn used() -> Machine {
    let mut machine = Machine::xapic(&[3, 4]);
    let values = [
        (ApicRegister::TaskPriority, 0x35),
        (ApicRegister::LogicalDestination, 0xa500_0000),
        (ApicRegister::Lvt(LvtEntry::Lint0), 0x1_a7c5),
        (ApicRegister::IcrHigh, 0x9700_0000),
        (ApicRegister::TimerInitialCount, 0x1234_5678),
    ];
    values.into_iter().for_each(|(register, value)| machine.write_page(0, register, value));
    machine
}

#[test]
fn every_offset_reads_the_part_of_its_register_that_the_access_covers() {
    for offset in 0..0x1000_u16 {
        for width in WIDTHS {
            let mut machine = used();
            let got = machine.apics[0].read_mmio(machine.now, offset, width);
            if offset % 16 + width.bytes() > 4 {
                assert_eq!(got, Err(MmioFault::Straddles { offset, width }));
                assert_eq!(errors(&mut machine), 0);
                continue;
            }
            let register = ApicRegister::at_offset(offset & !15);
            let is_there = register.is_some_and(|register| register.xapic_access() != ApicAccess::Reserved);
            let value = register.filter(|_| is_there).map_or(0, |register| machine.register(0, register));
            let bytes: Vec<u8> = value.to_le_bytes()[usize::from(offset % 16)..].to_vec();
            let expected = bytes.iter().take(usize::from(width.bytes())).rev().fold(0, |v, b| v << 8 | u32::from(*b));
            assert_eq!(got, Ok(expected), "{offset:#x} {width:?}");
            assert_eq!(errors(&mut machine), if is_there { 0 } else { 0x80 }, "{offset:#x} {width:?}");
        }
    }
}

#[test]
fn every_narrow_write_leaves_the_rest_of_its_register_and_every_other_one() {
    for offset in 0..0x1000_u16 {
        for width in WIDTHS {
            let mut machine = used();
            let before = machine.apics[0].page(machine.now);
            let written = machine.apics[0].write_mmio(machine.now, offset, width, 0x1122_3344, &machine.host);
            let within = offset % 16;
            if within + width.bytes() > 4 {
                assert_eq!(written, Err(MmioFault::Straddles { offset, width }));
                assert_eq!(machine.apics[0].page(machine.now), before);
                continue;
            }
            let Some(register) = ApicRegister::at_offset(offset & !15) else {
                assert_eq!(machine.apics[0].page(machine.now), before);
                assert_eq!(errors(&mut machine), 0x80);
                continue;
            };
            // A write of all four bytes that changes only the covered ones must do the same.
            let mask = u32::MAX >> (32 - 8 * width.bytes()) << (8 * within);
            let mut whole = used();
            let merged = before.get(register) & !mask | 0x1122_3344 << (8 * within) & mask;
            let at = register.offset();
            let same = whole.apics[0].write_mmio(whole.now, at, AccessWidth::Dword, merged, &whole.host);
            assert_eq!(written, same);
            assert_eq!(machine.apics[0].page(machine.now), whole.apics[0].page(whole.now), "{register} {width:?}");
            assert_eq!(machine.host.take(), whole.host.take(), "{register} {width:?}");
        }
    }
}

#[test]
fn there_is_no_page_unless_in_xapic_mode() {
    for (base, mode) in [(OFF, ApicMode::Disabled), (X2APIC, ApicMode::X2Apic)] {
        let mut machine = Machine::reset(&[0]);
        machine.write(0, MSR_BASE, base).expect("an allowed change");
        let before = machine.apics[0].page(machine.now);
        for offset in 0..0x1000 {
            for width in WIDTHS {
                let read = machine.apics[0].read_mmio(machine.now, offset, width);
                assert_eq!(read, Err(MmioFault::NoPage(mode)));
                let written = machine.apics[0].write_mmio(machine.now, offset, width, u32::MAX, &machine.host);
                assert_eq!(written, Err(MmioFault::NoPage(mode)));
            }
        }
        assert_eq!(machine.apics[0].page(machine.now), before);
    }
}

/// What a write in x2APIC mode may set, in the order of the registers (SDM vol. 3A, table 11-6 and the registers' figures).
const X2APIC_WRITABLE: [(u32, u64); 16] = [
    (0x808, 0xff),
    (0x80b, 0),
    (0x80f, 0x11ff),
    (0x828, 0),
    (0x82f, 0x1_17ff),
    (0x830, 0xffff_ffff_000c_cfff),
    (0x832, 0x7_10ff),
    (0x833, 0x1_17ff),
    (0x834, 0x1_17ff),
    (0x835, 0x1_f7ff),
    (0x836, 0x1_f7ff),
    (0x837, 0x1_10ff),
    (0x838, 0xffff_ffff),
    (0x83e, 0xb),
    (0x83f, 0xff),
    (0x8ff, 0),
];

#[test]
fn every_bit_of_every_msr_can_be_written_or_faults() {
    for msr in 0x800..=0x8ff {
        let writable = X2APIC_WRITABLE.iter().find(|(known, _)| *known == msr && msr != 0x8ff);
        for bit in 0..64 {
            let mut machine = Machine::x2apic(&[0]);
            let before = machine.apics[0].page(machine.now);
            let written = machine.write(0, msr, 1 << bit);
            let expected = writable.is_some_and(|(_, bits)| bits >> bit & 1 == 1);
            assert_eq!(written.is_ok(), expected, "MSR {msr:#x} bit {bit}: {written:?}");
            if !expected {
                assert_eq!(machine.apics[0].page(machine.now), before, "MSR {msr:#x} bit {bit}");
                assert_eq!(machine.host.take(), []);
            }
        }
        let zero = Machine::x2apic(&[0]).write(0, msr, 0);
        assert_eq!(zero.is_ok(), writable.is_some(), "MSR {msr:#x}: {zero:?}");
    }
}

#[test]
fn every_msr_reads_its_register_or_faults() {
    let readable = [0x802, 0x803, 0x808, 0x80a, 0x80d, 0x80f, 0x828, 0x82f, 0x830];
    let is_readable = |msr| readable.contains(&msr) || (0x810..=0x827).contains(&msr) || (0x832..=0x839).contains(&msr);
    for msr in 0x800..=0x8ff {
        let mut machine = Machine::x2apic(&[0x23]);
        let got = machine.read(0, msr);
        assert_eq!(got.is_ok(), is_readable(msr) || msr == 0x83e, "MSR {msr:#x}: {got:?}");
        if let (Ok(value), Some(register)) = (got, ApicRegister::of_msr(msr)) {
            assert_eq!(value, u64::from(machine.register(0, register)));
        }
    }
    let mut machine = Machine::x2apic(&[0x23]);
    assert_eq!(machine.read(0, 0x802), Ok(0x23));
    assert_eq!(machine.read(0, 0x80d), Ok(0x0002_0008));
    assert_eq!(machine.read(0, 0x803), Ok(0x0106_0014));
    machine.write(0, 0x830, 0x1234_5678_0000_0041).expect("a command to nobody");
    assert_eq!(machine.read(0, 0x830), Ok(0x1234_5678_0000_0041));
}

#[test]
fn no_msr_is_there_before_x2apic_mode() {
    for base in [OFF, 0xfee0_0800] {
        let mut machine = Machine::reset(&[0]);
        machine.write(0, MSR_BASE, base).expect("an allowed change");
        for msr in 0x800..=0x8ff {
            assert!(machine.read(0, msr).is_err() && machine.write(0, msr, 0).is_err(), "MSR {msr:#x}");
        }
    }
}

#[test]
fn features_that_are_absent_have_no_register_and_no_bit() {
    let mut machine = Machine::with_features(&[0], &[ApicFeatures { x2apic: true, ..ApicFeatures::default() }]);
    assert_eq!(machine.read_page(0, ApicRegister::Version), 0x0005_0014);
    machine.read_page(0, ApicRegister::Lvt(LvtEntry::Cmci));
    assert_eq!(errors(&mut machine), 0x80);
    machine.write_page(0, ApicRegister::SpuriousVector, 0x11ff);
    assert_eq!(machine.read_page(0, ApicRegister::SpuriousVector), 0x1ff);
    assert_eq!(machine.read(0, 0x6e0), Err(MsrFault::NotThere(0x6e0)));
    assert_eq!(machine.write(0, 0x6e0, 1), Err(MsrFault::NotThere(0x6e0)));
    machine.write(0, MSR_BASE, X2APIC).expect("x2APIC mode");
    assert_eq!(machine.write(0, 0x82f, 0x10000), Err(MsrFault::NotThere(0x82f)));
    assert_eq!(machine.write(0, 0x832, 0x4_0000), Err(MsrFault::ReservedBits { msr: 0x832, value: 0x4_0000 }));
    let mut without = Machine::with_features(&[0], &[ApicFeatures { x2apic: false, ..ALL_FEATURES }]);
    assert!(without.write(0, MSR_BASE, X2APIC).is_err());
}

#[test]
fn errors_are_shown_by_a_write_and_raise_their_interrupt_once_between_two() {
    let mut machine = Machine::xapic(&[0, 1]);
    machine.write_page(0, ApicRegister::Lvt(LvtEntry::Error), 0xfe);
    for _ in 0..3 {
        machine.read_page(0, ApicRegister::SelfIpi);
        assert_eq!(machine.read_page(0, ESR), 0, "nothing is shown before the write");
    }
    assert_eq!(machine.drain(0), [0xfe]);
    machine.write_page(0, ApicRegister::IcrLow, 0xc_4001);
    assert_eq!(machine.host.take(), [kick(1)]);
    assert_eq!(machine.drain(0), []);
    assert_eq!(errors(&mut machine), 0xa0, "an illegal register, and an illegal vector sent");
    assert_eq!(errors(&mut machine), 0);
    machine.read_page(0, ApicRegister::RemoteRead);
    assert_eq!(machine.drain(0), [0xfe]);
}

#[test]
fn an_error_interrupt_with_an_illegal_vector_is_one_more_error() {
    let mut machine = Machine::xapic(&[0]);
    machine.write_page(0, ApicRegister::Lvt(LvtEntry::Error), 0x0f);
    machine.read_page(0, ApicRegister::SelfIpi);
    assert_eq!(machine.drain(0), []);
    assert_eq!(errors(&mut machine), 0xc0);
}

/// SDM vol. 3A, 11.8.5: the broadcast of EOIs, and how software does without it where the version register says it can.
#[test]
fn the_end_of_a_level_triggered_interrupt_is_told_unless_software_suppresses_it_and_can() {
    const SUPPRESS: u32 = 1 << 12;
    let message = Message {
        destination: Destination::Physical(0),
        delivery: DeliveryMode::Fixed,
        vector: 0x51,
        trigger: TriggerMode::Level,
    };
    for can in [false, true] {
        for wants in [0, SUPPRESS] {
            let mut machine = Machine::with_features(&[0], &[ApicFeatures { suppress_eoi: can, ..ALL_FEATURES }]);
            machine.write_page(0, ApicRegister::SpuriousVector, 0x1ff | wants);
            machine.host.bus.send(&message, &machine.host);
            machine.host.take();
            assert_eq!(machine.drain(0), [0x51]);
            let told = !(can && wants != 0);
            assert_eq!(machine.host.take().contains(&Action::EndOfInterrupt(vector(0x51))), told, "{can} {wants:#x}");
        }
    }
}
