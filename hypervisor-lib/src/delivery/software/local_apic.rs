//! A vCPU's local APIC as a whole: what it is made of, how it begins, what reaches it.

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicBase;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::ApicVersion;
use hypervisor_abi::apic::DeliveryMode;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::Lvt;
use hypervisor_abi::apic::LvtEntry;
use hypervisor_abi::apic::SpuriousVector;
use hypervisor_abi::apic::TriggerMode;
use hypervisor_abi::apic::logical_x2apic_id;
use vector_allocator::Vector;

use super::error::Errors;
use super::error::RECEIVE_ILLEGAL_VECTOR;
use super::local_vectors::LocalVectors;
use super::priority::Acknowledged;
use super::priority::Priority;
use super::timer::Timer;
use crate::delivery::address::Address;
use crate::delivery::address::AddressMode;
use crate::delivery::host::Action;
use crate::delivery::host::Host;
use crate::delivery::message::Message;
use crate::delivery::port::Port;
use crate::delivery::time::Deadline;

/// A vCPU's local APIC. It belongs to the thread that runs the vCPU.
#[derive(Clone, Debug)]
pub struct LocalApic {
    pub(super) priority: Priority,
    pub(super) config: LocalApicConfig,
    pub(super) base: ApicBase,
    pub(super) svr: SpuriousVector,
    pub(super) ldr: u32,
    pub(super) dfr: u32,
    pub(super) icr: Icr,
    pub(super) errors: Errors,
    pub(super) vectors: LocalVectors,
    pub(super) timer: Timer,
    /// What the host was last asked to set its timer to.
    pub(super) alarm: Option<Deadline>,
    /// Where others leave vectors.
    pub(super) port: Port,
}

/// What a local APIC is, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalApicConfig {
    /// Its vCPU, by which the bus knows it.
    pub vcpu: VcpuId,
    /// Its number, the one the bus has for this vCPU.
    pub id: ApicId,
    /// Which processor it is.
    pub role: ProcessorRole,
    /// What it can do.
    pub features: ApicFeatures,
    /// How many bits a physical address has (CPUID `0x80000008`, EAX 7:0): 36 to 52.
    pub physical_bits: u8,
}

/// Which processor comes up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProcessorRole {
    /// This one.
    Bootstrap,
    /// Another; this one waits for a start-up.
    Application,
}

/// What a local APIC can do besides what all can; the guest reads it in CPUID and in the version register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApicFeatures {
    /// x2APIC mode (CPUID 1, ECX bit 21).
    pub x2apic: bool,
    /// The timer's deadline mode (CPUID 1, ECX bit 24).
    pub tsc_deadline: bool,
    /// Software may suppress the broadcast of EOIs (version register, bit 24).
    pub suppress_eoi: bool,
    /// An interrupt for corrected machine checks, and a register for it.
    pub cmci: bool,
}

impl LocalApic {
    /// A local APIC after reset (SDM vol. 3A, 11.4.7.1). The bus knows of it from now on.
    pub fn new<H: Host>(config: LocalApicConfig, host: &H) -> Self {
        let apic = Self {
            priority: Priority::default(),
            config,
            base: reset_base(config.role),
            svr: SpuriousVector::RESET,
            ldr: 0,
            dfr: u32::MAX,
            icr: Icr::new(),
            errors: Errors::default(),
            vectors: LocalVectors::default(),
            timer: Timer::default(),
            alarm: None,
            port: Port::Inbox,
        };
        apic.publish(host);
        apic
    }

    /// RESET: everything as in the beginning, xAPIC mode included; pins keep their levels. What was in the inbox is lost.
    pub fn reset<H: Host>(&mut self, host: &H) {
        let base = reset_base(self.config.role);
        if core::mem::replace(&mut self.base, base) != base {
            host.act(Action::BaseChanged(base));
        }
        self.clear(host);
    }

    /// INIT: as after reset, but number and mode stay (SDM vol. 3A, 11.4.7.3 and 11.12.5.1). Vectors in the inbox are lost.
    pub fn init<H: Host>(&mut self, host: &H) {
        self.clear(host);
    }

    /// Everything but base and number as after reset.
    pub(super) fn clear<H: Host>(&mut self, host: &H) {
        self.sync(host);
        self.priority = Priority::default();
        self.svr = SpuriousVector::RESET;
        self.ldr = 0;
        self.dfr = u32::MAX;
        self.icr = Icr::new();
        self.errors = Errors::default();
        self.vectors.reset();
        self.timer = Timer::default();
        self.enter_mode();
        self.set_alarm(host);
        self.update_ext_int();
        self.publish(host);
    }

    /// What the mode sets by itself.
    pub(super) fn enter_mode(&mut self) {
        if self.mode() == ApicMode::X2Apic {
            self.ldr = logical_x2apic_id(self.config.id);
        }
    }

    /// Its mode.
    #[must_use]
    pub fn mode(&self) -> ApicMode {
        self.base.mode().unwrap_or(ApicMode::Disabled)
    }

    /// The value of `IA32_APIC_BASE`.
    #[must_use]
    pub fn base(&self) -> ApicBase {
        self.base
    }

    /// What it is.
    #[must_use]
    pub fn config(&self) -> &LocalApicConfig {
        &self.config
    }

    /// Whether it takes vectors: it is there, and software has enabled it (SDM vol. 3A, 11.4.7.2).
    #[inline]
    #[must_use]
    pub fn takes_vectors(&self) -> bool {
        self.svr.enabled() && self.base.enabled()
    }

    /// The version register.
    pub(super) fn version(&self) -> ApicVersion {
        let features = self.config.features;
        ApicVersion::new()
            .with_version(0x14)
            .with_max_lvt(if features.cmci { 6 } else { 5 })
            .with_suppresses_eoi(features.suppress_eoi)
    }

    /// Takes out of the inbox what others have left there. To be called when kicked, and before every entry; if there is
    /// nothing it costs one load.
    #[inline]
    pub fn sync<H: Host>(&mut self, host: &H) {
        let Some(inbox) = host.bus().inbox(self.config.vcpu) else { return };
        let priority = &mut self.priority;
        let signals = inbox.take(|trigger, word, bits| priority.accept_word(trigger, word, bits));
        if signals.is_none() {
            return;
        }
        if signals.illegal_vector() {
            self.note_error(RECEIVE_ILLEGAL_VECTOR);
        }
        if signals.ext_int() {
            self.vectors.latch_ext_int();
        }
        if signals.smi() {
            host.act(Action::Smi);
        }
        if signals.nmi() {
            host.act(Action::Nmi);
        }
        if signals.init() {
            host.act(Action::Init);
        }
        if let Some(page) = signals.start_up() {
            host.act(Action::StartUp(page));
        }
    }

    /// Takes a message that is for this vCPU, on its own thread.
    #[inline]
    pub fn receive<H: Host>(&mut self, message: &Message, host: &H) {
        match message.delivery {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority if self.takes_vectors() => {
                match Vector::new(message.vector) {
                    Ok(vector) => self.priority.accept(vector, message.trigger),
                    Err(_) => self.note_error(RECEIVE_ILLEGAL_VECTOR),
                }
            }
            DeliveryMode::ExtInt if self.takes_vectors() => self.vectors.latch_ext_int(),
            DeliveryMode::Fixed | DeliveryMode::LowestPriority | DeliveryMode::ExtInt | DeliveryMode::Reserved => {}
            _ if self.mode() == ApicMode::Disabled => {}
            DeliveryMode::Smi => host.act(Action::Smi),
            DeliveryMode::Nmi => host.act(Action::Nmi),
            DeliveryMode::Init => host.act(Action::Init),
            DeliveryMode::StartUp => host.act(Action::StartUp(message.vector)),
        }
    }

    /// Makes an edge-triggered vector of its own wait; false if the number is no vector.
    pub(super) fn accept_edge(&mut self, vector: u8) -> bool {
        let Ok(vector) = Vector::new(vector) else { return false };
        self.priority.accept(vector, TriggerMode::Edge);
        true
    }

    /// Whether the processor is to be given an interrupt as soon as it takes one. External interrupts come first; a vector
    /// needs a class above the processor priority's.
    #[inline]
    #[must_use]
    pub fn has_interrupt(&self) -> bool {
        self.vectors.ext_int() || self.priority.dispatchable().is_some()
    }

    /// The vector the processor is to be given next, external interrupts apart.
    #[inline]
    #[must_use]
    pub fn dispatchable(&self) -> Option<Vector> {
        self.priority.dispatchable()
    }

    /// The processor takes an interrupt.
    #[inline]
    pub fn acknowledge(&mut self) -> Acknowledged {
        if self.vectors.ext_int() {
            self.vectors.end_ext_int_message();
            return Acknowledged::ExtInt;
        }
        self.priority.acknowledge().map_or(Acknowledged::Spurious(self.svr.vector()), Acknowledged::Vector)
    }

    /// Ends the highest interrupt in service, as a write of the EOI register does, or an enlightened guest's EOI by other
    /// means. The end of a level-triggered one is told to the I/O APICs, unless software does that itself.
    #[inline]
    pub fn end_of_interrupt<H: Host>(&mut self, host: &H) {
        let Some(ended) = self.priority.end() else { return };
        if ended.trigger == TriggerMode::Level {
            self.end_level(ended.vector, host);
        }
    }

    pub(in crate::delivery) fn end_level<H: Host>(&mut self, vector: Vector, host: &H) {
        if !(self.svr.suppress_eoi() && self.config.features.suppress_eoi) {
            host.act(Action::EndOfInterrupt(vector));
        }
        self.end_remote_irr(vector);
    }

    /// The task priority as control register 8 has it: the class alone.
    #[must_use]
    pub fn cr8(&self) -> u8 {
        self.priority.tpr() >> 4
    }

    /// A write of control register 8; of `class` the lower four bits count (SDM vol. 3A, 11.8.6).
    pub fn set_cr8<H: Host>(&mut self, class: u8, host: &H) {
        self.set_tpr(class << 4, host);
    }

    #[inline]
    pub(super) fn set_tpr<H: Host>(&mut self, tpr: u8, host: &H) {
        self.priority.set_tpr(tpr);
        if let Some(inbox) = host.bus().inbox(self.config.vcpu) {
            inbox.set_priority(tpr >> 4);
        }
    }

    /// Tells the bus how this local APIC is addressed.
    pub(super) fn publish<H: Host>(&self, host: &H) {
        let mode = match (self.mode(), self.dfr >> 28) {
            (ApicMode::Disabled, _) => AddressMode::Disabled,
            (ApicMode::X2Apic, _) => AddressMode::X2Apic,
            (ApicMode::XApic, 0xf) => AddressMode::Flat,
            (ApicMode::XApic, 0) => AddressMode::Cluster,
            (ApicMode::XApic, _) => AddressMode::Unmodelled,
        };
        let logical = if mode == AddressMode::X2Apic { self.ldr } else { self.ldr >> 24 };
        let address = Address::new()
            .with_mode(mode)
            .with_logical(logical)
            .with_takes_vectors(self.takes_vectors())
            .with_port(self.port);
        host.bus().publish(self.config.vcpu, address);
        if let Some(inbox) = host.bus().inbox(self.config.vcpu) {
            inbox.set_priority(self.priority.tpr() >> 4);
        }
    }

    /// An entry of the local vector table.
    pub(super) fn lvt(&self, entry: LvtEntry) -> Lvt {
        self.vectors.entry(entry)
    }
}

fn reset_base(role: ProcessorRole) -> ApicBase {
    ApicBase::new()
        .with_frame(ApicBase::DEFAULT_FRAME)
        .with_enabled(true)
        .with_bootstrap(role == ProcessorRole::Bootstrap)
}
