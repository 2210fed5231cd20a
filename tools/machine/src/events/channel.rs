//! A port and who sends to it, as its source keeps them.

use guest_shim::EoiMode;
use hypervisor_abi::Port;

/// A port, and who sends to it. Its source keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Channel {
    pub(super) port: Port,
    pub(super) sender: Sender,
}

/// Who sends to a port, in four bytes: there may be a hundred thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sender(u32);

/// Who sends to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SenderKind {
    /// The hypervisor, when this physical IRQ of the domain has happened.
    Pirq(u32),
    /// The backend, from this port of its own; the events end so.
    Backend(Port, EoiMode),
}

impl Channel {
    /// That of a source that is no event.
    pub(crate) const NONE: Self = Self { port: Port(0), sender: Sender(0) };
}

impl Sender {
    /// The bit that tells a port of the backend from a physical IRQ; both numbers are far below it.
    const BACKEND: u32 = 1 << 31;
    /// The bit of a backend's port whose events end late.
    const LATE: u32 = 1 << 30;

    pub(super) const fn pirq(number: u32) -> Self {
        Self(number)
    }

    pub(super) const fn backend(port: Port, eoi: EoiMode) -> Self {
        match eoi {
            EoiMode::Early => Self(port.0 | Self::BACKEND),
            EoiMode::Late => Self(port.0 | Self::BACKEND | Self::LATE),
        }
    }

    pub(super) const fn kind(self) -> SenderKind {
        let port = Port(self.0 & !(Self::BACKEND | Self::LATE));
        match (self.0 & Self::BACKEND, self.0 & Self::LATE) {
            (0, _) => SenderKind::Pirq(self.0),
            (_, 0) => SenderKind::Backend(port, EoiMode::Early),
            (_, _) => SenderKind::Backend(port, EoiMode::Late),
        }
    }
}

#[cfg(test)]
mod tests {
    use guest_shim::EoiMode;
    use hypervisor_abi::Port;
    use hypervisor_abi::event::FIFO_CHANNELS;
    use hypervisor_lib::event::MAX_PIRQS;

    use super::Sender;
    use super::SenderKind;

    #[test]
    fn every_physical_irq_and_every_port_is_told_from_the_others() {
        for pirq in [0, 1, MAX_PIRQS - 1] {
            assert_eq!(Sender::pirq(pirq).kind(), SenderKind::Pirq(pirq));
        }
        for port in [1, FIFO_CHANNELS - 1].map(Port) {
            for eoi in [EoiMode::Early, EoiMode::Late] {
                assert_eq!(Sender::backend(port, eoi).kind(), SenderKind::Backend(port, eoi));
            }
        }
    }
}
