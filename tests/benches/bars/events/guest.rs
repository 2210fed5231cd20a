//! The guest: guest-shim over either ABI, all its ports unmasked. It lives as long as the process that measures it.

use guest_shim::ArrayPage;
use guest_shim::ControlPage;
use guest_shim::EoiMode;
use guest_shim::EventAbi;
use guest_shim::EventChannels;
use guest_shim::Fifo;
use guest_shim::Gfn;
use guest_shim::LocalApic;
use guest_shim::Place;
use guest_shim::PortRecord;
use guest_shim::Round;
use guest_shim::Served;
use guest_shim::Throttle;
use guest_shim::Time;
use guest_shim::TwoLevel;
use guest_shim::Upcall;
use guest_shim::VcpuEvents;
use guest_shim::VcpuInfoOf;
use guest_shim::VcpuSetUp;
use guest_shim::Work;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::FifoPriority;
use hypervisor_abi::event::Send;
use hypervisor_abi::hvm::CallbackVia;
use hypervisor_lib::event::EventCall;
use lock_api::RawMutex;

use super::hypervisor::Door;
use super::hypervisor::GUEST;
use super::hypervisor::Hypervisor;
use super::hypervisor::SENDER;
use super::hypervisor::Size;

/// A hypervisor and its guest.
pub(crate) struct Guest<A: EventAbi, L: RawMutex + 'static> {
    hypervisor: &'static Hypervisor<L>,
    channels: EventChannels<'static, A, Door<'static, L>>,
}

/// The guest's vCPUs, which take events.
type Vcpus<A> = Vec<VcpuEvents<'static, A>>;

/// A local APIC that is on.
struct Enabled;

impl LocalApic for Enabled {
    fn is_software_enabled(&self) -> bool {
        true
    }
}

fn records(size: Size) -> &'static [PortRecord] {
    Vec::leak((0..size.ports).map(|_| PortRecord::new()).collect())
}

/// The set-up of a vCPU whose block lies in a frame of its own.
fn set_up<A: EventAbi>(vcpu: VcpuId, info: &'static VcpuInfoOf<A>, pages: A::Pages) -> VcpuSetUp<'static, A> {
    VcpuSetUp {
        vcpu,
        info,
        info_place: Some(Place { gfn: Gfn(u64::from(vcpu.0)), offset: 0 }),
        pages,
        upcall: Upcall::Callback(CallbackVia::Vector(0xf3)),
        throttle: Throttle::default(),
    }
}

impl<L: RawMutex + 'static> Guest<Fifo<'static>, L> {
    /// A guest on the FIFO ABI.
    pub(crate) fn fifo(size: Size) -> (Self, Vcpus<Fifo<'static>>) {
        let hypervisor: &Hypervisor<L> = Box::leak(Box::new(Hypervisor::new(size)));
        let pages = hypervisor.arrays().iter().zip(0..).map(|(words, gfn)| ArrayPage { words, gfn: Gfn(gfn) });
        let channels = EventChannels::new(Fifo::new(Vec::leak(pages.collect())), hypervisor.door(), records(size));
        let vcpus = (0..size.vcpus).map(|number| {
            let vcpu = VcpuId(number);
            let place = Place { gfn: Gfn(u64::from(number)), offset: 0 };
            let pages = ControlPage { block: hypervisor.control(vcpu), place };
            let vcpu = channels.bring_up(set_up(vcpu, hypervisor.vcpu_info(vcpu), pages), &Enabled);
            vcpu.expect("nothing refuses an honest guest")
        });
        let vcpus = vcpus.collect();
        (Self { hypervisor, channels }, vcpus)
    }
}

impl<L: RawMutex + 'static> Guest<TwoLevel<'static>, L> {
    /// A guest on the 2-level ABI.
    pub(crate) fn two_level(size: Size) -> (Self, Vcpus<TwoLevel<'static>>) {
        let hypervisor: &Hypervisor<L> = Box::leak(Box::new(Hypervisor::new(size)));
        let channels = EventChannels::new(TwoLevel::new(hypervisor.shared_info()), hypervisor.door(), records(size));
        let vcpus = (0..size.vcpus).map(|number| {
            let vcpu = VcpuId(number);
            let vcpu = channels.bring_up(set_up(vcpu, hypervisor.vcpu_info(vcpu), ()), &Enabled);
            vcpu.expect("nothing refuses an honest guest")
        });
        let vcpus = vcpus.collect();
        (Self { hypervisor, channels }, vcpus)
    }
}

impl<A: EventAbi, L: RawMutex + 'static> Guest<A, L> {
    /// A port connected to the sender; the sender's end.
    pub(crate) fn connect(&self, vcpu: VcpuId, priority: Option<FifoPriority>) -> Port {
        let port = self.channels.offer(SENDER, vcpu, EoiMode::Early).expect("a free port");
        self.open(port, priority);
        let end = self.hypervisor.sender().bind_interdomain(self.hypervisor, GUEST, port);
        end.expect("an offered port")
    }

    /// A port by which the guest's vCPUs interrupt one of them.
    pub(crate) fn bind(&self, vcpu: VcpuId, priority: Option<FifoPriority>) -> Port {
        let port = self.channels.bind_ipi(vcpu, EoiMode::Early).expect("a free port");
        self.open(port, priority)
    }

    fn open(&self, port: Port, priority: Option<FifoPriority>) -> Port {
        if let Some(priority) = priority {
            self.channels.set_priority(port, priority).expect("a bound port");
        }
        self.channels.unmask(port).expect("a bound port");
        port
    }

    /// Sends from one of the guest's ports, as its hypercall does.
    #[inline]
    pub(crate) fn send_to_itself(&self, port: Port) {
        let mut call = EventCall::Send(Send { port: port.0 });
        let sent = self.hypervisor.guest().event_channel_op(self.hypervisor, &mut call);
        sent.expect("an IPI port");
    }

    /// Sends from one of the sender's ports, as its hypercall does.
    #[inline]
    pub(crate) fn send(&self, port: Port) {
        let mut call = EventCall::Send(Send { port: port.0 });
        let sent = self.hypervisor.sender().event_channel_op(self.hypervisor, &mut call);
        sent.expect("a connected port");
    }

    /// A vCPU takes all its events, if it is called; how many there were.
    #[inline]
    pub(crate) fn take(&self, vcpu: &mut VcpuEvents<'static, A>) -> u64 {
        let mut taken = 0;
        let mut round = if vcpu.is_upcall_pending() { Round::More } else { Round::Done };
        while round == Round::More {
            let handled = vcpu.handle(&self.channels, Time(0), |_| {
                taken += 1;
                Served::Finished(Work::Done)
            });
            round = handled.expect("nothing refuses an honest guest");
        }
        taken
    }

    /// All vCPUs take all their events; how many there were.
    pub(crate) fn take_all(&self, vcpus: &mut [VcpuEvents<'static, A>]) -> u64 {
        vcpus.iter_mut().map(|vcpu| self.take(vcpu)).sum()
    }

    pub(crate) fn hypervisor(&self) -> &'static Hypervisor<L> {
        self.hypervisor
    }
}
