//! A domain's event channels as data: what a host hands over when a domain moves or stops, checked before it is believed.
//!
//! Bytes: a version, then each field little-endian in the order of [`SavedEvents`]; lists begin with their length. Guest
//! pages are not part of it: they move with the guest's memory, and the pending and mask bits with them.

use alloc::vec::Vec;

use hypervisor_abi::DomainId;
use hypervisor_abi::Port;
use hypervisor_abi::Virq;
use hypervisor_abi::event::FIFO_CHANNELS;
use hypervisor_abi::event::FIFO_QUEUES;

use super::domain::WordSize;
use super::memory::GuestPlace;
use super::pirq::EoiUnmask;
use super::slot::Binding;
use super::slot::MAX_PIRQS;
use super::slot::MAX_VCPUS;

/// The version of the bytes [`SavedEvents::to_bytes`] writes.
const VERSION: u32 = 1;

/// All of a domain's event-channel state that is not in its own pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedEvents {
    /// How wide its words are.
    pub word_size: WordSize,
    /// How events call it (`HVM_PARAM_CALLBACK_IRQ`).
    pub callback: u64,
    /// Its vCPUs, by number.
    pub vcpus: Vec<SavedVcpu>,
    /// The frames of its event words; present, even if empty, if it uses the FIFO ABI.
    pub array_gfns: Option<Vec<u64>>,
    /// The page of EOI bits.
    pub pirq_eoi: Option<(u64, EoiUnmask)>,
    /// Its open ports, ascending.
    pub ports: Vec<SavedPort>,
}

/// A vCPU's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedVcpu {
    /// The vector of its upcalls; 0 for none.
    pub upcall_vector: u8,
    /// Where it registered its block.
    pub info: Option<GuestPlace>,
    /// Where its FIFO control block is.
    pub control: Option<GuestPlace>,
}

/// An open port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedPort {
    /// Its number.
    pub port: Port,
    /// What it is bound to.
    pub binding: Binding,
    /// The vCPU it notifies.
    pub vcpu: u32,
    /// Its FIFO priority.
    pub priority: u8,
    /// An event waits for its event word.
    pub unraised: bool,
}

/// Bytes are no saved event channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SavedError {
    /// They were written by a version this one does not know.
    #[error("version {0} of saved event channels is not known")]
    Version(u32),
    /// They end too early.
    #[error("saved event channels end at byte {0}")]
    Short(usize),
    /// They go on after their end.
    #[error("saved event channels go on after byte {0}")]
    Long(usize),
    /// A field holds a value it cannot have.
    #[error("saved event channels hold an impossible value before byte {0}")]
    Impossible(usize),
}

impl SavedEvents {
    /// As bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Writer(Vec::new());
        bytes.u32(VERSION);
        bytes.u8(u8::from(self.word_size == WordSize::Bits32));
        bytes.u64(self.callback);
        bytes.list(&self.vcpus, |bytes, vcpu| {
            bytes.u8(vcpu.upcall_vector);
            bytes.place(vcpu.info);
            bytes.place(vcpu.control);
        });
        bytes.u8(u8::from(self.array_gfns.is_some()));
        bytes.list(self.array_gfns.as_deref().unwrap_or_default(), |bytes, gfn| bytes.u64(*gfn));
        bytes.u8(match self.pirq_eoi {
            None => 0,
            Some((_, EoiUnmask::Automatic)) => 1,
            Some((_, EoiUnmask::Manual)) => 2,
        });
        bytes.u64(self.pirq_eoi.map_or(0, |(gfn, _)| gfn));
        bytes.list(&self.ports, |bytes, port| {
            bytes.u32(port.port.0);
            let (kind, domain, detail) = match port.binding {
                Binding::Free | Binding::Reserved => (0, 0, 0),
                Binding::Unbound { remote } => (1, remote.0, 0),
                Binding::Interdomain { remote, port } => (2, remote.0, port.0),
                Binding::Pirq(pirq) => (3, 0, pirq),
                Binding::Virq(virq) => (4, 0, u32::from(virq.number())),
                Binding::Ipi => (5, 0, 0),
            };
            bytes.u8(kind);
            bytes.u32(u32::from(domain));
            bytes.u32(detail);
            bytes.u32(port.vcpu);
            bytes.u8(port.priority);
            bytes.u8(u8::from(port.unraised));
        });
        bytes.0
    }

    /// From bytes; every value is checked on its own. Whether they fit a domain, [`Domain::restore`](super::Domain::restore)
    /// checks.
    ///
    /// # Errors
    /// [`SavedError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SavedError> {
        let mut reader = Reader { bytes, at: 0 };
        match reader.u32()? {
            VERSION => {}
            unknown => return Err(SavedError::Version(unknown)),
        }
        let word_size = if reader.flag()? { WordSize::Bits32 } else { WordSize::Bits64 };
        let callback = reader.u64()?;
        let vcpus = reader.list(MAX_VCPUS, |reader| {
            Ok(SavedVcpu { upcall_vector: reader.u8()?, info: reader.place()?, control: reader.place()? })
        })?;
        let fifo = reader.flag()?;
        let gfns = reader.list(FIFO_CHANNELS, Reader::u64)?;
        if !fifo && !gfns.is_empty() {
            return Err(SavedError::Impossible(reader.at));
        }
        let kind = reader.u8()?;
        let gfn = reader.u64()?;
        let pirq_eoi = match kind {
            0 => None,
            1 => Some((gfn, EoiUnmask::Automatic)),
            2 => Some((gfn, EoiUnmask::Manual)),
            _ => return Err(SavedError::Impossible(reader.at)),
        };
        let ports = reader.list(FIFO_CHANNELS, Reader::port)?;
        if !ports.is_sorted_by(|a, b| a.port < b.port) {
            return Err(SavedError::Impossible(reader.at));
        }
        if reader.at != bytes.len() {
            return Err(SavedError::Long(reader.at));
        }
        Ok(Self { word_size, callback, vcpus, array_gfns: fifo.then_some(gfns), pirq_eoi, ports })
    }
}

/// Appends fields.
struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    fn place(&mut self, place: Option<GuestPlace>) {
        self.u8(u8::from(place.is_some()));
        let place = place.unwrap_or(GuestPlace::frame(0));
        self.u64(place.gfn);
        self.u32(place.offset);
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        // No list is longer than a domain's ports.
        self.u32(u32::try_from(items.len()).unwrap_or(u32::MAX));
        items.iter().for_each(|item| write(self, item));
    }
}

/// Takes fields off, one after another.
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], SavedError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.first_chunk::<N>().ok_or(SavedError::Short(self.at))?;
        self.at += N;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, SavedError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, SavedError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, SavedError> {
        self.take().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Result<bool, SavedError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(SavedError::Impossible(self.at)),
        }
    }

    fn place(&mut self) -> Result<Option<GuestPlace>, SavedError> {
        let is_there = self.flag()?;
        let place = GuestPlace { gfn: self.u64()?, offset: self.u32()? };
        Ok(is_there.then_some(place))
    }

    /// A list; memory grows with the bytes that are there, not with the length they claim.
    fn list<T>(
        &mut self,
        longest: u32,
        mut read: impl FnMut(&mut Self) -> Result<T, SavedError>,
    ) -> Result<Vec<T>, SavedError> {
        let length = self.u32()?;
        if length > longest {
            return Err(SavedError::Impossible(self.at));
        }
        (0..length).map(|_| read(self)).collect()
    }

    fn port(&mut self) -> Result<SavedPort, SavedError> {
        let port = Port(self.u32()?);
        let kind = self.u8()?;
        let domain = u16::try_from(self.u32()?).map_err(|_| SavedError::Impossible(self.at))?;
        let remote = DomainId(domain);
        let detail = self.u32()?;
        let binding = match kind {
            1 => Binding::Unbound { remote },
            2 if detail < FIFO_CHANNELS => Binding::Interdomain { remote, port: Port(detail) },
            3 if detail < MAX_PIRQS => Binding::Pirq(detail),
            4 => Binding::Virq(Virq::new(detail).map_err(|_| SavedError::Impossible(self.at))?),
            5 => Binding::Ipi,
            _ => return Err(SavedError::Impossible(self.at)),
        };
        let (vcpu, priority, unraised) = (self.u32()?, self.u8()?, self.flag()?);
        if !(1..FIFO_CHANNELS).contains(&port.0) || vcpu >= MAX_VCPUS || usize::from(priority) >= FIFO_QUEUES {
            return Err(SavedError::Impossible(self.at));
        }
        Ok(SavedPort { port, binding, vcpu, priority, unraised })
    }
}
