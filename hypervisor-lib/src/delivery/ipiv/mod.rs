//! Intel's IPI virtualization: a vCPU sends to another without an exit (SDM vol. 3C, 30.1.6).
//!
//! ```text
//! ICR write ──► judge ─┬─ fixed, edge, physical, no shorthand ──► PidTable::look_up ─┬─► posted::post
//!                      ├─ to itself ──► VIRR, RVI                                    └─► APIC-write exit ┐
//!                      └─ everything else ──► APIC-write exit ───────────────────────────────────────────┴─► finish
//! ```
//!
//! What it is: the table, which the hypervisor keeps; which writes the processor takes on; and what it leaves to do with the
//! rest. What it is not: the protocol over the descriptors, which is [`posted`](super::posted)'s: a processor that sends is a
//! posting agent like any other, never urgent, and whether a target that does not run comes to know depends on its descriptor
//! alone.
//!
//! ```
//! use hypervisor_abi::pid_pointer::PidPointerCell;
//! use hypervisor_lib::delivery::Interception;
//! use hypervisor_lib::delivery::ipiv::Assist;
//! use hypervisor_lib::delivery::ipiv::IcrWrite;
//! use hypervisor_lib::delivery::ipiv::Interface;
//! use hypervisor_lib::delivery::ipiv::LookUp;
//! use hypervisor_lib::delivery::ipiv::Outcome;
//! use hypervisor_lib::delivery::ipiv::PidTable;
//! use hypervisor_lib::delivery::ipiv::judge;
//! use vector_allocator::Vector;
//!
//! let cells: [PidPointerCell; 4] = Default::default();
//! let table = PidTable::new(&cells, 46)?;
//! table.insert(1, 0x1_2340)?; // the address of vCPU 1's descriptor
//!
//! let write = IcrWrite::Msr(1 << 32 | 0x51, Interception::PassThrough);
//! let outcome = judge(write, Interface::Msrs, Assist::IpiVirtualization);
//! assert_eq!(outcome, Outcome::Ipi { vector: Vector::new(0x51)?, target: 1 });
//! assert_eq!(table.look_up(1), LookUp::Post { descriptor: 0x1_2340 });
//! assert_eq!(table.look_up(2), LookUp::Exit);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod icr_write;
mod table;

pub use icr_write::Assist;
pub use icr_write::IcrWrite;
pub use icr_write::Interface;
pub use icr_write::Outcome;
pub use icr_write::Rest;
pub use icr_write::finish;
pub use icr_write::judge;
pub use table::LookUp;
pub use table::PidTable;
pub use table::PidTableError;
