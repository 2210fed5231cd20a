//! Event channels as a case finds them: reset, over one of the two ABIs, and the vCPUs that take events from them.

use guest_shim::EventAbi;
use guest_shim::EventChannels;
use guest_shim::Fifo;
use guest_shim::Hypercalls;
use guest_shim::PortRecord;
use guest_shim::Round;
use guest_shim::Served;
use guest_shim::Throttle;
use guest_shim::Time;
use guest_shim::TwoLevel;
use guest_shim::Upcall;
use guest_shim::VcpuEvents;
use guest_shim::VcpuSetUp;
use guest_shim::Work;
use heapless::Vec;
use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::SharedInfo64;
use hypervisor_abi::VcpuId;
use hypervisor_abi::VcpuInfo64;
use hypervisor_abi::event::EventOp;
use hypervisor_abi::event::Reset;
use hypervisor_abi::sync::Ordering;

use zerocopy::IntoBytes;

use crate::apic;
use crate::apic::Apic;
use crate::clock;
use crate::hypervisor::Hypervisor;
use crate::interrupts;
use crate::interrupts::GUARD;
use crate::interrupts::NONE;
use crate::interrupts::UPCALL;
use crate::interrupts::WAKE;
use crate::machine::on_xen;
use crate::memory;
use crate::memory::SECOND_INFO;
use crate::memory::SHARED_INFO;
use crate::record;

/// The vCPU the guest begins on.
pub(crate) const FIRST: VcpuId = VcpuId(0);
/// The other one.
pub(crate) const SECOND: VcpuId = VcpuId(1);
/// How many ports a domain of the test bed has (`max_event_channels`), port 0 included.
pub(crate) const PORTS: usize = 1024;

/// The 2-level ABI of this guest.
pub(crate) type TwoLevelAbi = TwoLevel<'static, SharedInfo64>;
/// The FIFO ABI of this guest.
pub(crate) type FifoAbi = Fifo<'static, SharedInfo64>;
/// Event channels of this guest.
pub(crate) type Channels<A> = EventChannels<'static, A, Hypervisor>;
/// Ports in the order they were taken.
pub(crate) type Taken = Vec<Port, PORTS>;

/// What a case has to know about an ABI to be the same for both.
pub(crate) trait Abi: EventAbi<Shared = SharedInfo64> + Sync + 'static {
    /// What the conformance suite calls it.
    const IN_SUITE: carillon_conformance::Abi;

    /// Over this guest's pages.
    fn new() -> Self;

    /// What a vCPU needs beside its block.
    fn pages(vcpu: VcpuId) -> Self::Pages;
}

impl Abi for TwoLevelAbi {
    const IN_SUITE: carillon_conformance::Abi = carillon_conformance::Abi::TwoLevel64;

    fn new() -> Self {
        Self::new(&SHARED_INFO)
    }

    fn pages(_: VcpuId) -> Self::Pages {}
}

impl Abi for FifoAbi {
    const IN_SUITE: carillon_conformance::Abi = carillon_conformance::Abi::Fifo;

    fn new() -> Self {
        Self::new(memory::arrays())
    }

    fn pages(vcpu: VcpuId) -> Self::Pages {
        memory::control(vcpu.index())
    }
}

/// A vCPU that takes events.
#[derive(Debug)]
pub(crate) struct Vcpu<A: Abi> {
    events: VcpuEvents<'static, A>,
}

/// Closes all ports of the domain, which goes back to the 2-level ABI.
pub(crate) fn reset() {
    let result = on_xen().hypervisor.event_channel_op(EventOp::Reset, Reset { dom: DomainId::SELF.0 }.as_mut_bytes());
    assert_eq!(result, 0, "EVTCHNOP_reset");
    for vcpu in [FIRST, SECOND] {
        let info = info(vcpu);
        info.evtchn_pending_sel.store(0, Ordering::SeqCst);
        info.evtchn_upcall_pending.store(0, Ordering::SeqCst);
    }
}

/// Event channels with nothing bound.
pub(crate) fn channels<A: Abi>() -> Channels<A> {
    static RECORDS: [PortRecord; PORTS] = [const { PortRecord::new() }; PORTS];
    reset();
    EventChannels::new(A::new(), on_xen().hypervisor, &RECORDS)
}

/// A vCPU's block: the first one's is in the shared page, the second one's where it was registered.
pub(crate) fn info(vcpu: VcpuId) -> &'static VcpuInfo64 {
    if vcpu == FIRST { &SHARED_INFO.vcpu_info[0] } else { &SECOND_INFO }
}

/// Notes what the first ports and both vCPUs look like, in both ABIs.
fn tell_state() {
    for vcpu in [FIRST, SECOND] {
        let (block, queues) = (info(vcpu), memory::control(vcpu.index()).block);
        record::note(format_args!(
            "{vcpu}: upcall {:?}, selector {:?}, ready {:?}",
            block.evtchn_upcall_pending, block.evtchn_pending_sel, queues.ready
        ));
    }
    let (pending, mask) = (&SHARED_INFO.evtchn_pending[0], &SHARED_INFO.evtchn_mask[0]);
    let (pending, mask) = (pending.load(Ordering::SeqCst), mask.load(Ordering::SeqCst));
    record::note(format_args!("pending {pending:#x}, mask {mask:#x}, words {:x?}", &memory::arrays()[0].words.0[..8]));
}

/// The time on a vCPU.
pub(crate) fn now(vcpu: VcpuId) -> Time {
    clock::now(&info(vcpu).time)
}

impl<A: Abi> Vcpu<A> {
    /// Brings up the vCPU this runs on.
    pub(crate) fn bring_up(channels: &Channels<A>, vcpu: VcpuId) -> Self {
        let set_up = VcpuSetUp {
            vcpu,
            info: info(vcpu),
            info_place: None,
            pages: A::pages(vcpu),
            upcall: on_xen().upcall,
            throttle: Throttle::default(),
        };
        Self { events: channels.bring_up(set_up, &Apic).expect("a vCPU can be brought up") }
    }

    /// Waits for upcalls until there are events, and takes them.
    pub(crate) fn wait(&mut self, channels: &Channels<A>) -> Taken {
        self.wait_and(channels, |_| Served::Finished(Work::Done))
    }

    /// As [`wait`](Self::wait), with a handler.
    pub(crate) fn wait_and(&mut self, channels: &Channels<A>, mut handler: impl FnMut(Port) -> Served) -> Taken {
        loop {
            self.wait_for_upcall();
            let taken = self.take(channels, &mut handler);
            if !taken.is_empty() {
                return taken;
            }
        }
    }

    /// Takes what is there without waiting: upcalls announce it, but their interrupts are left pending.
    pub(crate) fn take_now(&mut self, channels: &Channels<A>) -> Taken {
        self.take(channels, &mut |_| Served::Finished(Work::Done))
    }

    /// Waits for an upcall, and ends its interrupt if it has come through the local APIC.
    fn wait_for_upcall(&self) {
        loop {
            match interrupts::wait() {
                UPCALL => {
                    let upcall = on_xen().upcall;
                    assert_eq!(
                        apic::is_in_service(UPCALL),
                        matches!(upcall, Upcall::OwnVector(_)),
                        "{upcall:?} comes through the local APIC or past it"
                    );
                    if upcall.needs_apic_eoi() {
                        apic::eoi();
                    }
                    return;
                }
                WAKE => apic::eoi(),
                NONE => {}
                GUARD => {
                    apic::eoi();
                    tell_state();
                    panic!("no upcall came to {}", self.events.vcpu());
                }
                other => panic!("vector {other:#x} came to {}", self.events.vcpu()),
            }
        }
    }

    fn take(&mut self, channels: &Channels<A>, handler: &mut impl FnMut(Port) -> Served) -> Taken {
        let mut taken = Taken::new();
        loop {
            let now = now(self.events.vcpu());
            let round = self.events.handle(channels, now, |port| {
                taken.push(port).expect("no more events than ports");
                handler(port)
            });
            if round.expect("the hypervisor unmasks") == Round::Done {
                return taken;
            }
        }
    }

    /// The vCPU's events.
    pub(crate) fn events(&mut self) -> &mut VcpuEvents<'static, A> {
        &mut self.events
    }
}
