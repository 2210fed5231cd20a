//! Messages to and from xenstore (`public/io/xs_wire.h`).

/// The beginning of every message (`struct xsd_sockmsg`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct MessageHeader {
    /// What it is: `XS_*`.
    pub kind: u32,
    /// Which request it is, or answers.
    pub req_id: u32,
    /// Its transaction; 0 outside of any.
    pub tx_id: u32,
    /// How many bytes follow, at most [`PAYLOAD_MAX`].
    pub len: u32,
}

/// Lists the names below a path (`XS_DIRECTORY`).
pub const XS_DIRECTORY: u32 = 1;
/// Reads the value at a path (`XS_READ`).
pub const XS_READ: u32 = 2;
/// A watched path has changed; comes unasked (`XS_WATCH_EVENT`).
pub const XS_WATCH_EVENT: u32 = 15;
/// The request was refused: the name of an errno, such as `ENOENT` (`XS_ERROR`).
pub const XS_ERROR: u32 = 16;

/// The most bytes that follow a header (`XENSTORE_PAYLOAD_MAX`).
pub const PAYLOAD_MAX: usize = 4096;
