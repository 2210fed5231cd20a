//! Random sequences of all operations from several domains, compared with the reference after every step.

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
use hypervisor_abi::event::Close;
use hypervisor_abi::event::ExpandArray;
use hypervisor_abi::event::InitControl;
use hypervisor_abi::event::Reset;
use hypervisor_abi::event::Send;
use hypervisor_abi::event::SetPriority;
use hypervisor_abi::event::Unmask;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::event::DomainConfig;
use hypervisor_lib::event::EventAbi;
use hypervisor_lib::event::EventCall;
use hypervisor_lib::event::WordSize;
use proptest::prelude::Just;
use proptest::prelude::ProptestConfig;
use proptest::prelude::Strategy;
use proptest::prop_oneof;
use proptest::proptest;

use crate::guest::ARRAY_GFN;
use crate::guest::Guest;
use crate::guest::control_place;
use crate::host::TestHost;
use crate::host::domain;
use crate::model::Answer;
use crate::model::Model;
use crate::model::Op;
use crate::model::VALID_PORTS;

/// A control domain, a guest with few ports, and one with 32-bit words.
fn configs() -> [DomainConfig; 3] {
    [domain(0), DomainConfig { max_port: 6, ..domain(1) }, DomainConfig { word_size: WordSize::Bits32, ..domain(2) }]
}

fn port() -> impl Strategy<Value = u32> {
    prop_oneof![24 => 0..8_u32, 1 => VALID_PORTS - 2..VALID_PORTS + 2, 1 => Just(u32::MAX)]
}

fn named_domain() -> impl Strategy<Value = u16> {
    prop_oneof![3 => Just(DomainId::SELF.0), 6 => 0..3_u16, 1 => Just(7_u16)]
}

fn vcpu() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..2_u32, 1 => 2..4_u32]
}

/// Timer, debug, console, Argo, and one that does not exist.
fn virq() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0_u32), Just(1), Just(2), Just(11), Just(24)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (named_domain(), named_domain()).prop_map(|(owner, remote)| Op::AllocUnbound { owner, remote }),
        6 => (named_domain(), port()).prop_map(|(remote, port)| Op::BindInterdomain { remote, port }),
        2 => (virq(), vcpu()).prop_map(|(virq, vcpu)| Op::BindVirq { virq, vcpu }),
        1 => (60..66_u32).prop_map(|pirq| Op::BindPirq { pirq }),
        3 => port().prop_map(|port| Op::Close { port }),
        12 => port().prop_map(|port| Op::Send { port }),
        2 => (named_domain(), port()).prop_map(|(owner, port)| Op::Status { owner, port }),
        3 => vcpu().prop_map(|vcpu| Op::BindIpi { vcpu }),
        4 => (port(), vcpu()).prop_map(|(port, vcpu)| Op::BindVcpu { port, vcpu }),
        4 => port().prop_map(|port| Op::Unmask { port }),
        1 => named_domain().prop_map(|target| Op::Reset { target }),
        3 => vcpu().prop_map(|vcpu| Op::InitControl { vcpu }),
        2 => Just(Op::ExpandArray),
        4 => (port(), 0..18_u32).prop_map(|(port, priority)| Op::SetPriority { port, priority }),
        3 => (1..10_u32).prop_map(|port| Op::Mask { port }),
        5 => (0..2_u32).prop_map(|vcpu| Op::Consume { vcpu }),
        2 => (Just(0_u32), vcpu()).prop_map(|(virq, vcpu)| Op::RaiseVirq { virq, vcpu }),
        2 => (60..66_u32).prop_map(|pirq| Op::RaisePirq { pirq }),
    ]
}

/// The same operation on the real thing.
fn apply(host: &TestHost, caller: u16, op: Op, pages: &mut u64) -> Result<Answer, Errno> {
    let domain = host.get(caller);
    let guest = Guest::new(host, caller);
    let call = |mut call: EventCall| {
        domain.event_channel_op(host, &mut call).map_err(|error| error.errno())?;
        Ok(call)
    };
    let done = |argument| call(argument).map(|_| Answer::Done);
    match op {
        Op::AllocUnbound { owner, remote } => {
            let argument = AllocUnbound { dom: owner, remote_dom: remote, ..AllocUnbound::default() };
            let EventCall::AllocUnbound(result) = call(EventCall::AllocUnbound(argument))? else { unreachable!() };
            Ok(Answer::Port(result.port))
        }
        Op::BindInterdomain { remote, port } => {
            let argument = BindInterdomain { remote_dom: remote, remote_port: port, ..BindInterdomain::default() };
            let EventCall::BindInterdomain(result) = call(EventCall::BindInterdomain(argument))? else {
                unreachable!()
            };
            Ok(Answer::Port(result.local_port))
        }
        Op::BindVirq { virq, vcpu } => {
            let EventCall::BindVirq(result) = call(EventCall::BindVirq(BindVirq { virq, vcpu, port: 0 }))? else {
                unreachable!()
            };
            Ok(Answer::Port(result.port))
        }
        Op::BindPirq { pirq } => {
            let EventCall::BindPirq(result) = call(EventCall::BindPirq(BindPirq { pirq, flags: 0, port: 0 }))? else {
                unreachable!()
            };
            Ok(Answer::Port(result.port))
        }
        Op::BindIpi { vcpu } => {
            let EventCall::BindIpi(result) = call(EventCall::BindIpi(BindIpi { vcpu, port: 0 }))? else {
                unreachable!()
            };
            Ok(Answer::Port(result.port))
        }
        Op::Close { port } => done(EventCall::Close(Close { port })),
        Op::Send { port } => done(EventCall::Send(Send { port })),
        Op::Status { owner, port } => {
            let status = domain.status(host, DomainId(owner), Port(port)).map_err(|error| error.errno())?;
            Ok(Answer::Status(status.binding, status.vcpu.0))
        }
        Op::BindVcpu { port, vcpu } => done(EventCall::BindVcpu(BindVcpu { port, vcpu })),
        Op::Unmask { port } => done(EventCall::Unmask(Unmask { port })),
        Op::Reset { target } => {
            let answer = done(EventCall::Reset(Reset { dom: target }))?;
            wipe(guest);
            *pages = 0;
            Ok(answer)
        }
        Op::InitControl { vcpu } => {
            let place = control_place(VcpuId(vcpu));
            done(EventCall::InitControl(InitControl {
                control_gfn: place.gfn,
                offset: place.offset,
                vcpu,
                ..InitControl::default()
            }))
        }
        Op::ExpandArray => {
            let answer = done(EventCall::ExpandArray(ExpandArray { array_gfn: ARRAY_GFN + *pages }))?;
            *pages += 1;
            Ok(answer)
        }
        Op::SetPriority { port, priority } => done(EventCall::SetPriority(SetPriority { port, priority })),
        Op::Mask { port } => {
            guest.mask(Port(port));
            Ok(Answer::Done)
        }
        Op::Consume { vcpu } => Ok(Answer::Taken(guest.consume(VcpuId(vcpu)).into_iter().map(|port| port.0).collect())),
        Op::RaiseVirq { virq, vcpu } => {
            let virq = Virq::new(virq).expect("a VIRQ of the test");
            domain.send_virq(host, VcpuId(vcpu), virq).map_err(|error| error.errno())?;
            Ok(Answer::Done)
        }
        Op::RaisePirq { pirq } => {
            domain.send_pirq(host, pirq);
            Ok(Answer::Done)
        }
    }
}

/// A guest that was reset zeroes its pages before it gives them again.
fn wipe(guest: Guest<'_>) {
    (0..VALID_PORTS).for_each(|port| guest.word(Port(port)).0.store(0, Ordering::Release));
    for vcpu in 0..2 {
        let control = guest.control(VcpuId(vcpu));
        control.ready.store(0, Ordering::Release);
        control.head.iter().for_each(|head| head.store(0, Ordering::Release));
    }
}

/// How a sequence begins: with a few ports in every domain, and some domains on the FIFO ABI.
fn prelude(fifo: [bool; 3]) -> Vec<(u16, Op)> {
    let mut ops = Vec::new();
    for (id, fifo) in (0..3_u16).zip(fifo) {
        if fifo {
            ops.extend([Op::InitControl { vcpu: 0 }, Op::InitControl { vcpu: 1 }, Op::ExpandArray].map(|op| (id, op)));
        }
        ops.extend([Op::BindIpi { vcpu: 0 }, Op::BindIpi { vcpu: 1 }].map(|op| (id, op)));
        ops.push((id, Op::AllocUnbound { owner: id, remote: (id + 1) % 3 }));
    }
    ops.extend((0..3_u16).map(|id| ((id + 1) % 3, Op::BindInterdomain { remote: id, port: 3 })));
    ops.extend([(0, Op::BindVirq { virq: 0, vcpu: 1 }), (2, Op::BindPirq { pirq: 60 })]);
    ops
}

fn compare(host: &TestHost, model: &mut Model, step: &str) {
    for id in 0..3 {
        let guest = Guest::new(host, id);
        for port in 1..VALID_PORTS {
            let bits = guest.domain.bits(host, Port(port)).expect("a valid port");
            let ours = (bits.pending, bits.masked, bits.priority.number());
            assert_eq!(ours, model.bits(id, port), "bits of port {port} of d{id} after {step}");
        }
        for vcpu in 0..2 {
            let called = (guest.is_called(VcpuId(vcpu)), model.is_called(id, vcpu));
            assert_eq!(called.0, called.1, "upcall of d{id}v{vcpu} after {step}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_sequence_of_operations_answers_and_delivers_as_the_reference(
        fifo in proptest::array::uniform3(proptest::bool::ANY),
        ops in proptest::collection::vec((0..3_u16, op()), 1..120),
    ) {
        let host = TestHost::new(configs());
        let mut model = Model::new(configs());
        let mut pages = [0; 3];
        for (index, (caller, op)) in prelude(fifo).into_iter().chain(ops).enumerate() {
            let step = format!("step {index}, d{caller} {op:?}");
            let ours = apply(&host, caller, op, &mut pages[usize::from(caller)]);
            let theirs = model.apply(caller, op);
            assert_eq!(ours, theirs, "{step}");
            compare(&host, &mut model, &step);
            let actions = host.take_actions();
            for id in 0..3 {
                for vcpu in 0..2 {
                    let kick = hypervisor_lib::event::Action::Kick { domain: DomainId(id), vcpu: VcpuId(vcpu) };
                    let kicks = actions.iter().filter(|action| **action == kick).count();
                    assert_eq!(kicks, model.take_kicks(id, vcpu), "kicks of d{id}v{vcpu} at {step}");
                }
            }
        }
        // Every domain ends as it began: nothing open, nothing pinned but the shared pages.
        for id in 0..3 {
            host.get(id).destroy(&host).expect("nobody is preempted");
            assert_eq!(host.get(id).open_ports(), 0);
            assert_ne!(host.get(id).abi(), EventAbi::Fifo);
        }
        assert_eq!(host.memory.pins(), 0);
    }
}
