//! Every class of command, to every kind of destination.

use std::collections::BTreeSet;

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::Destination;
use hypervisor_lib::delivery::Message;

use crate::machine::ICR;
use crate::machine::MSR_BASE;
use crate::machine::Machine;
use crate::machine::X2APIC;

const IDS: [u32; 4] = [0, 1, 2, 3];

/// Who has got something, and what it was: vectors that wait, and signals.
fn received(machine: &mut Machine) -> Vec<(usize, String)> {
    machine.host.take();
    let mut all = Vec::new();
    for i in 0..machine.apics.len() {
        machine.apics[i].sync(&machine.host);
        all.extend(machine.host.take().into_iter().map(|action| (i, format!("{action:?}"))));
        all.extend(machine.drain(i).into_iter().map(|vector| (i, format!("{vector:#x}"))));
    }
    all
}

#[test]
fn every_delivery_mode_level_trigger_and_shorthand_sends_what_the_manual_says() {
    for low in (0..=0xf_ffff_u32).filter(|low| low & 0x3_3800 == 0 && matches!(low & 0xff, 0x0f | 0x10 | 0x51)) {
        let mut machine = Machine::x2apic(&IDS);
        // The sender is 1, the destination field says 2; its own signals are noted as they come.
        machine.write(1, ICR, 2 << 32 | u64::from(low)).expect("no reserved bit");
        let own: Vec<(usize, String)> = machine
            .host
            .take()
            .into_iter()
            .filter(|action| !matches!(action, Action::Kick(_)))
            .map(|action| (1, format!("{action:?}")))
            .collect();
        let got: BTreeSet<(usize, String)> = received(&mut machine).into_iter().chain(own).collect();
        let (delivery, vector, shorthand) = (low >> 8 & 7, low & 0xff, low >> 18 & 3);
        let reaches: &[usize] = match shorthand {
            0 => &[2],
            1 => &[1],
            2 => &[0, 1, 2, 3],
            _ => &[0, 2, 3],
        };
        // Of equals the vector chooses.
        let lowest = [reaches[vector as usize % reaches.len()]];
        let with_sender = shorthand == 1 || shorthand == 2;
        let what = match delivery {
            0 | 1 if vector < 16 => None,
            0 | 1 => Some(format!("{vector:#x}")),
            2 => Some("Smi".to_owned()),
            4 => Some("Nmi".to_owned()),
            5 => (low & 0xc000 != 0x8000).then(|| "Init".to_owned()),
            6 => Some(format!("StartUp({vector})")),
            _ => None,
        };
        let what = what.filter(|_| delivery == 0 || !with_sender);
        let reaches = if delivery == 1 { &lowest } else { reaches };
        let expected: BTreeSet<(usize, String)> =
            what.iter().flat_map(|what| reaches.iter().map(|i| (*i, what.clone()))).collect();
        assert_eq!(got, expected, "{low:#x}");
        for i in 0..4 {
            machine.write(i, 0x828, 0).expect("an error status");
        }
        let is_illegal = delivery < 2 && vector < 16 && (delivery == 0 || !with_sender);
        for i in 0..4 {
            let sent = if is_illegal && i == 1 { 0x20 } else { 0 };
            let received = if is_illegal && reaches.contains(&i) { 0x40 } else { 0 };
            // A lowest-priority message is to one of those addressed.
            assert_eq!(machine.read(i, 0x828), Ok(sent | received), "{low:#x} at {i}");
        }
    }
}

#[test]
fn a_self_ipi_is_the_command_with_shorthand_self() {
    for vector in 0..=0xff_u64 {
        let (mut by_self_ipi, mut by_command) = (Machine::x2apic(&IDS), Machine::x2apic(&IDS));
        by_self_ipi.write(1, 0x83f, vector).expect("a vector");
        by_command.write(1, ICR, 0x4_4000 | vector).expect("a command");
        for machine in [&mut by_self_ipi, &mut by_command] {
            let expected = if vector < 16 { vec![] } else { vec![u8::try_from(vector).expect("a byte")] };
            assert_eq!(machine.drain(1), expected);
            machine.write(1, 0x828, 0).expect("an error status");
            assert_eq!(machine.read(1, 0x828), Ok(if vector < 16 { 0x60 } else { 0 }), "sent and received");
        }
        assert_eq!(by_self_ipi.read(1, ICR), Ok(0), "the command register stays");
    }
}

#[test]
fn every_flat_logical_destination_reaches_whoever_has_a_bit_of_it() {
    let mut machine = Machine::xapic(&IDS);
    for (i, ldr) in [0x01, 0x02, 0x06, 0x00].into_iter().enumerate() {
        machine.write_page(i, ApicRegister::LogicalDestination, ldr << 24);
    }
    for destination in 0..=0xff_u32 {
        machine.write_page(0, ApicRegister::IcrHigh, destination << 24);
        machine.write_page(0, ApicRegister::IcrLow, 0x4851);
        let got: Vec<usize> = received(&mut machine).into_iter().map(|(i, _)| i).collect();
        let expected: Vec<usize> =
            (0..4).filter(|i| destination == 0xff || [1, 2, 6, 0][*i] & destination != 0).collect();
        assert_eq!(got, expected, "{destination:#x}");
    }
}

#[test]
fn every_cluster_logical_destination_reaches_its_members() {
    let mut machine = Machine::xapic(&IDS);
    for (i, ldr) in [0x11, 0x12, 0x21, 0x2c].into_iter().enumerate() {
        machine.write_page(i, ApicRegister::LogicalDestination, ldr << 24);
        machine.write_page(i, ApicRegister::DestinationFormat, 0);
    }
    assert_eq!(machine.read_page(0, ApicRegister::DestinationFormat), 0x0fff_ffff);
    for destination in 0..=0xff_u32 {
        machine.write_page(3, ApicRegister::IcrHigh, destination << 24);
        machine.write_page(3, ApicRegister::IcrLow, 0x4851);
        let got: Vec<usize> = received(&mut machine).into_iter().map(|(i, _)| i).collect();
        let member = |ldr: u32| ldr >> 4 == destination >> 4 && ldr & destination & 0xf != 0;
        let expected: Vec<usize> =
            (0..4).filter(|i| destination == 0xff || member([0x11, 0x12, 0x21, 0x2c][*i])).collect();
        assert_eq!(got, expected, "{destination:#x}");
    }
}

#[test]
fn x2apic_clusters_are_found_with_and_without_an_xapic_on_the_bus() {
    let ids = [0, 1, 15, 16, 0x31, 0xff, 0x105];
    for mixed in [false, true] {
        let mut machine = Machine::x2apic(&ids);
        if mixed {
            // One goes back to xAPIC mode, where it has no logical ID.
            machine.write(5, MSR_BASE, 0xfee0_0000).expect("an allowed change");
            machine.write(5, MSR_BASE, 0xfee0_0800).expect("an allowed change");
        }
        for (cluster, bits) in
            [(0, 0x8003), (1, 1), (3, 0xffff), (0xf, 0x8000), (0x10, 0x20), (7, 0xffff), (0xffff, 0xfffe)]
        {
            machine.write(0, ICR, (cluster << 16 | bits) << 32 | 0x4851).expect("a command");
            let got: Vec<usize> = received(&mut machine).into_iter().map(|(i, _)| i).collect();
            let expected: Vec<usize> = (0..ids.len())
                .filter(|i| u64::from(ids[*i] >> 4) == cluster && bits >> (ids[*i] & 15) & 1 == 1)
                .filter(|i| !(mixed && *i == 5))
                .collect();
            assert_eq!(got, expected, "cluster {cluster:#x} bits {bits:#x} mixed {mixed}");
        }
    }
}

#[test]
fn a_lowest_priority_message_goes_to_the_lowest_task_priority_and_spreads_over_equals() {
    let mut machine = Machine::x2apic(&IDS);
    for (i, tpr) in [0x50, 0x20, 0x60, 0x2f].into_iter().enumerate() {
        machine.write(i, 0x808, tpr).expect("a TPR");
    }
    let mut per_vcpu = [0; 4];
    for vector in 0x30..=0xff {
        let message = Message {
            destination: Destination::Logical(0xf),
            delivery: DeliveryMode::LowestPriority,
            vector,
            trigger: TriggerMode::Edge,
        };
        machine.host.bus.send(&message, &machine.host);
        let kicked = machine.host.take();
        for (i, apic) in machine.apics.iter_mut().enumerate() {
            apic.sync(&machine.host);
            let waits = apic.dispatchable().is_some();
            assert_eq!(waits, kicked.contains(&Action::Kick(VcpuId(u32::try_from(i).expect("few")))));
            per_vcpu[i] += u32::from(waits);
            while apic.dispatchable().is_some() {
                apic.acknowledge();
                apic.end_of_interrupt(&machine.host);
            }
        }
    }
    assert_eq!(per_vcpu, [0, 104, 0, 104], "classes 5, 2, 6 and 2");
}

#[test]
fn a_vector_that_is_sent_again_before_it_is_seen_is_one_and_kicks_once() {
    let mut machine = Machine::x2apic(&IDS);
    for _ in 0..10 {
        machine.write(0, ICR, 3 << 32 | 0x4051).expect("a command");
    }
    assert_eq!(machine.host.take(), [Action::Kick(VcpuId(3))]);
    assert_eq!(machine.drain(3), [0x51]);
    machine.write(0, ICR, 3 << 32 | 0x4051).expect("a command");
    assert_eq!(machine.host.take(), [Action::Kick(VcpuId(3))], "it has looked since");
}

#[test]
fn an_xapic_number_above_254_is_reached_from_x2apic_mode_so_that_it_can_be_started() {
    let mut machine = Machine::reset(&[0, 0x105]);
    machine.write(0, MSR_BASE, X2APIC).expect("x2APIC mode");
    machine.write(0, ICR, 0x105 << 32 | 0x4500).expect("INIT");
    machine.write(0, ICR, 0x105 << 32 | 0x4608).expect("start-up");
    assert_eq!(received(&mut machine), [(1, "Init".to_owned()), (1, "StartUp(8)".to_owned())]);
}
