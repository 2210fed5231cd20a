//! Bugs that shipped elsewhere, replayed: each test names its scenario's id.

mod delivery;
mod fifo;
mod lifecycle;
mod pirqs;

use hypervisor_abi::Errno;
use hypervisor_abi::VcpuId;
use hypervisor_lib::event::EventError;

const V0: VcpuId = VcpuId(0);
const V1: VcpuId = VcpuId(1);

fn errno<T>(result: Result<T, EventError>) -> Option<Errno> {
    result.err().map(EventError::errno)
}
