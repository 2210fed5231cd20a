//! The time since the hypervisor's boot, as it tells each vCPU (`struct vcpu_time_info`, `public/xen.h`).

use core::arch::x86_64::_rdtsc;
use core::hint::spin_loop;

use guest_shim::Time;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::vcpu_info::VcpuTimeInfo;

/// The time now on the vCPU whose block this is.
pub(crate) fn now(info: &VcpuTimeInfo) -> Time {
    loop {
        let version = info.version.load(Ordering::Acquire);
        let since = counter().wrapping_sub(info.tsc_timestamp.load(Ordering::Acquire));
        let shift = i8::from_le_bytes([info.tsc_shift.load(Ordering::Acquire)]);
        let shifted = if shift >= 0 { since << shift } else { since >> shift.unsigned_abs() };
        let scaled = (u128::from(shifted) * u128::from(info.tsc_to_system_mul.load(Ordering::Acquire))) >> 32;
        let begin = info.system_time.load(Ordering::Acquire);
        if version.is_multiple_of(2) && version == info.version.load(Ordering::Acquire) {
            return Time(begin + u64::try_from(scaled).unwrap_or(u64::MAX - begin));
        }
        spin_loop();
    }
}

fn counter() -> u64 {
    // SAFETY: every 64-bit processor has the counter.
    unsafe { _rdtsc() }
}
