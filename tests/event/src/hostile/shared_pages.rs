//! A guest that scribbles on the pages it shares while the hypervisor produces events into them.
//!
//! What it writes lands between operations, or in the midst of one: after so many trades of handles.

use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::VcpuId;
use hypervisor_abi::Virq;
use hypervisor_abi::hvm::CallbackVia;
use hypervisor_lib::event::EoiNeed;
use hypervisor_lib::event::EventError;
use hypervisor_lib::event::GuestPlace;
use hypervisor_lib::event::ResetStep;
use hypervisor_lib::event::Sharing;
use hypervisor_lib::event::VcpuTime;
use hypervisor_lib::event::WordSize;

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

/// How many steps one input takes at most.
const STEPS: usize = 512;
/// A physical IRQ anybody may use.
const PIRQ: u32 = 4;

/// Runs the steps that `bytes` spell.
///
/// # Panics
/// The hypervisor does what it must not (see the module).
pub fn shared_pages(bytes: &[u8]) {
    let world = world();
    let pages = [DomainId::DOM0, BYSTANDER].map(|id| HonestPages::new(&world, id));
    let mut company = Company::new(&world, &pages[0], &pages[1]);
    let mut input = Input::new(bytes);
    // Every call of the set-up may fail: the guest has chosen bad places, and goes on with what it got.
    let _ = set_up(&world, &company, &mut input);
    for _ in 0..STEPS {
        if input.is_used_up() {
            break;
        }
        step(&world, &company, &mut input);
        company.check_pages();
        if input.below(32) == 0 {
            company.check_traffic();
        }
    }
    company.check_traffic();
    company.destroy(HOSTILE);
}

/// A few ports of every kind, one of them connected to domain 0, in the ABI and at the places the input says.
fn set_up(world: &HostileWorld, company: &Company<'_>, input: &mut Input<'_>) -> Result<(), EventError> {
    let hostile = world.get(HOSTILE);
    let shape = input.byte();
    hostile.bind_interdomain(world, DomainId::DOM0, company.offered)?;
    for vcpu in 0..4 {
        hostile.bind_ipi(world, VcpuId(vcpu % 2))?;
    }
    for vcpu in 0..2 {
        hostile.bind_virq(world, Virq::TIMER, VcpuId(vcpu))?;
    }
    hostile.bind_pirq(world, PIRQ, Sharing::Shared)?;
    if shape & 1 == 0 {
        let word_size = if shape & 2 == 0 { WordSize::Bits32 } else { WordSize::Bits64 };
        hostile.set_callback_via(world, CallbackVia::Gsi(28), word_size)?;
    }
    if shape & 4 == 0 {
        for vcpu in 0..2 {
            let place = GuestPlace { gfn: u64::from(input.below(8)), offset: 64 * u32::from(input.below(62)) };
            let _ = hostile.init_control(world, VcpuId(vcpu), place);
        }
        let _ = hostile.expand_array(world, u64::from(input.below(8)));
    }
    if shape & 8 == 0 {
        let place = GuestPlace { gfn: u64::from(input.below(8)), offset: 64 * u32::from(input.below(62)) };
        let _ = hostile.register_vcpu_info(world, VcpuId(0), place);
    }
    Ok(())
}

fn scribble(input: &mut Input<'_>) -> Scribble {
    // Mostly at the start of a page, where the words of the ports in use are.
    let index = if input.below(8) < 6 { usize::from(input.below(32)) } else { 4 * usize::from(input.byte()) };
    Scribble { domain: HOSTILE, gfn: u64::from(input.below(8)), index, value: input.word() }
}

fn step(world: &HostileWorld, company: &Company<'_>, input: &mut Input<'_>) {
    let (hostile, dom0) = (world.get(HOSTILE), world.get(DomainId::DOM0));
    let (port, vcpu) = (Port(u32::from(input.below(10))), VcpuId(u32::from(input.below(3))));
    let one_port = |operation: &mut dyn FnMut() -> Result<(), EventError>| {
        // Whatever it says, it must cost little and leave the invariants.
        let _: Result<(), EventError> = meter(world).run(Extent::OnePort, operation);
    };
    match input.below(24) {
        0..=3 => world.memory.scribble(scribble(input)),
        4..=6 => world.memory.scribble_after(u32::from(input.below(12)), scribble(input)),
        7 | 8 => one_port(&mut || dom0.send(world, company.offered)),
        9..=11 => one_port(&mut || hostile.send(world, port)),
        12 => one_port(&mut || hostile.unmask(world, port)),
        13 => one_port(&mut || hostile.bind_vcpu(world, port, vcpu)),
        14 => {
            let priority = u32::from(input.below(17));
            one_port(&mut || hostile.set_priority(port, priority));
        }
        15 => one_port(&mut || hostile.send_virq(world, vcpu, Virq::TIMER)),
        16 => one_port(&mut || {
            hostile.send_pirq(world, PIRQ);
            hostile.set_pirq_needs_eoi(world, PIRQ, EoiNeed::Hypercall);
            hostile.pirq_eoi(world, PIRQ)
        }),
        17 => one_port(&mut || {
            hostile.update_callback_line(world);
            hostile.local_apic_enabled(world, vcpu)
        }),
        18 => one_port(&mut || hostile.publish_time(world, vcpu, VcpuTime::default())),
        19 => one_port(&mut || hostile.poll(world, vcpu, &[port]).map(drop)),
        20 => one_port(&mut || hostile.end_poll(vcpu)),
        21 => {
            one_port(&mut || hostile.close(world, port));
            let _ = meter(world).run(Extent::AllPorts, || hostile.bind_ipi(world, vcpu));
        }
        22 => {
            let gfn = u64::from(input.below(8));
            let _ = meter(world).run(Extent::AllPorts, || hostile.expand_array(world, gfn));
        }
        _ => {
            let reset = || hostile.reset(world, HOSTILE, ResetStep::Begin);
            let _ = meter(world).run(Extent::AllPorts, reset);
            // If that fails, the guest goes on with fewer ports.
            let _ = set_up(world, company, input);
        }
    }
}
