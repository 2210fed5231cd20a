//! The models of hardware against the cores of the hypervisor that program it: two writings of the same manuals.

mod ipi;
