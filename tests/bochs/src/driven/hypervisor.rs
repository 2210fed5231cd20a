//! The hypervisor around the one vCPU: its bus, its page, its descriptor.

use alloc::boxed::Box;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering;

use hypervisor_abi::DomainId;
use hypervisor_abi::VcpuId;
use hypervisor_abi::apic::ApicId;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::SLOT_SIZE;
use hypervisor_abi::avic::BackingPage;
use hypervisor_abi::posted::PostedDescriptor;
use hypervisor_abi::posted::PostedDestination;
use hypervisor_lib::delivery::Action;
use hypervisor_lib::delivery::ApicBus;
use hypervisor_lib::delivery::Host;
use hypervisor_lib::delivery::posted::PostedVcpu;
use hypervisor_lib::delivery::posted::PostingAction;
use hypervisor_lib::delivery::posted::PostingHost;
use hypervisor_lib::delivery::posted::Protocol;
use hypervisor_lib::delivery::posted::VcpuKey;
use hypervisor_lib::delivery::posted::WakeLists;
use spinning_top::RawSpinlock;
use vector_allocator::CpuId;
use vector_allocator::Vector;

use super::WAKE_UP;
use super::settings;
use crate::comparison::NOTIFICATION;
use crate::cpu;
use crate::entry;
use crate::event::Event;

/// The number of the vCPU's local APIC.
pub(super) const APIC_ID: ApicId = ApicId(0);
/// The vCPU.
pub(super) const VCPU: VcpuId = VcpuId(0);

/// The vCPU, among all of the host.
pub(super) const KEY: VcpuKey = VcpuKey { domain: DomainId(1), vcpu: VCPU };

/// The hypervisor. It lives as long as the image, since the CPU knows where its page and its descriptor are.
pub(super) struct Hypervisor {
    bus: ApicBus,
    page: BackingPage,
    posted: OnItsOwnPage,
    lists: WakeLists<RawSpinlock>,
    protocol: Protocol,
    /// The vCPU was blocked, and is to run again.
    woken: AtomicBool,
}

/// Deviation D6: Bochs wants the descriptor at the beginning of a page.
#[repr(C, align(4096))]
struct OnItsOwnPage(PostedVcpu);

impl Hypervisor {
    /// One with nothing pending, that keeps the descriptor by `protocol`.
    pub(super) fn new(protocol: Protocol) -> &'static Self {
        Box::leak(Box::new(Self {
            bus: ApicBus::new(&[APIC_ID]).expect("one number"),
            page: BackingPage::default(),
            posted: OnItsOwnPage(PostedVcpu::default()),
            lists: WakeLists::new(2),
            protocol,
            woken: AtomicBool::new(false),
        }))
    }

    /// Whether the vCPU was woken since the last call.
    pub(super) fn take_woken(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
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
            Action::Notify(notice)
                if notice.vector == NOTIFICATION && notice.destination == cpu::posted_destination() => {}
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

impl PostingHost for Hypervisor {
    type Lock = RawSpinlock;

    fn posted_vcpu(&self, key: VcpuKey) -> Option<&PostedVcpu> {
        (key == KEY).then_some(&self.posted.0)
    }

    fn wake_lists(&self) -> &WakeLists<RawSpinlock> {
        &self.lists
    }

    fn destination(&self, cpu: CpuId) -> PostedDestination {
        PostedDestination::new(ApicId(cpu.0), ApicMode::X2Apic)
    }

    fn notification_vector(&self) -> Vector {
        Vector::new(NOTIFICATION).expect("a legal vector")
    }

    fn wake_up_vector(&self) -> Vector {
        Vector::new(WAKE_UP).expect("a legal vector")
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn act(&self, action: PostingAction) {
        match action {
            PostingAction::Wake(_) => self.woken.store(true, Ordering::Release),
            PostingAction::WakeUpSelf(cpu) => cpu::interrupt(self.destination(cpu), WAKE_UP),
        }
    }
}
