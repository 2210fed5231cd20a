//! AVIC's registers: what the processor does with an access, against what the hypervisor expects and makes of the exit.

use carillon_machine::svm::Access;
use carillon_machine::svm::ExtendedLvt;
use carillon_machine::svm::Guest;
use carillon_machine::svm::LevelEnd;
use carillon_machine::svm::MsrPermissions;
use carillon_machine::svm::NestedPaging;
use carillon_machine::svm::Processor;
use carillon_machine::svm::RegisterOffset;
use carillon_machine::svm::Vmcb;
use carillon_machine::vmx::ExitStyle;
use hypervisor_abi::avic::AccessKind;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::EXIT_NO_ACCELERATION;
use hypervisor_abi::avic::InterruptControl;
use hypervisor_abi::avic::NoAcceleration;
use hypervisor_abi::avic::VectorBits;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::delivery::Interception;
use hypervisor_lib::delivery::avic;
use hypervisor_lib::delivery::avic::Acceleration;
use hypervisor_lib::delivery::avic::Handler;
use hypervisor_lib::delivery::avic::Handling;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::avic::finish_access;
use hypervisor_lib::delivery::avic::interception;
use vector_allocator::Vector;

const KINDS: [AccessKind; 2] = [AccessKind::Read, AccessKind::Write];
const WRITTEN: u32 = 0x51;

/// Every mode with either treatment of extended entries, and a guest for it.
fn guests() -> impl Iterator<Item = (Acceleration, Guest)> {
    [Mode::XAvic, Mode::X2Avic].into_iter().flat_map(|mode| {
        let extended = [
            (avic::ExtendedLvt::Faults, ExtendedLvt::Faults),
            (avic::ExtendedLvt::ReadsAllowed, ExtendedLvt::Accessible),
        ];
        extended.map(|(expected, extended_lvt)| {
            let processor = Processor { extended_lvt, ..Processor::default() };
            (Acceleration { mode, extended_lvt: expected }, guest(mode, processor))
        })
    })
}

fn guest(mode: Mode, processor: Processor) -> Guest {
    let control = InterruptControl::new().with_avic(true).with_x2avic(mode == Mode::X2Avic);
    let guest = Guest::new(Vmcb { control, nested_paging: NestedPaging::On, ..Vmcb::default() }, processor);
    assert_eq!(guest.check_entry(), Ok(()));
    guest
}

/// A page of which every slot holds its own number, but that nothing came level-triggered.
fn numbered() -> BackingPage {
    let page = BackingPage::default();
    for offset in (0..0x1000).step_by(16).filter(|offset| !(0x180..0x200).contains(offset)) {
        page.slot(offset).expect("within").store(u32::from(offset) | 1 << 16, Ordering::Relaxed);
    }
    page
}

fn slots(page: &BackingPage) -> Vec<u32> {
    (0..0x1000).step_by(16).map(|offset| page.slot(offset).expect("within").load(Ordering::Relaxed)).collect()
}

/// An access to a register, by whatever way the mode has; none where there is no MSR.
fn access(guest: &mut Guest, page: &BackingPage, kind: AccessKind, offset: u16) -> Option<Access<Option<u32>>> {
    let register = RegisterOffset::of_address(offset.into());
    let msr = 0x800 + u32::from(offset >> 4);
    // An EOI by MSR is of zero.
    let value = if offset == 0xb0 { 0 } else { WRITTEN };
    let is_x2 = guest.vmcb.control.x2avic();
    Some(match kind {
        AccessKind::Read if is_x2 => {
            let read = guest.rdmsr(page, msr);
            map(read, |value| u32::try_from(value & 0xffff_ffff).ok())
        }
        AccessKind::Read => map(guest.read_page(page, register), Some),
        AccessKind::Write if is_x2 => map(guest.wrmsr(page, msr, value.into()), |_| None),
        AccessKind::Write => map(guest.write_page(page, register, value), |_| None),
    })
}

fn map<T, U>(access: Access<T>, change: impl FnOnce(T) -> U) -> Access<U> {
    match access {
        Access::Virtual(value) => Access::Virtual(change(value)),
        Access::Native => Access::Native,
        Access::Exit(exit) => Access::Exit(exit),
        Access::GeneralProtection => Access::GeneralProtection,
    }
}

#[test]
fn every_register_is_handled_as_the_hypervisor_expects_in_every_mode_and_direction() {
    for (acceleration, fresh) in guests() {
        for kind in KINDS {
            for offset in (0..0x1000_u16).step_by(16) {
                let (mut guest, page) = (fresh.clone(), numbered());
                let before = slots(&page);
                let found = access(&mut guest, &page, kind, offset).expect("an access");
                let after = slots(&page);
                let what = format!("{acceleration:?} {kind:?} {offset:#05x}: {found:?}");
                let own = usize::from(offset / 16);
                let others = |slots: &[u32]| [&slots[..own], &slots[own + 1..]].concat();
                match (acceleration.handling(kind, offset), kind) {
                    (Handling::Allowed, AccessKind::Read) => {
                        assert_eq!(found, Access::Virtual(Some(before[own])), "{what}");
                        assert_eq!(before, after);
                    }
                    (Handling::Allowed, AccessKind::Write) => {
                        assert_eq!(found, Access::Virtual(None), "{what}");
                        assert_eq!((after[own], others(&after)), (WRITTEN, others(&before)), "{what}");
                    }
                    // What they do besides has tests of its own.
                    (Handling::Accelerated | Handling::AcceleratedIfEdge | Handling::AcceleratedOrTrap, _) => {
                        assert_eq!(found, Access::Virtual(None), "{what}");
                    }
                    (Handling::Absent, _) => {
                        assert_eq!((found, after), (Access::GeneralProtection, before), "{what}");
                    }
                    (expected @ (Handling::Trap | Handling::Fault), _) => {
                        let Access::Exit(exit) = found else { panic!("{what}") };
                        assert_eq!(exit.code(), EXIT_NO_ACCELERATION);
                        let told = NoAcceleration::from_info(exit.info1(), exit.info2());
                        assert_eq!((told.access, told.offset), (kind, offset), "{what}");
                        let rest = finish_access(acceleration, &page, told);
                        if expected == Handling::Trap {
                            assert_eq!(exit.style(), ExitStyle::Trap, "{what}");
                            assert!(matches!(rest, Ok(avic::Access::Written(_))), "{what}, {rest:?}");
                            assert_eq!((after[own], others(&after)), (WRITTEN, others(&before)), "{what}");
                        } else {
                            assert_eq!(exit.style(), ExitStyle::Fault, "{what}");
                            assert_eq!(rest, Ok(avic::Access::Emulate { access: kind, offset }), "{what}");
                            assert_eq!(before, after, "{what}");
                        }
                    }
                }
            }
        }
    }
}

/// R-77 and what the manual leaves open about it: the hypervisor ends a level-triggered interrupt once, whether or not the
/// processor has.
#[test]
fn r77_every_vector_ends_once_whatever_its_trigger_mode_and_the_processor() {
    for level_end in [LevelEnd::Cleared, LevelEnd::Kept] {
        for (acceleration, fresh) in guests() {
            for number in 16..=u8::MAX {
                for is_level in [false, true] {
                    let mut guest = fresh.clone();
                    guest.processor.level_end = level_end;
                    let page = BackingPage::default();
                    page.set(VectorBits::InService, 0x10);
                    page.set(VectorBits::InService, number);
                    if is_level {
                        page.set(VectorBits::TriggerMode, number);
                    }
                    let found = access(&mut guest, &page, AccessKind::Write, 0xb0).expect("an access");
                    let end = match found {
                        Access::Exit(exit) => {
                            let told = NoAcceleration::from_info(exit.info1(), exit.info2());
                            Some(finish_access(acceleration, &page, told).expect("an intact processor"))
                        }
                        other => {
                            assert_eq!(other, Access::Virtual(None));
                            None
                        }
                    };
                    let vector = Vector::new(number).expect("16 or more");
                    assert_eq!(end, is_level.then_some(avic::Access::EndOfInterrupt(vector)));
                    let left = (number > 0x10).then_some(0x10);
                    assert_eq!(page.highest(VectorBits::InService), left, "{number:#x}");
                }
            }
        }
    }
}

/// R-76 (CVE-2023-5090): under the hypervisor's permission map no access of a guest reaches the host's local APIC, whatever
/// serves the guest's; and what is let through never exits by 402h before it is done.
#[test]
fn r76_no_msr_access_reaches_the_hosts_local_apic() {
    for (acceleration, fresh) in guests() {
        for is_avic_on in [true, false] {
            let handler = if is_avic_on { Handler::Avic(acceleration) } else { Handler::Software };
            let mut guest = fresh.clone();
            if !is_avic_on {
                guest.vmcb.control = InterruptControl::new();
            }
            let map = |kind| {
                let exits = |index: &u32| interception(handler, kind, 0x800 + index) == Interception::Intercept;
                (0..0x100).filter(exits).fold([0; 4], |mut map: [u64; 4], index| {
                    map[(index / 64) as usize] |= 1 << (index % 64);
                    map
                })
            };
            guest.vmcb.msr_permissions = MsrPermissions { read: map(AccessKind::Read), write: map(AccessKind::Write) };
            for msr in 0x800..0x900 {
                let page = BackingPage::default();
                let read = guest.clone().rdmsr(&page, msr);
                let written = map_written(guest.clone().wrmsr(&page, msr, 0));
                for (kind, exit) in [(AccessKind::Read, exit_of(read)), (AccessKind::Write, exit_of(written))] {
                    let passed = interception(handler, kind, msr) == Interception::PassThrough;
                    let expected = if passed { None } else { Some(0x7c) };
                    assert_eq!(exit, Ok(expected), "{handler:?} {kind:?} {msr:#x}");
                }
            }
        }
    }
}

fn map_written<T>(access: Access<T>) -> Access<u64> {
    map(access, |_| 0)
}

/// The code of an exit, if any; an error if the access is none of the virtual local APIC's.
fn exit_of(access: Access<u64>) -> Result<Option<u64>, Access<u64>> {
    match access {
        Access::Virtual(_) => Ok(None),
        Access::Exit(exit) => Ok(Some(exit.code())),
        Access::Native | Access::GeneralProtection => Err(access),
    }
}

/// What the permission map is there to prevent.
#[test]
fn without_x2avic_msrs_that_pass_are_the_processors_own_and_without_xavic_the_page_is_memory() {
    let page = BackingPage::default();
    for bits in [0, 1 << 31, 3 << 30] {
        let mut guest = guest(Mode::XAvic, Processor::default());
        guest.vmcb.control = InterruptControl::from(bits);
        let is_native = bits != 3 << 30;
        assert_eq!(guest.rdmsr(&page, 0x808) == Access::Native, is_native);
        assert_eq!(guest.wrmsr(&page, 0x808, 0) == Access::Native, is_native);
        let tpr = RegisterOffset::of_address(0x80);
        assert_eq!(guest.read_page(&page, tpr) == Access::Native, bits != 1 << 31);
        assert_eq!(guest.write_page(&page, tpr, 0) == Access::Native, bits != 1 << 31);
        for msr in [0x7ff, 0x900, 0x1_0808, u32::MAX] {
            assert_eq!((guest.rdmsr(&page, msr), guest.wrmsr(&page, msr, 0)), (Access::Native, Access::Native));
        }
    }
}

#[test]
fn reserved_bits_of_an_msr_fault_and_change_nothing() {
    let fresh = guest(Mode::X2Avic, Processor::default());
    for (msr, legal) in [(0x808, 0xff), (0x80b, 0), (0x830, 0xffff_ffff_000c_cfff), (0x83f, 0xff), (0x832, 0xffff_ffff)]
    {
        for bit in 0..64 {
            let (mut guest, page) = (fresh.clone(), BackingPage::default());
            let found = guest.wrmsr(&page, msr, 1 << bit);
            assert_eq!(found == Access::GeneralProtection, legal >> bit & 1_u64 == 0, "{msr:#x}, bit {bit}");
            assert!(found != Access::GeneralProtection || (guest == fresh && slots(&page) == [0; 256]));
        }
    }
}

#[test]
fn a_command_is_in_the_page_in_two_halves_in_either_mode() {
    for (mut guest, halves) in [
        (guest(Mode::XAvic, Processor::default()), [0x0008_4051, 0x0500_0000]),
        (guest(Mode::X2Avic, Processor::default()), [0x0008_4051, 0x0000_0105]),
    ] {
        let page = BackingPage::default();
        let [low, high] = halves;
        let [low_at, high_at] = [0x300, 0x310].map(RegisterOffset::of_address);
        let sent = if guest.vmcb.control.x2avic() {
            let sent = guest.wrmsr(&page, 0x830, u64::from(high) << 32 | u64::from(low));
            assert_eq!(guest.rdmsr(&page, 0x830), Access::Virtual(u64::from(high) << 32 | u64::from(low)));
            sent
        } else {
            guest.write_page(&page, high_at, high);
            // The delivery status is read-only.
            let sent = guest.write_page(&page, low_at, low | 1 << 12);
            assert_eq!(guest.read_page(&page, low_at), Access::Virtual(low));
            sent
        };
        let Access::Virtual(Some(ipi)) = sent else { panic!("{sent:?}") };
        assert_eq!(u64::from(ipi.icr), u64::from(high) << 32 | u64::from(low));
        assert_eq!([0x300, 0x310].map(|at| slots(&page)[at / 16]), halves);
    }
}
