//! Where the guest runs, found out once: what the loader said, whether there is Xen, how events are to interrupt.

use guest_shim::Hypercalls;
use guest_shim::Place;
use guest_shim::Upcall;
use guest_shim::Xen;
use guest_shim::features;
use guest_shim::map_shared_info;
use hypervisor_abi::DomainId;
use hypervisor_abi::features::Features;
use hypervisor_abi::hvm::CallbackVia;
use hypervisor_abi::sched::SHUTDOWN_POWEROFF;
use hypervisor_abi::vcpu_info::RegisterVcpuInfo;
use hypervisor_abi::vcpu_info::VCPUOP_REGISTER_VCPU_INFO;
use spin::Once;
use zerocopy::IntoBytes;

use crate::apic;
use crate::bed::SECOND;
use crate::cpu::Processor;
use crate::entry;
use crate::hypervisor::Hypervisor;
use crate::interrupts::UPCALL;
use crate::mailbox::MAILBOX;
use crate::mailbox::Request;
use crate::memory::SECOND_INFO;
use crate::memory::SHARED_INFO;
use crate::record;
use crate::start_info::StartInfo;

/// The machine.
#[derive(Debug)]
pub(crate) struct Machine {
    /// What the loader handed over.
    pub(crate) start_info: StartInfo,
    /// Xen, if there is one.
    pub(crate) xen: Option<OnXen>,
}

/// Xen, and how the guest uses it.
#[derive(Debug)]
pub(crate) struct OnXen {
    /// Its CPUID leaves.
    pub(crate) xen: Xen,
    /// What it offers.
    pub(crate) features: Features,
    /// The way to it.
    pub(crate) hypervisor: Hypervisor,
    /// How events interrupt: as the command line says (`upcall=callback` or `upcall=vector`), else as Xen recommends.
    pub(crate) upcall: Upcall,
    /// Whether dom0 serves the mailbox, as the command line says (`dom0=peer`).
    pub(crate) dom0: Dom0,
    /// What this guest is there for, as the command line says (`role=far`).
    pub(crate) role: Role,
    /// The guest at the other end of channels, as the command line says (`far=` and its number).
    pub(crate) far: Option<DomainId>,
}

/// What a guest is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It runs the cases.
    Cases,
    /// It does what another guest's cases ask of it.
    Far,
}

/// What dom0 does for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dom0 {
    /// It serves the mailbox.
    Peer,
    /// Nothing.
    Absent,
}

static MACHINE: Once<Machine> = Once::new();

/// Finds out where the guest runs.
pub(crate) fn discover(start_info: u64) {
    apic::enable();
    // SAFETY: this is the address the guest was entered with.
    let start_info = unsafe { StartInfo::read(start_info) };
    let xen = Xen::find(&Processor).map(|xen| reach(&start_info, xen));
    tell(&start_info, xen.as_ref());
    MACHINE.call_once(|| Machine { start_info, xen });
}

/// Tells which guest this is: the first record of each of its domains.
fn tell(start_info: &StartInfo, xen: Option<&OnXen>) {
    let name = option(start_info, "name=").unwrap_or("guest");
    match xen {
        Some(OnXen { xen, upcall, .. }) => {
            let (major, minor) = (xen.version.major, xen.version.minor);
            record::write(format_args!("guest name={name} hypervisor=\"Xen {major}.{minor}\" upcall=\"{upcall:x?}\""));
        }
        None => record::write(format_args!("guest name={name} hypervisor=none")),
    }
}

fn reach(start_info: &StartInfo, xen: Xen) -> OnXen {
    let hypervisor = enter(&xen);
    let features = features(&hypervisor).expect("every Xen has this call");
    let upcall = match option(start_info, "upcall=") {
        Some("callback") => Upcall::Callback(CallbackVia::Vector(UPCALL)),
        Some("vector") => Upcall::OwnVector(UPCALL),
        _ => xen.upcall(features, UPCALL).expect("Xen has had callbacks by vector since 4.1"),
    };
    let dom0 = if option(start_info, "dom0=") == Some("peer") { Dom0::Peer } else { Dom0::Absent };
    let role = if option(start_info, "role=") == Some("far") { Role::Far } else { Role::Cases };
    let far = option(start_info, "far=").and_then(|number| number.parse().ok()).map(DomainId);
    OnXen { xen, features, hypervisor, upcall, dom0, role, far }
}

/// What a domain is told once: where hypercalls are, where the shared page, where the block of the second vCPU.
fn enter(xen: &Xen) -> Hypervisor {
    let hypervisor = Hypervisor::enter(xen);
    map_shared_info(&hypervisor, SHARED_INFO.gfn()).expect("the page is the guest's");
    assert_eq!(register_second(hypervisor), 0, "the block of the second vCPU");
    hypervisor
}

/// After a restore: has the guest known to its new domain, as at boot. Event channels are not among that.
pub(crate) fn enter_again() {
    let xen = &on_xen().xen;
    enter(xen);
    tell(&machine().start_info, Some(on_xen()));
}

/// The number of the guest's domain, which a restore changes.
pub(crate) fn own_domain() -> DomainId {
    Xen::find(&Processor).and_then(|xen| xen.domain()).expect("Xen tells it since 4.13")
}

/// Registers the block of the second vCPU, so that one vCPU has its block in the shared page and the other has not; what the
/// hypervisor answers.
pub(crate) fn register_second(hypervisor: Hypervisor) -> i64 {
    let Place { gfn, offset } = SECOND_INFO.place();
    let mut argument = RegisterVcpuInfo { gfn: gfn.0, offset, reserved: 0 };
    hypervisor.vcpu_op(VCPUOP_REGISTER_VCPU_INFO, SECOND, argument.as_mut_bytes())
}

/// The value of an option of the command line.
fn option(start_info: &StartInfo, key: &str) -> Option<&'static str> {
    start_info.command_line().split_ascii_whitespace().find_map(|word| word.strip_prefix(key))
}

/// The machine.
pub(crate) fn machine() -> &'static Machine {
    MACHINE.get().expect("discovered before the first case")
}

/// Xen.
pub(crate) fn on_xen() -> &'static OnXen {
    machine().xen.as_ref().expect("a case that needs Xen is not run without")
}

/// Ends the guest, in the hypervisor's way if there is one.
pub(crate) fn shut_down() -> ! {
    if let Some(OnXen { hypervisor, dom0, .. }) = &machine().xen {
        if *dom0 == Dom0::Peer {
            MAILBOX.ask(Request::Goodbye, 0, &[]);
        }
        hypervisor.shut_down(SHUTDOWN_POWEROFF);
    }
    entry::halt()
}
