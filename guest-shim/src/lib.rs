//! The guest's side of Xen interrupt delivery: what a guest kernel or unikernel links.
//!
//! What it is: finding Xen ([`Xen`]) and the shared page ([`map_shared_info`]), bringing vCPUs up in the order that loses nothing ([`EventChannels::bring_up`]),
//! binding, masking, moving and closing ports ([`EventChannels`]), and the upcall loop ([`VcpuEvents`]), over either ABI
//! ([`TwoLevel`], [`Fifo`]); late EOIs and their delays against floods ([`Throttle`]), IPIs, physical IRQs ([`MsiMessage`],
//! [`PirqEois`]), vCPUs that go offline ([`VcpuEvents::retire`]) and guests that are saved and restored
//! ([`EventChannels::suspend`], [`EventChannels::rebind_all`]). It allocates nothing, holds no lock and reads no clock.
//!
//! What it is not: privileged instructions and entry code. Its user, a kernel, brings hypercalls ([`Hypercalls`]), CPUID
//! ([`Cpuid`]), the state of the local APIC ([`LocalApic`]), and references to the pages it shares with Xen.
//!
//! ```text
//!            sender                                  this crate
//!   event ─► pending bit or word ─► selector or ─► upcall_pending ─► interrupt ─► VcpuEvents::handle
//!                                   queue, ready                                  clears upcall_pending, takes what is
//!                                                                                 ready, calls the handler for each port
//!   EVTCHNOP_unmask ◄── an event came while the port was masked ◄── unmask, eoi ◄── handler, or whoever ends its work
//! ```
//!
//! # Example
//!
//! A kernel with one vCPU, under a hypervisor of a few lines that knows IPIs alone.
//!
//! ```
//! use core::cell::Cell;
//! use guest_shim::*;
//! use hypervisor_abi::event::{BindIpi, EventOp, Send};
//! use hypervisor_abi::sync::Ordering::SeqCst;
//! use hypervisor_abi::{Port, SharedInfo64, VcpuId};
//! use zerocopy::{FromBytes, IntoBytes};
//!
//! // On hardware: `call hypercall_page + 32 * number`, the argument's address in RSI.
//! struct Hypervisor<'a>(&'a SharedInfo64, Cell<u32>);
//!
//! impl Hypercalls for Hypervisor<'_> {
//!     fn event_channel_op(&self, op: EventOp, argument: &mut [u8]) -> i64 {
//!         match op {
//!             EventOp::BindIpi => {
//!                 self.1.set(self.1.get() + 1);
//!                 BindIpi { vcpu: 0, port: self.1.get() }.write_to(argument).expect("the structure's size");
//!             }
//!             EventOp::Send => {
//!                 let port = Send::read_from_bytes(argument).expect("the structure's size").port;
//!                 self.0.evtchn_pending[0].fetch_or(1 << port, SeqCst);
//!                 if self.0.evtchn_mask[0].load(SeqCst) >> port & 1 == 0 {
//!                     self.0.vcpu_info[0].evtchn_pending_sel.fetch_or(1, SeqCst);
//!                     self.0.vcpu_info[0].evtchn_upcall_pending.store(1, SeqCst);
//!                 }
//!             }
//!             _ => return -38,
//!         }
//!         0
//!     }
//!     fn vcpu_op(&self, _: u32, _: VcpuId, _: &mut [u8]) -> i64 { -38 }
//!     fn hvm_op(&self, _: u32, _: &mut [u8]) -> i64 { 0 }
//!     fn physdev_op(&self, _: u32, _: &mut [u8]) -> i64 { -38 }
//!     fn xen_version(&self, _: u32, _: &mut [u8]) -> i64 { -38 }
//! }
//!
//! struct Apic;
//! impl LocalApic for Apic {
//!     fn is_software_enabled(&self) -> bool { true }
//! }
//!
//! static PORTS: [PortRecord; 64] = [const { PortRecord::new() }; 64];
//! let shared = SharedInfo64::default();
//! let hypervisor = Hypervisor(&shared, Cell::new(0));
//! let channels = EventChannels::new(TwoLevel::new(&shared), &hypervisor, &PORTS);
//!
//! // At boot, on each vCPU.
//! let boot = VcpuSetUp {
//!     vcpu: VcpuId(0),
//!     info: &shared.vcpu_info[0],
//!     info_place: None,
//!     pages: (),
//!     upcall: Upcall::OwnVector(0xf3),
//!     throttle: Throttle::default(),
//! };
//! let mut vcpu = channels.bring_up(boot, &Apic)?;
//! let ipi = channels.bind_ipi(VcpuId(0), EoiMode::Early)?;
//! channels.unmask(ipi)?;
//!
//! // Somewhere: interrupt the vCPU. In its interrupt handler: take what is there.
//! channels.send(ipi)?;
//! let mut taken = Vec::new();
//! let round = vcpu.handle(&channels, Time(0), |port| {
//!     taken.push(port);
//!     Served::Finished(Work::Done)
//! })?;
//! assert_eq!((round, taken), (Round::Done, vec![ipi]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Two vCPUs at one port
//!
//! Every method may be called on several vCPUs at once and from handlers. What makes that sound without a lock:
//!
//! * An event is *taken* by one atomic step on the port's word or bit, so by one vCPU only, whatever moves meanwhile.
//! * A port may be masked for several reasons, which are bits of one word of its [`PortRecord`]. Whoever makes them differ
//!   from the mask in shared memory brings that into line, and looks again until nothing has changed.
//! * A vCPU that finds an event of a port that now belongs to another masks the port and has the hypervisor queue it anew.
//!
//! # Order of memory accesses
//!
//! | word | this side | pairs with the hypervisor's |
//! |---|---|---|
//! | `evtchn_upcall_pending` | cleared before the exchange of selector or `ready` | set after these |
//! | `evtchn_pending_sel`, `ready` | exchange, acquire and release | set after pending bit, or after head and link |
//! | pending bit | cleared (sequentially consistent) before the handler looks at the event's cause | looked at before an event is dropped as a repetition |
//! | mask bit | cleared before the look at the pending bit, both sequentially consistent | pending bit set before the look at the mask |
//! | event word | one compare-and-exchange for `LINKED`, link, `PENDING` and `MASKED` | link written only while `LINKED`, by compare-and-exchange |
#![no_std]
#![forbid(unsafe_code)]

mod abi;
mod channels;
mod detect;
mod fifo;
mod hypercall;
mod layout;
mod pirq;
mod poll;
mod port;
mod restore;
mod retire;
mod set_up;
mod suspend;
mod throttle;
mod time;
mod two_level;
mod upcall;

pub use abi::Admission;
pub use abi::ControlPage;
pub use abi::Duty;
pub use abi::EventAbi;
pub use abi::Found;
pub use abi::Unmasked;
pub use abi::VcpuInfoOf;
pub use abi::Visit;
pub use channels::ChannelError;
pub use channels::EventChannels;
pub use channels::Sharing;
pub use detect::ApicMode;
pub use detect::Cpuid;
pub use detect::MsiPath;
pub use detect::Version;
pub use detect::Xen;
pub use detect::features;
pub use fifo::ArrayPage;
pub use fifo::Fifo;
pub use fifo::Queues;
pub use hypercall::Hypercalls;
pub use hypercall::Object;
pub use hypercall::Reason;
pub use hypercall::Refused;
pub use layout::SharedInfo;
pub use layout::VcpuBlock;
pub use pirq::MsiMessage;
pub use pirq::PirqEois;
pub use pirq::map_gsi;
pub use pirq::reserve_for_msi;
pub use pirq::unmap;
pub use poll::poll;
pub use port::Bound;
pub use port::EoiMode;
pub use port::PortRecord;
pub use port::Source;
pub use restore::Restored;
pub use restore::Untaken;
pub use retire::Retired;
pub use set_up::Gfn;
pub use set_up::LocalApic;
pub use set_up::Place;
pub use set_up::SetUpError;
pub use set_up::Upcall;
pub use set_up::VcpuSetUp;
pub use set_up::hvm_param;
pub use set_up::map_shared_info;
pub use set_up::set_upcall;
pub use suspend::Resumed;
pub use throttle::Throttle;
pub use time::Span;
pub use time::Time;
pub use two_level::Scan;
pub use two_level::TwoLevel;
pub use upcall::Eoi;
pub use upcall::Round;
pub use upcall::Served;
pub use upcall::VcpuEvents;
pub use upcall::Work;
