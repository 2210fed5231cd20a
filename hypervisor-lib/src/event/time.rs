//! Publishing the time to a vCPU (`struct vcpu_time_info`, `public/xen.h`): a sequence lock, odd while it is written.

use hypervisor_abi::VcpuId;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::sync::fence;
use hypervisor_abi::vcpu_info::VcpuTimeInfo;
use lock_api::RawMutex;

use super::domain::Domain;
use super::error::EventError;
use super::memory::GuestMemory;

/// How a vCPU computes the time from its time-stamp counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VcpuTime {
    /// The counter at the moment of writing, in cycles.
    pub tsc_timestamp: u64,
    /// The time since boot at that moment, in ns.
    pub system_time_ns: u64,
    /// Multiplies shifted cycles; the product's upper 32 bits are ns.
    pub tsc_to_system_mul: u32,
    /// How far cycles are shifted left before; negative shifts right.
    pub tsc_shift: i8,
    /// Bit 0: the counter is the same on all CPUs.
    pub flags: u8,
}

impl<L: RawMutex> Domain<L> {
    /// Tells a vCPU the time. One caller at a time for each vCPU.
    ///
    /// # Errors
    /// No such vCPU.
    pub fn publish_time(&self, memory: &impl GuestMemory, vcpu: VcpuId, time: VcpuTime) -> Result<(), EventError> {
        self.vcpu(vcpu)?;
        if let Some(info) = self.vcpu_info(memory, vcpu) {
            write(info.time(), time);
        }
        Ok(())
    }
}

fn write(block: &VcpuTimeInfo, time: VcpuTime) {
    // A guest that has scribbled on the version gets an odd one while the fields change all the same.
    let odd = block.version.load(Ordering::Relaxed) | 1;
    block.version.store(odd, Ordering::Relaxed);
    fence(Ordering::Release);
    block.tsc_timestamp.store(time.tsc_timestamp, Ordering::Relaxed);
    block.system_time.store(time.system_time_ns, Ordering::Relaxed);
    block.tsc_to_system_mul.store(time.tsc_to_system_mul, Ordering::Relaxed);
    block.tsc_shift.store(time.tsc_shift.to_le_bytes()[0], Ordering::Relaxed);
    block.flags.store(time.flags, Ordering::Relaxed);
    block.version.store(odd.wrapping_add(1), Ordering::Release);
}

/// Carries the time over to a new block, before the guest can look at it.
pub(crate) fn copy(from: &VcpuTimeInfo, to: &VcpuTimeInfo) {
    write(
        to,
        VcpuTime {
            tsc_timestamp: from.tsc_timestamp.load(Ordering::Acquire),
            system_time_ns: from.system_time.load(Ordering::Acquire),
            tsc_to_system_mul: from.tsc_to_system_mul.load(Ordering::Acquire),
            tsc_shift: i8::from_le_bytes([from.tsc_shift.load(Ordering::Acquire)]),
            flags: from.flags.load(Ordering::Acquire),
        },
    );
}
