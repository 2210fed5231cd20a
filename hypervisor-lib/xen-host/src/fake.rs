//! A hypervisor in a few lines, for tests: three domains, a console ring, trace buffers.

use std::cell::Cell;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use hypervisor_abi::DomainId;
use hypervisor_abi::PAGE_SIZE;
use hypervisor_abi::domctl;
use hypervisor_abi::domctl::Domctl;
use hypervisor_abi::domctl::GetDomainInfo;
use hypervisor_abi::domctl::GetVcpuInfo;
use hypervisor_abi::domctl::VcpuAffinity;
use hypervisor_abi::event::Status;
use hypervisor_abi::sysctl;
use hypervisor_abi::sysctl::CpuTopo;
use hypervisor_abi::sysctl::CpuTopoInfo;
use hypervisor_abi::sysctl::GetDomainInfoList;
use hypervisor_abi::sysctl::PhysInfo;
use hypervisor_abi::sysctl::ReadConsole;
use hypervisor_abi::sysctl::SchedId;
use hypervisor_abi::sysctl::Sysctl;
use hypervisor_abi::sysctl::TbufOp;
use hypervisor_abi::version;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;
use zerocopy::KnownLayout;

use crate::calls::Buffer;
use crate::calls::Call;
use crate::calls::HypercallNumber;
use crate::calls::Hypercalls;
use crate::calls::Refused;
use crate::console::DebugKey;
use crate::error::XenError;
use crate::foreign::ForeignMemory;
use crate::foreign::Frame;
use crate::foreign::Words;

/// CPUs it has.
const CPUS: u32 = 3;
/// The frame of the trace buffers' table; the rings of one page follow.
const TABLE: u64 = 0x1000;
/// Domains: number, flags, highest vCPU.
const DOMAINS: [(u16, u32, u32); 3] = [(0, 32, 2), (7, 2 | 16, 0), (9, 0, u32::MAX)];
/// Dom0's ports: what they are.
const PORTS: [u32; 3] = [4, 0, 3];

/// What kind of hypervisor it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    /// The versions of its interfaces.
    pub(crate) sysctl: u32,
    pub(crate) domctl: u32,
    /// Whether it answers who asks.
    pub(crate) is_privileged: bool,
    /// Bytes its console keeps.
    pub(crate) ring_size: usize,
    /// Bytes that were ever printed before the test begins.
    pub(crate) printed: u32,
    /// Whether debug keys print nothing.
    pub(crate) is_mute: bool,
}

impl Default for Traits {
    fn default() -> Self {
        Self { sysctl: 0x15, domctl: 0x15, is_privileged: true, ring_size: 1 << 20, printed: 0, is_mute: false }
    }
}

/// The hypervisor.
#[derive(Debug)]
pub(crate) struct FakeXen {
    traits: Traits,
    console: RefCell<Vec<u8>>,
    tracing: Cell<Option<u32>>,
    has_buffers: Cell<bool>,
    events: Cell<u32>,
    frames: Vec<FakeFrame>,
    /// Where dom0's vCPUs may run.
    hard: RefCell<[u8; 3]>,
}

/// A page of words.
#[derive(Clone, Debug)]
pub(crate) struct FakeFrame(Arc<Vec<AtomicU32>>);

impl Words for FakeFrame {
    fn words(&self) -> &[AtomicU32] {
        &self.0
    }
}

impl FakeXen {
    /// A hypervisor of such a kind.
    pub(crate) fn new(traits: Traits) -> Self {
        // Table: one page a ring; lists at words 4, 5, and no ring for CPU 2.
        let table = [1 | 4 << 16, 5, 0, 0, 0x1001, 0x1002];
        let page = |words: &[u32]| {
            let words = words.iter().copied().chain(std::iter::repeat(0)).take(PAGE_SIZE / 4);
            FakeFrame(Arc::new(words.map(AtomicU32::new).collect()))
        };
        Self {
            traits,
            console: RefCell::default(),
            tracing: Cell::default(),
            has_buffers: Cell::default(),
            events: Cell::default(),
            frames: vec![page(&table), page(&[]), page(&[])],
            hard: RefCell::new([0b111; 3]),
        }
    }

    /// Prints to the console.
    pub(crate) fn print(&self, text: &str) {
        self.console.borrow_mut().extend_from_slice(text.as_bytes());
    }

    /// The words of a CPU's ring.
    pub(crate) fn ring(&self, cpu: usize) -> FakeRing {
        FakeRing(self.frames[1 + cpu].clone())
    }

    /// The events that are traced; `None` while tracing is off.
    pub(crate) fn tracing(&self) -> Option<u32> {
        self.tracing.get()
    }

    fn sysctl(&self, request: &mut Sysctl, buffers: &mut [Buffer<'_>]) -> Result<(), Refused> {
        match request.cmd {
            sysctl::SYSCTL_SCHED_ID => answer(&mut request.argument, |id: &mut SchedId| id.sched_id = 6),
            sysctl::SYSCTL_PHYSINFO => answer(&mut request.argument, |info: &mut PhysInfo| {
                (info.nr_cpus, info.max_cpu_id) = (CPUS, CPUS - 1);
            }),
            sysctl::SYSCTL_CPUTOPOINFO => answer(&mut request.argument, |info: &mut CpuTopoInfo| {
                if let Some(buffer) = buffers.first_mut() {
                    for (core, place) in (0..CPUS).zip(buffer.bytes.chunks_exact_mut(size_of::<CpuTopo>())) {
                        place.copy_from_slice(CpuTopo { core, ..CpuTopo::default() }.as_bytes());
                    }
                }
                info.num_cpus = CPUS;
            }),
            sysctl::SYSCTL_GETDOMAININFOLIST => answer(&mut request.argument, |list: &mut GetDomainInfoList| {
                let found = DOMAINS.iter().find(|(id, ..)| *id >= list.first_domain);
                list.num_domains = u32::from(found.is_some());
                if let Some((domain, flags, max_vcpu_id)) = found.copied() {
                    let info = GetDomainInfo { domain, flags, max_vcpu_id, ..GetDomainInfo::default() };
                    buffers[0].bytes[..size_of::<GetDomainInfo>()].copy_from_slice(info.as_bytes());
                }
            }),
            sysctl::SYSCTL_READCONSOLE => {
                answer(&mut request.argument, |read: &mut ReadConsole| self.read_console(read, buffers[0].bytes));
            }
            sysctl::SYSCTL_DEBUG_KEYS => {
                let key = DebugKey::ALL.into_iter().find(|key| key.key() == char::from(buffers[0].bytes[0]));
                if let Some(key) = key.filter(|_| !self.traits.is_mute) {
                    self.print(&format!("(XEN) {}\n(XEN)  one line\n", key.heading()));
                }
            }
            sysctl::SYSCTL_TBUF_OP => answer(&mut request.argument, |op: &mut TbufOp| self.trace(op)),
            _ => return Err(Refused(38)),
        }
        Ok(())
    }

    /// As `read_console_ring` does: the index counts all bytes, and the oldest are gone.
    fn read_console(&self, read: &mut ReadConsole, room: &mut [u8]) {
        let console = self.console.borrow();
        let oldest = console.len().saturating_sub(self.traits.ring_size);
        let asked = read.index.wrapping_sub(self.traits.printed) as usize;
        let begin = if read.incremental != 0 && asked <= console.len() { asked.max(oldest) } else { oldest };
        let count = (console.len() - begin).min(read.count as usize);
        room[..count].copy_from_slice(&console[begin..begin + count]);
        let number = |number: usize| u32::try_from(number).expect("a short console");
        read.count = number(count);
        read.index = self.traits.printed.wrapping_add(number(begin + count));
    }

    fn trace(&self, op: &mut TbufOp) {
        match op.cmd {
            sysctl::TBUFOP_GET_INFO if self.has_buffers.get() => (op.buffer_mfn, op.size) = (TABLE, 4096),
            sysctl::TBUFOP_SET_SIZE => self.has_buffers.set(true),
            sysctl::TBUFOP_SET_EVT_MASK => self.events.set(op.evt_mask),
            sysctl::TBUFOP_ENABLE => self.tracing.set(Some(self.events.get())),
            sysctl::TBUFOP_DISABLE => self.tracing.set(None),
            _ => {}
        }
    }

    fn domctl(&self, request: &mut Domctl, buffers: &mut [Buffer<'_>]) -> Result<(), Refused> {
        let mut vcpu = GetVcpuInfo::read_from_prefix(&request.argument).expect("room").0;
        match request.cmd {
            // Dom0 has lost its vCPU 1.
            domctl::DOMCTL_GETVCPUINFO if vcpu.vcpu == 1 => return Err(Refused(2)),
            domctl::DOMCTL_GETVCPUINFO => {
                (vcpu.online, vcpu.cpu) = (1, vcpu.vcpu);
                request.argument[..size_of::<GetVcpuInfo>()].copy_from_slice(vcpu.as_bytes());
            }
            domctl::DOMCTL_GETVCPUAFFINITY => {
                buffers[0].bytes[0] = self.hard.borrow()[vcpu.vcpu as usize];
                buffers[1].bytes[0] = 1 << vcpu.vcpu;
            }
            // A vCPU that could run nowhere is refused; only where it may run is asked for here.
            domctl::DOMCTL_SETVCPUAFFINITY => {
                let affinity = VcpuAffinity::read_from_prefix(&request.argument).expect("room").0;
                let cpus = buffers[0].bytes[0] & 0b111;
                if affinity.flags != domctl::VCPUAFFINITY_HARD || cpus == 0 {
                    return Err(Refused(22));
                }
                self.hard.borrow_mut()[affinity.vcpu as usize] = cpus;
                buffers[0].bytes[0] = cpus;
            }
            _ => return Err(Refused(38)),
        }
        Ok(())
    }

    fn tell_version(command: u32, room: &mut [u8]) -> Result<u64, Refused> {
        let text = match command {
            version::XENVER_VERSION => return Ok(4 << 16 | 17),
            version::XENVER_EXTRAVERSION => ".7",
            version::XENVER_COMMANDLINE => "loglvl=all apic=bigsmp",
            _ => return Err(Refused(38)),
        };
        room.fill(0xff);
        room[..text.len()].copy_from_slice(text.as_bytes());
        room[text.len()] = 0;
        Ok(0)
    }
}

/// The first bytes of an argument as its structure.
fn answer<T: FromBytes + IntoBytes + Immutable + KnownLayout>(argument: &mut [u8], change: impl FnOnce(&mut T)) {
    let mut value = T::read_from_prefix(argument).expect("room for it").0;
    change(&mut value);
    argument[..size_of::<T>()].copy_from_slice(value.as_bytes());
}

impl Hypercalls for FakeXen {
    fn call(&self, call: Call<'_, '_>) -> Result<u64, Refused> {
        let allowed = |version: u32, spoken: u32| match (version == spoken, self.traits.is_privileged) {
            (false, _) => Err(Refused(13)),
            (true, false) => Err(Refused(1)),
            (true, true) => Ok(()),
        };
        match call.number {
            HypercallNumber::XenVersion => {
                let command = call.command.and_then(|command| u32::try_from(command).ok());
                Self::tell_version(command.expect("a small command"), call.argument)
            }
            HypercallNumber::Sysctl => {
                let mut request = Sysctl::read_from_bytes(call.argument).expect("a whole request");
                allowed(request.interface_version, self.traits.sysctl)?;
                self.sysctl(&mut request, call.buffers)?;
                call.argument.copy_from_slice(request.as_bytes());
                Ok(0)
            }
            HypercallNumber::Domctl => {
                let mut request = Domctl::read_from_bytes(call.argument).expect("a whole request");
                allowed(request.interface_version, self.traits.domctl)?;
                self.domctl(&mut request, call.buffers)?;
                call.argument.copy_from_slice(request.as_bytes());
                Ok(0)
            }
            HypercallNumber::EventChannelOp => {
                let mut status = Status::read_from_bytes(call.argument).expect("a whole request");
                let port = status.port.checked_sub(1).filter(|_| status.dom == 0);
                status.status = *port.and_then(|port| PORTS.get(port as usize)).ok_or(Refused(22))?;
                call.argument.copy_from_slice(status.as_bytes());
                Ok(0)
            }
        }
    }
}

impl ForeignMemory for FakeXen {
    type Frames = FakeFrame;

    fn copy(&self, domain: DomainId, frames: &[Frame]) -> Result<Vec<u32>, XenError> {
        let words = self.map(domain, frames)?;
        Ok(words.words().iter().map(|word| word.load(Ordering::Relaxed)).collect())
    }

    fn map(&self, domain: DomainId, frames: &[Frame]) -> Result<FakeFrame, XenError> {
        assert_eq!((domain.0, frames.len()), (0x7ff2, 1), "only single frames of the hypervisor's are here");
        let index = usize::try_from(frames[0].0 - TABLE).expect("a frame of the trace buffers");
        Ok(self.frames[index].clone())
    }
}

/// A ring's words, by index.
pub(crate) struct FakeRing(FakeFrame);

impl std::ops::Index<usize> for FakeRing {
    type Output = AtomicU32;

    fn index(&self, word: usize) -> &AtomicU32 {
        &self.0.words()[word]
    }
}
