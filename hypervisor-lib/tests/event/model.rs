//! The reference: event channels of a few PV domains written down as plainly as the specification reads, with sets and
//! queues instead of words, and no concurrency.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_abi::Port;
use hypervisor_abi::Virq;
use hypervisor_abi::virq::VirqClass;
use hypervisor_lib::event::Binding;
use hypervisor_lib::event::DomainConfig;
use hypervisor_lib::event::Privilege;
use hypervisor_lib::event::WordSize;

/// Ports below this number are valid in every test: none uses more.
pub(crate) const VALID_PORTS: u32 = 64;

/// What a domain or its hypervisor does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    AllocUnbound { owner: u16, remote: u16 },
    BindInterdomain { remote: u16, port: u32 },
    BindVirq { virq: u32, vcpu: u32 },
    BindPirq { pirq: u32 },
    Close { port: u32 },
    Send { port: u32 },
    Status { owner: u16, port: u32 },
    BindIpi { vcpu: u32 },
    BindVcpu { port: u32, vcpu: u32 },
    Unmask { port: u32 },
    Reset { target: u16 },
    InitControl { vcpu: u32 },
    ExpandArray,
    SetPriority { port: u32, priority: u32 },
    Mask { port: u32 },
    Consume { vcpu: u32 },
    RaiseVirq { virq: u32, vcpu: u32 },
    RaisePirq { pirq: u32 },
}

/// What an operation answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Port(u32),
    Status(Binding, u32),
    Taken(Vec<u32>),
}

/// A port's bits, as both sides can compare them.
pub(crate) type Bits = (bool, bool, u8);

#[derive(Clone, Debug)]
struct ModelPort {
    binding: Binding,
    vcpu: u32,
    priority: u8,
    /// An event that waits for its event word.
    unraised: bool,
}

#[derive(Clone, Debug, Default)]
struct Word {
    pending: bool,
    masked: bool,
    linked: bool,
}

#[derive(Clone, Debug, Default)]
struct ModelVcpu {
    upcall: bool,
    kicks: usize,
    selected: BTreeSet<u32>,
    control: bool,
    ready: BTreeSet<u8>,
    queues: BTreeMap<u8, VecDeque<u32>>,
}

#[derive(Clone, Debug)]
pub(crate) struct ModelDomain {
    config: DomainConfig,
    ports: Vec<ModelPort>,
    fifo: bool,
    pages: u32,
    /// By port; those of the 2-level ABI.
    bits: BTreeMap<u32, Word>,
    /// By port; those of the FIFO ABI.
    words: BTreeMap<u32, Word>,
    vcpus: Vec<ModelVcpu>,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    domains: BTreeMap<u16, ModelDomain>,
}

const SELF: u16 = 0x7ff0;

impl Model {
    pub(crate) fn new(configs: impl IntoIterator<Item = DomainConfig>) -> Self {
        Self { domains: configs.into_iter().map(|config| (config.id.0, ModelDomain::new(config))).collect() }
    }

    pub(crate) fn bits(&self, domain: u16, port: u32) -> Bits {
        let domain = &self.domains[&domain];
        let own = &domain.ports[port as usize];
        let (pending, masked) = match domain.word(port) {
            Some(word) => (word.pending, word.masked),
            None => (false, true),
        };
        (pending || own.unraised, masked, own.priority)
    }

    pub(crate) fn is_called(&self, domain: u16, vcpu: u32) -> bool {
        self.domains[&domain].vcpus[vcpu as usize].upcall
    }

    /// The kicks since the last look.
    pub(crate) fn take_kicks(&mut self, domain: u16, vcpu: u32) -> usize {
        std::mem::take(&mut self.domain(domain).vcpus[vcpu as usize].kicks)
    }

    fn domain(&mut self, id: u16) -> &mut ModelDomain {
        self.domains.get_mut(&id).expect("a domain of the test")
    }

    /// The domain `named` stands for, if `caller` has power over it.
    fn may_control(&self, caller: u16, target: u16) -> Result<(), Errno> {
        let is_control = self.domains[&caller].config.privilege == Privilege::Control;
        if caller == target || is_control { Ok(()) } else { Err(Errno::NotPermitted) }
    }

    fn existing(&self, caller: u16, named: u16) -> Result<u16, Errno> {
        let id = if named == SELF { caller } else { named };
        if self.domains.contains_key(&id) { Ok(id) } else { Err(Errno::NoDomain) }
    }

    pub(crate) fn apply(&mut self, caller: u16, op: Op) -> Result<Answer, Errno> {
        match op {
            Op::AllocUnbound { owner, remote } => {
                let owner = self.existing(caller, owner)?;
                let port = self.domain(owner).free_port()?;
                self.may_control(caller, owner)?;
                let remote = DomainId(if remote == SELF { caller } else { remote });
                self.domain(owner).open(port, Binding::Unbound { remote }, 0);
                Ok(Answer::Port(port))
            }
            Op::BindInterdomain { remote, port } => self.bind_interdomain(caller, remote, port),
            Op::BindVirq { virq, vcpu } => self.bind_virq(caller, virq, vcpu),
            Op::BindPirq { pirq } => {
                let domain = self.domain(caller);
                if pirq >= domain.config.pirqs {
                    return Err(Errno::Invalid);
                }
                if domain.find(Binding::Pirq(pirq)).is_some() {
                    return Err(Errno::Exists);
                }
                let port = domain.free_port()?;
                domain.open(port, Binding::Pirq(pirq), 0);
                Ok(Answer::Port(port))
            }
            Op::Close { port } => self.close(caller, port),
            Op::Send { port } => self.send(caller, port),
            Op::Status { owner, port } => {
                let owner = self.existing(caller, owner)?;
                let own = self.domain(owner).valid(port)?.clone();
                self.may_control(caller, owner)?;
                Ok(Answer::Status(own.binding, own.vcpu))
            }
            Op::BindIpi { vcpu } => {
                let domain = self.domain(caller);
                domain.vcpu(vcpu)?;
                let port = domain.free_port()?;
                domain.open(port, Binding::Ipi, vcpu);
                Ok(Answer::Port(port))
            }
            Op::BindVcpu { port, vcpu } => {
                let domain = self.domain(caller);
                domain.vcpu(vcpu)?;
                let own = domain.valid(port)?;
                match own.binding {
                    Binding::Unbound { .. } | Binding::Interdomain { .. } | Binding::Pirq(_) => {}
                    Binding::Virq(virq) if virq.class() != VirqClass::PerVcpu => {}
                    _ => return Err(Errno::Invalid),
                }
                own.vcpu = vcpu;
                Ok(Answer::Done)
            }
            Op::Unmask { port } => self.domain(caller).unmask(port),
            Op::Reset { target } => self.reset(caller, target),
            Op::InitControl { vcpu } => self.domain(caller).init_control(vcpu),
            Op::ExpandArray => self.domain(caller).expand_array(),
            Op::SetPriority { port, priority } => self.domain(caller).set_priority(port, priority),
            Op::Mask { port } => {
                self.domain(caller).any_word(port).masked = true;
                Ok(Answer::Done)
            }
            Op::Consume { vcpu } => Ok(Answer::Taken(self.domain(caller).consume(vcpu))),
            Op::RaiseVirq { virq, vcpu } => {
                let virq = Virq::new(virq).expect("a VIRQ of the test");
                let domain = self.domain(caller);
                let per_vcpu = virq.class() == VirqClass::PerVcpu;
                domain.vcpu(if per_vcpu { vcpu } else { 0 })?;
                if let Some(port) = domain.find_virq(virq, vcpu) {
                    domain.set_pending(port);
                }
                Ok(Answer::Done)
            }
            Op::RaisePirq { pirq } => {
                let domain = self.domain(caller);
                if let Some(port) = domain.find(Binding::Pirq(pirq)) {
                    domain.set_pending(port);
                }
                Ok(Answer::Done)
            }
        }
    }

    fn bind_interdomain(&mut self, caller: u16, remote: u16, remote_port: u32) -> Result<Answer, Errno> {
        let remote = self.existing(caller, remote)?;
        let port = self.domain(caller).free_port()?;
        let theirs = self.domain(remote).valid(remote_port)?;
        if theirs.binding != (Binding::Unbound { remote: DomainId(caller) }) {
            return Err(Errno::Invalid);
        }
        theirs.binding = Binding::Interdomain { remote: DomainId(caller), port: Port(port) };
        let ours = Binding::Interdomain { remote: DomainId(remote), port: Port(remote_port) };
        self.domain(caller).open(port, ours, 0);
        self.domain(caller).set_pending(port);
        Ok(Answer::Port(port))
    }

    fn bind_virq(&mut self, caller: u16, virq: u32, vcpu: u32) -> Result<Answer, Errno> {
        let virq = Virq::new(virq).map_err(|_| Errno::Invalid)?;
        if virq.class() != VirqClass::PerVcpu && vcpu != 0 {
            return Err(Errno::Invalid);
        }
        let domain = self.domain(caller);
        domain.vcpu(vcpu)?;
        if virq.class() == VirqClass::Global && caller != 0 {
            return Err(Errno::Busy);
        }
        if domain.find_virq(virq, vcpu).is_some() {
            return Err(Errno::Exists);
        }
        let port = domain.free_port()?;
        domain.open(port, Binding::Virq(virq), vcpu);
        Ok(Answer::Port(port))
    }

    fn close(&mut self, caller: u16, port: u32) -> Result<Answer, Errno> {
        let own = self.domain(caller).valid(port)?.clone();
        match own.binding {
            Binding::Free | Binding::Reserved => return Err(Errno::Invalid),
            Binding::Interdomain { remote, port } => {
                self.domain(remote.0).ports[port.index()].binding = Binding::Unbound { remote: DomainId(caller) };
            }
            _ => {}
        }
        self.domain(caller).forget(port);
        Ok(Answer::Done)
    }

    fn send(&mut self, caller: u16, port: u32) -> Result<Answer, Errno> {
        match self.domain(caller).valid(port)?.binding {
            Binding::Interdomain { remote, port } => self.domain(remote.0).set_pending(port.0),
            Binding::Ipi => self.domain(caller).set_pending(port),
            Binding::Unbound { .. } => {}
            _ => return Err(Errno::Invalid),
        }
        Ok(Answer::Done)
    }

    /// No domain of the tests is paused, so only a domain itself can be reset.
    fn reset(&mut self, caller: u16, target: u16) -> Result<Answer, Errno> {
        let target = self.existing(caller, target)?;
        self.may_control(caller, target)?;
        if target != caller {
            return Err(Errno::Invalid);
        }
        for port in 1..VALID_PORTS {
            // What is not open stays closed.
            let _: Result<Answer, Errno> = self.close(target, port);
        }
        let domain = self.domain(target);
        domain.fifo = false;
        domain.pages = 0;
        for vcpu in &mut domain.vcpus {
            vcpu.control = false;
            vcpu.ready.clear();
            vcpu.queues.clear();
        }
        // The guest of the tests gives back zeroed pages.
        domain.words.clear();
        Ok(Answer::Done)
    }
}

impl ModelDomain {
    fn new(config: DomainConfig) -> Self {
        let port = ModelPort { binding: Binding::Free, vcpu: 0, priority: 7, unraised: false };
        let mut ports = vec![port; VALID_PORTS as usize];
        ports[0].binding = Binding::Reserved;
        Self {
            config,
            ports,
            fifo: false,
            pages: 0,
            bits: BTreeMap::new(),
            words: BTreeMap::new(),
            vcpus: vec![ModelVcpu::default(); config.vcpus as usize],
        }
    }

    fn valid(&mut self, port: u32) -> Result<&mut ModelPort, Errno> {
        self.ports.get_mut(port as usize).ok_or(Errno::Invalid)
    }

    fn vcpu(&mut self, vcpu: u32) -> Result<&mut ModelVcpu, Errno> {
        self.vcpus.get_mut(vcpu as usize).ok_or(Errno::NoEntry)
    }

    fn find(&self, binding: Binding) -> Option<u32> {
        (1..VALID_PORTS).find(|port| self.ports[*port as usize].binding == binding)
    }

    fn find_virq(&self, virq: Virq, vcpu: u32) -> Option<u32> {
        let per_vcpu = virq.class() == VirqClass::PerVcpu;
        (1..VALID_PORTS).find(|port| {
            let port = &self.ports[*port as usize];
            port.binding == Binding::Virq(virq) && (!per_vcpu || port.vcpu == vcpu)
        })
    }

    /// The port's bits where they are kept now; `None` without an event word.
    fn word(&self, port: u32) -> Option<Word> {
        let words = if self.fifo { &self.words } else { &self.bits };
        (!self.fifo || self.pages > 0).then(|| words.get(&port).cloned().unwrap_or_default())
    }

    /// The same to change, whether the hypervisor has the page yet or not.
    fn any_word(&mut self, port: u32) -> &mut Word {
        let words = if self.fifo { &mut self.words } else { &mut self.bits };
        words.entry(port).or_default()
    }

    fn free_port(&self) -> Result<u32, Errno> {
        let busy = |port: &u32| self.fifo && self.word(*port).is_some_and(|word| word.linked);
        (1..VALID_PORTS.min(self.config.max_port + 1))
            .find(|port| self.ports[*port as usize].binding == Binding::Free && !busy(port))
            .ok_or(Errno::NoSpace)
    }

    fn open(&mut self, port: u32, binding: Binding, vcpu: u32) {
        self.ports[port as usize] = ModelPort { binding, vcpu, priority: 7, unraised: false };
    }

    fn forget(&mut self, port: u32) {
        self.open(port, Binding::Free, 0);
        if self.word(port).is_some() {
            self.any_word(port).pending = false;
        }
    }

    fn set_pending(&mut self, port: u32) {
        if self.word(port).is_none() {
            self.ports[port as usize].unraised = true;
            return;
        }
        let own = self.ports[port as usize].clone();
        let was_pending = std::mem::replace(&mut self.any_word(port).pending, true);
        let masked = self.any_word(port).masked;
        if self.fifo {
            let can_link = self.vcpus[own.vcpu as usize].control;
            if !masked && can_link && !std::mem::replace(&mut self.any_word(port).linked, true) {
                self.enqueue(own.vcpu, own.priority, port);
            }
        } else if !was_pending && !masked {
            self.select(own.vcpu, port);
        }
    }

    fn enqueue(&mut self, vcpu: u32, priority: u8, port: u32) {
        let target = &mut self.vcpus[vcpu as usize];
        let queue = target.queues.entry(priority).or_default();
        queue.push_back(port);
        if queue.len() == 1 && target.ready.insert(priority) {
            self.call(vcpu);
        }
    }

    fn select(&mut self, vcpu: u32, port: u32) {
        let bits = if self.config.word_size == WordSize::Bits64 { 64 } else { 32 };
        if self.vcpus[vcpu as usize].selected.insert(port / bits) {
            self.call(vcpu);
        }
    }

    fn call(&mut self, vcpu: u32) {
        let vcpu = &mut self.vcpus[vcpu as usize];
        if !std::mem::replace(&mut vcpu.upcall, true) {
            vcpu.kicks += 1;
        }
    }

    fn unmask(&mut self, port: u32) -> Result<Answer, Errno> {
        self.valid(port)?;
        if self.word(port).is_some() {
            let was_masked = std::mem::replace(&mut self.any_word(port).masked, false);
            let pending = self.any_word(port).pending;
            if self.fifo && pending {
                self.set_pending(port);
            } else if was_masked && pending {
                self.select(self.ports[port as usize].vcpu, port);
            }
        }
        Ok(Answer::Done)
    }

    fn init_control(&mut self, vcpu: u32) -> Result<Answer, Errno> {
        if self.vcpu(vcpu)?.control {
            return Err(Errno::Invalid);
        }
        self.vcpu(vcpu)?.control = true;
        if !self.fifo {
            for port in 1..VALID_PORTS {
                let was_pending = std::mem::replace(&mut self.any_word(port).pending, false);
                let own = &mut self.ports[port as usize];
                own.priority = 7;
                own.unraised = was_pending && own.binding != Binding::Free;
            }
            self.fifo = true;
        }
        Ok(Answer::Done)
    }

    /// The tests give each domain one page, for all ports they use; the others change nothing.
    fn expand_array(&mut self) -> Result<Answer, Errno> {
        if !self.fifo {
            return Err(Errno::NotSupported);
        }
        self.pages += 1;
        if self.pages == 1 {
            for port in 1..VALID_PORTS {
                if std::mem::replace(&mut self.ports[port as usize].unraised, false) {
                    self.set_pending(port);
                }
            }
        }
        Ok(Answer::Done)
    }

    fn set_priority(&mut self, port: u32, priority: u32) -> Result<Answer, Errno> {
        let fifo = self.fifo;
        let own = self.valid(port)?;
        if !fifo {
            return Err(Errno::NotImplemented);
        }
        if matches!(own.binding, Binding::Free | Binding::Reserved) {
            return Err(Errno::AccessDenied);
        }
        own.priority = u8::try_from(priority).ok().filter(|priority| *priority < 16).ok_or(Errno::Invalid)?;
        Ok(Answer::Done)
    }

    fn consume(&mut self, vcpu: u32) -> Vec<u32> {
        let target = &mut self.vcpus[vcpu as usize];
        target.upcall = false;
        let mut seen = Vec::new();
        if self.fifo {
            for priority in std::mem::take(&mut target.ready) {
                seen.extend(target.queues.remove(&priority).unwrap_or_default());
            }
            for port in &seen {
                self.any_word(*port).linked = false;
            }
        } else {
            let bits = if self.config.word_size == WordSize::Bits64 { 64 } else { 32 };
            let selected = std::mem::take(&mut target.selected);
            seen.extend((1..VALID_PORTS).filter(|port| selected.contains(&(port / bits))));
        }
        seen.retain(|port| {
            let word = self.any_word(*port);
            let due = word.pending && !word.masked;
            word.pending &= !due;
            due
        });
        seen
    }
}
