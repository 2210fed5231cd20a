//! The models of hardware against the cores of the hypervisor that program it: two writings of the same manuals.

mod amd;
mod amd_race;
mod avic_access;
mod avic_ipi;
mod avic_race;
mod avic_vm;
mod ipi;
mod order;
mod vtd;
