//! An honest guest kernel with any number of vCPUs and ports, on the FIFO ABI.

use guest_shim::ArrayPage;
use guest_shim::ControlPage;
use guest_shim::EventChannels;
use guest_shim::Fifo;
use guest_shim::Gfn;
use guest_shim::LocalApic;
use guest_shim::Place;
use guest_shim::PortRecord;
use guest_shim::Throttle;
use guest_shim::Upcall;
use guest_shim::VcpuEvents;
use guest_shim::VcpuSetUp;
use hypervisor_abi::DomainId;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::EVENT_WORDS_PER_PAGE;
use hypervisor_abi::hvm::CallbackVia;
use hypervisor_lib::event::GuestPlace;
use lock_api::RawMutex;

use crate::door::Door;
use crate::world::Layout;
use crate::world::View;
use crate::world::World;

/// A guest kernel's event channels.
pub type Kernel<'w, M, L> = EventChannels<'w, Fifo<'w>, Door<'w, M, L>>;

/// What a guest kernel sets memory aside for.
#[derive(Debug)]
pub struct KernelPages<'w> {
    array: Vec<ArrayPage<'w>>,
    records: Vec<PortRecord>,
}

impl<'w> KernelPages<'w> {
    /// Room for so many ports.
    pub fn new<M: View, L: RawMutex>(world: &'w World<M, L>, id: DomainId, ports: usize) -> Self {
        let frames = (Layout::ARRAY..).take(ports.div_ceil(EVENT_WORDS_PER_PAGE));
        let page = |gfn| ArrayPage { words: world.memory.view(id, GuestPlace::frame(gfn)), gfn: Gfn(gfn) };
        Self { array: frames.map(page).collect(), records: (0..ports).map(|_| PortRecord::new()).collect() }
    }
}

/// A vCPU whose events come without a local APIC.
struct NoApic;

impl LocalApic for NoApic {
    fn is_software_enabled(&self) -> bool {
        true
    }
}

/// A guest kernel, no vCPU of which is set up yet.
pub fn kernel<'w, M: View, L: RawMutex>(
    world: &'w World<M, L>,
    id: DomainId,
    pages: &'w KernelPages<'w>,
) -> Kernel<'w, M, L> {
    EventChannels::new(Fifo::new(&pages.array), world.door(id), &pages.records)
}

/// Sets up a vCPU of a guest kernel, whose block has been registered before or not.
///
/// # Panics
/// The hypervisor refuses.
pub fn bring_up<'w, M: View, L: RawMutex>(
    world: &'w World<M, L>,
    id: DomainId,
    kernel: &Kernel<'w, M, L>,
    vcpu: VcpuId,
) -> VcpuEvents<'w, Fifo<'w>> {
    let place = |place: GuestPlace| Place { gfn: Gfn(place.gfn), offset: place.offset };
    let (info, control) = (Layout::info(vcpu), Layout::control(vcpu));
    let _: Result<(), _> = world.get(id).register_vcpu_info(world, vcpu, info);
    let set_up = VcpuSetUp {
        vcpu,
        info: world.memory.view(id, info),
        info_place: None,
        pages: ControlPage { block: world.memory.view(id, control), place: place(control) },
        upcall: Upcall::Callback(CallbackVia::Vector(0xf3)),
        throttle: Throttle::default(),
    };
    kernel.bring_up(set_up, &NoApic).expect("nothing refuses an honest guest")
}
