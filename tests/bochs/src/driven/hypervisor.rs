//! The hypervisor around the one vCPU: its bus, its page, its descriptor.

use alloc::boxed::Box;
use core::sync::atomic::Ordering;

use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::SLOT_SIZE;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::posted::PostedDescriptor;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::ApicBus;
use hypervisor_lib::delivery::Host;
use hypervisor_lib::delivery::posted::PostedVcpu;

use super::settings;
use crate::cpu;
use crate::entry;
use crate::event::Event;

/// The number of the vCPU's local APIC.
pub(super) const APIC_ID: ApicId = ApicId(0);
/// The vCPU.
pub(super) const VCPU: VcpuId = VcpuId(0);

/// The hypervisor. It lives as long as the image, since the CPU knows where its page and its descriptor are.
pub(super) struct Hypervisor {
    bus: ApicBus,
    page: BackingPage,
    posted: OnItsOwnPage,
}

/// Deviation D6: Bochs wants the descriptor at the beginning of a page.
#[repr(C, align(4096))]
struct OnItsOwnPage(PostedVcpu);

impl Hypervisor {
    /// One with nothing pending.
    pub(super) fn new() -> &'static Self {
        Box::leak(Box::new(Self {
            bus: ApicBus::new(&[APIC_ID]).expect("one number"),
            page: BackingPage::default(),
            posted: OnItsOwnPage(PostedVcpu::default()),
        }))
    }

    /// Empties the page for another vCPU.
    pub(super) fn clear_page(&self) {
        for offset in (0..4096).step_by(usize::from(SLOT_SIZE)) {
            let slot = u16::try_from(offset).ok().and_then(|offset| self.page.slot(offset));
            slot.expect("a slot of the page").store(0, Ordering::Relaxed);
        }
    }

    /// Where the virtual-APIC page is.
    pub(super) fn page_address(&'static self) -> u64 {
        core::ptr::from_ref(&self.page).addr() as u64
    }

    /// Where the descriptor is.
    pub(super) fn descriptor_address(&'static self) -> u64 {
        core::ptr::from_ref(&self.posted.0.descriptor).addr() as u64
    }
}

impl Host for Hypervisor {
    fn bus(&self) -> &ApicBus {
        &self.bus
    }

    fn act(&self, action: Action) {
        match action {
            Action::Set(setting) => settings::apply(setting),
            // Whoever posts on the vCPU's own CPU does so while the guest does not run, and its next entry looks.
            Action::Notify(notice) if notice.destination == cpu::posted_destination() => {}
            Action::Notify(notice) => cpu::interrupt(notice.destination, notice.vector),
            other => {
                if let Some(event) = Event::of_action(other) {
                    entry::log(event);
                }
            }
        }
    }

    fn page(&self, _vcpu: VcpuId) -> Option<&BackingPage> {
        Some(&self.page)
    }

    fn descriptor(&self, _vcpu: VcpuId) -> Option<&PostedDescriptor> {
        Some(&self.posted.0.descriptor)
    }
}
