//! Domain 0, a hostile guest, its accomplice and a bystander.

use guest_shim::ArrayPage;
use guest_shim::ControlPage;
use guest_shim::EoiMode;
use guest_shim::EventChannels;
use guest_shim::Fifo;
use guest_shim::Gfn;
use guest_shim::LocalApic;
use guest_shim::Place;
use guest_shim::PortRecord;
use guest_shim::Served;
use guest_shim::Throttle;
use guest_shim::Time;
use guest_shim::Upcall;
use guest_shim::VcpuEvents;
use guest_shim::VcpuSetUp;
use guest_shim::Work;
use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::SharedInfo64;
use hypervisor_abi::VcpuId;
use hypervisor_abi::hvm::CallbackVia;
use hypervisor_lib::event::Binding;
use hypervisor_lib::event::DomainConfig;
use hypervisor_lib::event::EventError;
use hypervisor_lib::event::GuestPlace;
use hypervisor_lib::event::Privilege;
use hypervisor_lib::fabric::DomainKind;

use super::meter::Extent;
use super::meter::Meter;
use crate::counted_lock::CountedLock;
use crate::door::Door;
use crate::overlaid_memory::OverlaidMemory;
use crate::world::Layout;
use crate::world::View;
use crate::world::World;
use crate::world::config;

/// The hypervisor of these tests.
pub type HostileWorld = World<OverlaidMemory, CountedLock>;

/// The hostile guest, an HVM one.
pub const HOSTILE: DomainId = DomainId(1);
/// A paravirtual guest that has power over the hostile one, as its device model has, and is as hostile.
pub(super) const ACCOMPLICE: DomainId = DomainId(2);
/// An honest guest they have nothing to do with.
pub const BYSTANDER: DomainId = DomainId(3);
/// How many pages each domain has.
const PAGES: usize = 8;
/// How many ports each domain can have.
const PORTS: u32 = 201;
const V0: VcpuId = VcpuId(0);

/// The four domains' hypervisor.
pub(super) fn world() -> HostileWorld {
    let domain = |id: DomainId, kind| DomainConfig { max_port: PORTS - 1, ..config(id.0, kind) };
    let configs = [
        domain(DomainId::DOM0, DomainKind::Pv),
        domain(HOSTILE, DomainKind::Hvm),
        DomainConfig { privilege: Privilege::Over(HOSTILE), ..domain(ACCOMPLICE, DomainKind::Pv) },
        domain(BYSTANDER, DomainKind::Pv),
    ];
    World::new(OverlaidMemory::new(configs.len(), PAGES), configs)
}

pub(super) fn meter(world: &HostileWorld) -> Meter<'_> {
    Meter::new(world, u64::from(PORTS))
}

/// What an honest guest sets memory aside for.
pub(super) struct HonestPages<'w> {
    array: [ArrayPage<'w>; 1],
    records: [PortRecord; 8],
}

impl<'w> HonestPages<'w> {
    pub(super) fn new(world: &'w HostileWorld, id: DomainId) -> Self {
        let words = world.memory.view(id, GuestPlace::frame(Layout::ARRAY));
        Self { array: [ArrayPage { words, gfn: Gfn(Layout::ARRAY) }], records: [const { PortRecord::new() }; 8] }
    }
}

/// An honest guest with one vCPU and the FIFO ABI.
pub(super) struct Honest<'w> {
    channels: EventChannels<'w, Fifo<'w>, Door<'w, OverlaidMemory, CountedLock>>,
    vcpu: VcpuEvents<'w, Fifo<'w>>,
}

/// Paravirtual guests have no local APIC to be off.
struct NoApic;

impl LocalApic for NoApic {
    fn is_software_enabled(&self) -> bool {
        true
    }
}

impl<'w> Honest<'w> {
    fn new(world: &'w HostileWorld, id: DomainId, pages: &'w HonestPages<'w>) -> Self {
        let channels = EventChannels::new(Fifo::new(&pages.array), world.door(id), &pages.records);
        let place = |place: GuestPlace| Place { gfn: Gfn(place.gfn), offset: place.offset };
        let shared: &SharedInfo64 = world.memory.view(id, GuestPlace::frame(Layout::SHARED_INFO));
        let control = Layout::control(V0);
        let set_up = VcpuSetUp {
            vcpu: V0,
            info: &shared.vcpu_info[0],
            info_place: None,
            pages: ControlPage { block: world.memory.view(id, control), place: place(control) },
            upcall: Upcall::Callback(CallbackVia::Vector(0xf3)),
            throttle: Throttle::default(),
        };
        let vcpu = channels.bring_up(set_up, &NoApic).expect("nothing refuses an honest guest");
        Self { channels, vcpu }
    }

    fn offer(&self, to: DomainId) -> Port {
        let port = self.channels.offer(to, V0, EoiMode::Early).expect("a free port");
        self.channels.unmask(port).expect("a bound port");
        port
    }

    fn connect(&self, to: DomainId, port: Port) -> Port {
        let port = self.channels.bind_interdomain(to, port, V0, EoiMode::Early).expect("an offered port");
        self.channels.unmask(port).expect("a bound port");
        port
    }

    /// What has been sent to the guest since the last look.
    fn take(&mut self) -> Vec<Port> {
        let mut taken = Vec::new();
        let _ = self.vcpu.handle(&self.channels, Time(0), |port| {
            taken.push(port);
            Served::Finished(Work::Done)
        });
        taken
    }
}

/// The honest two, and what must not change about them.
pub(super) struct Company<'w> {
    world: &'w HostileWorld,
    dom0: Honest<'w>,
    bystander: Honest<'w>,
    /// Domain 0's port that is offered to the hostile guest.
    pub(super) offered: Port,
    /// Domain 0's port that is connected to the bystander.
    to_bystander: Port,
    bystanders: Port,
    /// The bystander's port that is offered to domain 0, which does not connect to it.
    kept_free: Port,
    digests: [u64; 2],
}

impl<'w> Company<'w> {
    pub(super) fn new(world: &'w HostileWorld, dom0: &'w HonestPages<'w>, bystander: &'w HonestPages<'w>) -> Self {
        let mut dom0 = Honest::new(world, DomainId::DOM0, dom0);
        let mut bystander = Honest::new(world, BYSTANDER, bystander);
        let offered = dom0.offer(HOSTILE);
        let to_bystander = dom0.offer(BYSTANDER);
        let bystanders = bystander.connect(DomainId::DOM0, to_bystander);
        let kept_free = bystander.offer(DomainId::DOM0);
        dom0.take();
        bystander.take();
        let mut company =
            Self { world, dom0, bystander, offered, to_bystander, bystanders, kept_free, digests: [0; 2] };
        company.digests = company.look();
        company
    }

    /// Digests of the honest two's pages, without what the shared port may change: in domain 0's, its event word (and with
    /// it the unused port 0's), the upcall and the queues.
    fn look(&self) -> [u64; 2] {
        assert_eq!(self.offered, Port(1), "the words left out are this port's");
        let array = usize::try_from(Layout::ARRAY).unwrap_or(usize::MAX);
        let control = usize::try_from(Layout::VCPUS).unwrap_or(usize::MAX);
        let left_out = [(0, 0, 1), (array, 0, 1), (control, 8, 17)];
        [self.world.memory.digest(DomainId::DOM0, &left_out), self.world.memory.digest(BYSTANDER, &[])]
    }

    /// Checks that the honest two's pages are as they were, and that nobody has taken an offer made to another.
    pub(super) fn check_pages(&self) {
        let offer =
            self.world.get(BYSTANDER).status(self.world, DomainId::SELF, self.kept_free).map(|port| port.binding);
        assert_eq!(offer, Ok(Binding::Unbound { remote: DomainId::DOM0 }));
        assert_eq!(self.look(), self.digests, "an honest domain's pages have changed");
    }

    /// Domain 0 sends to the bystander, which gets the event once and nothing else; domain 0 gets nothing but the hostile
    /// guest's events.
    pub(super) fn check_traffic(&mut self) {
        self.dom0.channels.send(self.to_bystander).expect("a connected port");
        assert_eq!(self.bystander.take(), [self.bystanders]);
        assert_eq!(self.bystander.take(), []);
        let got = self.dom0.take();
        assert!(got.iter().all(|port| *port == self.offered) && got.len() <= 1, "domain 0 got {got:?}");
        self.digests = self.look();
    }

    /// Destroys a guest; none of its pages stays pinned, and the honest two go on.
    pub(super) fn destroy(&mut self, guest: DomainId) {
        meter(self.world).run(Extent::AllPorts, || {
            loop {
                match self.world.get(guest).destroy(self.world) {
                    Ok(()) => break,
                    Err(error) => assert_eq!(error, EventError::BrokenOff),
                }
            }
        });
        assert_eq!(self.world.memory.pins(guest), 0, "{guest} is gone, and its pages are pinned");
        assert_eq!(self.world.get(guest).open_ports(), 0);
        self.check_pages();
        self.check_traffic();
    }
}
