//! Contenders of bar A4: how a sender finds the vCPU an interrupt is for, among few and among many.

use std::hint::black_box;

use carillon_tests::Xorshift;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::avic::PhysicalCell;
use hypervisor_abi::pid_pointer::PidPointerCell;
use hypervisor_lib::delivery::avic::IpiVirtualization;
use hypervisor_lib::delivery::avic::Mode;
use hypervisor_lib::delivery::avic::PhysicalTable;
use hypervisor_lib::delivery::avic::X2AvicReach;
use hypervisor_lib::delivery::ipiv::LookUp;
use hypervisor_lib::delivery::ipiv::PidTable;

use crate::arbiter::SEED;
use crate::arbiter::index;

/// A random one of `count` vCPUs in a PID-pointer table: where its descriptor is.
pub(crate) fn descriptor(count: u32) -> impl FnMut(u64) {
    let cells: Vec<PidPointerCell> = (0..count).map(|_| PidPointerCell::default()).collect();
    let table = PidTable::new(&cells, 46).expect("a table");
    (0..count).for_each(|id| table.insert(id, u64::from(id + 1) << 6).expect("room"));
    let mut random = Xorshift::new(SEED);
    move |operations| {
        let table = PidTable::new(&cells, 46).expect("a table");
        for _ in 0..operations {
            let LookUp::Post { descriptor } = table.look_up(target(&mut random, count)) else {
                panic!("every vCPU is in the table");
            };
            black_box(descriptor);
        }
    }
}

/// A random one of `count` vCPUs in a physical APIC-ID table: where it runs.
pub(crate) fn residence(count: u32) -> impl FnMut(u64) {
    let cells: Vec<PhysicalCell> = (0..count).map(|_| PhysicalCell::default()).collect();
    let mut random = Xorshift::new(SEED);
    (0..count).for_each(|id| table(&cells).insert(ApicId(id), u64::from(id)).expect("room"));
    move |operations| {
        let table = table(&cells);
        for _ in 0..operations {
            black_box(table.residence(ApicId(target(&mut random, count))).expect("every vCPU is in the table"));
        }
    }
}

fn table(cells: &[PhysicalCell]) -> PhysicalTable<'_> {
    PhysicalTable::new(Mode::X2Avic, X2AvicReach::Extended, cells, IpiVirtualization::On).expect("a table")
}

fn target(random: &mut Xorshift, count: u32) -> u32 {
    u32::try_from(index(random, count as usize)).expect("below 2^32")
}
