//! Which function sends which message: configurations name sources, IOMMUs know functions and their messages.

use alloc::collections::BTreeMap;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use hypervisor_lib::delivery::avic::IrteIndex;
use vector_allocator::DomainId;
use vector_allocator::Owner;

use super::TooManyMessages;
use crate::MachineConfig;
use crate::Path;
use crate::SourceIndex;

/// The most messages a function has. Bits 10:8 of a message's data are its delivery mode as well as part of AMD's index,
/// of which only fixed and lowest-priority interrupts are remapped: 0 to 511.
const MESSAGES: u16 = 512;

/// `DOMID_XEN` (public/xen.h): whose the hypervisor's own functions are.
const XEN: DomainId = DomainId(0x7ff2);

/// A function and how many messages it has. Its place in the list is its requester ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(super) owner: DomainId,
    pub(super) messages: u16,
}

/// The functions of a machine, and the message of each source.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    functions: Vec<Function>,
    /// Ascending.
    of_sources: Vec<(SourceIndex, IrteIndex)>,
}

impl Messages {
    /// The messages of a configuration: none if nothing is posted. Sources of one owner
    /// are messages of one function, as long as that has room; those on one line are one.
    pub(crate) fn new(config: &MachineConfig) -> Result<Self, TooManyMessages> {
        let mut messages = Self::default();
        if !config.sources.iter().any(|source| matches!(source.path, Path::Posted { .. })) {
            return Ok(messages);
        }
        let mut lines = BTreeSet::new();
        let mut latest = BTreeMap::new();
        for (index, source) in (0u32..).map(SourceIndex).zip(&config.sources) {
            let is_posted = matches!(source.path, Path::Posted { .. });
            if is_posted || (source.vector.is_some() && lines.insert(source.id.0)) {
                let message = messages.add(source.owner, &mut latest)?;
                messages.of_sources.push((index, message));
            }
        }
        Ok(messages)
    }

    /// Gives an owner's latest function another message, or the owner another function.
    fn add(&mut self, owner: Owner, latest: &mut BTreeMap<DomainId, u16>) -> Result<IrteIndex, TooManyMessages> {
        let owner = match owner {
            Owner::System => XEN,
            Owner::Dom0 => DomainId::DOM0,
            Owner::Guest(domain) => domain,
        };
        let next = u16::try_from(self.functions.len()).map_err(|_| TooManyMessages)?;
        let device = latest.entry(owner).or_insert(next);
        if self.functions.get(usize::from(*device)).is_some_and(|function| function.messages == MESSAGES) {
            *device = next;
        }
        if *device == next {
            self.functions.push(Function { owner, messages: 0 });
        }
        let messages = &mut self.functions[usize::from(*device)].messages;
        let index = *messages;
        *messages += 1;
        Ok(IrteIndex { device: *device, index })
    }

    /// What sends.
    pub(crate) fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The message of a source.
    pub(crate) fn of(&self, source: SourceIndex) -> Option<IrteIndex> {
        let at = self.of_sources.binary_search_by_key(&source, |(source, _)| *source).ok()?;
        Some(self.of_sources[at].1)
    }
}

impl Function {
    /// How many entries its messages take: a power of two, since a table's length is one, and as many as fit into cache
    /// lines of tables that lie side by side.
    pub(super) const fn entries(self) -> u16 {
        self.messages.next_power_of_two()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hypervisor_lib::delivery::avic::IrteIndex;
    use vector_allocator::DomainId;
    use vector_allocator::Owner;

    use super::MESSAGES;
    use super::Messages;
    use super::XEN;

    #[test]
    fn an_owners_messages_are_of_one_function_until_that_has_no_room() {
        let (mut messages, mut latest) = (Messages::default(), BTreeMap::new());
        let mut add = |owner| messages.add(owner, &mut latest).expect("few functions");
        let guest = Owner::Guest(DomainId(3));
        for index in 0..MESSAGES {
            assert_eq!(add(guest), IrteIndex { device: 0, index });
        }
        assert_eq!(add(Owner::System), IrteIndex { device: 1, index: 0 });
        assert_eq!(add(guest), IrteIndex { device: 2, index: 0 });
        assert_eq!(add(Owner::Dom0), IrteIndex { device: 3, index: 0 });
        assert_eq!(add(guest), IrteIndex { device: 2, index: 1 });
        let of = messages.functions().iter().map(|function| (function.owner, function.messages, function.entries()));
        let expected = [(DomainId(3), 512, 512), (XEN, 1, 1), (DomainId(3), 2, 2), (DomainId(0), 1, 1)];
        assert!(of.eq(expected));
    }
}
