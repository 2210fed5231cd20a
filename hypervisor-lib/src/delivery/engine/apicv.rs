//! Intel's engines: APIC virtualization, with or without posted interrupts and IPI virtualization.

use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::SLOT_SIZE;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::avic::VectorBits;
use hypervisor_abi::sync::Ordering;
use vector_allocator::Vector;

use super::backend::DeliveryEngine;
use super::backend::Entering;
use super::backend::Loan;
use super::backend::Rest;
use super::backend::Vectors;
use super::exit::Exit;
use super::exit::ExitError;
use super::setting::InterruptStatus;
use super::setting::Setting;
use crate::delivery::Engine;
use crate::delivery::Port;
use crate::delivery::apicv::ApicvControls;
use crate::delivery::host::Action;
use crate::delivery::host::Host;
use crate::delivery::software::IcrLayout;
use crate::delivery::software::LocalApic;
use crate::delivery::software::read;

/// How much the processor does; each includes those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApicvLevel {
    /// The task priority ("use TPR shadow"). The hypervisor injects.
    TprShadow,
    /// Registers are read and written in the page ("APIC-register virtualization"). The hypervisor injects.
    Registers,
    /// Interrupts are delivered ("virtual-interrupt delivery").
    Delivery,
    /// Others post them to the processor ("process posted interrupts").
    Posting,
    /// It posts those of its own guest to others ("IPI virtualization").
    Ipis,
}

/// One of Intel's engines.
#[derive(Clone, Debug)]
pub struct Apicv {
    level: ApicvLevel,
    loaded: Loaded,
}

/// What the VMCS holds, as far as it was set; none of what it holds is known in the beginning.
#[derive(Clone, Debug, Default)]
struct Loaded {
    controls: Option<ApicvControls>,
    eoi_exit: Option<[u64; 4]>,
    tpr_threshold: Option<u8>,
}

impl Apicv {
    /// An engine for a new VMCS.
    #[must_use]
    pub fn new(level: ApicvLevel) -> Self {
        Self { level, loaded: Loaded::default() }
    }

    /// How much the processor does.
    #[must_use]
    pub const fn level(&self) -> ApicvLevel {
        self.level
    }

    /// The controls for a guest with this local APIC. A disabled one has nothing to virtualize; a software-disabled one refuses
    /// vectors, which the processor would not.
    #[must_use]
    pub fn controls(&self, apic: &LocalApic) -> ApicvControls {
        let mode = apic.mode();
        let limit = if apic.takes_vectors() { self.level } else { self.level.min(ApicvLevel::Registers) };
        let has = |level| limit >= level && mode != ApicMode::Disabled;
        ApicvControls {
            tpr_shadow: has(ApicvLevel::TprShadow),
            accesses: mode == ApicMode::XApic,
            x2apic: mode == ApicMode::X2Apic,
            registers: has(ApicvLevel::Registers),
            delivery: has(ApicvLevel::Delivery),
            posting: has(ApicvLevel::Posting),
            ipis: has(ApicvLevel::Ipis),
            external_interrupts_exit: true,
            acknowledge_on_exit: true,
        }
    }

    fn program_delivery<H: Host>(&mut self, page: &BackingPage, entering: &Entering<'_>, host: &H) {
        if entering.vectors == Vectors::Changed {
            // Both afresh from the page: the processor looks at neither register of it.
            let highest = |bits| page.highest(bits).unwrap_or(0);
            let status = InterruptStatus::new()
                .with_requested(highest(VectorBits::InterruptRequest))
                .with_in_service(highest(VectorBits::InService));
            host.act(Action::Set(Setting::InterruptStatus(status)));
        }
        let mut wanted = *entering.routes.words();
        let level = entering.apic.level_triggered();
        if !level.is_empty() {
            // A level-triggered vector that waits or is served exits at its end, whatever has become of its route.
            let (waiting, served) = (read(page, VectorBits::InterruptRequest), read(page, VectorBits::InService));
            for (word, wanted) in wanted.iter_mut().enumerate() {
                *wanted |= level.words()[word] & (waiting[word] | served[word]);
            }
        }
        for (word, vectors) in (0..).zip(wanted) {
            if self.loaded.eoi_exit.is_none_or(|loaded| loaded[usize::from(word)] != vectors) {
                host.act(Action::Set(Setting::EoiExit { word, vectors }));
            }
        }
        self.loaded.eoi_exit = Some(wanted);
    }

    /// The lowest task-priority class under which the vector that waits stays held back: below it, the guest exits. None is
    /// needed if task priority is not what holds it back.
    fn program_threshold<H: Host>(&mut self, apic: &LocalApic, host: &H) {
        let threshold = match apic.highest() {
            (Some(waiting), _) if waiting.number() >> 4 <= apic.cr8() => waiting.number() >> 4,
            _ => 0,
        };
        if self.loaded.tpr_threshold.replace(threshold) != Some(threshold) {
            host.act(Action::Set(Setting::TprThreshold(threshold)));
        }
    }
}

impl DeliveryEngine for Apicv {
    fn engine(&self) -> Engine {
        match self.level {
            ApicvLevel::TprShadow | ApicvLevel::Registers => Engine::Software,
            ApicvLevel::Delivery => Engine::Apicv,
            ApicvLevel::Posting => Engine::Posted,
            ApicvLevel::Ipis => Engine::IpiVirtualization,
        }
    }

    fn port(&self, apic: &LocalApic) -> Port {
        if self.controls(apic).posting { Port::Descriptor } else { Port::Inbox }
    }

    fn loan<H: Host>(&self, apic: &LocalApic, _host: &H) -> Loan {
        match self.controls(apic) {
            ApicvControls { delivery: true, .. } => Loan::Vectors,
            ApicvControls { registers: true, .. } => Loan::Registers,
            ApicvControls { tpr_shadow: true, .. } => Loan::TaskPriority,
            _ => Loan::Nothing,
        }
    }

    fn icr_layout(&self, mode: ApicMode) -> IcrLayout {
        if mode == ApicMode::X2Apic { IcrLayout::Whole } else { IcrLayout::Split }
    }

    fn program<H: Host>(&mut self, entering: &Entering<'_>, host: &H) {
        let controls = match entering.page {
            Some(_) => self.controls(entering.apic),
            // Without a page there is nothing to virtualize.
            None => {
                ApicvControls { external_interrupts_exit: true, acknowledge_on_exit: true, ..ApicvControls::default() }
            }
        };
        debug_assert_eq!(controls.check(), Ok(()), "the entry would fail");
        if self.loaded.controls.replace(controls) != Some(controls) {
            host.act(Action::Set(Setting::Apicv(controls)));
        }
        match (entering.loan, entering.page) {
            (Loan::Vectors, Some(page)) => self.program_delivery(page, entering, host),
            (Loan::TaskPriority | Loan::Registers, Some(_)) => self.program_threshold(entering.apic, host),
            _ => {}
        }
    }

    fn finish<H: Host>(&mut self, exit: Exit, apic: &LocalApic, host: &H) -> Result<Rest, ExitError> {
        match exit {
            Exit::InterruptWindow | Exit::NmiWindow | Exit::TprBelowThreshold => Ok(Rest::Nothing),
            Exit::EndOfInterrupt(number) => Ok(Vector::new(number).map_or(Rest::Nothing, Rest::Ended)),
            Exit::ApicWrite(offset) => {
                let register = ApicRegister::at_offset(offset - offset % SLOT_SIZE);
                Ok(match (register, host.page(apic.config().vcpu)) {
                    (Some(ApicRegister::IcrLow), Some(page)) => {
                        Rest::Send(written_icr(page, self.icr_layout(apic.mode())))
                    }
                    (Some(register), Some(_)) => Rest::Write(register),
                    _ => Rest::Nothing,
                })
            }
            Exit::IncompleteIpi(_) | Exit::NoAcceleration(_) => Err(ExitError::Foreign { exit, engine: self.engine() }),
        }
    }

    fn forget(&mut self) {
        self.loaded = Loaded::default();
    }
}

/// ICR as the guest has written it into the page.
fn written_icr(page: &BackingPage, layout: IcrLayout) -> Icr {
    let slot = page.register_slot(ApicRegister::IcrLow);
    let high = match layout {
        IcrLayout::Whole => &slot.upper,
        IcrLayout::Split => page.register(ApicRegister::IcrHigh),
    };
    Icr::new().with_low(slot.value.load(Ordering::Relaxed)).with_destination(high.load(Ordering::Relaxed))
}
