//! This host, asked directly: what a recording holds, gathered in memory.
//!
//! A live host is read as a recording of this moment and handed to the same importers, so that a picture of it is the one its
//! recording gives.

mod gather;
mod pci;
mod ports;
mod record;
mod xl;

use carillon_sim::import::Note;
use carillon_sim::snapshot::HostSnapshot;
use carillon_xen_host::Hypervisor;
use carillon_xen_host::Privcmd;
use carillon_xen_host::XenError;

use crate::failure::Failure;

pub(crate) use gather::Files;
pub(crate) use gather::INTERRUPTS;
pub(crate) use record::run as record;

/// What a picture of this host is called.
const NAME: &str = "this host";

/// The hypervisor below this system.
pub(crate) fn hypervisor() -> Result<Hypervisor<Privcmd>, Failure> {
    Privcmd::open().and_then(Hypervisor::new).map_err(|error| failure(&error))
}

/// This host as it is now.
pub(crate) fn host() -> Result<HostSnapshot, Failure> {
    snapshot(Files::gather(&hypervisor()?)?)
}

/// The host some files tell of, with what is missing and why.
pub(crate) fn snapshot(files: Files) -> Result<HostSnapshot, Failure> {
    let mut host = HostSnapshot::from_files(NAME, files.contents).map_err(|error| Failure::caused(&error))?;
    let reasons = files.missing.into_iter().map(|missing| Note {
        file: missing.file,
        line: None,
        text: format!("not read: {}", missing.why),
    });
    host.notes.extend(reasons);
    Ok(host)
}

/// An error of the hypervisor's, with what to do about it.
pub(crate) fn failure(error: &XenError) -> Failure {
    let failure = Failure::caused(error);
    match error.remedy() {
        Some(remedy) => failure.hint(remedy),
        None => failure,
    }
}
