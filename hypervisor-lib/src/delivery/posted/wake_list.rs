//! Who is blocked where: one list a physical CPU, which the handler of the wake-up vector walks.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hypervisor_abi::sync::Ordering;
use lock_api::Mutex;
use lock_api::MutexGuard;
use lock_api::RawMutex;
use vector_allocator::CpuId;

use super::agent::change;
use super::agent::is_outstanding;
use super::host::PostedVcpu;
use super::host::PostingAction;
use super::host::PostingHost;
use super::host::Protocol;
use super::host::VcpuKey;

/// A vCPU that is on no list.
pub(super) const NO_LIST: u32 = u32::MAX;

/// The lists of blocked vCPUs, one a physical CPU.
#[derive(Debug)]
pub struct WakeLists<L: RawMutex> {
    lists: Box<[WakeList<L>]>,
}

#[derive(Debug)]
#[repr(align(128))]
struct WakeList<L: RawMutex>(Mutex<L, Vec<VcpuKey>>);

impl<L: RawMutex> WakeLists<L> {
    /// Empty lists for the CPUs 0 to `cpus` − 1.
    #[must_use]
    pub fn new(cpus: u32) -> Self {
        Self { lists: (0..cpus).map(|_| WakeList(Mutex::new(Vec::new()))).collect() }
    }

    /// Who is blocked on a pCPU's list.
    #[must_use]
    pub fn blocked_on(&self, cpu: CpuId) -> Vec<VcpuKey> {
        self.lock(cpu).clone()
    }

    pub(crate) fn add(&self, cpu: CpuId, key: VcpuKey, vcpu: &PostedVcpu) {
        let mut list = self.lock(cpu);
        list.push(key);
        vcpu.list.store(cpu.0, Ordering::Relaxed);
    }

    /// Takes a vCPU off the list it is on, if any. Its list may change until that is locked, when a pCPU dies.
    pub(crate) fn remove(&self, key: VcpuKey, vcpu: &PostedVcpu) {
        loop {
            let cpu = vcpu.list.load(Ordering::Acquire);
            if cpu == NO_LIST {
                return;
            }
            let mut list = self.lock(CpuId(cpu));
            if vcpu.list.load(Ordering::Relaxed) == cpu {
                list.retain(|listed| *listed != key);
                vcpu.list.store(NO_LIST, Ordering::Release);
                return;
            }
        }
    }

    fn lock(&self, cpu: CpuId) -> MutexGuard<'_, L, Vec<VcpuKey>> {
        self.lists[cpu.index()].0.lock()
    }
}

/// The handler of the wake-up vector on `cpu`: wakes every vCPU of its list that something was posted for.
///
/// # Panics
/// There is no list for the CPU.
pub fn wake_up<H: PostingHost>(host: &H, cpu: CpuId) {
    host.wake_lists().lock(cpu).retain(|key| {
        let Some(vcpu) = host.posted_vcpu(*key) else { return false };
        if !is_outstanding(&vcpu.descriptor) {
            return true;
        }
        host.act(PostingAction::Wake(*key));
        match host.protocol() {
            Protocol::Kvm => true,
            Protocol::Xen => {
                vcpu.list.store(NO_LIST, Ordering::Release);
                false
            }
        }
    });
}

/// A pCPU goes: moves its blocked vCPUs to another's list, and their notifications with them. Whoever has been notified
/// there already is woken, for the dead CPU may not have heard it. New ones must no longer be blocked there.
///
/// # Panics
/// There is no list for one of the CPUs.
pub fn relocate<H: PostingHost>(host: &H, from: CpuId, to: CpuId) {
    if from == to {
        return;
    }
    let lists = host.wake_lists();
    let lower = lists.lock(from.min(to));
    let upper = lists.lock(from.max(to));
    let (mut dead, mut live) = if from < to { (lower, upper) } else { (upper, lower) };
    for key in dead.drain(..) {
        let Some(vcpu) = host.posted_vcpu(key) else { continue };
        let destination = host.destination(to);
        let before = change(&vcpu.descriptor.control, |value| value.with_destination(destination));
        if before.outstanding() {
            host.act(PostingAction::Wake(key));
        }
        live.push(key);
        vcpu.list.store(to.0, Ordering::Release);
    }
}
