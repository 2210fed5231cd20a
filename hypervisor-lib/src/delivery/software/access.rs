//! Accesses of the guest: to the page in xAPIC mode, by MSRs in x2APIC mode (SDM vol. 3A, 11.4.1, 11.12.1).

use hypervisor_abi::apic::ApicAccess;
use hypervisor_abi::apic::ApicMode;
use hypervisor_abi::apic::ApicRegister;
use hypervisor_abi::apic::DivideConfiguration;
use hypervisor_abi::apic::Icr;
use hypervisor_abi::apic::LvtEntry;
use hypervisor_abi::apic::MSR_APIC_BASE;
use hypervisor_abi::apic::MSR_TSC_DEADLINE;
use hypervisor_abi::apic::SLOT_SIZE;
use hypervisor_abi::page::PAGE_SIZE;

use super::error::ILLEGAL_REGISTER;
use super::local_apic::LocalApic;
use crate::delivery::host::Host;
use crate::delivery::time::Moment;

/// How many bytes an access has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessWidth {
    /// One.
    Byte,
    /// Two.
    Word,
    /// Four: what the manual demands.
    Dword,
    /// Eight.
    Qword,
}

impl AccessWidth {
    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u16 {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Dword => 4,
            Self::Qword => 8,
        }
    }
}

/// Why an access to the page is none to the local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MmioFault {
    /// Only in xAPIC mode is there a page; otherwise the access is to whatever memory is there.
    #[error("there is no register page in mode {0:?}")]
    NoPage(ApicMode),
    /// The access is not within the lower four bytes of a register, which the manual leaves undefined: nothing happens.
    #[error("{width:?} access at {offset:#05x} is not within the lower four bytes of a register")]
    Straddles {
        /// Where, in bytes from the page's beginning.
        offset: u16,
        /// How wide.
        width: AccessWidth,
    },
}

/// Why an access to an MSR faults: each is a general-protection fault, and nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MsrFault {
    /// It is not one of the local APIC's MSRs, or none of this one's.
    #[error("MSR {0:#x} is not there")]
    NotThere(u32),
    /// The registers are MSRs only in x2APIC mode.
    #[error("MSR {msr:#x} is not there in mode {mode:?}")]
    Mode {
        /// Which MSR.
        msr: u32,
        /// The mode.
        mode: ApicMode,
    },
    /// A read of a register that can only be written.
    #[error("MSR {0:#x} cannot be read")]
    WriteOnly(u32),
    /// A write of a register that can only be read.
    #[error("MSR {0:#x} cannot be written")]
    ReadOnly(u32),
    /// A write that sets a bit that is not defined.
    #[error("value {value:#x} sets reserved bits of MSR {msr:#x}")]
    ReservedBits {
        /// Which MSR.
        msr: u32,
        /// What was written.
        value: u64,
    },
    /// A write of `IA32_APIC_BASE` that would change the mode in a way that is not allowed.
    #[error("value {value:#x} of IA32_APIC_BASE is not allowed in mode {from:?}")]
    Transition {
        /// The mode now.
        from: ApicMode,
        /// What was written.
        value: u64,
    },
}

impl LocalApic {
    /// A read from the page, at `offset` bytes. Accesses of less than four bytes give that part of the register.
    ///
    /// # Errors
    /// There is no page, or the access is outside the lower four bytes of a slot.
    pub fn read_mmio(&mut self, now: Moment, offset: u16, width: AccessWidth) -> Result<u32, MmioFault> {
        let shift = self.locate(offset, width)?;
        let value = match self.register_at(offset) {
            Some(register) => self.read_register(register, now),
            None => 0,
        };
        Ok(value >> shift & mask(width))
    }

    /// A write to the page, at `offset` bytes. One of less than four bytes leaves the rest of the register as it reads, and
    /// then acts as a write of all four, as a processor with APIC-register virtualization does it.
    ///
    /// # Errors
    /// There is no page, or the access is outside the lower four bytes of a slot.
    pub fn write_mmio<H: Host>(
        &mut self,
        now: Moment,
        offset: u16,
        width: AccessWidth,
        value: u32,
        host: &H,
    ) -> Result<(), MmioFault> {
        let shift = self.locate(offset, width)?;
        let Some(register) = self.register_at(offset) else { return Ok(()) };
        let written = match width {
            AccessWidth::Dword => value,
            AccessWidth::Byte | AccessWidth::Word | AccessWidth::Qword => {
                let mask = mask(width) << shift;
                self.read_register(register, now) & !mask | value << shift & mask
            }
        };
        self.write_register(register, written, now, host);
        Ok(())
    }

    /// RDMSR of `IA32_APIC_BASE`, `IA32_TSC_DEADLINE`, or a register in x2APIC mode.
    ///
    /// # Errors
    /// A general-protection fault: no such register, or one that cannot be read.
    pub fn read_msr<H: Host>(&mut self, now: Moment, msr: u32, host: &H) -> Result<u64, MsrFault> {
        match msr {
            MSR_APIC_BASE => Ok(self.base().into()),
            MSR_TSC_DEADLINE if self.config.features.tsc_deadline => Ok(self.read_tsc_deadline(now, host)),
            _ => {
                let (register, access) = self.x2apic_register(msr)?;
                match (access, register) {
                    (ApicAccess::WriteOnly, _) => Err(MsrFault::WriteOnly(msr)),
                    (_, ApicRegister::IcrLow) => Ok(self.icr.into()),
                    (_, register) => Ok(self.read_register(register, now).into()),
                }
            }
        }
    }

    /// WRMSR of `IA32_APIC_BASE`, `IA32_TSC_DEADLINE`, or a register in x2APIC mode.
    ///
    /// # Errors
    /// A general-protection fault: no such register, one that cannot be written, or a reserved bit.
    #[inline]
    pub fn write_msr<H: Host>(&mut self, now: Moment, msr: u32, value: u64, host: &H) -> Result<(), MsrFault> {
        match msr {
            MSR_APIC_BASE => self.write_base(value, host),
            MSR_TSC_DEADLINE if self.config.features.tsc_deadline => {
                self.write_tsc_deadline(value, now, host);
                Ok(())
            }
            _ => {
                let (register, access) = self.x2apic_register(msr)?;
                if access == ApicAccess::ReadOnly {
                    return Err(MsrFault::ReadOnly(msr));
                }
                if value & !self.x2apic_writable(register) != 0 {
                    return Err(MsrFault::ReservedBits { msr, value });
                }
                let [low, high] = halves(value);
                if register == ApicRegister::IcrLow {
                    self.icr.set_destination(high);
                }
                self.write_register(register, low, now, host);
                Ok(())
            }
        }
    }

    /// How far into its register an access to the page is, in bits.
    #[inline]
    fn locate(&self, offset: u16, width: AccessWidth) -> Result<u16, MmioFault> {
        if self.mode() != ApicMode::XApic {
            return Err(MmioFault::NoPage(self.mode()));
        }
        let within = offset % SLOT_SIZE;
        if within + width.bytes() > 4 || usize::from(offset) >= PAGE_SIZE {
            return Err(MmioFault::Straddles { offset, width });
        }
        Ok(within * 8)
    }

    /// The register an access to the page is to; one that is not there is an error of the guest.
    #[inline]
    fn register_at(&mut self, offset: u16) -> Option<ApicRegister> {
        let register = ApicRegister::at_offset(offset - offset % SLOT_SIZE)
            .filter(|register| register.xapic_access() != ApicAccess::Reserved && self.has(*register));
        if register.is_none() {
            self.note_error(ILLEGAL_REGISTER);
        }
        register
    }

    #[inline]
    fn x2apic_register(&self, msr: u32) -> Result<(ApicRegister, ApicAccess), MsrFault> {
        let register = ApicRegister::of_msr(msr).filter(|register| self.has(*register));
        match register.map(|register| (register, register.x2apic_access())) {
            None | Some((_, ApicAccess::Reserved)) => Err(MsrFault::NotThere(msr)),
            Some(_) if self.mode() != ApicMode::X2Apic => Err(MsrFault::Mode { msr, mode: self.mode() }),
            Some(found) => Ok(found),
        }
    }

    /// Whether a register that some have is there in this one.
    #[inline]
    fn has(&self, register: ApicRegister) -> bool {
        register != ApicRegister::Lvt(LvtEntry::Cmci) || self.config.features.cmci
    }

    /// The bits a write in x2APIC mode may set; read-only ones may hold anything (SDM vol. 3A, 11.12.1.2).
    #[inline]
    fn x2apic_writable(&self, register: ApicRegister) -> u64 {
        match register {
            ApicRegister::Eoi | ApicRegister::ErrorStatus => 0,
            ApicRegister::TaskPriority | ApicRegister::SelfIpi => 0xff,
            ApicRegister::IcrLow => u64::from(Icr::WRITABLE_LOW) | 0xffff_ffff << 32,
            ApicRegister::SpuriousVector => self.svr_writable().into_bits().into(),
            ApicRegister::Lvt(entry) => (self.lvt_writable(entry) | entry.read_only()).into(),
            ApicRegister::TimerInitialCount => u32::MAX.into(),
            ApicRegister::TimerDivide => DivideConfiguration::WRITABLE.into(),
            _ => 0,
        }
    }
}

fn mask(width: AccessWidth) -> u32 {
    match width {
        AccessWidth::Byte => 0xff,
        AccessWidth::Word => 0xffff,
        AccessWidth::Dword | AccessWidth::Qword => u32::MAX,
    }
}

/// The lower and the upper half.
#[inline]
fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}
