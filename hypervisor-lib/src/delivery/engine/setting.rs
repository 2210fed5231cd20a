//! What an engine sets in the structure that controls a vCPU: Intel's VMCS, AMD's VMCB.

use bitfield_struct::bitfield;
use vector_allocator::Vector;

use crate::delivery::Switch;
use crate::delivery::apicv::ApicvControls;
use crate::delivery::avic::Mode;

/// The guest interrupt status (SDM vol. 3C, 25.4.2). Software keeps it in step with the page: the processor believes it, and
/// never looks whether VIRR or VISR hold anything higher.
#[bitfield(u16)]
#[derive(PartialEq, Eq, Hash)]
pub struct InterruptStatus {
    /// RVI: the highest vector of VIRR; 0 for none.
    pub requested: u8,
    /// SVI: the highest vector of VISR; 0 for none.
    pub in_service: u8,
}

/// An event that a VM entry delivers (SDM vol. 3C, 25.8.3; APM vol. 2, 15.20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A non-maskable interrupt.
    Nmi,
    /// An interrupt of the local APIC, which is in service.
    Vector(Vector),
    /// An interrupt of the external interrupt controller. It may have any number.
    External(u8),
}

/// An exit as soon as the guest could take something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// An interrupt: Intel's "interrupt-window exiting"; on AMD a virtual interrupt (`V_IRQ`) whose delivery is intercepted.
    Interrupt,
    /// A non-maskable interrupt: Intel's "NMI-window exiting"; on AMD an intercepted IRET.
    Nmi,
}

/// Something to be set before the next entry. What is not told stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setting {
    /// RVI and SVI.
    InterruptStatus(InterruptStatus),
    /// A word of the EOI-exit bitmap.
    EoiExit {
        /// Which, 0 to 3.
        word: u8,
        /// The vectors whose end exits, the lowest in bit 0.
        vectors: u64,
    },
    /// The TPR threshold, a class.
    TprThreshold(u8),
    /// The event that the entry delivers. The processor forgets it with the entry.
    Inject(Event),
    /// A window.
    Window(Window, Switch),
    /// Intel's controls; the MSR bitmap is that of [`MsrIntercepts`](crate::delivery::apicv::MsrIntercepts).
    Apicv(ApicvControls),
    /// AMD's V_TPR: the class of the task priority, which the processor goes by, whatever the page holds. It is what CR8 holds,
    /// TPR's upper half (APM vol. 2, appendix B, table B-1: bits 7:4 of the field are to be zero).
    TaskPriority(u8),
    /// AVIC on in this mode, or off; the permission map is [`interception`](crate::delivery::avic::interception)'s. Off,
    /// accesses to CR8 are to be intercepted, and the vCPU must not be in the physical table as one that runs.
    Avic(Option<Mode>),
}

impl Event {
    /// The event as a word: Intel's VM-entry interruption information, and the lower half of AMD's EVENTINJ.
    #[must_use]
    pub const fn encode(self) -> u32 {
        const VALID: u32 = 1 << 31;
        const NMI: u32 = 2 << 8 | 2;
        VALID
            | match self {
                Self::Nmi => NMI,
                Self::Vector(vector) => vector.number() as u32,
                Self::External(number) => number as u32,
            }
    }
}

impl Setting {
    /// The VMCS field that holds exactly this, and its value (SDM vol. 3D, appendix B); none for what is bits of fields with
    /// others, or AMD's.
    #[must_use]
    pub const fn vmcs(self) -> Option<(u32, u64)> {
        match self {
            Self::InterruptStatus(status) => Some((0x0810, status.into_bits() as u64)),
            Self::EoiExit { word, vectors } => Some((0x201c + 2 * word as u32, vectors)),
            Self::TprThreshold(class) => Some((0x401c, class as u64)),
            Self::Inject(event) => Some((0x4016, event.encode() as u64)),
            Self::Window(..) | Self::Apicv(_) | Self::TaskPriority(_) | Self::Avic(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use vector_allocator::Vector;

    use super::Event;
    use super::InterruptStatus;
    use super::Setting;

    #[test]
    fn settings_have_the_fields_and_bits_of_the_manual() {
        let status = InterruptStatus::new().with_requested(0x61).with_in_service(0x73);
        assert_eq!(Setting::InterruptStatus(status).vmcs(), Some((0x0810, 0x7361)));
        let words = [0, 1, 2, 3].map(|word| Setting::EoiExit { word, vectors: 5 }.vmcs());
        assert_eq!(words, [0x201c, 0x201e, 0x2020, 0x2022].map(|field| Some((field, 5))));
        assert_eq!(Setting::TprThreshold(9).vmcs(), Some((0x401c, 9)));
        let inject = |event| Setting::Inject(event).vmcs();
        assert_eq!(inject(Event::Nmi), Some((0x4016, 0x8000_0202)));
        assert_eq!(inject(Event::Vector(Vector::HIGHEST)), Some((0x4016, 0x8000_00ff)));
        assert_eq!(inject(Event::External(8)), Some((0x4016, 0x8000_0008)));
    }
}
