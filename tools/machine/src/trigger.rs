//! Where an interrupt comes from: an MSI with its mask, or a level-triggered pin of an IO-APIC with its remote IRR.

/// What the source does after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// It sends its message to the local APIC.
    Send,
    /// It keeps the interrupt until it may send.
    Hold,
    /// It already keeps one: the two are one.
    Merge,
    /// Nothing.
    Quiet,
}

/// The state of a source's own hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// MSI, MSI-X or an edge pin.
    Edge(Msi),
    /// A level-triggered pin.
    Level(Pin),
}

/// An edge source with a pending bit behind its mask (PCI 3.0, 6.8: a masked vector sets its pending bit).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Msi {
    masked: bool,
    pending: bool,
}

/// A level-triggered IO-APIC pin (82093AA data sheet, 3.2.4): one message until the EOI comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pin {
    /// How many of the line's devices assert it.
    asserting: u8,
    masked: bool,
    remote_irr: bool,
}

impl Msi {
    /// The device has something to say.
    pub(crate) const fn fire(&mut self) -> Signal {
        match (self.masked, self.pending) {
            (false, _) => Signal::Send,
            (true, false) => {
                self.pending = true;
                Signal::Hold
            }
            (true, true) => Signal::Merge,
        }
    }

    /// Stops it from sending.
    pub(crate) const fn mask(&mut self) {
        self.masked = true;
    }

    /// Lets it send again, what it kept first.
    pub(crate) const fn unmask(&mut self) -> Signal {
        self.masked = false;
        if core::mem::replace(&mut self.pending, false) { Signal::Send } else { Signal::Quiet }
    }
}

impl Pin {
    /// One more device asserts the line.
    pub(crate) const fn assert(&mut self) -> Signal {
        self.asserting = self.asserting.saturating_add(1);
        self.send_if_ready()
    }

    /// One device lets go of the line.
    pub(crate) const fn deassert(&mut self) {
        self.asserting = self.asserting.saturating_sub(1);
    }

    /// The local APIC's EOI for this pin's vector. The pin must send again if it is still asserted.
    pub(crate) const fn eoi(&mut self) {
        self.remote_irr = false;
    }

    /// Stops it from sending.
    pub(crate) const fn mask(&mut self) {
        self.masked = true;
    }

    /// Lets it send again.
    pub(crate) const fn unmask(&mut self) {
        self.masked = false;
    }

    /// Sends if asserted, not masked, and no EOI is outstanding; then remote IRR is set.
    pub(crate) const fn send_if_ready(&mut self) -> Signal {
        if self.asserting == 0 || self.masked || self.remote_irr {
            return Signal::Quiet;
        }
        self.remote_irr = true;
        Signal::Send
    }

    /// Whether any device asserts the line.
    pub(crate) const fn is_asserted(&self) -> bool {
        self.asserting > 0
    }
}

impl Trigger {
    /// Stops it from sending.
    pub(crate) const fn mask(&mut self) {
        match self {
            Self::Edge(msi) => msi.mask(),
            Self::Level(pin) => pin.mask(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Msi;
    use super::Pin;
    use super::Signal;

    #[test]
    fn a_masked_msi_keeps_one_interrupt_and_sends_it_when_unmasked() {
        let mut msi = Msi::default();
        assert_eq!(msi.fire(), Signal::Send);
        msi.mask();
        assert_eq!(msi.fire(), Signal::Hold);
        assert_eq!(msi.fire(), Signal::Merge);
        assert_eq!(msi.unmask(), Signal::Send);
        msi.mask();
        assert_eq!(msi.unmask(), Signal::Quiet);
    }

    /// Over every sequence of eight operations the pin has at most one message out, and never forgets an asserted line.
    #[test]
    fn a_level_pin_has_one_message_until_its_eoi_and_sends_again_while_asserted() {
        for sequence in 0..6u32.pow(7) {
            let mut pin = Pin::default();
            let mut devices = 0;
            let mut out = false;
            let mut masked = false;
            for position in 0..7 {
                let signal = match sequence / 6u32.pow(position) % 6 {
                    0 => {
                        devices += 1;
                        pin.assert()
                    }
                    1 if devices > 0 => {
                        devices -= 1;
                        pin.deassert();
                        Signal::Quiet
                    }
                    2 => {
                        masked = true;
                        pin.mask();
                        Signal::Quiet
                    }
                    3 => {
                        masked = false;
                        pin.unmask();
                        pin.send_if_ready()
                    }
                    4 => {
                        out = false;
                        pin.eoi();
                        pin.send_if_ready()
                    }
                    _ => pin.send_if_ready(),
                };
                assert_eq!(pin.is_asserted(), devices > 0);
                if signal == Signal::Send {
                    assert!(!out && !masked && devices > 0, "sequence {sequence}, step {position}");
                    out = true;
                } else {
                    let nothing_changed = matches!(sequence / 6u32.pow(position) % 6, 1 | 2);
                    assert!(nothing_changed || out || masked || devices == 0, "sequence {sequence}, step {position}");
                }
            }
        }
    }
}
