//! Gives the shared library its soname: what a program that was linked against it looks for when it starts.
//!
//! Before 1.0 every minor version may change the interface, so the soname carries major and minor; from 1.0 on the major.

use std::env;

fn main() {
    let part = |name: &str| env::var(format!("CARGO_PKG_VERSION_{name}")).unwrap_or_default();
    let (major, minor) = (part("MAJOR"), part("MINOR"));
    let version = if major == "0" { format!("{major}.{minor}") } else { major };
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcarillon.so.{version}");
    println!("cargo::rerun-if-changed=build.rs");
}
