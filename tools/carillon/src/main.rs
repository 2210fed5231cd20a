//! See, plan and simulate which interrupt outranks which on a Xen host.
#![forbid(unsafe_code)]

mod cli;
mod duration;
mod explain;
mod failure;
mod page;

fn main() {}
