//! Saving a local APIC and restoring it elsewhere.

use hypervisor_abi::apic::ApicBase;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::LvtEntry;
use hypervisor_abi::apic::VectorBank;
use hypervisor_lib::delivery::Moment;
use hypervisor_lib::delivery::software::ApicPage;
use hypervisor_lib::delivery::software::LocalApic;
use hypervisor_lib::delivery::software::REGISTER_SLOTS;
use hypervisor_lib::delivery::software::RestoreError;
use hypervisor_lib::delivery::software::SavedLocalApic;
use proptest::prelude::any;
use proptest::proptest;

use crate::machine::ALL_FEATURES;
use crate::machine::EOI;
use crate::machine::ICR;
use crate::machine::Machine;
use crate::machine::TestHost;
use crate::machine::config;

#[test]
fn a_restored_apic_goes_on_as_if_nothing_had_happened() {
    let mut machine = Machine::x2apic(&[0x23, 1]);
    let writes = [(0x832, 0x2_0071), (0x83e, 0xb), (0x838, 1000), (0x808, 0x20), (0x83f, 0x45), (0x83f, 0x61)];
    writes.into_iter().for_each(|(msr, value)| machine.write(0, msr, value).expect("a register"));
    machine.apics[0].acknowledge();
    machine.now.bus = 300;
    let saved = machine.apics[0].save(machine.now);
    // Elsewhere the clocks stand differently.
    let mut there = Machine::reset(&[0x23, 1]);
    there.now = Moment { bus: 77_000, tsc: 5 };
    let id = machine.apics[0].config().id;
    there.apics[0] = LocalApic::restore(config(0, id.0, ALL_FEATURES), &saved, there.now, &there.host).expect("saved");
    assert_eq!(there.apics[0].page(there.now), machine.apics[0].page(machine.now));
    for both in [&mut machine, &mut there] {
        both.now.bus += 700;
        both.apics[0].tick(both.now, &both.host);
        assert_eq!(both.apics[0].dispatchable().map(|vector| vector.number()), Some(0x71));
        both.write(0, EOI, 0).expect("an EOI");
        assert_eq!(both.drain(0), [0x71, 0x45]);
    }
    assert_eq!(there.apics[0].page(there.now), machine.apics[0].page(machine.now));
    there.write(1, 0x1b, 0xfee0_0c00).expect("x2APIC mode");
    there.write(1, ICR, 0x23 << 32 | 0x4099).expect("a command");
    assert_eq!(there.drain(0), [0x99], "the bus knows it");
}

#[test]
fn a_page_of_another_apic_or_of_none_is_refused() {
    let machine = Machine::x2apic(&[0x23]);
    let host = TestHost::new(&[0x23]);
    let good = machine.apics[0].save(machine.now);
    let restore = |saved: &SavedLocalApic| {
        LocalApic::restore(config(0, 0x23, ALL_FEATURES), saved, Moment::default(), &host).err()
    };
    assert_eq!(restore(&good), None);
    let invalid = SavedLocalApic { base: ApicBase::from(0xfee0_0400), ..good };
    assert_eq!(restore(&invalid), Some(RestoreError::Mode(0xfee0_0400)));
    let mut other = good;
    other.page.set(ApicRegister::Id, 0x24);
    assert_eq!(restore(&other), Some(RestoreError::Id { saved: 0x24, own: ApicId(0x23) }));
    for register in [ApicRegister::InService, ApicRegister::InterruptRequest, ApicRegister::TriggerMode] {
        let register = register(VectorBank::ALL[0]);
        let mut illegal = good;
        illegal.page.set(register, 0x3_8000);
        assert_eq!(restore(&illegal), Some(RestoreError::IllegalVectors { register, bits: 0x8000 }));
    }
}

proptest! {
    #[test]
    fn no_page_makes_the_restored_apic_panic_or_hang(
        words in any::<[u32; REGISTER_SLOTS]>(), mode in 0..3_u64, deadline in any::<u64>(), noticed in any::<u32>(),
        now in any::<u64>(), later in any::<u64>(),
    ) {
        let host = TestHost::new(&[7]);
        let mut page = ApicPage(words);
        let legal = |register: ApicRegister, page: &mut ApicPage| page.set(register, page.get(register) & !0xffff);
        for register in [ApicRegister::InService, ApicRegister::InterruptRequest, ApicRegister::TriggerMode] {
            legal(register(VectorBank::ALL[0]), &mut page);
        }
        page.set(ApicRegister::Id, if mode == 2 { 7 } else { 7 << 24 });
        let base = ApicBase::from([0xfee0_0000, 0xfee0_0800, 0xfee0_0c00][usize::try_from(mode).expect("below 3")]);
        let saved = SavedLocalApic { base, page, tsc_deadline: deadline, noticed_errors: noticed };
        let now = Moment { bus: now, tsc: now };
        let mut apic = LocalApic::restore(config(0, 7, ALL_FEATURES), &saved, now, &host).expect("a mode and a number");
        let again = apic.save(now);
        let twice = LocalApic::restore(config(0, 7, ALL_FEATURES), &again, now, &host).expect("what was saved");
        assert_eq!(twice.save(now), again, "what is defined survives");
        apic.tick(Moment { bus: later, tsc: later }, &host);
        for _ in 0..600 {
            apic.acknowledge();
            apic.end_of_interrupt(&host);
        }
        assert_eq!(apic.page(now).get(ApicRegister::Lvt(LvtEntry::Timer)) >> 19, 0);
    }
}
