//! How the allocator's types appear in a snapshot's JSON: as they print.

use std::fmt::Display;

use carillon_machine::VcpuRef;
use serde::Serializer;

/// As text.
pub(crate) fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// As text, or null.
pub(crate) fn optional_text<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.serialize_some(&value.to_string()),
        None => serializer.serialize_none(),
    }
}

/// As `d0v1`.
pub(crate) fn vcpu<S: Serializer>(value: &VcpuRef, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{}v{}", value.domain, value.vcpu))
}
