//! Two guests: the far one does what the cases of the other ask of it, by way of dom0, which passes requests on.

use carillon_conformance as suite;
use carillon_conformance::Bed;
use carillon_conformance::Ports;
use carillon_conformance::Who;
use guest_shim::EoiMode;
use guest_shim::Hypercalls;
use guest_shim::Time;
use guest_shim::poll;
use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::event::EventOp;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

use crate::apic;
use crate::bed;
use crate::bed::Abi;
use crate::bed::FIRST;
use crate::bed::FifoAbi;
use crate::bed::TwoLevelAbi;
use crate::bed::Vcpu;
use crate::bed::now;
use crate::cases::conformance::Real;
use crate::machine::on_xen;
use crate::machine::own_domain;
use crate::mailbox::Argument;
use crate::mailbox::MAILBOX;
use crate::mailbox::Request;

/// How many events go to the far guest, each of which comes back.
const ROUNDS: u32 = 200;
/// How often the far guest looks for a request, in ns.
const INTERVAL_NS: u64 = 4_000_000;

/// The argument of [`Request::FarEcho`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Echo {
    domain: u32,
    port: u32,
    count: u32,
    abi: u32,
}

/// The far guest's number.
pub(super) fn domain() -> DomainId {
    on_xen().far.expect("a case that needs the far guest is not run without")
}

/// Has the far guest begin with nothing bound, over the same ABI.
fn begin<A: Abi>() {
    assert_eq!(MAILBOX.call(Request::FarBegin, A::IN_SUITE as u32, &mut []), 0);
}

/// An event-channel operation of the far guest's.
pub(super) fn event_channel_op(op: EventOp, argument: &mut [u8]) -> i64 {
    MAILBOX.call(Request::FarEventOp, op.number(), argument)
}

/// The far guest takes the events of a vCPU.
pub(super) fn consume(vcpu: u32) -> Ports {
    let mut taken = Argument::default();
    let count = MAILBOX.call(Request::FarConsume, vcpu, &mut taken);
    let ports = taken.chunks_exact(4).map(|port| u32::read_from_bytes(port).expect("four bytes"));
    ports.take(usize::try_from(count).expect("a number of ports")).collect()
}

/// Events between the guests interrupt the vCPU they are for, back and forth.
pub(super) fn both_ways<A: Abi>() {
    let channels = bed::channels::<A>();
    let mut vcpu = Vcpu::bring_up(&channels, FIRST);
    let port = channels.offer(domain(), FIRST, EoiMode::Early).expect("a port");
    channels.unmask(port).expect("a port");
    let echo = Echo { domain: u32::from(own_domain().0), port: port.0, count: ROUNDS, abi: A::IN_SUITE as u32 };
    MAILBOX.ask(Request::FarEcho, 0, echo.as_bytes());
    assert_eq!(vcpu.wait(&channels), [port], "the far end is pending as soon as it is connected");
    for _ in 0..ROUNDS {
        channels.send(port).expect("connected");
        assert_eq!(vcpu.wait(&channels), [port]);
    }
    assert_eq!(MAILBOX.wait_for_answer(&mut []), i64::from(ROUNDS));
}

/// A channel between the guests, as the suite has it.
pub(super) fn connections_between_guests<A: Abi>() {
    begin::<A>();
    suite::connections(&Real::<A>::new(), Who::Two);
}

/// What neither guest may do to the other, nor dom0 to both.
pub(super) fn strangers<A: Abi>() {
    begin::<A>();
    suite::strangers(&Real::<A>::new());
}

/// The far guest's event channels, while single operations are asked of it.
enum Side {
    TwoLevel(Real<TwoLevelAbi>),
    Fifo(Real<FifoAbi>),
}

impl Side {
    fn begin(abi: u32) -> Self {
        if is_fifo(abi) { Self::Fifo(Real::new()) } else { Self::TwoLevel(Real::new()) }
    }

    fn consume(&self, vcpu: u32) -> Ports {
        match self {
            Self::TwoLevel(real) => real.consume(Who::One, vcpu),
            Self::Fifo(real) => real.consume(Who::One, vcpu),
        }
    }
}

fn is_fifo(abi: u32) -> bool {
    abi == FifoAbi::IN_SUITE as u32
}

/// The far guest: does what it is asked to, for good. It gets here again after a request that has failed.
pub(crate) fn serve() -> ! {
    if MAILBOX.asked().is_some() {
        MAILBOX.give(Errno::BadAddress.hypercall_result(), &Argument::default());
    }
    let mut side = Side::begin(TwoLevelAbi::IN_SUITE as u32);
    loop {
        let Some((kind, operation, mut argument)) = MAILBOX.asked() else {
            poll(&on_xen().hypervisor, &[], Some(Time(now(FIRST).0 + INTERVAL_NS))).expect("no port is closed");
            continue;
        };
        apic::guard();
        let mut result = 0;
        if kind == Request::FarBegin as u32 {
            side = Side::begin(operation);
        } else if kind == Request::FarEventOp as u32 {
            let op = EventOp::from_number(operation).expect("an operation");
            result = on_xen().hypervisor.event_channel_op(op, &mut argument);
        } else if kind == Request::FarConsume as u32 {
            let ports = side.consume(operation);
            result = i64::try_from(ports.len()).expect("a few");
            for (bytes, port) in argument.chunks_exact_mut(4).zip(&ports) {
                bytes.copy_from_slice(port.as_bytes());
            }
        } else {
            let (echo, _) = Echo::read_from_prefix(&argument).expect("it is shorter");
            result = if is_fifo(echo.abi) { send_back::<FifoAbi>(echo) } else { send_back::<TwoLevelAbi>(echo) };
        }
        apic::relax();
        MAILBOX.give(result, &argument);
    }
}

/// Connects to a port and sends so many events back, after the one of the beginning.
fn send_back<A: Abi>(Echo { domain, port, count, .. }: Echo) -> i64 {
    let channels = bed::channels::<A>();
    let mut vcpu = Vcpu::bring_up(&channels, FIRST);
    let domain = DomainId(u16::try_from(domain).expect("a domain's number"));
    let end = channels.bind_interdomain(domain, Port(port), FIRST, EoiMode::Early).expect("offered");
    channels.unmask(end).expect("a port");
    for _ in 0..=count {
        assert_eq!(vcpu.wait(&channels), [end]);
        channels.send(end).expect("connected");
    }
    i64::from(count)
}
