//! What the loader hands over (`struct hvm_start_info`, `public/arch-x86/hvm/start_info.h`).

use core::ffi::CStr;
use core::ptr::with_exposed_provenance;
use core::slice;

use zerocopy::FromBytes;

/// `XEN_HVM_START_MAGIC_VALUE`.
pub(crate) const MAGIC: u32 = 0x336e_c578;
/// `XEN_HVM_MEMMAP_TYPE_RAM`.
pub(crate) const RAM: u32 = 1;

/// The structure, with the fields of version 1.
#[derive(Clone, Copy, Debug, FromBytes)]
#[repr(C)]
pub(crate) struct StartInfo {
    /// [`MAGIC`].
    pub(crate) magic: u32,
    /// The structure's version; the memory map exists from 1 on.
    pub(crate) version: u32,
    flags: u32,
    modules: u32,
    module_list: u64,
    command_line: u64,
    /// Where the ACPI tables begin.
    pub(crate) rsdp: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

/// An area of memory (`struct hvm_memmap_table_entry`).
#[derive(Clone, Copy, Debug, FromBytes)]
#[repr(C)]
pub(crate) struct Area {
    /// Where it begins.
    pub(crate) address: u64,
    /// How long it is, in bytes.
    pub(crate) size: u64,
    /// [`RAM`], or what else it is.
    pub(crate) kind: u32,
    reserved: u32,
}

impl StartInfo {
    /// Reads the structure the guest was entered with.
    ///
    /// # Safety
    /// `address` is what the loader left in EBX.
    pub(crate) unsafe fn read(address: u64) -> Self {
        // SAFETY: the loader has put the structure there, below 4 GiB, where all memory maps to itself.
        unsafe { pointer::<Self>(address).read_unaligned() }
    }

    /// The command line; empty if there is none, or none in UTF-8.
    pub(crate) fn command_line(&self) -> &'static str {
        if self.magic != MAGIC || self.command_line == 0 {
            return "";
        }
        // SAFETY: the loader has put a string with a zero at its end there, which nobody writes.
        let line = unsafe { CStr::from_ptr(pointer(self.command_line)) };
        line.to_str().unwrap_or("")
    }

    /// The memory map; empty before version 1.
    pub(crate) fn memory_map(&self) -> &'static [Area] {
        if self.magic != MAGIC || self.version == 0 || self.memory_map == 0 {
            return &[];
        }
        let length = usize::try_from(self.memory_map_entries).expect("64-bit addresses");
        // SAFETY: the loader has put that many entries there, 8-byte aligned, which nobody writes.
        unsafe { slice::from_raw_parts(pointer(self.memory_map), length) }
    }
}

fn pointer<T>(address: u64) -> *const T {
    with_exposed_provenance(usize::try_from(address).expect("64-bit addresses"))
}
