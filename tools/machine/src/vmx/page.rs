//! The virtual-APIC page: 4 KiB of memory laid out like a local APIC's registers (SDM vol. 3C, 30.1.1).

use core::fmt;

use super::VirtualVector;

/// An offset into a page, in bytes: 0 to 0xfff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageOffset(u16);

impl PageOffset {
    /// VTPR, the virtual task priority.
    pub const VTPR: Self = Self(0x080);
    /// VPPR, the virtual processor priority.
    pub const VPPR: Self = Self(0x0a0);
    /// VEOI, a write to which ends the interrupt in service.
    pub const VEOI: Self = Self(0x0b0);
    /// VICR_LO, the lower half of the virtual interrupt command register.
    pub const VICR_LO: Self = Self(0x300);
    /// VICR_HI, its upper half.
    pub const VICR_HI: Self = Self(0x310);
    /// The register of self-IPIs in x2APIC mode.
    pub const SELF_IPI: Self = Self(0x3f0);

    /// The offset of an address in its page: the low 12 bits.
    #[must_use]
    pub const fn of_address(address: u64) -> Self {
        let [low, high, ..] = address.to_le_bytes();
        Self(u16::from_le_bytes([low, high & 0xf]))
    }

    /// The offset in bytes.
    #[must_use]
    pub const fn bytes(self) -> u16 {
        self.0
    }

    /// The beginning of the naturally aligned 16 bytes it lies in.
    #[must_use]
    pub const fn slot(self) -> Self {
        Self(self.0 & !0xf)
    }

    /// The second four bytes of a slot, where the upper half of a register of 64 bits stands.
    const fn upper_half(self) -> Self {
        Self(self.0 + 4)
    }

    const fn word(self) -> usize {
        self.0 as usize >> 2
    }
}

impl fmt::Display for PageOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03X}H", self.0)
    }
}

/// How many bytes a memory access touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// One.
    Byte,
    /// Two.
    Word,
    /// Four.
    Doubleword,
    /// Eight, which no APIC register has.
    Quadword,
}

impl Width {
    /// All of them, ascending.
    pub const ALL: [Self; 4] = [Self::Byte, Self::Word, Self::Doubleword, Self::Quadword];

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u16 {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Doubleword => 4,
            Self::Quadword => 8,
        }
    }

    const fn mask(self) -> u32 {
        match self {
            Self::Byte => 0xff,
            Self::Word => 0xffff,
            Self::Doubleword | Self::Quadword => u32::MAX,
        }
    }
}

/// A 256-bit register of the page that the processor reads and writes by vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VectorRegister {
    /// VISR: the vectors in service.
    InService,
    /// VIRR: the vectors that wait.
    Request,
}

impl VectorRegister {
    const fn base(self) -> u16 {
        match self {
            Self::InService => 0x100,
            Self::Request => 0x200,
        }
    }

    /// The place of the bit for `vector` (SDM vol. 3C, 30.1.1): bit `x & 1FH` at the offset `base | (x & E0H) >> 1`.
    const fn place(self, vector: VirtualVector) -> (PageOffset, u32) {
        (PageOffset(self.base() | (vector.0 as u16 & 0xe0) >> 1), 1 << (vector.0 & 0x1f))
    }
}

/// Memory that the processor uses as a virtual-APIC page.
pub trait RegisterPage {
    /// The four bytes around `offset`, naturally aligned.
    fn word(&self, offset: PageOffset) -> u32;

    /// Sets the four bytes around `offset`.
    fn set_word(&mut self, offset: PageOffset, value: u32);

    /// VTPR, of which only the low byte means anything.
    fn vtpr(&self) -> u8 {
        self.word(PageOffset::VTPR).to_le_bytes()[0]
    }

    /// VPPR.
    fn vppr(&self) -> u8 {
        self.word(PageOffset::VPPR).to_le_bytes()[0]
    }

    /// Whether `vector` is set in `register`.
    fn contains(&self, register: VectorRegister, vector: VirtualVector) -> bool {
        let (offset, bit) = register.place(vector);
        self.word(offset) & bit != 0
    }

    /// Sets `vector` in `register`.
    fn insert(&mut self, register: VectorRegister, vector: VirtualVector) {
        let (offset, bit) = register.place(vector);
        self.set_word(offset, self.word(offset) | bit);
    }

    /// Sets the 64 vectors from `first`, a multiple of 64, whose bits are set in `bits`.
    fn merge(&mut self, register: VectorRegister, first: VirtualVector, bits: u64) {
        let [a, b, c, d, e, f, g, h] = bits.to_le_bytes();
        let halves = [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])];
        for (number, half) in [first.0, first.0 | 0x20].into_iter().zip(halves) {
            if half != 0 {
                let (offset, _) = register.place(VirtualVector(number));
                self.set_word(offset, self.word(offset) | half);
            }
        }
    }

    /// Clears `vector` in `register`.
    fn remove(&mut self, register: VectorRegister, vector: VirtualVector) {
        let (offset, bit) = register.place(vector);
        self.set_word(offset, self.word(offset) & !bit);
    }

    /// The highest vector set in `register`.
    fn highest(&self, register: VectorRegister) -> Option<VirtualVector> {
        (0..8_u8).rev().find_map(|bank| {
            let word = self.word(PageOffset(register.base() + u16::from(bank) * 16));
            (word != 0).then(|| VirtualVector(bank * 32 + word.ilog2().to_le_bytes()[0]))
        })
    }
}

/// The page. Only the lower four bytes of a 16-byte slot mean anything to the processor; it reads and keeps the rest too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualApicPage([u32; 1024]);

impl Default for VirtualApicPage {
    fn default() -> Self {
        Self::new()
    }
}

impl VirtualApicPage {
    /// A page of zeros.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; 1024])
    }

    /// All of it, a word per four bytes.
    #[must_use]
    pub const fn words(&self) -> &[u32; 1024] {
        &self.0
    }
}

impl RegisterPage for VirtualApicPage {
    fn word(&self, offset: PageOffset) -> u32 {
        self.0[offset.word()]
    }

    fn set_word(&mut self, offset: PageOffset, value: u32) {
        self.0[offset.word()] = value;
    }
}

/// Accesses by instructions.
pub(super) trait AccessedPage: RegisterPage {
    /// The value of an access that stays within four aligned bytes.
    fn load(&self, offset: PageOffset, width: Width) -> u32 {
        self.word(offset) >> (8 * (offset.0 & 3)) & width.mask()
    }

    /// Stores as much of `value` as such an access writes.
    fn store(&mut self, offset: PageOffset, width: Width, value: u32) {
        let shift = 8 * (offset.0 & 3);
        let mask = width.mask() << shift;
        self.set_word(offset, self.word(offset) & !mask | value << shift & mask);
    }

    /// The eight bytes at the beginning of a slot, as RDMSR returns them.
    fn slot(&self, offset: PageOffset) -> u64 {
        u64::from(self.word(offset.slot().upper_half())) << 32 | u64::from(self.word(offset.slot()))
    }

    /// Stores the eight bytes at the beginning of a slot, as WRMSR does.
    fn set_slot(&mut self, offset: PageOffset, value: u64) {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        self.set_word(offset.slot(), u32::from_le_bytes([a, b, c, d]));
        self.set_word(offset.slot().upper_half(), u32::from_le_bytes([e, f, g, h]));
    }
}

impl<P: RegisterPage> AccessedPage for P {}

#[cfg(test)]
mod tests {
    use super::AccessedPage as _;
    use super::PageOffset;
    use super::RegisterPage as _;
    use super::VectorRegister;
    use super::VirtualApicPage;
    use super::Width;
    use crate::vmx::VirtualVector;

    #[test]
    fn the_bits_of_a_register_lie_in_eight_words_sixteen_bytes_apart() {
        for (register, base) in [(VectorRegister::InService, 0x100), (VectorRegister::Request, 0x200)] {
            for number in 0..=255_u8 {
                let mut page = VirtualApicPage::new();
                page.insert(register, VirtualVector(number));
                let offset = PageOffset(base + u16::from(number / 32) * 16);
                assert_eq!(page.word(offset), 1 << (number % 32));
                assert!(page.contains(register, VirtualVector(number)));
                assert_eq!(page.highest(register), Some(VirtualVector(number)));
                page.remove(register, VirtualVector(number));
                assert_eq!(page, VirtualApicPage::new());
            }
        }
    }

    #[test]
    fn the_highest_of_two_vectors_is_found_wherever_they_lie() {
        for low in 0..=255_u8 {
            for high in low..=255 {
                let mut page = VirtualApicPage::new();
                page.insert(VectorRegister::Request, VirtualVector(low));
                page.insert(VectorRegister::Request, VirtualVector(high));
                assert_eq!(page.highest(VectorRegister::Request), Some(VirtualVector(high)));
                assert_eq!(page.highest(VectorRegister::InService), None);
            }
        }
    }

    #[test]
    fn a_narrow_store_leaves_its_neighbours_alone() {
        let mut page = VirtualApicPage::new();
        page.store(PageOffset(0x300), Width::Doubleword, 0x4433_2211);
        page.store(PageOffset(0x301), Width::Byte, 0xffff_ffaa);
        assert_eq!(page.word(PageOffset::VICR_LO), 0x4433_aa11);
        page.store(PageOffset(0x302), Width::Word, 0xffff_beef);
        assert_eq!(page.word(PageOffset::VICR_LO), 0xbeef_aa11);
        assert_eq!(page.load(PageOffset(0x302), Width::Word), 0xbeef);
        assert_eq!(page.load(PageOffset(0x303), Width::Byte), 0xbe);
    }
}
