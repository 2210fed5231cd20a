//! Which vCPUs an inter-processor interrupt is for, by the rules the processor follows (APM vol. 2, 15.29.6.1).

use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::BROADCAST_X2APIC;
use hypervisor_abi::apic::BROADCAST_XAPIC;
use hypervisor_abi::apic::DestinationMode;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::Shorthand;

use super::acceleration::Mode;
use super::logical::LogicalModel;
use super::logical::LogicalTable;
use super::table::EntryCell;
use super::table::PhysicalTable;

/// What a VM's commands are resolved by.
#[derive(Clone, Copy, Debug)]
pub enum LogicalIds<'a> {
    /// The table, by the sender's model: xAVIC.
    Table(LogicalTable<'a>, LogicalModel),
    /// The numbers of the vCPUs: x2AVIC. The processor does not look at LDR; what a page holds there is for its guest to read,
    /// and should agree.
    Derived,
}

/// Whom a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Addressed {
    Sender,
    All,
    Others,
    Physical(u32),
    Logical(u32),
}

fn addressed(mode: Mode, icr: Icr) -> Addressed {
    let (destination, broadcast) = match mode {
        Mode::XAvic => (icr.destination() >> 24, BROADCAST_XAPIC),
        Mode::X2Avic => (icr.destination(), BROADCAST_X2APIC),
    };
    match (icr.shorthand(), icr.destination_mode()) {
        (Shorthand::Myself, _) => Addressed::Sender,
        (Shorthand::All, _) => Addressed::All,
        (Shorthand::Others, _) => Addressed::Others,
        // The processor takes the broadcast for one whatever the destination mode.
        (Shorthand::None, _) if destination == broadcast => Addressed::All,
        (Shorthand::None, DestinationMode::Physical) => Addressed::Physical(destination),
        (Shorthand::None, DestinationMode::Logical) => Addressed::Logical(destination),
    }
}

/// The vCPUs a command of `sender` is for, each once, of those in the physical table: in at most as many steps as it has
/// entries.
pub(super) fn targets<'a, C: EntryCell>(
    physical: PhysicalTable<'a, C>,
    logical: LogicalIds<'a>,
    sender: ApicId,
    icr: Icr,
) -> impl Iterator<Item = ApicId> {
    let addressed = addressed(physical.mode(), icr);
    let steps = match addressed {
        Addressed::Sender | Addressed::Physical(_) => 1,
        Addressed::All | Addressed::Others => physical.capacity(),
        Addressed::Logical(_) => 16,
    };
    let candidate = move |step| match (addressed, logical) {
        (Addressed::Sender, _) => Some(sender),
        (Addressed::Physical(number), _) => Some(ApicId(number)),
        (Addressed::All, _) => Some(ApicId(step)),
        (Addressed::Others, _) => Some(ApicId(step)).filter(|id| *id != sender),
        (Addressed::Logical(destination), LogicalIds::Table(table, model)) => {
            let [destination, ..] = destination.to_le_bytes();
            table.vcpu(model.entry(destination, step)?)
        }
        (Addressed::Logical(destination), LogicalIds::Derived) => {
            (destination >> step & 1 == 1).then_some(ApicId((destination >> 16) << 4 | step))
        }
    };
    (0..).take(steps).filter_map(candidate).filter(move |id| physical.entry(*id).is_ok())
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::array::from_fn;

    use hypervisor_abi::apic::ApicId;
    use hypervisor_abi::apic::DestinationMode;
    use hypervisor_abi::apic::Icr;
    use hypervisor_abi::apic::Shorthand;
    use hypervisor_abi::apic::logical_x2apic_id;
    use hypervisor_abi::avic::LogicalCell;
    use hypervisor_abi::avic::PhysicalCell;
    use proptest::collection::btree_set;
    use proptest::prelude::Just;
    use proptest::prelude::Strategy;
    use proptest::prelude::any;
    use proptest::prelude::prop_oneof;
    use proptest::proptest;

    use super::LogicalIds;
    use super::targets;
    use crate::delivery::avic::IpiVirtualization;
    use crate::delivery::avic::LogicalMember;
    use crate::delivery::avic::LogicalModel;
    use crate::delivery::avic::LogicalTable;
    use crate::delivery::avic::Mode;
    use crate::delivery::avic::PhysicalTable;
    use crate::delivery::avic::X2AvicReach;

    /// The definition: every vCPU compares the destination with itself.
    fn is_for(icr: Icr, sender: ApicId, id: ApicId, matches: impl Fn(ApicId) -> bool, destination: u32) -> bool {
        match icr.shorthand() {
            Shorthand::Myself => id == sender,
            Shorthand::All => true,
            Shorthand::Others => id != sender,
            Shorthand::None if icr.destination_mode() == DestinationMode::Physical => id.0 == destination,
            Shorthand::None => matches(id),
        }
    }

    fn shorthands() -> impl Strategy<Value = Shorthand> {
        let rare = prop_oneof![Just(Shorthand::Myself), Just(Shorthand::All), Just(Shorthand::Others)];
        prop_oneof![3 => Just(Shorthand::None), 1 => rare]
    }

    fn modes() -> impl Strategy<Value = DestinationMode> {
        prop_oneof![Just(DestinationMode::Physical), Just(DestinationMode::Logical)]
    }

    fn found(table: PhysicalTable<'_>, logical: LogicalIds<'_>, sender: ApicId, icr: Icr) -> Vec<u32> {
        let mut ids: Vec<u32> = targets(table, logical, sender, icr).map(|id| id.0).collect();
        ids.sort_unstable();
        ids
    }

    proptest! {
        #[test]
        fn in_xavic_mode_the_targets_are_those_whose_registers_match(
            ids in btree_set(0..60_u32, 1..16),
            is_flat in any::<bool>(),
            destination in prop_oneof![3 => 0..64_u32, 2 => 0..=255_u32, 1 => Just(255)],
            shorthand in shorthands(),
            mode in modes(),
        ) {
            let (model, limit) = if is_flat { (LogicalModel::Flat, 8) } else { (LogicalModel::Cluster, 60) };
            // The first few get logical IDs, spread over clusters in the cluster model.
            let logical_of = |position: usize| match model {
                _ if position >= limit => 0,
                LogicalModel::Flat => 1 << position,
                LogicalModel::Cluster => u8::try_from((position % 15) << 4 | 1 << (position / 15)).expect("8 bits"),
            };
            let cells: Vec<PhysicalCell> = (0..60).map(|_| PhysicalCell::default()).collect();
            let table = PhysicalTable::new(Mode::XAvic, X2AvicReach::Standard, &cells, IpiVirtualization::On);
            let table = table.expect("60 entries");
            let logical_cells = from_fn(|_| LogicalCell::default());
            let logical = LogicalTable::new(&logical_cells);
            let members = ids.iter().enumerate().map(|(position, id)| LogicalMember {
                id: ApicId(*id),
                model: Some(model),
                logical: logical_of(position),
            });
            logical.rebuild(members.clone()).expect("no aliases");
            for id in &ids {
                table.insert(ApicId(*id), 1).expect("room");
            }
            let sender = ApicId(*ids.first().expect("at least one"));
            let icr = Icr::new().with_shorthand(shorthand).with_destination_mode(mode).with_destination(destination << 24);
            let matches = |id: ApicId| members.clone().any(|member| {
                let same_cluster = is_flat || u32::from(member.logical >> 4) == destination >> 4 && destination >> 4 != 15;
                let bits = if is_flat { 0xff } else { 0x0f };
                member.id == id && same_cluster && u32::from(member.logical) & destination & bits != 0
            });
            let everyone = destination == 0xff && shorthand == Shorthand::None;
            let expected: Vec<u32> = ids
                .iter()
                .copied()
                .filter(|id| everyone || is_for(icr, sender, ApicId(*id), matches, destination))
                .collect();
            assert_eq!(found(table, LogicalIds::Table(logical, model), sender, icr), expected);
        }

        #[test]
        fn in_x2avic_mode_the_targets_are_those_whose_derived_ids_match(
            ids in btree_set(0..600_u32, 1..40),
            destination in prop_oneof![
                2 => 0..600_u32,
                3 => (0..38_u32, 0..0x1_0000_u32).prop_map(|(cluster, bits)| cluster << 16 | bits),
                1 => Just(u32::MAX),
                1 => any::<u32>(),
            ],
            shorthand in shorthands(),
            mode in modes(),
        ) {
            let cells: Vec<PhysicalCell> = (0..600).map(|_| PhysicalCell::default()).collect();
            let table = PhysicalTable::new(Mode::X2Avic, X2AvicReach::Extended, &cells, IpiVirtualization::On);
            let table = table.expect("600 entries");
            for id in &ids {
                table.insert(ApicId(*id), 1).expect("room");
            }
            let sender = ApicId(*ids.first().expect("at least one"));
            let icr = Icr::new().with_shorthand(shorthand).with_destination_mode(mode).with_destination(destination);
            let matches = |id| {
                let own = logical_x2apic_id(id);
                own >> 16 == destination >> 16 && own & destination & 0xffff != 0
            };
            let everyone = destination == u32::MAX && shorthand == Shorthand::None;
            let expected: Vec<u32> = ids
                .iter()
                .copied()
                .filter(|id| everyone || is_for(icr, sender, ApicId(*id), matches, destination))
                .collect();
            assert_eq!(found(table, LogicalIds::Derived, sender, icr), expected);
        }
    }
}
