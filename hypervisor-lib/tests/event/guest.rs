//! What an honest guest does to its pages: masking, and consuming events as Linux does.

use hypervisor_abi::Port;
use hypervisor_abi::SharedInfo32;
use hypervisor_abi::SharedInfo64;
use hypervisor_abi::VcpuId;
use hypervisor_abi::VcpuInfo64;
use hypervisor_abi::event::ControlBlock;
use hypervisor_abi::event::EVENT_WORDS_PER_PAGE;
use hypervisor_abi::event::EventArray;
use hypervisor_abi::event::EventWord;
use hypervisor_abi::event::FIFO_QUEUES;
use hypervisor_abi::event::LINK_MASK;
use hypervisor_abi::event::LINKED;
use hypervisor_abi::event::MASKED;
use hypervisor_abi::event::PENDING;
use hypervisor_abi::shared_info::LEGACY_MAX_VCPUS;
use hypervisor_abi::sync::AtomicU8;
use hypervisor_abi::sync::Ordering;
use hypervisor_lib::event::EventAbi;
use hypervisor_lib::event::GuestPlace;
use hypervisor_lib::event::WordSize;

use crate::host::SHARED_INFO_GFN;
use crate::host::TestDomain;
use crate::host::TestHost;

/// The first frame of the control blocks: 32 a frame.
const CONTROL_GFN: u64 = 2;
/// The frame of the blocks of vCPUs from 32 on: 64 a frame.
const INFO_GFN: u64 = 0x80;
/// The frame of the first page of event words.
pub(crate) const ARRAY_GFN: u64 = 0x100;

/// A guest kernel's view of its domain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guest<'h> {
    host: &'h TestHost,
    pub(crate) domain: &'h TestDomain,
}

pub(crate) fn control_place(vcpu: VcpuId) -> GuestPlace {
    GuestPlace { gfn: CONTROL_GFN + u64::from(vcpu.0 / 32), offset: 128 * (vcpu.0 % 32) }
}

/// Where a vCPU from 32 on registers its block.
pub(crate) fn info_place(vcpu: VcpuId) -> GuestPlace {
    GuestPlace { gfn: INFO_GFN + u64::from(vcpu.0 / 64), offset: 64 * (vcpu.0 % 64) }
}

impl<'h> Guest<'h> {
    pub(crate) fn new(host: &'h TestHost, id: u16) -> Self {
        Self { host, domain: host.get(id) }
    }

    /// Sets up the FIFO ABI on all vCPUs, with pages of event words.
    pub(crate) fn use_fifo(self, pages: u64) -> Self {
        for vcpu in 0..self.domain.vcpu_count() {
            let vcpu = VcpuId(u32::try_from(vcpu).expect("few vCPUs"));
            self.domain.init_control(self.host, vcpu, control_place(vcpu)).expect("a control block");
        }
        for page in 0..pages {
            self.domain.expand_array(self.host, ARRAY_GFN + page).expect("a page of event words");
        }
        self
    }

    pub(crate) fn shared_64(self) -> &'h SharedInfo64 {
        self.host.memory.view(self.domain.id(), GuestPlace::frame(SHARED_INFO_GFN)).expect("the shared page")
    }

    pub(crate) fn shared_32(self) -> &'h SharedInfo32 {
        self.host.memory.view(self.domain.id(), GuestPlace::frame(SHARED_INFO_GFN)).expect("the shared page")
    }

    pub(crate) fn control(self, vcpu: VcpuId) -> &'h ControlBlock {
        self.host.memory.view(self.domain.id(), control_place(vcpu)).expect("the control block")
    }

    pub(crate) fn word(self, port: Port) -> &'h EventWord {
        let page = u64::try_from(port.index() / EVENT_WORDS_PER_PAGE).expect("a small number");
        let place = GuestPlace::frame(ARRAY_GFN + page);
        let array: &EventArray = self.host.memory.view(self.domain.id(), place).expect("the page of event words");
        &array.0[port.index() % EVENT_WORDS_PER_PAGE]
    }

    pub(crate) fn mask(self, port: Port) {
        match self.domain.abi() {
            EventAbi::Fifo => {
                self.word(port).0.fetch_or(MASKED, Ordering::AcqRel);
            }
            EventAbi::TwoLevel(WordSize::Bits64) => {
                let word = &self.shared_64().evtchn_mask[port.index() / 64];
                word.fetch_or(1 << (port.0 % 64), Ordering::AcqRel);
            }
            EventAbi::TwoLevel(WordSize::Bits32) => {
                let word = &self.shared_32().evtchn_mask[port.index() / 32];
                word.fetch_or(1 << (port.0 % 32), Ordering::AcqRel);
            }
        }
    }

    /// Whether a vCPU's upcall is pending.
    pub(crate) fn is_called(self, vcpu: VcpuId) -> bool {
        self.upcall_pending(vcpu).load(Ordering::Acquire) != 0
    }

    fn upcall_pending(self, vcpu: VcpuId) -> &'h AtomicU8 {
        if vcpu.index() >= LEGACY_MAX_VCPUS {
            let info: &VcpuInfo64 = self.host.memory.view(self.domain.id(), info_place(vcpu)).expect("the block");
            return &info.evtchn_upcall_pending;
        }
        match self.domain.word_size() {
            WordSize::Bits64 => &self.shared_64().vcpu_info[vcpu.index()].evtchn_upcall_pending,
            WordSize::Bits32 => &self.shared_32().vcpu_info[vcpu.index()].evtchn_upcall_pending,
        }
    }

    /// The upcall: takes what is pending for a vCPU, in the order the guest handles it.
    pub(crate) fn consume(self, vcpu: VcpuId) -> Vec<Port> {
        self.upcall_pending(vcpu).store(0, Ordering::SeqCst);
        match self.domain.abi() {
            EventAbi::Fifo => self.consume_fifo(vcpu),
            EventAbi::TwoLevel(WordSize::Bits64) => self.consume_64(vcpu),
            EventAbi::TwoLevel(WordSize::Bits32) => self.consume_32(vcpu),
        }
    }

    fn consume_64(self, vcpu: VcpuId) -> Vec<Port> {
        let shared = self.shared_64();
        let selected = shared.vcpu_info[vcpu.index()].evtchn_pending_sel.swap(0, Ordering::SeqCst);
        let mut taken = Vec::new();
        for index in (0..64).filter(|index| selected >> index & 1 == 1) {
            let (pending, mask) = (&shared.evtchn_pending[index], &shared.evtchn_mask[index]);
            let due = pending.load(Ordering::SeqCst) & !mask.load(Ordering::SeqCst);
            for bit in (0..64).filter(|bit| due >> bit & 1 == 1) {
                pending.fetch_and(!(1 << bit), Ordering::SeqCst);
                taken.push(Port(u32::try_from(64 * index + bit).expect("below 4096")));
            }
        }
        taken
    }

    fn consume_32(self, vcpu: VcpuId) -> Vec<Port> {
        let shared = self.shared_32();
        let selected = shared.vcpu_info[vcpu.index()].evtchn_pending_sel.swap(0, Ordering::SeqCst);
        let mut taken = Vec::new();
        for index in (0..32).filter(|index| selected >> index & 1 == 1) {
            let (pending, mask) = (&shared.evtchn_pending[index], &shared.evtchn_mask[index]);
            let due = pending.load(Ordering::SeqCst) & !mask.load(Ordering::SeqCst);
            for bit in (0..32).filter(|bit| due >> bit & 1 == 1) {
                pending.fetch_and(!(1 << bit), Ordering::SeqCst);
                taken.push(Port(u32::try_from(32 * index + bit).expect("below 1024")));
            }
        }
        taken
    }

    fn consume_fifo(self, vcpu: VcpuId) -> Vec<Port> {
        let control = self.control(vcpu);
        let mut ready = control.ready.swap(0, Ordering::SeqCst);
        let mut heads = [0; FIFO_QUEUES];
        let mut taken = Vec::new();
        while ready != 0 {
            let queue = usize::try_from(ready.trailing_zeros()).expect("below 32");
            if heads[queue] == 0 {
                heads[queue] = control.head[queue].load(Ordering::SeqCst);
            }
            let port = Port(heads[queue]);
            let word = self.word(port);
            let before = word.0.fetch_and(!(LINKED | LINK_MASK), Ordering::SeqCst);
            heads[queue] = before & LINK_MASK;
            if heads[queue] == 0 {
                ready &= !(1 << queue);
            }
            if before & PENDING != 0 && before & MASKED == 0 {
                word.0.fetch_and(!PENDING, Ordering::SeqCst);
                taken.push(port);
            }
            ready |= control.ready.swap(0, Ordering::SeqCst);
        }
        taken
    }

    /// A guest's unmask: on its own where nothing is pending, else through the hypervisor.
    pub(crate) fn unmask(self, port: Port) {
        self.domain.unmask(self.host, port).expect("a port");
    }
}
