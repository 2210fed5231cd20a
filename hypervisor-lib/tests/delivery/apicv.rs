//! APIC virtualization: every access under every combination of controls.

use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::Icr;
use hypervisor_lib::delivery::apicv::AfterWrite;
use hypervisor_lib::delivery::apicv::ApicvControls;
use hypervisor_lib::delivery::apicv::Command;
use hypervisor_lib::delivery::apicv::MsrIntercepts;
use hypervisor_lib::delivery::apicv::MsrRead;
use hypervisor_lib::delivery::apicv::MsrWrite;
use hypervisor_lib::delivery::apicv::PageRead;
use hypervisor_lib::delivery::apicv::PageWrite;
use hypervisor_lib::delivery::apicv::TABLE;
use hypervisor_lib::delivery::apicv::read_msr;
use hypervisor_lib::delivery::apicv::read_page;
use hypervisor_lib::delivery::apicv::write_msr;
use hypervisor_lib::delivery::apicv::write_page;
use hypervisor_lib::delivery::software::AccessWidth;

const WIDTHS: [AccessWidth; 4] = [AccessWidth::Byte, AccessWidth::Word, AccessWidth::Dword, AccessWidth::Qword];

/// What the processor may complete, as the manual lists it: a letter each for TPR shadow alone, with virtual-interrupt
/// delivery, and with APIC-register virtualization (SDM vol. 3C, 30.4.2, 30.4.3.1). Reads, then writes.
const MANUAL: [(u16, &str, &str); 20] = [
    (0x020, "--r", "--w"),
    (0x030, "--r", "---"),
    (0x080, "rrr", "www"),
    (0x0b0, "-rr", "-ww"),
    (0x0d0, "--r", "--w"),
    (0x0e0, "--r", "--w"),
    (0x0f0, "--r", "--w"),
    (0x280, "--r", "--w"),
    (0x300, "-rr", "-ww"),
    (0x310, "--r", "--w"),
    (0x320, "--r", "--w"),
    (0x330, "--r", "--w"),
    (0x340, "--r", "--w"),
    (0x350, "--r", "--w"),
    (0x360, "--r", "--w"),
    (0x370, "--r", "--w"),
    (0x380, "--r", "--w"),
    (0x3e0, "--r", "--w"),
    (0x090, "---", "---"),
    (0x3f0, "---", "---"),
];

/// Whether the manual's list lets an access within the lower four bytes of `register` through.
fn is_completed(controls: ApicvControls, register: u16, write: bool) -> bool {
    let vectors = |first: u16| (first..first + 0x80).contains(&register);
    let listed = MANUAL.iter().find(|(offset, ..)| *offset == register).map(|(_, reads, writes)| (*reads, *writes));
    let (reads, writes) = match listed {
        Some(letters) => letters,
        None if vectors(0x100) || vectors(0x180) || vectors(0x200) => ("--r", "---"),
        None => ("---", "---"),
    };
    let letters = if write { writes } else { reads };
    let has = |column: usize| letters.as_bytes()[column] != b'-';
    controls.accesses && controls.tpr_shadow && (has(0) || controls.delivery && has(1) || controls.registers && has(2))
}

#[test]
fn every_offset_in_every_width_under_every_control_agrees_with_the_manual() {
    // A command that the processor never takes, so that a write of ICR exits.
    let nmi = Icr::from(0x400);
    for controls in ApicvControls::all().filter(|controls| controls.check().is_ok()) {
        for offset in 0..0x1000_u16 {
            for width in WIDTHS {
                let fits = offset % 16 + width.bytes() <= 4;
                let register = offset & !15;
                let read = fits && is_completed(controls, register, false);
                let expected = if read { PageRead::Virtualized } else { PageRead::AccessExit };
                assert_eq!(read_page(controls, offset, width), expected, "read {offset:#x} {width:?} {controls:?}");
                let then = match register {
                    0x080 => AfterWrite::Tpr,
                    0x0b0 if controls.delivery => AfterWrite::Eoi,
                    0x310 => AfterWrite::Nothing,
                    _ => AfterWrite::Exit(register),
                };
                let written = fits && is_completed(controls, register, true);
                let expected = if written { PageWrite::Virtualized(then) } else { PageWrite::AccessExit };
                assert_eq!(
                    write_page(controls, offset, width, nmi),
                    expected,
                    "write {offset:#x} {width:?} {controls:?}"
                );
            }
        }
    }
}

#[test]
fn no_two_rows_of_the_table_overlap_and_all_are_in_order() {
    for pair in TABLE.windows(2) {
        assert!(pair[0].first <= pair[0].last && pair[0].last < pair[1].first, "{pair:?}");
    }
}

#[test]
fn every_class_of_command_is_completed_or_exits() {
    for controls in ApicvControls::all().filter(|controls| controls.check().is_ok()) {
        // All fields but the vector's, each bit of the lower half.
        for high_bits in 0..1_u32 << 12 {
            for vector in [0, 0x0f, 0x10, 0xff] {
                let icr = Icr::from(7 << 32 | u64::from(high_bits << 8) | vector);
                let low = high_bits << 8;
                // Reserved 13, 17:16; delivery status 12; trigger 15; delivery mode 10:8.
                let is_plain = low & 0x3_3000 == 0 && low & 0x8700 == 0 && vector >= 16;
                let vector = u8::try_from(vector).expect("a byte");
                let expected = match (low >> 18 & 3, low >> 11 & 1) {
                    (1, _) if is_plain && controls.delivery => Command::SelfIpi(vector),
                    (0, 0) if is_plain && controls.ipis => Command::Ipi { vector, target: 7 },
                    _ => Command::Exit,
                };
                assert_eq!(Command::of(controls, icr), expected, "{icr:?} {controls:?}");
            }
        }
        for reserved in 20..32 {
            let icr = Icr::from(0x4_4051 | 1 << reserved);
            assert_eq!(Command::of(controls, icr), Command::Exit);
        }
    }
}

#[test]
fn in_xapic_mode_the_destination_is_the_highest_byte() {
    let shadow =
        ApicvControls { tpr_shadow: true, accesses: true, external_interrupts_exit: true, ..ApicvControls::default() };
    let controls = ApicvControls { delivery: true, ipis: true, ..shadow };
    let command = Icr::from(0x0700_0000_0000_4051);
    let written = write_page(controls, 0x300, AccessWidth::Dword, command);
    assert_eq!(written, PageWrite::Virtualized(AfterWrite::Ipi { vector: 0x51, target: 7 }));
}

#[test]
fn r76_no_msr_that_is_let_through_reaches_the_physical_apic() {
    for controls in ApicvControls::all() {
        let intercepts = MsrIntercepts::new(controls);
        for msr in (0..0x1000).chain([0x1b, 0x6e0, 0xc000_0080, u32::MAX]) {
            if !intercepts.read_exits(msr) {
                assert_ne!(read_msr(controls, msr), MsrRead::Physical, "RDMSR {msr:#x} {controls:?}");
            }
            if !intercepts.write_exits(msr) {
                for value in [0, 1, 0xff, 0x100, 0x4051, u64::MAX] {
                    assert_ne!(write_msr(controls, msr, value), MsrWrite::Physical, "WRMSR {msr:#x} {controls:?}");
                }
            }
        }
    }
}

#[test]
fn the_intercepts_are_those_of_the_manual_and_let_through_what_the_page_holds() {
    let full = ApicvControls {
        tpr_shadow: true,
        x2apic: true,
        registers: true,
        delivery: true,
        external_interrupts_exit: true,
        ..ApicvControls::default()
    };
    let reads: Vec<u32> = (0x800..0x900).filter(|msr| !MsrIntercepts::new(full).read_exits(*msr)).collect();
    let expected: Vec<u32> = [0x802, 0x803, 0x808, 0x80d, 0x80f]
        .into_iter()
        .chain(0x810..=0x827)
        .chain([0x828, 0x832, 0x833, 0x834, 0x835, 0x836, 0x837, 0x83e])
        .collect();
    assert_eq!(reads, expected);
    let writes =
        |controls| (0x800..0x900).filter(|msr| !MsrIntercepts::new(controls).write_exits(*msr)).collect::<Vec<_>>();
    assert_eq!(writes(full), [0x808, 0x80b, 0x83f]);
    assert_eq!(writes(ApicvControls { ipis: true, ..full }), [0x808, 0x80b, 0x830, 0x83f]);
    let shadow = ApicvControls { tpr_shadow: true, x2apic: true, ..ApicvControls::default() };
    assert_eq!(writes(shadow), [0x808]);
    assert_eq!(writes(ApicvControls { x2apic: false, ..full }), [] as [u32; 0]);
}

#[test]
fn every_write_of_an_msr_is_virtualized_faults_or_is_physical() {
    for controls in ApicvControls::all().filter(|controls| controls.check().is_ok()) {
        for msr in 0x800..0x900 {
            for value in [0, 1, 0x0f, 0x10, 0xff, 0x100, 0x4051, 0x4_4051, 0x1_0000_0000, 0x2000, 0x7_0000_4051] {
                let low = value & 0xff;
                let vector = u8::try_from(low).expect("a byte");
                let reserved = value & 0xfff3_3000 != 0;
                let expected = match msr {
                    _ if !controls.x2apic => MsrWrite::Physical,
                    0x808 if value > 0xff => MsrWrite::Fault,
                    0x808 => MsrWrite::Virtualized(AfterWrite::Tpr),
                    0x80b if controls.delivery && value != 0 => MsrWrite::Fault,
                    0x80b if controls.delivery => MsrWrite::Virtualized(AfterWrite::Eoi),
                    0x83f if controls.delivery && value > 0xff => MsrWrite::Fault,
                    0x83f if controls.delivery && low < 16 => MsrWrite::Virtualized(AfterWrite::Exit(0x3f0)),
                    0x83f if controls.delivery => MsrWrite::Virtualized(AfterWrite::SelfIpi(vector)),
                    0x830 if controls.ipis && reserved => MsrWrite::Fault,
                    // To itself.
                    0x830 if controls.ipis && value & 0xc_0000 != 0 => MsrWrite::Virtualized(AfterWrite::Exit(0x300)),
                    0x830 if controls.ipis && low < 16 => MsrWrite::Virtualized(AfterWrite::Exit(0x300)),
                    0x830 if controls.ipis => {
                        let [_, _, _, _, target @ ..] = u64::to_le_bytes(value);
                        MsrWrite::Virtualized(AfterWrite::Ipi { vector, target: u32::from_le_bytes(target) })
                    }
                    _ => MsrWrite::Physical,
                };
                assert_eq!(write_msr(controls, msr, value), expected, "WRMSR {msr:#x} {value:#x} {controls:?}");
            }
        }
    }
}

#[test]
fn a_read_of_any_msr_of_the_range_is_of_the_page_with_register_virtualization() {
    for controls in ApicvControls::all().filter(|controls| controls.check().is_ok()) {
        for msr in 0x7f0..0x910 {
            let is_page = controls.x2apic && (0x800..0x900).contains(&msr) && (controls.registers || msr == 0x808);
            let offset = u16::try_from((msr & 0xff) << 4).expect("below 0x1000");
            let expected = if is_page { MsrRead::Page(offset) } else { MsrRead::Physical };
            assert_eq!(read_msr(controls, msr), expected, "RDMSR {msr:#x} {controls:?}");
            if let (MsrRead::Page(offset), Some(register)) = (read_msr(controls, msr), ApicRegister::of_msr(msr)) {
                assert_eq!(register.offset(), offset);
            }
        }
    }
}
