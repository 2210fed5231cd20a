//! The guest's side of Xen interrupt delivery: what a guest kernel or unikernel links.
//!
//! What it will be: detection of Xen and of its delivery features, set-up in the order that loses nothing (local APIC
//! first, then vcpu_info, FIFO control block, upcall vector), the upcall loop of both event-channel ABIs, late EOI, IPIs and
//! PIRQs. It allocates nothing and holds no lock.
//!
//! What it is not: privileged instructions and entry code, which are an edge's (`guest-shim/hw`).
//!
//! **State: no code yet.** The event-channel work brings it; until then this crate only keeps its place in the house, so
//! that the layer check already covers it.
#![no_std]
#![forbid(unsafe_code)]
