//! Steps on host vectors.

use hypervisor_lib::migration::Carrier;
use hypervisor_lib::migration::LeasedSources;
use hypervisor_lib::migration::Outcome;
use hypervisor_lib::migration::Step;
use hypervisor_lib::migration::StepError;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;
use vector_allocator::DestinationModel;

use crate::host::Devices;
use crate::host::allocator;
use crate::host::source;

#[test]
fn a_source_that_moves_has_two_vectors_until_the_old_one_has_drained() {
    let (mut vectors, devices) = (allocator(DestinationModel::Physical), Devices::default());
    let source = source(&mut vectors, 48);
    let old = vectors.placement(source.lease).expect("leased").vector;
    let mut carrier = LeasedSources { vectors: &mut vectors, host: &devices };
    assert_eq!(carrier.carry_out(&Step::Reserve(source, CpuId(3))), Ok(Outcome::Done));
    assert_eq!(carrier.carry_out(&Step::Program(source)), Ok(Outcome::Done));
    let (_, target) = devices.programmed.borrow()[&48];
    assert_eq!(target, CpuId(3));
    devices.live.borrow_mut().push((old, CpuId(0)));
    let cpus = CpuSet::single(CpuId(0));
    let undrained = StepError::Undrained { from: source, vector: old, cpus };
    assert_eq!(carrier.carry_out(&Step::Drain(source)), Err(undrained.clone()));
    assert_eq!(carrier.carry_out(&Step::Release(source)), Err(undrained), "not even if it is asked for");
    devices.live.borrow_mut().clear();
    for step in [Step::Drain(source), Step::Release(source), Step::Drain(source), Step::Release(source)] {
        assert_eq!(carrier.carry_out(&step), Ok(Outcome::Done), "{step}");
    }
    let placement = vectors.placement(source.lease).expect("leased");
    assert_eq!((placement.target, placement.moving_from.is_none()), (CpuId(3), true));
    assert_eq!(vectors.check(), Ok(()));
}

#[test]
fn a_vector_that_a_cluster_shares_is_kept_and_nothing_drains() {
    let (mut vectors, devices) = (allocator(DestinationModel::Logical { cluster_size: 4 }), Devices::default());
    let source = source(&mut vectors, 48);
    let old = vectors.placement(source.lease).expect("leased").vector;
    devices.live.borrow_mut().push((old, CpuId(0)));
    let mut carrier = LeasedSources { vectors: &mut vectors, host: &devices };
    for step in [Step::Reserve(source, CpuId(3)), Step::Program(source), Step::Drain(source), Step::Release(source)] {
        assert_eq!(carrier.carry_out(&step), Ok(Outcome::Done), "{step}");
    }
    assert_eq!(devices.programmed.borrow()[&48], (old, CpuId(3)));
}

#[test]
fn a_device_that_cannot_be_programmed_stops_the_step() {
    let (mut vectors, devices) = (allocator(DestinationModel::Physical), Devices::default());
    let source = source(&mut vectors, 48);
    let mut carrier = LeasedSources { vectors: &mut vectors, host: &devices };
    devices.is_stuck.set(true);
    assert_eq!(carrier.carry_out(&Step::Program(source)), Err(StepError::NotProgrammed(source)));
    assert_eq!(carrier.carry_out(&Step::Suppress), Err(StepError::NotOurs));
    let released = vectors.release(source.lease);
    let mut carrier = LeasedSources { vectors: &mut vectors, host: &devices };
    assert!(released.is_ok());
    for step in [Step::Program(source), Step::Drain(source), Step::Release(source), Step::TakeBack(source, CpuId(0))] {
        assert!(matches!(carrier.carry_out(&step), Err(StepError::Stale(stale, _)) if stale == source), "{step}");
    }
    assert!(matches!(carrier.carry_out(&Step::Reserve(source, CpuId(1))), Err(StepError::NoVector(..))));
}
