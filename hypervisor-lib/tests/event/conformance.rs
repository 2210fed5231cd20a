//! What every implementation of event channels does, whichever ABI its guests use: a suite over a [`Bed`], which is a
//! hypervisor with three domains. The bed here is this crate's; one around a real Xen has to pass the same tests.

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::Virq;
use hypervisor_abi::event::AllocUnbound;
use hypervisor_abi::event::BindInterdomain;
use hypervisor_abi::event::BindIpi;
use hypervisor_abi::event::BindPirq;
use hypervisor_abi::event::BindVcpu;
use hypervisor_abi::event::BindVirq;
use hypervisor_abi::event::ChannelState;
use hypervisor_abi::event::Close;
use hypervisor_abi::event::ExpandArray;
use hypervisor_abi::event::InitControl;
use hypervisor_abi::event::Reset;
use hypervisor_abi::event::Send;
use hypervisor_abi::event::SetPriority;
use hypervisor_abi::event::Status;
use hypervisor_abi::event::Unmask;
use hypervisor_lib::event::DomainConfig;
use hypervisor_lib::event::EventCall;
use hypervisor_lib::event::WordSize;

use crate::guest::ARRAY_GFN;
use crate::guest::Guest;
use crate::guest::control_place;
use crate::host::TestHost;
use crate::host::domain;

/// The ABIs a guest can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abi {
    TwoLevel64,
    TwoLevel32,
    Fifo,
}

/// A hypervisor with dom0 and domains 1 and 2, two vCPUs each, whose guests use one ABI.
pub(crate) trait Bed {
    fn new(abi: Abi) -> Self;

    /// A hypercall of a domain's vCPU 0.
    fn call(&self, caller: u16, call: &mut EventCall) -> Result<(), Errno>;

    /// The guest masks a port.
    fn mask(&self, domain: u16, port: u32);

    /// The guest takes its upcall on a vCPU; the ports it handled, in order.
    fn consume(&self, domain: u16, vcpu: u32) -> Vec<u32>;
}

/// This crate's own hypervisor side.
struct Ours(TestHost);

impl Bed for Ours {
    fn new(abi: Abi) -> Self {
        let word_size = if abi == Abi::TwoLevel32 { WordSize::Bits32 } else { WordSize::Bits64 };
        let host = TestHost::new((0..3).map(|id| DomainConfig { word_size, ..domain(id) }));
        if abi == Abi::Fifo {
            for id in 0..3 {
                Guest::new(&host, id).use_fifo(1);
            }
        }
        Self(host)
    }

    fn call(&self, caller: u16, call: &mut EventCall) -> Result<(), Errno> {
        self.0.get(caller).event_channel_op(&self.0, call).map_err(|error| error.errno())
    }

    fn mask(&self, domain: u16, port: u32) {
        Guest::new(&self.0, domain).mask(Port(port));
    }

    fn consume(&self, domain: u16, vcpu: u32) -> Vec<u32> {
        Guest::new(&self.0, domain).consume(VcpuId(vcpu)).into_iter().map(|port| port.0).collect()
    }
}

/// The operations as functions, for tests that read like the specification.
struct Caller<'b, B>(&'b B, u16);

impl<B: Bed> Caller<'_, B> {
    fn done(&self, mut call: EventCall) -> Result<(), Errno> {
        self.0.call(self.1, &mut call)
    }

    fn alloc_unbound(&self, dom: u16, remote_dom: u16) -> Result<u32, Errno> {
        let mut call = EventCall::AllocUnbound(AllocUnbound { dom, remote_dom, port: 0 });
        self.0.call(self.1, &mut call)?;
        let EventCall::AllocUnbound(result) = call else { unreachable!("the call keeps its kind") };
        Ok(result.port)
    }

    fn bind_interdomain(&self, remote_dom: u16, remote_port: u32) -> Result<u32, Errno> {
        let argument = BindInterdomain { remote_dom, remote_port, ..BindInterdomain::default() };
        let mut call = EventCall::BindInterdomain(argument);
        self.0.call(self.1, &mut call)?;
        let EventCall::BindInterdomain(result) = call else { unreachable!("the call keeps its kind") };
        Ok(result.local_port)
    }

    fn bind_virq(&self, virq: u32, vcpu: u32) -> Result<u32, Errno> {
        let mut call = EventCall::BindVirq(BindVirq { virq, vcpu, port: 0 });
        self.0.call(self.1, &mut call)?;
        let EventCall::BindVirq(result) = call else { unreachable!("the call keeps its kind") };
        Ok(result.port)
    }

    fn bind_ipi(&self, vcpu: u32) -> Result<u32, Errno> {
        let mut call = EventCall::BindIpi(BindIpi { vcpu, port: 0 });
        self.0.call(self.1, &mut call)?;
        let EventCall::BindIpi(result) = call else { unreachable!("the call keeps its kind") };
        Ok(result.port)
    }

    fn status(&self, dom: u16, port: u32) -> Result<Status, Errno> {
        let mut call = EventCall::Status(Status { dom, port, ..Status::default() });
        self.0.call(self.1, &mut call)?;
        let EventCall::Status(result) = call else { unreachable!("the call keeps its kind") };
        Ok(result)
    }

    fn send(&self, port: u32) -> Result<(), Errno> {
        self.done(EventCall::Send(Send { port }))
    }

    fn close(&self, port: u32) -> Result<(), Errno> {
        self.done(EventCall::Close(Close { port }))
    }

    fn unmask(&self, port: u32) -> Result<(), Errno> {
        self.done(EventCall::Unmask(Unmask { port }))
    }

    fn bind_vcpu(&self, port: u32, vcpu: u32) -> Result<(), Errno> {
        self.done(EventCall::BindVcpu(BindVcpu { port, vcpu }))
    }
}

const SELF: u16 = DomainId::SELF.0;

fn connections<B: Bed>(abi: Abi) {
    let bed = B::new(abi);
    let [dom0, one, two] = [0, 1, 2].map(|id| Caller(&bed, id));
    assert_eq!(one.alloc_unbound(2, 0), Err(Errno::NotPermitted));
    assert_eq!(one.alloc_unbound(9, 0), Err(Errno::NoDomain));
    let for_one = dom0.alloc_unbound(1, 2).expect("dom0 may");
    assert_eq!(one.status(SELF, for_one).map(|status| (status.status, status.detail)), Ok((1, 2)));
    assert_eq!(dom0.bind_interdomain(1, for_one), Err(Errno::Invalid), "it is offered to domain 2");
    assert_eq!(two.bind_interdomain(9, for_one), Err(Errno::NoDomain));
    assert_eq!(two.bind_interdomain(1, 0), Err(Errno::Invalid));
    let end = two.bind_interdomain(1, for_one).expect("offered");
    assert_eq!(bed.consume(2, 0), [end], "the new end is pending at once");
    assert_eq!(two.bind_interdomain(1, for_one), Err(Errno::Invalid), "taken");
    let status = dom0.status(1, for_one).expect("dom0 may");
    assert_eq!((status.status, status.detail, status.remote_port), (ChannelState::Interdomain as u32, 2, end));
    assert_eq!(two.status(1, for_one), Err(Errno::NotPermitted));
    for (from, port, to, expected) in [(&one, for_one, 2, end), (&two, end, 1, for_one)] {
        from.send(port).expect("connected");
        from.send(port).expect("connected");
        assert_eq!((bed.consume(to, 0), bed.consume(to, 0)), (vec![expected], vec![]), "two become one");
    }
    two.close(end).expect("open");
    assert_eq!(two.close(end), Err(Errno::Invalid));
    assert_eq!(one.status(SELF, for_one).map(|status| (status.status, status.detail)), Ok((1, 2)));
    one.send(for_one).expect("dropped");
    assert_eq!(bed.consume(2, 0), []);
}

fn interrupts<B: Bed>(abi: Abi) {
    let bed = B::new(abi);
    let [dom0, one] = [0, 1].map(|id| Caller(&bed, id));
    let number = |virq: Virq| u32::from(virq.number());
    assert_eq!(one.bind_ipi(2), Err(Errno::NoEntry));
    let ipi = one.bind_ipi(1).expect("a port");
    one.send(ipi).expect("an IPI port");
    assert_eq!((bed.consume(1, 0), bed.consume(1, 1)), (vec![], vec![ipi]));
    assert_eq!(one.bind_vcpu(ipi, 0), Err(Errno::Invalid), "an IPI stays on its vCPU");
    assert_eq!(one.bind_virq(24, 0), Err(Errno::Invalid));
    assert_eq!(one.bind_virq(number(Virq::ARGO), 1), Err(Errno::Invalid));
    assert_eq!(one.bind_virq(number(Virq::TIMER), 2), Err(Errno::NoEntry));
    assert_eq!(one.bind_virq(number(Virq::CONSOLE), 0), Err(Errno::Busy));
    let timer = one.bind_virq(number(Virq::TIMER), 1).expect("a port");
    assert_eq!(one.bind_virq(number(Virq::TIMER), 1), Err(Errno::Exists));
    assert_eq!(one.send(timer), Err(Errno::Invalid), "only the hypervisor raises it");
    assert_eq!(one.bind_vcpu(timer, 0), Err(Errno::Invalid));
    let console = dom0.bind_virq(number(Virq::CONSOLE), 0).expect("dom0 handles it");
    dom0.bind_vcpu(console, 1).expect("a global one moves");
    assert_eq!(dom0.status(SELF, console).map(|status| (status.status, status.vcpu)), Ok((4, 1)));
    assert_eq!(dom0.done(EventCall::BindPirq(BindPirq { pirq: 64, ..BindPirq::default() })), Err(Errno::Invalid));
    assert_eq!(dom0.done(EventCall::BindPirq(BindPirq { pirq: 9, ..BindPirq::default() })), Ok(()));
    assert_eq!(dom0.done(EventCall::BindPirq(BindPirq { pirq: 9, ..BindPirq::default() })), Err(Errno::Exists));
}

fn masks<B: Bed>(abi: Abi) {
    let bed = B::new(abi);
    let one = Caller(&bed, 1);
    let ipi = one.bind_ipi(0).expect("a port");
    bed.mask(1, ipi);
    one.send(ipi).expect("an IPI port");
    assert_eq!(bed.consume(1, 0), []);
    one.unmask(ipi).expect("a port");
    assert_eq!((bed.consume(1, 0), bed.consume(1, 0)), (vec![ipi], vec![]));
    // A mask that hid nothing calls nobody.
    bed.mask(1, ipi);
    one.unmask(ipi).expect("a port");
    assert_eq!(bed.consume(1, 0), []);
    assert_eq!(one.unmask(u32::MAX), Err(Errno::Invalid));
}

fn refusals<B: Bed>(abi: Abi) {
    let bed = B::new(abi);
    let one = Caller(&bed, 1);
    for port in [0, 5] {
        assert_eq!(one.send(port), Err(Errno::Invalid));
        assert_eq!(one.close(port), Err(Errno::Invalid));
        assert_eq!(one.bind_vcpu(port, 0), Err(Errno::Invalid));
        assert_eq!(one.status(SELF, port).map(|status| status.status), Ok(ChannelState::Closed as u32));
    }
    let ipi = one.bind_ipi(0).expect("a port");
    assert_eq!(one.bind_vcpu(ipi, 2), Err(Errno::NoEntry), "the vCPU is looked at first");
    assert_eq!(one.bind_vcpu(u32::MAX, 2), Err(Errno::NoEntry));
    let priority = |port, priority| one.done(EventCall::SetPriority(SetPriority { port, priority }));
    if abi == Abi::Fifo {
        assert_eq!((priority(ipi, 15), priority(ipi, 16)), (Ok(()), Err(Errno::Invalid)));
        assert_eq!(priority(5, 16), Err(Errno::AccessDenied));
    } else {
        assert_eq!((priority(ipi, 16), priority(5, 0)), (Err(Errno::NotImplemented), Err(Errno::NotImplemented)));
    }
    assert_eq!(priority(u32::MAX, 0), Err(Errno::Invalid));
}

fn limits_and_reset<B: Bed>(abi: Abi) {
    let bed = B::new(abi);
    let one = Caller(&bed, 1);
    for port in 1..1024 {
        assert_eq!(one.bind_ipi(0), Ok(port));
    }
    assert_eq!(one.bind_ipi(0), Err(Errno::NoSpace));
    assert_eq!(one.alloc_unbound(SELF, 0), Err(Errno::NoSpace));
    one.close(700).expect("open");
    assert_eq!(one.bind_ipi(1), Ok(700), "the lowest free number");
    one.send(1023).expect("an IPI port");
    let reset = |dom| one.done(EventCall::Reset(Reset { dom }));
    assert_eq!((reset(9), reset(2)), (Err(Errno::NoDomain), Err(Errno::NotPermitted)));
    assert_eq!(one.done(EventCall::ResetContinuation(Reset { dom: SELF })), Err(Errno::Busy));
    reset(SELF).expect("its own");
    assert_eq!(one.status(SELF, 700).map(|status| status.status), Ok(ChannelState::Closed as u32));
    // Whatever it was before, the domain is on the 2-level ABI now.
    let expand = || one.done(EventCall::ExpandArray(ExpandArray { array_gfn: ARRAY_GFN + 8 }));
    assert_eq!(expand(), Err(Errno::NotSupported));
    let place = control_place(VcpuId(0));
    let init = |vcpu, offset| {
        let control_gfn = place.gfn + 1;
        one.done(EventCall::InitControl(InitControl { control_gfn, offset, vcpu, ..InitControl::default() }))
    };
    assert_eq!(
        (init(2, 0), init(0, 4), init(0, 4096)),
        (Err(Errno::NoEntry), Err(Errno::Invalid), Err(Errno::Invalid))
    );
    assert_eq!((init(0, 8), init(0, 8), expand()), (Ok(()), Err(Errno::Invalid), Ok(())));
}

/// One test for each part of the suite and each ABI.
macro_rules! conformance {
    ($bed:ty: $($part:ident,)*) => {
        $(mod $part {
            use super::Abi;

            #[test]
            fn holds_with_2_levels_of_64_bit_words() {
                super::$part::<$bed>(Abi::TwoLevel64);
            }

            #[test]
            fn holds_with_2_levels_of_32_bit_words() {
                super::$part::<$bed>(Abi::TwoLevel32);
            }

            #[test]
            fn holds_with_fifo_queues() {
                super::$part::<$bed>(Abi::Fifo);
            }
        })*
    };
}

conformance!(super::Ours: connections, interrupts, masks, refusals, limits_and_reset,);
