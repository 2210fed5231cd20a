//! Steps on a posted-interrupt descriptor and the lists of blocked vCPUs: what [`posted`](crate::delivery::posted) does, one
//! by one.

use hypervisor_abi::posted::PostedControl;
use hypervisor_abi::sync::Ordering;
use hypervisor_abi::sync::change_before_look;
use vector_allocator::CpuId;

use super::carrier::Carrier;
use super::carrier::Outcome;
use super::carrier::StepError;
use super::step::Look;
use super::step::Step;
use crate::delivery::posted::PostedVcpu;
use crate::delivery::posted::PostingAction;
use crate::delivery::posted::PostingHost;
use crate::delivery::posted::Protocol;
use crate::delivery::posted::VcpuKey;
use crate::delivery::posted::change;
use crate::delivery::posted::is_posted;
use crate::delivery::posted::relocate;

/// A vCPU's descriptor.
#[derive(Debug)]
pub struct PostedWords<'h, H> {
    host: &'h H,
    key: VcpuKey,
    vcpu: &'h PostedVcpu,
    /// The control word before the last change.
    before: PostedControl,
    list: Option<CpuId>,
}

impl<'h, H: PostingHost> PostedWords<'h, H> {
    /// The words of a vCPU; none if the host does not know it. They are as an
    /// [`Offline`](crate::delivery::posted::Offline) one's until a step changes them.
    pub fn new(host: &'h H, key: VcpuKey) -> Option<Self> {
        let vcpu = host.posted_vcpu(key)?;
        let before = PostedControl::new().with_suppressed(true);
        change(&vcpu.descriptor.control, |value| {
            let value = value.with_destination(host.destination(CpuId::BOOT)).with_suppressed(true);
            value.with_vector(host.notification_vector().number())
        });
        Some(Self { host, key, vcpu, before, list: None })
    }

    /// Changes the control word, and sees whether it has kept what only its owner changes.
    fn write(&mut self, wanted: impl Fn(PostedControl) -> PostedControl) -> Result<Outcome, StepError> {
        let control = &self.vcpu.descriptor.control;
        self.before = change(control, &wanted);
        let own = |value: PostedControl| value.with_outstanding(false);
        let now = PostedControl::from(control.load(Ordering::Relaxed));
        if own(now) == own(wanted(self.before)) { Ok(Outcome::Done) } else { Err(StepError::NotKept(now.into())) }
    }

    /// What came while nobody was notified of it, as the host's protocol looks for it.
    fn find(&mut self, look: Look) -> Outcome {
        change_before_look();
        let (descriptor, before) = (&self.vcpu.descriptor, self.before);
        match (self.host.protocol(), look) {
            (Protocol::Xen, Look::BeforeSleeping) => found(before.outstanding() || is_posted(descriptor)),
            (Protocol::Kvm, Look::BeforeSleeping) => {
                if before.outstanding()
                    && let Some(cpu) = self.list
                {
                    self.host.act(PostingAction::WakeUpSelf(cpu));
                }
                found(before.outstanding())
            }
            // Every entry looks again, and takes it.
            (Protocol::Xen, Look::BeforeRunning) => found(is_posted(descriptor)),
            (Protocol::Kvm, Look::BeforeRunning) => {
                let is_missed = before.suppressed() && !before.outstanding() && is_posted(descriptor);
                if is_missed {
                    descriptor.control.fetch_or(PostedControl::OUTSTANDING, Ordering::SeqCst);
                }
                found(is_missed)
            }
        }
    }
}

impl<H: PostingHost> Carrier for PostedWords<'_, H> {
    fn carry_out(&mut self, step: &Step) -> Result<Outcome, StepError> {
        let (host, vcpu, key) = (self.host, self.vcpu, self.key);
        match *step {
            Step::Suppress => self.write(|value| value.with_suppressed(true)),
            Step::Aim(cpu) => {
                let (destination, vector) = (host.destination(cpu), host.notification_vector().number());
                self.write(|value| value.with_destination(destination).with_vector(vector).with_suppressed(false))
            }
            Step::NameWakeUp => self.write(|value| value.with_vector(host.wake_up_vector().number())),
            Step::NameNotification => self.write(|value| value.with_vector(host.notification_vector().number())),
            Step::JoinWakeList(cpu) => {
                host.wake_lists().remove(key, vcpu);
                host.wake_lists().add(cpu, key, vcpu);
                self.list = Some(cpu);
                Ok(Outcome::Done)
            }
            Step::LeaveWakeList => {
                host.wake_lists().remove(key, vcpu);
                self.list = None;
                Ok(Outcome::Done)
            }
            Step::FindPosted(look) => Ok(self.find(look)),
            Step::Carry(_) | Step::LeavePosted { .. } => Ok(Outcome::Done),
            _ => Err(StepError::NotOurs),
        }
    }
}

/// The lists of a host's CPUs, and whoever it hands its undelivered interrupts to.
#[derive(Debug)]
pub struct HostLists<'h, H, F> {
    /// The host.
    pub host: &'h H,
    /// Gives one CPU's work to another.
    pub hand_over: F,
}

impl<H: PostingHost, F: FnMut(CpuId, CpuId)> Carrier for HostLists<'_, H, F> {
    fn carry_out(&mut self, step: &Step) -> Result<Outcome, StepError> {
        match *step {
            Step::MoveWakeList { from, to } => relocate(self.host, from, to),
            Step::HandOver { from, to } => (self.hand_over)(from, to),
            _ => return Err(StepError::NotOurs),
        }
        Ok(Outcome::Done)
    }
}

fn found(is_found: bool) -> Outcome {
    if is_found { Outcome::Found } else { Outcome::Done }
}
