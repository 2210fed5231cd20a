//! Random sequences of everything that can happen to a few local APICs, compared with the reference after every step.

use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::LvtEntry;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::Deadline;
use hypervisor_lib::delivery::Destination;
use hypervisor_lib::delivery::Message;
use hypervisor_lib::delivery::software::AccessWidth;
use hypervisor_lib::delivery::software::Acknowledged;
use hypervisor_lib::delivery::software::ApicFeatures;
use hypervisor_lib::delivery::software::Pin;
use hypervisor_lib::event::Level;
use proptest::collection::vec;
use proptest::prelude::Just;
use proptest::prelude::ProptestConfig;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prop_oneof;
use proptest::proptest;

use crate::machine::ALL_FEATURES;
use crate::machine::Machine;
use crate::model::Mode;
use crate::model::Model;
use crate::model::Sent;
use crate::model::Taken;
use crate::model::To;

const IDS: [u32; 4] = [0, 1, 0x11, 0x105];

fn features() -> [ApicFeatures; 4] {
    [ALL_FEATURES, ALL_FEATURES, ApicFeatures { x2apic: true, ..ApicFeatures::default() }, ApicFeatures::default()]
}

#[derive(Clone, Debug)]
enum Op {
    /// By page or by MSR, whichever the mode has, sometimes the other.
    Write {
        offset: u16,
        value: u64,
        by_mode: bool,
    },
    Read {
        offset: u16,
    },
    Base(u64),
    Deadline(u64),
    Cr8(u8),
    Acknowledge,
    End,
    Send(Sent),
    Sync,
    Init,
    Raise(LvtEntry),
    SetPin(usize, bool),
    Pass(u64),
}

fn offset() -> impl Strategy<Value = u16> {
    let common =
        [0x80, 0xb0, 0xd0, 0xe0, 0xf0, 0x280, 0x2f0, 0x300, 0x310, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370, 0x380];
    let common: Vec<u16> = common.into_iter().chain([0x300, 0x300, 0x350, 0x370, 0x3e0, 0x3f0]).collect();
    prop_oneof![6 => proptest::sample::select(common), 1 => (0..0x42_u16).prop_map(|slot| slot * 16)]
}

/// Values that set bits where registers have them.
fn value() -> impl Strategy<Value = u64> {
    let masks =
        [0, 0xff, 0x1ff, 0x10ff, 0x1_00ff, 0x1_f7ff, 0xa7ff, 0x7_00ff, 0x6_001f, 0xc_cfff, 0xb, 0x3f, u32::MAX.into()];
    let low = (proptest::sample::select(masks.to_vec()), any::<u64>()).prop_map(|(mask, bits)| mask & bits);
    let high = prop_oneof![8 => Just(0), 2 => proptest::sample::select(vec![1_u64, 0x11, 0x105, 0xffff, 0x1_0002, u32::MAX.into()])];
    let top = prop_oneof![4 => Just(0), 1 => proptest::sample::select(vec![0x1_u64, 0x11, 0xff, 0xf0, 0x31, 2, 8])];
    (low, high, top).prop_map(|(low, high, top)| low | high << 32 | top << 24)
}

fn sent() -> impl Strategy<Value = Sent> {
    let number = prop_oneof![
        4 => proptest::sample::select(IDS.to_vec()),
        1 => proptest::sample::select(vec![0xff, 7, 0x31, 0x1_0002, 0x1000_ffff, u32::MAX, 0xffff_fffe]),
        1 => 0..0x110_u32,
    ];
    let to = prop_oneof![number.clone().prop_map(To::Physical), number.prop_map(To::Logical), Just(To::All),];
    (to, 0..8_u8, prop_oneof![9 => 16..=255_u8, 1 => 0..16_u8], any::<bool>())
        .prop_map(|(to, delivery, vector, level)| Sent { to, delivery, vector, level })
}

fn op() -> impl Strategy<Value = Op> {
    let entries = vec![LvtEntry::Cmci, LvtEntry::Thermal, LvtEntry::Performance];
    let base = prop_oneof![
        6 => proptest::sample::select(vec![0xfee0_0000_u64, 0xfee0_0800, 0xfee0_0c00, 0xfee0_0400, 0x1234_5800]),
        1 => any::<u64>(),
    ];
    prop_oneof![
        24 => (offset(), value(), any::<u8>())
            .prop_map(|(offset, value, by)| Op::Write { offset, value, by_mode: by > 12 }),
        3 => offset().prop_map(|offset| Op::Read { offset }),
        2 => base.prop_map(Op::Base),
        1 => (0..400_u64).prop_map(Op::Deadline),
        2 => (0..16_u8).prop_map(Op::Cr8),
        8 => Just(Op::Acknowledge),
        4 => Just(Op::End),
        8 => sent().prop_map(Op::Send),
        6 => Just(Op::Sync),
        1 => Just(Op::Init),
        2 => proptest::sample::select(entries).prop_map(Op::Raise),
        3 => (0..2_usize, any::<bool>()).prop_map(|(pin, high)| Op::SetPin(pin, high)),
        3 => (0..300_u64).prop_map(Op::Pass),
    ]
}

fn message(sent: Sent) -> Message {
    let destination = match sent.to {
        To::Physical(number) => Destination::Physical(number),
        To::Logical(number) => Destination::Logical(number),
        To::All => Destination::All,
        To::Others(_) => Destination::Others,
    };
    let modes = [
        DeliveryMode::Fixed,
        DeliveryMode::LowestPriority,
        DeliveryMode::Smi,
        DeliveryMode::Reserved,
        DeliveryMode::Nmi,
        DeliveryMode::Init,
        DeliveryMode::StartUp,
        DeliveryMode::ExtInt,
    ];
    let trigger = if sent.level { TriggerMode::Level } else { TriggerMode::Edge };
    Message { destination, delivery: modes[usize::from(sent.delivery)], vector: sent.vector, trigger }
}

struct Pair {
    real: Machine,
    model: Model,
    alarms: [Option<Deadline>; 4],
}

impl Pair {
    fn new() -> Self {
        Self {
            real: Machine::with_features(&IDS, &features()),
            model: Model::new(&IDS, &features()),
            alarms: [None; 4],
        }
    }

    fn step(&mut self, i: usize, op: Op) {
        let now = self.real.now;
        let real = &mut self.real;
        match op {
            Op::Write { offset, value, by_mode } => self.write(i, offset, value, by_mode),
            Op::Read { offset } if self.model.apics[i].mode() == Mode::X => {
                let got = real.apics[i].read_mmio(now, offset, AccessWidth::Dword);
                assert_eq!(got, Ok(self.model.read_page(i, offset)), "offset {offset:#x}");
            }
            Op::Read { .. } => {}
            Op::Base(value) => {
                let written = real.apics[i].write_base(value, &real.host).is_ok();
                assert_eq!(written, self.model.apics[i].write_base(value), "base {value:#x}");
            }
            Op::Deadline(ahead) => {
                let deadline = if ahead == 0 { 0 } else { now.tsc + ahead - 100.min(ahead) };
                let written = real.apics[i].write_msr(now, 0x6e0, deadline, &real.host).is_ok();
                assert_eq!(written, features()[i].tsc_deadline);
                if written {
                    self.model.apics[i].set_deadline(deadline, now.tsc);
                    let read = real.apics[i].read_msr(now, 0x6e0, &real.host);
                    assert_eq!(read, Ok(self.model.apics[i].deadline()));
                }
            }
            Op::Cr8(class) => {
                real.apics[i].set_cr8(class, &real.host);
                self.model.apics[i].set_tpr(class << 4);
            }
            Op::Acknowledge => {
                assert_eq!(real.apics[i].has_interrupt(), self.model.apics[i].has_interrupt());
                let got = match real.apics[i].acknowledge() {
                    Acknowledged::Vector(vector) => Taken::Vector(vector.number()),
                    Acknowledged::ExtInt => Taken::ExtInt,
                    Acknowledged::Spurious(vector) => Taken::Spurious(vector),
                };
                assert_eq!(got, self.model.apics[i].acknowledge());
            }
            Op::End => {
                real.apics[i].end_of_interrupt(&real.host);
                self.model.apics[i].eoi();
            }
            Op::Send(sent) => {
                real.host.bus.send(&message(sent), &real.host);
                self.model.send(None, sent);
            }
            Op::Sync => {
                real.apics[i].sync(&real.host);
                self.model.apics[i].sync();
            }
            Op::Init => {
                real.apics[i].init(&real.host);
                self.model.apics[i].clear();
            }
            Op::Raise(entry) => {
                real.apics[i].raise(entry, &real.host);
                self.model.apics[i].raise(entry.register().offset());
            }
            Op::SetPin(pin, high) => {
                let level = if high { Level::High } else { Level::Low };
                real.apics[i].set_pin([Pin::Lint0, Pin::Lint1][pin], level, &real.host);
                self.model.apics[i].set_pin(pin, high);
            }
            Op::Pass(ticks) => self.pass(ticks),
        }
        self.compare(i);
    }

    fn write(&mut self, i: usize, offset: u16, value: u64, by_mode: bool) {
        let now = self.real.now;
        let real = &mut self.real;
        let mode = self.model.apics[i].mode();
        if (mode == Mode::X) == by_mode {
            let low = (value & 0xffff_ffff) as u32;
            let written = real.apics[i].write_mmio(now, offset, AccessWidth::Dword, low, &real.host);
            assert_eq!(written.is_ok(), mode == Mode::X);
            if mode == Mode::X {
                self.model.write_page(i, offset, low);
            }
        } else {
            let msr = 0x800 + u32::from(offset / 16);
            let written = real.apics[i].write_msr(now, msr, value, &real.host);
            assert_eq!(
                written.is_ok(),
                self.model.write_msr(i, offset, value),
                "MSR {msr:#x} := {value:#x}: {written:?}"
            );
        }
    }

    /// Time passes; whoever's alarm goes off, and nobody else, had asked to look.
    fn pass(&mut self, ticks: u64) {
        let real = &mut self.real;
        real.now.bus += ticks;
        real.now.tsc += ticks;
        let fired = self.model.pass(ticks);
        let mut actions = Vec::new();
        for (i, apic) in real.apics.iter_mut().enumerate() {
            let due = self.alarms[i].is_some_and(|alarm| match alarm {
                Deadline::Bus(bus) => bus <= real.now.bus,
                Deadline::Tsc(tsc) => tsc <= real.now.tsc,
            });
            assert_eq!(due, fired[i], "alarm {:?} of {i} at {:?}", self.alarms[i], real.now);
            apic.tick(real.now, &real.host);
            actions.extend(split(real.host.take(), &mut self.alarms[i]));
        }
        assert_eq!(actions, self.model.take());
    }

    fn compare(&mut self, i: usize) {
        let actions = split(self.real.host.take(), &mut self.alarms[i]);
        assert_eq!(actions, self.model.take());
        for (number, apic) in self.model.apics.iter().enumerate() {
            let page = self.real.apics[number].page(self.real.now);
            for offset in (0..0x400).step_by(16) {
                let Some(register) = ApicRegister::at_offset(offset) else { continue };
                assert_eq!(page.get(register), apic.read(offset), "{register} of {number}");
            }
        }
    }
}

/// What was asked for besides the timer, whose last setting is noted.
fn split(actions: Vec<Action>, alarm: &mut Option<Deadline>) -> Vec<Action> {
    actions
        .into_iter()
        .filter(|action| {
            if let Action::SetTimer(next) = action {
                *alarm = *next;
                false
            } else {
                true
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_sequence_agrees_with_the_manual(
        start in proptest::array::uniform4(0..3_u8),
        ops in vec((0..4_usize, op()), 1..120),
    ) {
        let mut pair = Pair::new();
        for (i, mode) in start.into_iter().enumerate() {
            pair.step(i, Op::Write { offset: 0xf0, value: 0x1ff, by_mode: true });
            if mode > 0 {
                pair.step(i, Op::Base(0xfee0_0c00));
            }
        }
        for (i, op) in ops {
            pair.step(i, op);
        }
    }
}
