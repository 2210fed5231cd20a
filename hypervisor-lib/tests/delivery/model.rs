//! The manual's text, as slowly and plainly as possible: local APICs made of sets and single registers, whose timers
//! count tick by tick, and whose messages are compared with everybody.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicBase;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::software::ApicFeatures;
use vector_allocator::Vector;

use crate::machine::vector;

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
        let divisor = 1 << ((self.divide & 3 | self.divide >> 1 & 4) + 1 & 7);
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

pub(crate) struct Model {
    pub(crate) apics: Vec<Naive>,
    pub(crate) tsc: u64,
}

impl Model {
    pub(crate) fn new(ids: &[u32], features: &[ApicFeatures]) -> Self {
        let apics = ids.iter().zip(features).enumerate();
        Self { apics: apics.map(|(i, (id, features))| Naive::new(*id, i == 0, *features)).collect(), tsc: 0 }
    }

    /// What was asked for since the last call, by whom.
    pub(crate) fn take(&mut self) -> Vec<Action> {
        self.apics.iter_mut().flat_map(|apic| std::mem::take(&mut apic.actions)).collect()
    }

    /// Whose timers fired with their entry unmasked.
    pub(crate) fn pass(&mut self, ticks: u64) -> Vec<bool> {
        self.tsc += ticks;
        let mut all = Vec::new();
        for apic in &mut self.apics {
            let fired = apic.pass(ticks, self.tsc);
            all.push(fired && apic.lvt[&TIMER] & MASKED == 0);
            if fired {
                apic.deliver_local(TIMER);
            }
        }
        all
    }

    fn matches(apic: &Naive, to: To) -> bool {
        let (own, wide) = (apic.number, apic.mode() == Mode::X2);
        match to {
            _ if apic.mode() == Mode::Off => false,
            To::All | To::Others(_) | To::Physical(u32::MAX) | To::Logical(u32::MAX) => true,
            To::Physical(0xff) | To::Logical(0xff) if !wide => true,
            To::Physical(number) => number == own,
            To::Logical(number) if wide => number >> 16 == own >> 4 && number & 0xffff & 1 << (own & 15) != 0,
            To::Logical(number) if number > 0xff => false,
            To::Logical(number) => match (apic.dfr >> 28, apic.ldr >> 24) {
                (15, ldr) => ldr & number != 0,
                (0, ldr) => ldr & 0xf0 == number & 0xf0 && ldr & number & 15 != 0,
                _ => false,
            },
        }
    }

    pub(crate) fn send(&mut self, sender: Option<usize>, sent: Sent) {
        let mut to: Vec<usize> = (0..self.apics.len())
            .filter(|i| Self::matches(&self.apics[*i], sent.to) && sent.to != To::Others(*i))
            .collect();
        if sent.delivery == 1 {
            to.retain(|i| self.apics[*i].is_enabled());
            let lowest = to.iter().map(|i| self.apics[*i].tpr >> 4).min();
            to.retain(|i| Some(self.apics[*i].tpr >> 4) == lowest);
            to = to.get(usize::from(sent.vector) % to.len().max(1)).copied().into_iter().collect();
        }
        for i in to {
            let takes = !matches!(sent.delivery, 0 | 1 | 7) || self.apics[i].is_enabled();
            if Some(i) == sender {
                self.apics[i].receive(sent);
            } else if takes && sent.delivery != 3 {
                if self.apics[i].staged.is_empty() {
                    let vcpu = VcpuId(u32::try_from(i).expect("few vCPUs"));
                    self.apics[sender.unwrap_or(0)].actions.push(Action::Kick(vcpu));
                }
                self.apics[i].staged.push(sent);
            }
        }
    }

    fn command(&mut self, sender: usize, low: u32, destination: u32) {
        let (delivery, shorthand) = ((low >> 8 & 7) as u8, low >> 18 & 3);
        let vector = low.to_le_bytes()[0];
        let is_invalid = delivery == 3 || delivery == 7 || delivery != 0 && (shorthand == 1 || shorthand == 2);
        if is_invalid || delivery == 5 && low & 0xc000 == 0x8000 {
            return;
        }
        if delivery < 2 && vector < 16 {
            self.apics[sender].error(0x20);
        }
        let to = match (shorthand, low >> 11 & 1) {
            (0, 0) => To::Physical(destination),
            (0, _) => To::Logical(destination),
            (3, _) => To::Others(sender),
            _ => To::All,
        };
        let sent = Sent { to, delivery, vector, level: false };
        if shorthand == 1 { self.apics[sender].receive(sent) } else { self.send(Some(sender), sent) }
    }

    /// A write of four bytes to the page of `i`, which is in xAPIC mode.
    pub(crate) fn write_page(&mut self, i: usize, offset: u16, value: u32) {
        let apic = &mut self.apics[i];
        match offset {
            0x20 | 0x30 | 0xa0 | 0x100..0x280 | 0x390 => {}
            0xd0 => apic.ldr = value & 0xff00_0000,
            0xe0 => apic.dfr = value | 0x0fff_ffff,
            0x310 => apic.icr[1] = value & 0xff00_0000,
            0x300 => {
                apic.icr[0] = value & 0xc_cfff;
                let (low, high) = (apic.icr[0], apic.icr[1]);
                self.command(i, low, high >> 24);
            }
            CMCI if !apic.features.cmci => apic.error(0x80),
            0x80 | 0xb0 | 0xf0 | 0x280 | 0x380 | 0x3e0 => self.write(i, offset, value),
            _ if apic.lvt.contains_key(&offset) => self.write(i, offset, value),
            _ => apic.error(0x80),
        }
    }

    /// A read of four bytes.
    pub(crate) fn read_page(&mut self, i: usize, offset: u16) -> u32 {
        let apic = &mut self.apics[i];
        let is_there = matches!(offset, 0x20 | 0x30 | 0x80 | 0xa0 | 0xb0 | 0xd0 | 0xe0 | 0xf0 | 0x100..=0x280)
            || matches!(offset, 0x300..=0x390 | 0x3e0)
            || offset == CMCI && apic.features.cmci;
        if !is_there {
            apic.error(0x80);
        }
        if is_there { apic.read(offset) } else { 0 }
    }

    /// A write of an MSR of `i`; false for a fault.
    pub(crate) fn write_msr(&mut self, i: usize, offset: u16, value: u64) -> bool {
        let apic = &self.apics[i];
        let writable: u64 = match offset {
            _ if apic.mode() != Mode::X2 => return false,
            0x80 | 0x3f0 => 0xff,
            0xb0 | 0x280 => 0,
            0xf0 => apic.svr_writable().into(),
            0x300 => 0xffff_ffff_000c_cfff,
            0x380 => 0xffff_ffff,
            0x3e0 => 0xb,
            CMCI if !apic.features.cmci => return false,
            LINT0 | LINT1 => 0x1_f7ff,
            _ if apic.lvt.contains_key(&offset) => u64::from(apic.entry_writable(offset)) | 0x1000,
            _ => return false,
        };
        if value & !writable != 0 {
            return false;
        }
        let low = (value & 0xffff_ffff) as u32;
        match offset {
            0x300 => {
                self.apics[i].icr = [low, (value >> 32) as u32];
                self.command(i, low, (value >> 32) as u32);
            }
            0x3f0 => self.command(i, 0x4_0000 | low, 0),
            _ => self.write(i, offset, low),
        }
        true
    }

    /// What both modes have in common.
    fn write(&mut self, i: usize, offset: u16, value: u32) {
        let apic = &mut self.apics[i];
        match offset {
            0x80 => apic.set_tpr(value.to_le_bytes()[0]),
            0xb0 => apic.eoi(),
            0xf0 => {
                let was = apic.svr & 0x100 != 0;
                apic.svr = value & apic.svr_writable();
                match (was, apic.svr & 0x100 != 0) {
                    (true, false) => {
                        apic.lvt.values_mut().for_each(|entry| *entry |= MASKED);
                        apic.sync();
                    }
                    (false, true) => apic.actions.push(Action::SoftwareEnabled),
                    _ => {}
                }
            }
            0x280 => {
                (apic.shown, apic.noticed, apic.error_raised) = (apic.noticed, 0, false);
            }
            0x380 if apic.timer_mode() < 2 => {
                (apic.initial, apic.current, apic.prescaler) = (value, value, 0);
            }
            0x380 => {}
            0x3e0 => (apic.divide, apic.prescaler) = (value & 0xb, 0),
            _ => {
                let before = apic.lvt[&offset];
                let kept = before & if offset == LINT0 || offset == LINT1 { 0x5000 } else { 0x1000 };
                let mut after = value & apic.entry_writable(offset) | kept;
                if apic.svr & 0x100 == 0 {
                    after |= MASKED;
                }
                if (before ^ after) & LEVEL_TRIGGERED != 0 {
                    after &= !REMOTE_IRR;
                }
                apic.lvt.insert(offset, after);
                let modes = (before >> 17 & 3, after >> 17 & 3);
                if offset == TIMER && modes.0 != modes.1 && (modes.0 > 1 || modes.1 > 1) {
                    (apic.initial, apic.current, apic.deadline) = (0, 0, 0);
                }
                apic.look_at_level();
            }
        }
    }
}
