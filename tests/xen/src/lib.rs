//! The test bed of real hypervisors: boots a machine under QEMU and judges what it says on its console.
//!
//! What it is: a child process with a deadline ([`Machine`]), the lines it wrote with the time of each ([`Transcript`]), and
//! the records among them ([`Record`]), which the test guest (`tests/test-guest`) and dom0 write.
//!
//! What it is not: what is booted. `tests/xen.sh` makes that, from Debian's packages and this repository.
//!
//! ```
//! use carillon_xen_tests::Record;
//!
//! let line = "(XEN) [    9.3] (d1) carillon: case name=fifo.ipi verdict=pass";
//! let record = Record::parse(line).expect("a record");
//! assert_eq!((record.domain(), record.kind()), (Some(1), "case"));
//! assert_eq!(record.get("verdict"), Some("pass"));
//! ```

mod machine;
mod record;
mod transcript;

pub use machine::Machine;
pub use machine::MachineError;
pub use record::Record;
pub use transcript::End;
pub use transcript::Line;
pub use transcript::Transcript;
pub use transcript::Verdict;
