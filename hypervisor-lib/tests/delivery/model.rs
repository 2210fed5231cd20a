//! The manual's text, as slowly and plainly as possible: local APICs made of sets and single registers, whose timers
//! count tick by tick, and whose messages are compared with everybody.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use hypervisor_abi::apic::ApicBase;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::software::ApicFeatures;
use vector_allocator::Vector;

use crate::machine::vector;

mod domain;

pub(crate) use domain::Model;

const CMCI: u16 = 0x2f0;
const TIMER: u16 = 0x320;
const PERFORMANCE: u16 = 0x340;
const LINT0: u16 = 0x350;
const LINT1: u16 = 0x360;
const ERROR: u16 = 0x370;
const ENTRIES: [u16; 7] = [CMCI, TIMER, 0x330, PERFORMANCE, LINT0, LINT1, ERROR];

const MASKED: u32 = 1 << 16;
const LEVEL_TRIGGERED: u32 = 1 << 15;
const REMOTE_IRR: u32 = 1 << 14;
const ACTIVE_LOW: u32 = 1 << 13;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Off,
    X,
    X2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Physical(u32),
    Logical(u32),
    All,
    Others(usize),
}

/// A message: the number of its delivery mode, its vector, whether it is level-triggered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) to: To,
    pub(crate) delivery: u8,
    pub(crate) vector: u8,
    pub(crate) level: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Vector(u8),
    ExtInt,
    Spurious(u8),
}

pub(crate) struct Naive {
    number: u32,
    features: ApicFeatures,
    base: u64,
    tpr: u8,
    ldr: u32,
    dfr: u32,
    svr: u32,
    icr: [u32; 2],
    shown: u32,
    noticed: u32,
    error_raised: bool,
    lvt: BTreeMap<u16, u32>,
    irr: BTreeSet<u8>,
    isr: BTreeSet<u8>,
    tmr: BTreeSet<u8>,
    initial: u32,
    current: u32,
    prescaler: u32,
    divide: u32,
    deadline: u64,
    pins: [bool; 2],
    ext_int_message: bool,
    staged: Vec<Sent>,
    actions: Vec<Action>,
}

impl Naive {
    fn new(number: u32, is_first: bool, features: ApicFeatures) -> Self {
        Self {
            number,
            features,
            base: 0xfee0_0800 | u64::from(is_first) << 8,
            tpr: 0,
            ldr: 0,
            dfr: u32::MAX,
            svr: 0xff,
            icr: [0; 2],
            shown: 0,
            noticed: 0,
            error_raised: false,
            lvt: ENTRIES.into_iter().map(|entry| (entry, MASKED)).collect(),
            irr: BTreeSet::new(),
            isr: BTreeSet::new(),
            tmr: BTreeSet::new(),
            initial: 0,
            current: 0,
            prescaler: 0,
            divide: 0,
            deadline: 0,
            pins: [false; 2],
            ext_int_message: false,
            staged: Vec::new(),
            actions: Vec::new(),
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        match self.base >> 10 & 3 {
            2 => Mode::X,
            3 => Mode::X2,
            _ => Mode::Off,
        }
    }

    fn is_enabled(&self) -> bool {
        self.mode() != Mode::Off && self.svr & 0x100 != 0
    }

    pub(crate) fn ppr(&self) -> u8 {
        let served = self.isr.last().copied().unwrap_or(0);
        if self.tpr >> 4 >= served >> 4 { self.tpr } else { served & 0xf0 }
    }

    fn ext_int(&self) -> bool {
        let by_pin = (0..2).any(|pin| {
            let entry = self.lvt[&[LINT0, LINT1][pin]];
            match self.mode() {
                Mode::Off => pin == 0 && self.pins[0],
                _ => self.is_asserted(pin) && entry & MASKED == 0 && entry >> 8 & 7 == 7,
            }
        });
        by_pin || self.ext_int_message
    }

    fn is_asserted(&self, pin: usize) -> bool {
        let is_low = self.mode() != Mode::Off && self.lvt[&[LINT0, LINT1][pin]] & ACTIVE_LOW != 0;
        self.pins[pin] != is_low
    }

    pub(crate) fn has_interrupt(&self) -> bool {
        self.ext_int() || self.irr.last().is_some_and(|waiting| waiting >> 4 > self.ppr() >> 4)
    }

    pub(crate) fn acknowledge(&mut self) -> Taken {
        if self.ext_int() {
            self.ext_int_message = false;
            return Taken::ExtInt;
        }
        match self.irr.last().copied().filter(|waiting| waiting >> 4 > self.ppr() >> 4) {
            Some(vector) => {
                self.irr.remove(&vector);
                self.isr.insert(vector);
                Taken::Vector(vector)
            }
            None => Taken::Spurious(self.svr.to_le_bytes()[0]),
        }
    }

    pub(crate) fn eoi(&mut self) {
        let Some(ended) = self.isr.pop_last() else { return };
        if self.tmr.contains(&ended) {
            if self.svr & 0x1000 == 0 {
                self.actions.push(Action::EndOfInterrupt(vector(ended)));
            }
            let lint = self.lvt[&LINT0];
            if lint & REMOTE_IRR != 0 && lint & 0xff == u32::from(ended) {
                self.lvt.insert(LINT0, lint & !REMOTE_IRR);
                self.look_at_level();
            }
        }
    }

    fn accept(&mut self, number: u8, level: bool) {
        if Vector::new(number).is_err() {
            return self.error(0x40);
        }
        self.irr.insert(number);
        if level {
            self.tmr.insert(number);
        } else {
            self.tmr.remove(&number);
        }
    }

    fn error(&mut self, bit: u32) {
        self.noticed |= bit;
        if !self.error_raised {
            self.error_raised = true;
            let entry = self.lvt[&ERROR];
            if entry & MASKED == 0 {
                self.accept(entry.to_le_bytes()[0], false);
            }
        }
    }

    /// A message that is for this one, on its own thread.
    fn receive(&mut self, sent: Sent) {
        match sent.delivery {
            0 | 1 if self.is_enabled() => self.accept(sent.vector, sent.level),
            7 if self.is_enabled() => self.ext_int_message = true,
            2 | 4 | 5 | 6 if self.mode() != Mode::Off => self.signal(sent.delivery, sent.vector),
            _ => {}
        }
    }

    fn signal(&mut self, delivery: u8, page: u8) {
        self.actions.push(match delivery {
            2 => Action::Smi,
            4 => Action::Nmi,
            5 => Action::Init,
            _ => Action::StartUp(page),
        });
    }

    pub(crate) fn sync(&mut self) {
        let staged = std::mem::take(&mut self.staged);
        let is_vector = |sent: &&Sent| sent.delivery < 2 && sent.vector >= 16;
        for level in [false, true] {
            for sent in staged.iter().filter(is_vector).filter(|sent| sent.level == level) {
                self.accept(sent.vector, level);
            }
        }
        if staged.iter().any(|sent| sent.delivery < 2 && sent.vector < 16) {
            self.error(0x40);
        }
        if staged.iter().any(|sent| sent.delivery == 7) {
            self.ext_int_message = true;
        }
        for delivery in [2, 4, 5] {
            if staged.iter().any(|sent| sent.delivery == delivery) {
                self.signal(delivery, 0);
            }
        }
        // A start-up counts if no INIT came after it; the first of several does.
        let after_init = staged.iter().rposition(|sent| sent.delivery == 5).map_or(0, |at| at + 1);
        if let Some(start) = staged[after_init..].iter().find(|sent| sent.delivery == 6) {
            self.signal(6, start.vector);
        }
    }

    fn look_at_level(&mut self) {
        let entry = self.lvt[&LINT0];
        let is_level = entry & LEVEL_TRIGGERED != 0 && entry >> 8 & 7 == 0;
        if self.mode() != Mode::Off && is_level && self.is_asserted(0) && entry & (MASKED | REMOTE_IRR) == 0 {
            if entry & 0xff >= 16 {
                self.lvt.insert(LINT0, entry | REMOTE_IRR);
            }
            self.accept(entry.to_le_bytes()[0], true);
        }
    }

    fn deliver_local(&mut self, offset: u16) {
        let entry = self.lvt[&offset];
        if self.mode() == Mode::Off || entry & MASKED != 0 {
            return;
        }
        match entry >> 8 & 7 {
            0 => self.accept(entry.to_le_bytes()[0], false),
            2 => self.signal(2, 0),
            4 => self.signal(4, 0),
            5 if offset == LINT0 || offset == LINT1 => self.signal(5, 0),
            _ => {}
        }
    }

    pub(crate) fn raise(&mut self, offset: u16) {
        self.deliver_local(offset);
        if offset == PERFORMANCE && self.mode() != Mode::Off {
            *self.lvt.get_mut(&PERFORMANCE).expect("an entry") |= MASKED;
        }
    }

    pub(crate) fn set_pin(&mut self, pin: usize, high: bool) {
        let before = self.is_asserted(pin);
        self.pins[pin] = high;
        if !before && self.is_asserted(pin) {
            let entry = self.lvt[&[LINT0, LINT1][pin]];
            match (self.mode(), pin) {
                (Mode::Off, 0) => {}
                (Mode::Off, _) => self.signal(4, 0),
                (_, 0) if entry & LEVEL_TRIGGERED != 0 && entry >> 8 & 7 == 0 => self.look_at_level(),
                _ => self.deliver_local([LINT0, LINT1][pin]),
            }
        }
    }

    fn timer_mode(&self) -> u32 {
        self.lvt[&TIMER] >> 17 & 3
    }

    /// So many ticks of the timer's clock, and the time-stamp counter at their end.
    fn pass(&mut self, ticks: u64, tsc: u64) -> bool {
        let mut fired = false;
        let divisor = 1 << (((self.divide & 3 | self.divide >> 1 & 4) + 1) & 7);
        for _ in 0..ticks {
            self.prescaler += 1;
            if self.prescaler < divisor {
                continue;
            }
            self.prescaler = 0;
            if self.current != 0 && self.timer_mode() < 2 {
                self.current -= 1;
                if self.current == 0 {
                    fired = true;
                    self.current = if self.timer_mode() == 1 { self.initial } else { 0 };
                }
            }
        }
        fired | self.reach(tsc)
    }

    fn reach(&mut self, tsc: u64) -> bool {
        let reached = self.timer_mode() == 2 && self.deadline != 0 && tsc >= self.deadline;
        if reached {
            self.deadline = 0;
        }
        reached
    }

    pub(crate) fn set_deadline(&mut self, deadline: u64, tsc: u64) {
        if self.timer_mode() == 2 {
            self.deadline = deadline;
            if self.reach(tsc) {
                self.deliver_local(TIMER);
            }
        }
    }

    pub(crate) fn deadline(&self) -> u64 {
        self.deadline
    }

    pub(crate) fn set_tpr(&mut self, tpr: u8) {
        self.tpr = tpr;
    }

    /// After RESET or INIT.
    pub(crate) fn clear(&mut self) {
        self.sync();
        let fresh = Self::new(self.number, false, self.features);
        let kept = (self.base, self.pins, std::mem::take(&mut self.actions));
        *self = fresh;
        (self.base, self.pins, self.actions) = kept;
        if self.mode() == Mode::X2 {
            self.ldr = (self.number >> 4) << 16 | 1 << (self.number & 15);
        }
    }

    /// A write of `IA32_APIC_BASE`; false for a fault.
    pub(crate) fn write_base(&mut self, value: u64) -> bool {
        let (from, to) = (self.base >> 10 & 3, value >> 10 & 3);
        let is_allowed = matches!((from, to), (0, 0 | 2) | (2, 0 | 2 | 3) | (3, 0 | 3));
        if value & 0xffff_c000_0000_02ff != 0 || !is_allowed || to == 3 && !self.features.x2apic {
            return false;
        }
        let moved = self.base >> 12 != value >> 12;
        self.base = value;
        match (from, to) {
            (2 | 3, 0) => self.clear(),
            (2, 3) => {
                self.icr[1] = 0;
                self.ldr = (self.number >> 4) << 16 | 1 << (self.number & 15);
            }
            (0, 2) => self.look_at_level(),
            _ => {}
        }
        if from != to || moved {
            self.actions.push(Action::BaseChanged(ApicBase::from(value)));
        }
        true
    }

    fn entry_writable(&self, offset: u16) -> u32 {
        match offset {
            TIMER if self.features.tsc_deadline => 0x7_00ff,
            TIMER => 0x3_00ff,
            ERROR => 0x1_00ff,
            LINT0 | LINT1 => 0x1_a7ff,
            _ => 0x1_07ff,
        }
    }

    fn svr_writable(&self) -> u32 {
        let focus = if self.mode() == Mode::X2 { 0 } else { 0x200 };
        0x1ff | focus | if self.features.suppress_eoi { 0x1000 } else { 0 }
    }

    pub(crate) fn read(&self, offset: u16) -> u32 {
        let bank = |set: &BTreeSet<u8>| {
            let first = (offset >> 4 & 7) * 32;
            (0..32).filter(|bit| u8::try_from(first + bit).is_ok_and(|v| set.contains(&v))).map(|bit| 1 << bit).sum()
        };
        match offset {
            0x20 if self.mode() == Mode::X2 => self.number,
            0x20 => self.number << 24,
            0x30 => 0x14 | if self.features.cmci { 6 } else { 5 } << 16 | u32::from(self.features.suppress_eoi) << 24,
            0x80 => self.tpr.into(),
            0xa0 => self.ppr().into(),
            0xd0 => self.ldr,
            0xe0 => self.dfr,
            0xf0 => self.svr,
            0x100..0x180 => bank(&self.isr),
            0x180..0x200 => bank(&self.tmr),
            0x200..0x280 => bank(&self.irr),
            0x280 => self.shown,
            0x300 => self.icr[0],
            0x310 => self.icr[1],
            0x380 => self.initial,
            0x390 => self.current,
            0x3e0 => self.divide,
            _ => self.lvt.get(&offset).copied().unwrap_or(0),
        }
    }
}
