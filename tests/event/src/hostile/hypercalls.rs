//! A guest that tries every hypercall with any argument.

use std::sync::atomic::Ordering;

use guest_shim::Hypercalls;
use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::AllocUnbound;
use hypervisor_abi::event::BindInterdomain;
use hypervisor_abi::event::BindIpi;
use hypervisor_abi::event::BindPirq;
use hypervisor_abi::event::BindVcpu;
use hypervisor_abi::event::BindVirq;
use hypervisor_abi::event::Close;
use hypervisor_abi::event::EventOp;
use hypervisor_abi::event::ExpandArray;
use hypervisor_abi::event::InitControl;
use hypervisor_abi::event::Reset;
use hypervisor_abi::event::Send;
use hypervisor_abi::event::SetPriority;
use hypervisor_abi::event::Status;
use hypervisor_abi::event::Unmask;
use hypervisor_abi::hvm;
use hypervisor_abi::physdev;
use hypervisor_abi::vcpu_info::RegisterVcpuInfo;
use hypervisor_abi::vcpu_info::VCPUOP_REGISTER_VCPU_INFO;
use hypervisor_lib::event::EventError;
use hypervisor_lib::event::ResetStep;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

use super::company::ACCOMPLICE;
use super::company::BYSTANDER;
use super::company::Company;
use super::company::HOSTILE;
use super::company::HonestPages;
use super::company::HostileWorld;
use super::company::meter;
use super::company::world;
use super::input::Input;
use super::meter::Extent;
use crate::overlaid_memory::Scribble;

/// How many calls one input makes at most.
const CALLS: usize = 256;

/// Runs the calls that `bytes` spell, from the hostile guest and from its accomplice.
///
/// # Panics
/// The hypervisor does what it must not (see the module).
pub fn hypercalls(bytes: &[u8]) {
    let world = world();
    let pages = [DomainId::DOM0, BYSTANDER].map(|id| HonestPages::new(&world, id));
    let mut company = Company::new(&world, &pages[0], &pages[1]);
    let mut input = Input::new(bytes);
    for _ in 0..CALLS {
        if input.is_used_up() {
            break;
        }
        step(&world, &mut input);
        company.check_pages();
        if input.below(16) == 0 {
            company.check_traffic();
        }
    }
    world.preempt_after.store(0, Ordering::Relaxed);
    company.check_traffic();
    [HOSTILE, ACCOMPLICE].into_iter().for_each(|guest| company.destroy(guest));
}

fn step(world: &HostileWorld, input: &mut Input<'_>) {
    let caller = if input.below(4) == 0 { ACCOMPLICE } else { HOSTILE };
    match input.below(32) {
        0..=21 => event_channel_op(world, caller, input),
        22..=24 => other_call(world, caller, input),
        25 => poll(world, caller, input),
        26 => world.are_paused.store(input.below(2) == 0, Ordering::Relaxed),
        27 => world.preempt_after.store(u32::from(input.below(3)), Ordering::Relaxed),
        28 => soft_reset(world, input),
        29 => host_event(world, caller, input),
        _ => world.memory.scribble(Scribble {
            domain: caller,
            gfn: u64::from(input.below(8)),
            index: usize::from(input.byte()),
            value: input.word(),
        }),
    }
}

/// An argument as the guest's bytes, which the hypervisor fills in.
fn bytes_of(argument: &(impl IntoBytes + Immutable)) -> Vec<u8> {
    argument.as_bytes().to_vec()
}

fn event_channel_op(world: &HostileWorld, caller: DomainId, input: &mut Input<'_>) {
    let Some(op) = EventOp::from_number(u32::from(input.below(16))) else { return };
    let (dom, remote_dom) = (input.domain(), input.domain());
    let (port, other) = (input.number(), input.number());
    let mut argument = match op {
        EventOp::BindInterdomain => {
            bytes_of(&BindInterdomain { remote_dom, remote_port: port, ..BindInterdomain::default() })
        }
        EventOp::BindVirq => bytes_of(&BindVirq { virq: port, vcpu: other, port: 0 }),
        EventOp::BindPirq => bytes_of(&BindPirq { pirq: port, flags: other, port: 0 }),
        EventOp::Close => bytes_of(&Close { port }),
        EventOp::Send => bytes_of(&Send { port }),
        EventOp::Status => bytes_of(&Status { dom, port, ..Status::default() }),
        EventOp::AllocUnbound => bytes_of(&AllocUnbound { dom, remote_dom, port: 0 }),
        EventOp::BindIpi => bytes_of(&BindIpi { vcpu: other, port: 0 }),
        EventOp::BindVcpu => bytes_of(&BindVcpu { port, vcpu: other }),
        EventOp::Unmask => bytes_of(&Unmask { port }),
        EventOp::Reset | EventOp::ResetContinuation => bytes_of(&Reset { dom }),
        EventOp::InitControl => {
            let (control_gfn, offset) = (input.gfn(), input.offset());
            bytes_of(&InitControl { control_gfn, offset, vcpu: other, ..InitControl::default() })
        }
        EventOp::ExpandArray => bytes_of(&ExpandArray { array_gfn: input.gfn() }),
        EventOp::SetPriority => bytes_of(&SetPriority { port, priority: other }),
    };
    meter(world).run(extent(op), || world.door(caller).event_channel_op(op, &mut argument));
}

/// What an operation may cost: those that open a port search for one, those that switch ABIs or reset look at all.
fn extent(op: EventOp) -> Extent {
    match op {
        EventOp::Close
        | EventOp::Send
        | EventOp::Status
        | EventOp::BindVcpu
        | EventOp::Unmask
        | EventOp::SetPriority => Extent::OnePort,
        EventOp::BindInterdomain
        | EventOp::BindVirq
        | EventOp::BindPirq
        | EventOp::AllocUnbound
        | EventOp::BindIpi
        | EventOp::Reset
        | EventOp::ResetContinuation
        | EventOp::InitControl
        | EventOp::ExpandArray => Extent::AllPorts,
    }
}

fn other_call(world: &HostileWorld, caller: DomainId, input: &mut Input<'_>) {
    let door = world.door(caller);
    let (op, vcpu) = (input.byte(), VcpuId(input.number()));
    let run = |call: &mut dyn FnMut() -> i64| meter(world).run(Extent::OnePort, call);
    match input.below(7) {
        0 => {
            let mut argument = bytes_of(&RegisterVcpuInfo { gfn: input.gfn(), offset: input.offset(), reserved: 0 });
            run(&mut || door.vcpu_op(VCPUOP_REGISTER_VCPU_INFO, vcpu, &mut argument))
        }
        1 => {
            let vector = input.byte();
            let mut argument = bytes_of(&hvm::EvtchnUpcallVector { vcpu: vcpu.0, vector, ..Default::default() });
            run(&mut || door.hvm_op(hvm::HVMOP_SET_EVTCHN_UPCALL_VECTOR, &mut argument))
        }
        2 => {
            let value = u64::from(input.below(4)) << 56 | u64::from(input.number());
            let index = u32::from(input.below(2));
            let mut argument = bytes_of(&hvm::HvmParam { domid: input.domain(), index, value, ..Default::default() });
            run(&mut || door.hvm_op(hvm::HVMOP_SET_PARAM, &mut argument))
        }
        3 => {
            let mut argument = bytes_of(&physdev::PirqEoi { irq: input.number() });
            run(&mut || door.physdev_op(physdev::PHYSDEVOP_EOI, &mut argument))
        }
        4 => {
            let mut argument = bytes_of(&physdev::PirqEoiGmfn { gmfn: input.gfn() });
            let ops = [physdev::PHYSDEVOP_PIRQ_EOI_GMFN_V1, physdev::PHYSDEVOP_PIRQ_EOI_GMFN_V2];
            run(&mut || door.physdev_op(ops[usize::from(op % 2)], &mut argument))
        }
        5 => physical_irq(world, caller, input),
        // An operation that may not exist, with an argument that may be too short.
        _ => {
            let mut argument = vec![op; usize::from(input.below(32))];
            run(&mut || door.hvm_op(u32::from(op), &mut argument));
            run(&mut || door.vcpu_op(u32::from(op), vcpu, &mut argument));
            run(&mut || door.physdev_op(u32::from(op), &mut argument))
        }
    };
}

/// An operation on physical IRQs; those that look for a free number look at all of them.
fn physical_irq(world: &HostileWorld, caller: DomainId, input: &mut Input<'_>) -> i64 {
    let (domid, pirq, kind) = (input.domain(), input.number().cast_signed(), i32::from(input.below(6)) - 1);
    let (op, mut argument) = match input.below(4) {
        0 => {
            let query = physdev::IrqStatusQuery { irq: input.number(), flags: 0 };
            (physdev::PHYSDEVOP_IRQ_STATUS_QUERY, bytes_of(&query))
        }
        1 => {
            let (index, entry_nr) = (input.number().cast_signed(), input.number().cast_signed());
            let map = physdev::MapPirq { domid, kind, index, pirq, entry_nr, ..Default::default() };
            (physdev::PHYSDEVOP_MAP_PIRQ, bytes_of(&map))
        }
        2 => (physdev::PHYSDEVOP_UNMAP_PIRQ, bytes_of(&physdev::UnmapPirq { domid, pad: 0, pirq })),
        _ => (physdev::PHYSDEVOP_GET_FREE_PIRQ, bytes_of(&physdev::GetFreePirq { kind, pirq: 0 })),
    };
    meter(world).run(Extent::AllPorts, || world.door(caller).physdev_op(op, &mut argument))
}

fn poll(world: &HostileWorld, caller: DomainId, input: &mut Input<'_>) {
    let vcpu = VcpuId(input.number());
    let ports: Vec<Port> = (0..input.below(8)).map(|_| Port(input.number())).collect();
    let domain = world.get(caller);
    let _ = meter(world).run(Extent::OnePort, || domain.poll(world, vcpu, &ports));
    if input.below(2) == 0 {
        let _ = meter(world).run(Extent::OnePort, || domain.end_poll(vcpu));
    }
}

/// The toolstack replaces the guest's kernel.
fn soft_reset(world: &HostileWorld, input: &mut Input<'_>) {
    let step = if input.below(2) == 0 { ResetStep::Begin } else { ResetStep::Continue };
    let result = meter(world).run(Extent::AllPorts, || world.get(HOSTILE).soft_reset(world, step));
    let expected = |error| matches!(error, EventError::BrokenOff | EventError::ResetBusy(_) | EventError::StillOpen(_));
    assert!(result.is_ok() || result.is_err_and(expected), "{result:?}");
}

/// What happens to a guest that it did not ask for.
fn host_event(world: &HostileWorld, guest: DomainId, input: &mut Input<'_>) {
    let domain = world.get(guest);
    let (choice, number, data) = (input.below(9), input.number(), input.word());
    meter(world).run(Extent::OnePort, || match choice {
        0 => domain.send_pirq(world, number),
        1 => domain.update_callback_line(world),
        2 => {
            let _ = domain.callback_vector(world, VcpuId(number));
        }
        3 => {
            let _ = domain.inject_message(world, u64::from(number) << 32 | u64::from(data), 0x700);
        }
        4 => {
            let _ = domain.assert_line(world, number.to_le_bytes()[0]);
        }
        5 => {
            let _ = domain.carry_pirq(world, number);
        }
        6 => domain.line_ended(world, number.to_le_bytes()[0]),
        7 => {
            let _ = domain.raise(world, Port(number));
        }
        _ => {
            let _ = domain.local_apic_enabled(world, VcpuId(number));
        }
    });
}
