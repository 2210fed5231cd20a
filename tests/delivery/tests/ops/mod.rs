//! Random steps of a guest, and those that bring it up.

use carillon_delivery_tests::Act;
use carillon_delivery_tests::Op;
use carillon_delivery_tests::Source;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::LvtEntry;
use hypervisor_abi::apic::SLOT_SIZE;
use hypervisor_lib::delivery::Destination;
use proptest::prelude::Just;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prelude::prop_oneof;

/// `IA32_APIC_BASE` in xAPIC and x2APIC mode, and disabled.
const XAPIC: u64 = 0xfee0_0800;
const X2APIC: u64 = 0xfee0_0c00;
const OFF: u64 = 0xfee0_0000;
const BOOTSTRAP: u64 = 1 << 8;

/// Brings every local APIC into a mode, software-enabled, with interrupts enabled.
pub(crate) fn bring_up(vcpus: usize, xapic: bool) -> Vec<Op> {
    let steps = |vcpu: usize| {
        let base = if xapic { XAPIC } else { X2APIC };
        [
            Act::WriteBase(base | if vcpu == 0 { BOOTSTRAP } else { 0 }),
            Act::Write(ApicRegister::SpuriousVector, 0x1ff),
            Act::Write(ApicRegister::DestinationFormat, 0xffff_ffff),
            Act::Write(ApicRegister::LogicalDestination, 1 << (24 + vcpu)),
            Act::EnableInterrupts,
        ]
        .map(|act| Op::On(vcpu, act))
    };
    (0..vcpus).flat_map(steps).collect()
}

/// Few vectors, so that they meet; all classes, and illegal ones.
fn vectors() -> impl Strategy<Value = u8> {
    prop_oneof![1 => 0..16_u8, 12 => (1..16_u8, 0..5_u8).prop_map(|(class, low)| class << 4 | low)]
}

/// Vectors that a guest sends by itself, edge-triggered.
fn edge_vectors() -> impl Strategy<Value = u8> {
    vectors().prop_map(|vector| if vector % 4 == 1 { vector - 1 } else { vector })
}

fn registers() -> impl Strategy<Value = ApicRegister> {
    (0..0x40_u16).prop_filter_map("a register", |slot| ApicRegister::at_offset(slot * SLOT_SIZE))
}

fn deliveries() -> impl Strategy<Value = DeliveryMode> {
    prop_oneof![
        8 => Just(DeliveryMode::Fixed),
        2 => Just(DeliveryMode::LowestPriority),
        1 => Just(DeliveryMode::Nmi),
    ]
}

fn destinations(vcpus: u32) -> impl Strategy<Value = Destination> {
    prop_oneof![
        6 => (0..=vcpus).prop_map(Destination::Physical),
        2 => (0..8_u32).prop_map(Destination::Logical),
        1 => Just(Destination::Physical(0xff)),
        1 => Just(Destination::All),
    ]
}

/// Values of ICR, most of them sensible.
fn commands(vcpus: u64) -> impl Strategy<Value = u64> {
    let plain = (edge_vectors(), 0..=vcpus).prop_map(|(vector, to)| to << 32 | 0x4000 | u64::from(vector));
    let special = (edge_vectors(), 0..4_u64, 0..8_u64, 0..2_u64, 0..16_u64).prop_map(
        |(vector, shorthand, delivery, mode, to)| {
            to << 32 | shorthand << 18 | 0x4000 | mode << 11 | delivery << 8 | u64::from(vector)
        },
    );
    prop_oneof![4 => plain, 3 => special, 1 => any::<u64>().prop_map(|bits| bits & !0xff | 0x52)]
}

fn acts(vcpus: u64) -> impl Strategy<Value = Act> {
    let write = |register| move |value: u64| Act::Write(register, value);
    let command = commands(vcpus).prop_map(write(ApicRegister::IcrLow));
    let high = (0..=vcpus).prop_map(|to| Act::Write(ApicRegister::IcrHigh, to << 24));
    let timer = prop_oneof![
        (0..3_u64, edge_vectors())
            .prop_map(|(mode, vector)| Act::Write(ApicRegister::Lvt(LvtEntry::Timer), mode << 17 | u64::from(vector))),
        (0..200_u64).prop_map(write(ApicRegister::TimerInitialCount)),
        (0..500_u64).prop_map(Act::WriteDeadline),
    ];
    let error = edge_vectors().prop_map(|vector| Act::Write(ApicRegister::Lvt(LvtEntry::Error), u64::from(vector)));
    let harmless = prop_oneof![
        Just(ApicRegister::ErrorStatus),
        Just(ApicRegister::Id),
        Just(ApicRegister::Version),
        Just(ApicRegister::ProcessorPriority),
        Just(ApicRegister::DestinationFormat),
        Just(ApicRegister::LogicalDestination),
        Just(ApicRegister::TimerDivide),
        Just(ApicRegister::TimerCurrentCount),
        Just(ApicRegister::RemoteRead),
    ];
    let other = (harmless, any::<u64>()).prop_map(|(register, value)| Act::Write(register, value));
    let spurious = prop_oneof![Just(0x1ff_u64), Just(0x0ff), Just(0x11ff), Just(0xf1ff)];
    prop_oneof![
        8 => registers().prop_map(Act::Read),
        8 => Just(Act::Write(ApicRegister::Eoi, 0)),
        6 => command,
        2 => high,
        3 => edge_vectors().prop_map(|vector| Act::Write(ApicRegister::SelfIpi, vector.into())),
        3 => (0..16_u64, 0..16_u64).prop_map(|(class, low)| Act::Write(ApicRegister::TaskPriority, class << 4 | low)),
        2 => (0..16_u8).prop_map(Act::WriteCr8),
        2 => timer,
        1 => error,
        1 => other,
        1 => spurious.prop_map(write(ApicRegister::SpuriousVector)),
        3 => Just(Act::EnableInterrupts),
        2 => Just(Act::DisableInterrupts),
        1 => Just(Act::ReturnFromNmi),
        2 => Just(Act::Leave),
        2 => Just(Act::AskToWake),
        1 => vectors().prop_map(Act::Route),
        1 => prop_oneof![Just(OFF), Just(XAPIC), Just(X2APIC)].prop_map(Act::WriteBase),
    ]
}

/// Any step.
pub(crate) fn ops(vcpus: usize) -> impl Strategy<Value = Op> {
    let count = u32::try_from(vcpus).expect("few");
    let send = (destinations(count), deliveries(), vectors())
        .prop_map(|(destination, delivery, vector)| Op::Send(Source { destination, delivery, vector }));
    prop_oneof![
        10 => (0..vcpus, acts(count.into())).prop_map(|(vcpu, act)| Op::On(vcpu, act)),
        4 => send,
        1 => (0..150_u64).prop_map(Op::Pass),
    ]
}
