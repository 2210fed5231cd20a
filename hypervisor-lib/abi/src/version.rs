//! What the hypervisor says of itself (`public/version.h`); this interface is stable.

/// The version: major in bits 31:16, minor below (`XENVER_version`).
pub const XENVER_VERSION: u32 = 0;
/// What follows the version's two numbers (`XENVER_extraversion`).
pub const XENVER_EXTRAVERSION: u32 = 1;
/// Who compiled it, when and by what (`XENVER_compile_info`).
pub const XENVER_COMPILE_INFO: u32 = 2;
/// The kinds of guests it runs (`XENVER_capabilities`).
pub const XENVER_CAPABILITIES: u32 = 3;
/// Its command line (`XENVER_commandline`).
pub const XENVER_COMMANDLINE: u32 = 9;

/// The size of [`XENVER_EXTRAVERSION`]'s text, bytes.
pub const EXTRAVERSION_SIZE: usize = 16;
/// The size of [`XENVER_CAPABILITIES`]' text, bytes.
pub const CAPABILITIES_SIZE: usize = 1024;
/// The size of [`XENVER_COMMANDLINE`]'s text, bytes.
pub const COMMANDLINE_SIZE: usize = 1024;

/// The result of [`XENVER_COMPILE_INFO`] (`struct xen_compile_info`); each text ends in a zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct CompileInfo {
    /// The compiler.
    pub compiler: [u8; 64],
    /// Who ran it.
    pub compile_by: [u8; 16],
    /// Where.
    pub compile_domain: [u8; 32],
    /// When.
    pub compile_date: [u8; 32],
}
