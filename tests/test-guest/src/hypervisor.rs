//! Hypercalls, through the page Xen fills for the guest (`public/arch-x86/xen-x86_64.h`), and the calls guest-shim leaves to
//! its user.

use core::arch::asm;

use guest_shim::Hypercalls;
use guest_shim::Xen;
use hypervisor_abi::PAGE_SIZE;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::EventOp;
use hypervisor_abi::sched::SCHEDOP_SHUTDOWN;
use hypervisor_abi::sched::SchedShutdown;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

use crate::cpu::Processor;
use crate::cpu::write_msr;
use crate::memory::Page;

/// `__HYPERVISOR_*` (`public/xen.h`).
const MEMORY_OP: u32 = 12;
const XEN_VERSION: u32 = 17;
const VCPU_OP: u32 = 24;
const SCHED_OP: u32 = 29;
const EVENT_CHANNEL_OP: u32 = 32;
const PHYSDEV_OP: u32 = 33;
const HVM_OP: u32 = 34;

/// `SCHEDOP_*` (`public/sched.h`).
const YIELD: u64 = 0;
/// `VCPUOP_*` (`public/vcpu.h`).
const STOP_PERIODIC_TIMER: u32 = 7;
const SET_SINGLESHOT_TIMER: u32 = 8;

/// Code that Xen writes: 32 bytes a hypercall.
static CODE: Page<[u8; PAGE_SIZE]> = Page::ZERO;

/// Xen, which fills [`CODE`] before there is one of these.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hypervisor(());

/// `struct vcpu_set_singleshot_timer`.
#[derive(Debug, IntoBytes, Immutable)]
#[repr(C)]
struct SingleshotTimer {
    timeout: u64,
    flags: u32,
    padding: u32,
}

impl Hypervisor {
    /// Has Xen fill the hypercall page.
    pub(crate) fn enter(xen: &Xen) -> Self {
        let address = (&raw const CODE).addr() as u64;
        // SAFETY: Xen writes this page, which is static and nobody else's, before the instruction has ended.
        unsafe { write_msr(xen.hypercall_msr(&Processor), address) }
        Self(())
    }

    /// Has `VIRQ_TIMER` of the caller's vCPU come once, at a moment of the hypervisor's clock, in ns.
    pub(crate) fn set_timer(self, vcpu: VcpuId, timeout: u64) -> i64 {
        let argument = SingleshotTimer { timeout, flags: 0, padding: 0 };
        call(VCPU_OP, [u64::from(SET_SINGLESHOT_TIMER), u64::from(vcpu.0), address_of(&argument)])
    }

    /// Stops the periodic `VIRQ_TIMER` that every vCPU begins with.
    pub(crate) fn stop_periodic_timer(self, vcpu: VcpuId) -> i64 {
        call(VCPU_OP, [u64::from(STOP_PERIODIC_TIMER), u64::from(vcpu.0), 0])
    }

    /// Lets others use the processor (`SCHEDOP_yield`).
    pub(crate) fn yield_processor(self) {
        call(SCHED_OP, [YIELD, 0, 0]);
    }

    /// Ends the domain, for one of `SHUTDOWN_*`.
    pub(crate) fn shut_down(self, reason: u32) {
        self.sched_op(SCHEDOP_SHUTDOWN, SchedShutdown { reason }.as_mut_bytes());
    }
}

impl Hypercalls for Hypervisor {
    fn event_channel_op(&self, op: EventOp, argument: &mut [u8]) -> i64 {
        call(EVENT_CHANNEL_OP, [u64::from(op.number()), address_of(argument), 0])
    }

    fn vcpu_op(&self, op: u32, vcpu: VcpuId, argument: &mut [u8]) -> i64 {
        call(VCPU_OP, [u64::from(op), u64::from(vcpu.0), address_of(argument)])
    }

    fn hvm_op(&self, op: u32, argument: &mut [u8]) -> i64 {
        call(HVM_OP, [u64::from(op), address_of(argument), 0])
    }

    fn physdev_op(&self, op: u32, argument: &mut [u8]) -> i64 {
        call(PHYSDEV_OP, [u64::from(op), address_of(argument), 0])
    }

    fn xen_version(&self, op: u32, argument: &mut [u8]) -> i64 {
        call(XEN_VERSION, [u64::from(op), address_of(argument), 0])
    }

    fn memory_op(&self, op: u32, argument: &mut [u8]) -> i64 {
        call(MEMORY_OP, [u64::from(op), address_of(argument), 0])
    }

    fn sched_op(&self, op: u32, argument: &mut [u8]) -> i64 {
        call(SCHED_OP, [u64::from(op), address_of(argument), 0])
    }
}

/// Where an argument lies, for the hypervisor to read and, if it comes from a mutable reference, to write.
fn address_of<T: ?Sized>(argument: *const T) -> u64 {
    argument.expose_provenance() as u64
}

/// The number goes by the place in the page, arguments in RDI, RSI and RDX, the result comes in RAX.
fn call(number: u32, [first, second, third]: [u64; 3]) -> i64 {
    let entry = (&raw const CODE).addr() as u64 + 32 * u64::from(number);
    let result;
    // SAFETY: Xen has filled the page, as there is a `Hypervisor`; it reads and writes what the argument's type says, whose
    // address was exposed for that.
    unsafe {
        asm!(
            "call {entry}",
            entry = in(reg) entry,
            out("rax") result,
            inlateout("rdi") first => _,
            inlateout("rsi") second => _,
            inlateout("rdx") third => _,
            out("rcx") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    result
}
