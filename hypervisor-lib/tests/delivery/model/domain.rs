//! The local APICs of a domain together: whom a message is for, and what accesses do.

use std::mem;

use hypervisor_abi::VcpuId;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::software::ApicFeatures;

use super::CMCI;
use super::LEVEL_TRIGGERED;
use super::LINT0;
use super::LINT1;
use super::MASKED;
use super::Mode;
use super::Naive;
use super::REMOTE_IRR;
use super::Sent;
use super::TIMER;
use super::To;

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
        self.apics.iter_mut().flat_map(|apic| mem::take(&mut apic.actions)).collect()
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
                    (true, false) => apic.lvt.values_mut().for_each(|entry| *entry |= MASKED),
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
