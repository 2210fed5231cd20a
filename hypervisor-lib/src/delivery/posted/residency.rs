//! Where a vCPU is, as types: what can be done next, and what that does to its descriptor.

use core::fmt;

use hypervisor_abi::posted::PostedControl;
use hypervisor_abi::posted::PostedDescriptor;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::sync::change_before_look;
use vector_allocator::CpuId;

use super::agent::change;
use super::agent::is_outstanding;
use super::agent::is_posted;
use super::agent::take;
use super::host::PostedVcpu;
use super::host::PostingAction;
use super::host::PostingHost;
use super::host::Protocol;
use super::host::VcpuKey;

/// A vCPU, its descriptor and its hypervisor: what all states have in common.
struct Resident<'h, H> {
    host: &'h H,
    key: VcpuKey,
    vcpu: &'h PostedVcpu,
}

/// The vCPU is not to run: agents set bits and notify nobody.
#[derive(Debug)]
pub struct Offline<'h, H>(Resident<'h, H>);

/// The vCPU runs on a physical CPU.
#[derive(Debug)]
pub struct Running<'h, H> {
    resident: Resident<'h, H>,
    cpu: CpuId,
}

/// The vCPU waits for a physical CPU: agents set bits and notify nobody, for it will run anyway.
#[derive(Debug)]
pub struct Preempted<'h, H>(Resident<'h, H>);

/// The vCPU waits for an interrupt: agents wake it.
#[derive(Debug)]
pub struct Blocked<'h, H>(Resident<'h, H>);

/// What has become of an attempt to block.
#[derive(Debug)]
#[must_use]
pub enum Blocking<'h, H> {
    /// The vCPU is blocked.
    Blocked(Blocked<'h, H>),
    /// Something has been posted meanwhile, so the vCPU goes on.
    Running(Running<'h, H>),
}

impl<'h, H: PostingHost> Offline<'h, H> {
    /// A vCPU that has not run yet; none if the host does not know it. There must be no other state of the same vCPU. An
    /// urgent post may be notified even now, so the descriptor names a vector and a CPU from the beginning.
    pub fn new(host: &'h H, key: VcpuKey) -> Option<Self> {
        let resident = Resident { host, key, vcpu: host.posted_vcpu(key)? };
        let (destination, vector) = (host.destination(CpuId::BOOT), host.notification_vector().number());
        change(&resident.descriptor().control, |value| {
            value.with_destination(destination).with_vector(vector).with_suppressed(true)
        });
        Some(Self(resident))
    }

    /// The vCPU begins to run.
    pub fn load(self, cpu: CpuId) -> Running<'h, H> {
        self.0.load(cpu)
    }
}

impl<'h, H: PostingHost> Running<'h, H> {
    /// Where it runs.
    #[must_use]
    pub fn cpu(&self) -> CpuId {
        self.cpu
    }

    /// Takes out what was posted: before every entry.
    pub fn sync(&self, merge: impl FnMut(usize, u64)) {
        let descriptor = &self.resident.vcpu.descriptor;
        let look = match self.resident.host.protocol() {
            Protocol::Xen => true,
            Protocol::Kvm => is_outstanding(descriptor),
        };
        if look {
            take(descriptor, merge);
        }
    }

    /// The scheduler gives the pCPU to another: notifications are suppressed before this one leaves.
    pub fn preempt(self) -> Preempted<'h, H> {
        self.resident.suppress();
        Preempted(self.resident)
    }

    /// The vCPU has nothing to do until an interrupt comes. It is on its pCPU's list before agents are told to send the
    /// wake-up vector, or they would wake nobody; and what they posted before that is looked for afterwards.
    pub fn block(self) -> Blocking<'h, H> {
        let Self { resident, cpu } = self;
        let (host, descriptor) = (resident.host, &resident.vcpu.descriptor);
        host.wake_lists().add(cpu, resident.key, resident.vcpu);
        let wake_up = host.wake_up_vector().number();
        let before = change(&descriptor.control, |value| value.with_vector(wake_up));
        change_before_look();
        match host.protocol() {
            Protocol::Kvm => {
                if before.outstanding() {
                    host.act(PostingAction::WakeUpSelf(cpu));
                }
            }
            Protocol::Xen => {
                if before.outstanding() || is_posted(descriptor) {
                    host.wake_lists().remove(resident.key, resident.vcpu);
                    let notification = host.notification_vector().number();
                    change(&descriptor.control, |value| value.with_vector(notification));
                    return Blocking::Running(Self { resident, cpu });
                }
            }
        }
        Blocking::Blocked(Blocked(resident))
    }
}

impl<'h, H: PostingHost> Preempted<'h, H> {
    /// The vCPU runs again, here or elsewhere.
    pub fn load(self, cpu: CpuId) -> Running<'h, H> {
        self.0.load(cpu)
    }

    /// The vCPU is not to run any more.
    pub fn retire(self) -> Offline<'h, H> {
        Offline(self.0)
    }
}

impl<'h, H: PostingHost> Blocked<'h, H> {
    /// The vCPU has been woken, by whatever it was, and runs.
    pub fn load(self, cpu: CpuId) -> Running<'h, H> {
        self.0.host.wake_lists().remove(self.0.key, self.0.vcpu);
        self.0.load(cpu)
    }

    /// The vCPU is not to run any more.
    pub fn retire(self) -> Offline<'h, H> {
        self.0.suppress();
        self.0.host.wake_lists().remove(self.0.key, self.0.vcpu);
        Offline(self.0)
    }
}

impl<'h, H: PostingHost> Resident<'h, H> {
    fn descriptor(&self) -> &'h PostedDescriptor {
        &self.vcpu.descriptor
    }

    fn suppress(&self) {
        self.descriptor().control.fetch_or(PostedControl::SUPPRESSED, Ordering::SeqCst);
    }

    /// Destination, vector and suppression change in one step, so that no agent sends a notification half old and half
    /// new. What was posted while nobody was notified is looked for afterwards.
    fn load(self, cpu: CpuId) -> Running<'h, H> {
        let (descriptor, host) = (self.descriptor(), self.host);
        let (destination, vector) = (host.destination(cpu), host.notification_vector().number());
        let before = change(&descriptor.control, |value| {
            value.with_destination(destination).with_vector(vector).with_suppressed(false)
        });
        change_before_look();
        let may_have_missed = before.suppressed() && !before.outstanding();
        if host.protocol() == Protocol::Kvm && may_have_missed && is_posted(descriptor) {
            descriptor.control.fetch_or(PostedControl::OUTSTANDING, Ordering::SeqCst);
        }
        Running { resident: self, cpu }
    }
}

impl<H> fmt::Debug for Resident<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let control = PostedControl::from(self.vcpu.descriptor.control.load(Ordering::Relaxed));
        f.debug_struct("Resident").field("key", &self.key).field("control", &control).finish()
    }
}
