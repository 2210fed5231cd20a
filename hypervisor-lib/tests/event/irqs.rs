//! The test hypervisor's own IRQs: 24 lines, 40 messages, and devices that have some.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use hypervisor_abi::DomainId;
use hypervisor_abi::Errno;
use hypervisor_lib::event::Interrupts;
use hypervisor_lib::event::MessageError;
use hypervisor_lib::event::MessageSource;
use hypervisor_lib::event::Permission;

use crate::host::TestHost;

pub(crate) const LINES: u32 = 24;
pub(crate) const IRQS: u32 = 64;

/// What the tests set about IRQs, and what became of them.
#[derive(Debug, Default)]
pub(crate) struct Irqs {
    /// Domains without the physical IRQs that guests are offered elsewhere.
    pub(crate) not_offered: BTreeSet<DomainId>,
    pub(crate) without_iommu: BTreeSet<DomainId>,
    pub(crate) does_not_remap: bool,
    pub(crate) permitted: BTreeSet<(DomainId, u32)>,
    pub(crate) created: BTreeSet<u32>,
    /// Whose each device is, and how many messages it has.
    pub(crate) devices: BTreeMap<u8, (DomainId, u32)>,
    pub(crate) enabled: BTreeSet<u8>,
    /// How often each device's messages were switched off.
    pub(crate) disabled: BTreeMap<u8, u32>,
    pub(crate) programmed: BTreeMap<u32, (MessageSource, u32)>,
    /// After how many messages there is no vector left.
    pub(crate) vectors: Option<u32>,
    pub(crate) shared: BTreeSet<u32>,
    pub(crate) asserted: BTreeSet<(DomainId, u8)>,
}

impl TestHost {
    pub(crate) fn with_irqs<R>(&self, with: impl FnOnce(&mut Irqs) -> R) -> R {
        with(&mut self.notes.lock().irqs)
    }

    /// A device with so many messages, which a domain owns.
    pub(crate) fn add_device(&self, devfn: u8, owner: u16, messages: u32) {
        self.with_irqs(|irqs| irqs.devices.insert(devfn, (DomainId(owner), messages)));
    }
}

impl Interrupts for TestHost {
    fn lines(&self) -> u32 {
        LINES
    }

    fn irqs(&self) -> u32 {
        IRQS
    }

    fn offers_pirqs(&self, domain: DomainId) -> bool {
        self.with_irqs(|irqs| !irqs.not_offered.contains(&domain))
    }

    fn has_iommu(&self, domain: DomainId) -> bool {
        self.with_irqs(|irqs| !irqs.without_iommu.contains(&domain))
    }

    fn remaps_interrupts(&self) -> bool {
        self.with_irqs(|irqs| !irqs.does_not_remap)
    }

    fn may_use_irq(&self, domain: DomainId, irq: u32) -> bool {
        domain == DomainId::DOM0 || self.with_irqs(|irqs| irqs.permitted.contains(&(domain, irq)))
    }

    fn permit_irq(&self, domain: DomainId, irq: u32, permission: Permission) -> Result<(), Errno> {
        self.with_irqs(|irqs| match permission {
            Permission::Granted => irqs.permitted.insert((domain, irq)),
            Permission::Revoked => irqs.permitted.remove(&(domain, irq)),
        });
        Ok(())
    }

    fn create_irq(&self, user: DomainId) -> Option<u32> {
        self.with_irqs(|irqs| {
            let irq = (LINES..IRQS).find(|irq| !irqs.created.contains(irq))?;
            irqs.created.insert(irq);
            irqs.permitted.insert((user, irq));
            Some(irq)
        })
    }

    fn destroy_irq(&self, irq: u32) {
        self.with_irqs(|irqs| {
            assert!(irqs.created.remove(&irq), "irq {irq} is destroyed twice");
            irqs.permitted.retain(|(_, permitted)| *permitted != irq);
            irqs.programmed.remove(&irq);
        });
    }

    fn enable_messages(&self, owner: DomainId, source: MessageSource, count: u32) -> Result<(), MessageError> {
        self.with_irqs(|irqs| match irqs.devices.get(&source.devfn) {
            Some((domain, messages)) if *domain == owner && count <= *messages => {
                irqs.enabled.insert(source.devfn);
                Ok(())
            }
            Some((domain, messages)) if *domain == owner => Err(MessageError::TooMany(*messages)),
            _ => Err(MessageError::Refused(Errno::NoDevice)),
        })
    }

    fn program_message(&self, irq: u32, source: MessageSource, index: u32) -> Result<(), Errno> {
        self.with_irqs(|irqs| {
            if irqs.vectors.is_some_and(|vectors| index >= vectors) {
                return Err(Errno::NoSpace);
            }
            irqs.programmed.insert(irq, (source, index));
            Ok(())
        })
    }

    fn disable_messages(&self, source: MessageSource) {
        self.with_irqs(|irqs| {
            assert!(irqs.enabled.remove(&source.devfn), "a device's messages are switched off twice");
            *irqs.disabled.entry(source.devfn).or_default() += 1;
        });
    }

    fn is_shared(&self, irq: u32) -> bool {
        self.with_irqs(|irqs| irqs.shared.contains(&irq))
    }

    fn is_line_asserted(&self, domain: DomainId, line: u8) -> bool {
        self.with_irqs(|irqs| irqs.asserted.contains(&(domain, line)))
    }
}
