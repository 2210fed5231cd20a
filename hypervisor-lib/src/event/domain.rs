//! A domain, as event channels see it.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::iter;

use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::SharedInfo32;
use hypervisor_abi::SharedInfo64;
use hypervisor_abi::VcpuId;
use hypervisor_abi::event::FIFO_CHANNELS;
use hypervisor_abi::shared_info::TWO_LEVEL_CHANNELS_32;
use hypervisor_abi::shared_info::TWO_LEVEL_CHANNELS_64;
use hypervisor_abi::sync::AtomicU8;
use hypervisor_abi::sync::AtomicU32;
use hypervisor_abi::sync::Ordering;
use lock_api::Mutex;
use lock_api::MutexGuard;
use lock_api::RawMutex;
use once_cell::race::OnceBox;

use super::callback::Callback;
use super::error::EventError;
use super::fifo::Fifo;
use super::memory::GuestMemory;
use super::memory::GuestPlace;
use super::memory::PinCell;
use super::memory::PinError;
use super::pirq::EoiUnmask;
use super::pirq::PirqRecords;
use super::pirq::Pirqs;
use super::slot::Binding;
use super::slot::MAX_PIRQS;
use super::slot::MAX_VCPUS;
use super::slot::Slot;
use super::table::Ports;
use super::vcpu::Vcpu;
use crate::fabric::DomainKind;

/// How wide a guest's words are: the layout of its shared pages and the size of its 2-level bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WordSize {
    /// 1024 ports in the 2-level ABI.
    Bits32,
    /// 4096 ports in the 2-level ABI.
    Bits64,
}

/// How a domain's ports and the guest's pages are linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventAbi {
    /// Two bitmaps in the shared page.
    TwoLevel(WordSize),
    /// Event words and queues.
    Fifo,
}

impl EventAbi {
    /// How many ports the ABI can name, port 0 included.
    #[must_use]
    pub const fn channels(self) -> u32 {
        match self {
            Self::TwoLevel(WordSize::Bits32) => TWO_LEVEL_CHANNELS_32,
            Self::TwoLevel(WordSize::Bits64) => TWO_LEVEL_CHANNELS_64,
            Self::Fifo => FIFO_CHANNELS,
        }
    }
}

/// What a domain may do to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Privilege {
    /// Anything: it is a control domain.
    Control,
    /// Anything to one domain, whose device model it runs.
    Over(DomainId),
    /// Nothing.
    None,
}

/// What a domain is created with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainConfig {
    /// Its number.
    pub id: DomainId,
    /// How it is virtualized.
    pub kind: DomainKind,
    /// What it may do to others.
    pub privilege: Privilege,
    /// How wide its words are when it starts.
    pub word_size: WordSize,
    /// How many vCPUs it has.
    pub vcpus: u32,
    /// The highest port it may use (`max_evtchn_port`; the toolstack's default is 1023).
    pub max_port: u32,
    /// One more than the highest physical IRQ it can map.
    pub pirqs: u32,
    /// The frame of its shared page.
    pub shared_info_gfn: u64,
}

/// A domain cannot be created so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// The number of vCPUs is out of range.
    #[error("{0} vCPUs are out of range: 1 to {MAX_VCPUS}")]
    Vcpus(u32),
    /// The number of physical IRQs is out of range.
    #[error("{0} physical IRQs are more than {MAX_PIRQS}")]
    Pirqs(u32),
    /// The number is reserved.
    #[error("domain number {0} is reserved")]
    Reserved(DomainId),
    /// The shared page cannot be pinned.
    #[error("the shared page cannot be used")]
    Pin(#[from] PinError),
}

/// A domain's event channels: its ports, its vCPUs' pages, its limits.
pub struct Domain<L: RawMutex> {
    pub(crate) id: DomainId,
    pub(crate) kind: DomainKind,
    pub(crate) privilege: Privilege,
    pub(crate) max_port: u32,
    pub(crate) vcpus: Box<[Vcpu]>,
    pub(crate) ports: Ports<L>,
    pub(crate) shared_info_64: PinCell<SharedInfo64>,
    pub(crate) shared_info_32: PinCell<SharedInfo32>,
    /// Allocated by the first `init_control` and kept; in use while the ABI says so.
    pub(crate) fifo: OnceBox<Fifo<L>>,
    abi: AtomicU8,
    /// How many vCPUs are in a poll.
    pub(crate) polling: AtomicU32,
    pub(crate) callback: Callback<L>,
    pub(crate) pirqs: Pirqs,
    structure: Mutex<L, Structure>,
}

impl<L: RawMutex> fmt::Debug for Domain<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Domain").field("id", &self.id).field("abi", &self.abi()).finish_non_exhaustive()
    }
}

/// What the event lock guards: which ports exist.
#[derive(Debug)]
pub(crate) struct Structure {
    /// No port below this one is free.
    pub(crate) lowest_free: u32,
    /// How many ports are open.
    pub(crate) open: u32,
    /// How many of them the hypervisor itself consumes.
    pub(crate) consumed: u32,
    /// Where a reset goes on; `None` while there is none.
    pub(crate) reset_at: Option<u32>,
    pub(crate) life: Life,
    pub(crate) places: Places,
    pub(crate) pirqs: PirqRecords,
}

/// Where the guest put its pages: handles do not tell, and a saved domain has to name them again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) shared_info_gfn: u64,
    /// By vCPU.
    pub(crate) vcpu_infos: BTreeMap<u32, GuestPlace>,
    /// By vCPU.
    pub(crate) controls: BTreeMap<u32, GuestPlace>,
    /// In the order of the ports.
    pub(crate) array_gfns: Vec<u64>,
    pub(crate) pirq_eoi: Option<(u64, EoiUnmask)>,
}

/// Whether a domain still takes new ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    /// Destruction has begun and goes on at this port.
    Dying {
        at: u32,
    },
}

/// The event lock, held.
pub(crate) type StructureGuard<'d, L> = MutexGuard<'d, L, Structure>;

const ABI_32: u8 = 0;
const ABI_64: u8 = 1;
const ABI_FIFO: u8 = 2;

impl<L: RawMutex> Domain<L> {
    /// A domain without an open port, on the 2-level ABI.
    ///
    /// # Errors
    /// [`DomainError`]: a number is out of range, or the shared page cannot be pinned.
    pub fn new(config: DomainConfig, memory: &impl GuestMemory) -> Result<Self, DomainError> {
        let DomainConfig { id, kind, privilege, word_size, vcpus, max_port, pirqs, shared_info_gfn } = config;
        if id >= DomainId::FIRST_RESERVED {
            return Err(DomainError::Reserved(id));
        }
        if !(1..=MAX_VCPUS).contains(&vcpus) {
            return Err(DomainError::Vcpus(vcpus));
        }
        if pirqs > MAX_PIRQS {
            return Err(DomainError::Pirqs(pirqs));
        }
        let max_port = max_port.min(FIFO_CHANNELS - 1);
        let domain = Self {
            id,
            kind,
            privilege,
            max_port,
            vcpus: iter::repeat_with(Vcpu::new).take(VcpuId(vcpus).index()).collect(),
            ports: Ports::new(max_port),
            shared_info_64: PinCell::empty(),
            shared_info_32: PinCell::empty(),
            fifo: OnceBox::new(),
            abi: AtomicU8::new(ABI_64),
            polling: AtomicU32::new(0),
            callback: Callback::new(),
            pirqs: Pirqs::new(pirqs),
            structure: Mutex::new(Structure {
                lowest_free: 1,
                open: 0,
                consumed: 0,
                reset_at: None,
                life: Life::Alive,
                places: Places {
                    shared_info_gfn,
                    vcpu_infos: BTreeMap::new(),
                    controls: BTreeMap::new(),
                    array_gfns: Vec::new(),
                    pirq_eoi: None,
                },
                pirqs: PirqRecords::default(),
            }),
        };
        domain.map_shared_info(memory, word_size, shared_info_gfn)?;
        if let Some(slot) = domain.ports.get_or_allocate(Port(0)) {
            slot.lock().set(Binding::Reserved);
        }
        Ok(domain)
    }

    /// Its number.
    #[must_use]
    pub const fn id(&self) -> DomainId {
        self.id
    }

    /// How many vCPUs it has.
    #[must_use]
    pub fn vcpu_count(&self) -> usize {
        self.vcpus.len()
    }

    /// The ABI it uses now.
    pub fn abi(&self) -> EventAbi {
        match self.abi.load(Ordering::Acquire) {
            ABI_32 => EventAbi::TwoLevel(WordSize::Bits32),
            ABI_FIFO => EventAbi::Fifo,
            _ => EventAbi::TwoLevel(WordSize::Bits64),
        }
    }

    /// How many ports are open, those the hypervisor consumes included.
    pub fn open_ports(&self) -> u32 {
        self.lock().open
    }

    /// How wide the guest's words are.
    pub fn word_size(&self) -> WordSize {
        if self.shared_info_32.pinned().is_some() { WordSize::Bits32 } else { WordSize::Bits64 }
    }

    pub(crate) fn lock(&self) -> StructureGuard<'_, L> {
        self.structure.lock()
    }

    pub(crate) fn set_abi(&self, abi: EventAbi) {
        let number = match abi {
            EventAbi::TwoLevel(WordSize::Bits32) => ABI_32,
            EventAbi::TwoLevel(WordSize::Bits64) => ABI_64,
            EventAbi::Fifo => ABI_FIFO,
        };
        // Pairs with the look at the ABI after a 2-level bit was set: one of the two sees the other.
        self.abi.store(number, Ordering::SeqCst);
    }

    /// Pins the shared page in the layout of `word_size`; the other layout's pin is given back.
    pub(crate) fn map_shared_info(
        &self,
        memory: &impl GuestMemory,
        word_size: WordSize,
        gfn: u64,
    ) -> Result<(), PinError> {
        match word_size {
            WordSize::Bits32 => {
                self.shared_info_32.set(memory.pin(self.id, GuestPlace::frame(gfn))?);
                self.shared_info_64.unpin(memory);
            }
            WordSize::Bits64 => {
                self.shared_info_64.set(memory.pin(self.id, GuestPlace::frame(gfn))?);
                self.shared_info_32.unpin(memory);
            }
        }
        if self.abi() != EventAbi::Fifo {
            self.set_abi(EventAbi::TwoLevel(word_size));
        }
        Ok(())
    }

    /// The FIFO state, while the domain uses it.
    pub(crate) fn fifo_in_use(&self) -> Option<&Fifo<L>> {
        if self.abi() == EventAbi::Fifo { self.fifo.get() } else { None }
    }

    /// The vCPU of a number the guest chose.
    pub(crate) fn vcpu(&self, vcpu: VcpuId) -> Result<&Vcpu, EventError> {
        self.vcpus.get(vcpu.index()).ok_or(EventError::NoVcpu(self.id, vcpu))
    }

    /// The slot of a port the guest chose.
    pub(crate) fn slot(&self, port: Port) -> Result<&Slot<L>, EventError> {
        self.ports.get(port).ok_or(EventError::NoPort(self.id, port))
    }

    /// One more than the highest port the domain may use now (R-14: it depends on the ABI and the guest's words).
    pub(crate) fn port_limit(&self) -> u32 {
        self.abi().channels().min(self.max_port + 1)
    }

    /// Whether the domain has power over another: over itself, over its own client, or as a control domain.
    pub(crate) fn may_control(&self, target: DomainId) -> Result<(), EventError> {
        match self.privilege {
            _ if target == self.id => Ok(()),
            Privilege::Control => Ok(()),
            Privilege::Over(client) if client == target => Ok(()),
            Privilege::Over(_) | Privilege::None => Err(EventError::NotPermitted { caller: self.id, target }),
        }
    }

    /// The number behind [`DomainId::SELF`].
    pub(crate) fn resolve(&self, named: DomainId) -> DomainId {
        if named == DomainId::SELF { self.id } else { named }
    }
}
