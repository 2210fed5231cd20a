//! Where a recording's files are: in a directory, in this program, or in its caller's memory.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::import::ImportError;
use crate::import::Source;

/// A recording that comes with the program: a real Xen 4.17.7 host with 4 CPUs, dom0 with two SAS controllers, and one
/// guest with a network card passed through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recorded {
    /// The guest's card signals by MSI-X.
    SasNic,
    /// The guest's card signals by a level-triggered pin it shares with dom0.
    SasIntx,
}

/// Where a recording's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recording {
    Directory(PathBuf),
    Embedded(Recorded),
    Memory {
        name: String,
        /// Shared, since a snapshot keeps them for the traces that are read later.
        files: Arc<BTreeMap<String, Vec<u8>>>,
    },
}

/// One embedded file: its name and its bytes.
type Embedded = (&'static str, &'static [u8]);

macro_rules! embedded {
    ($directory:literal: $($file:literal),+ $(,)?) => {
        &[$(($file, include_bytes!(concat!("../../data/", $directory, "/", $file)))),+]
    };
}

const SAS_NIC: &[Embedded] = embedded!("xen-sas-nic":
    "dump-M.txt", "dump-e.txt", "dump-i.txt", "dump-q.txt", "dump-z.txt", "ftrace-irq.txt.gz", "guest-interrupts.txt",
    "interrupts-after.txt", "interrupts.txt", "lsevtchn-0.txt", "lsevtchn-1.txt", "pci.txt", "xentrace.bin.gz",
    "xl-info.txt", "xl-list.txt", "xl-vcpu-list.txt",
);

const SAS_INTX: &[Embedded] = embedded!("xen-sas-intx":
    "dump-M.txt", "dump-e.txt", "dump-i.txt", "dump-q.txt", "dump-z.txt", "ftrace-irq.txt.gz", "guest-interrupts.txt",
    "interrupts-after.txt", "interrupts.txt", "lsevtchn-0.txt", "lsevtchn-1.txt", "pci.txt", "xentrace.bin.gz",
    "xl-info.txt", "xl-list.txt", "xl-vcpu-list.txt",
);

impl Recorded {
    /// Both.
    pub const ALL: [Self; 2] = [Self::SasNic, Self::SasIntx];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SasNic => "xen-sas-nic",
            Self::SasIntx => "xen-sas-intx",
        }
    }

    const fn files(self) -> &'static [Embedded] {
        match self {
            Self::SasNic => SAS_NIC,
            Self::SasIntx => SAS_INTX,
        }
    }
}

impl Recording {
    /// What a person calls it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Directory(directory) => directory.display().to_string(),
            Self::Embedded(recorded) => recorded.name().to_owned(),
            Self::Memory { name, .. } => name.clone(),
        }
    }

    /// The file `name`, plain or as `name.gz`; none if there is neither.
    pub(crate) fn open(&self, name: &str) -> Result<Option<Source>, ImportError> {
        for name in [name.to_owned(), format!("{name}.gz")] {
            match self {
                Self::Directory(directory) => {
                    let path = directory.join(name);
                    // Whatever stands there is to be read, be it a link that leads nowhere: only nothing is nothing.
                    let is_absent = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
                    if !path.symlink_metadata().is_err_and(is_absent) {
                        return Source::read(&path).map(Some);
                    }
                }
                Self::Embedded(recorded) => {
                    if let Some((_, bytes)) = recorded.files().iter().find(|(file, _)| *file == name) {
                        return in_memory(recorded.name(), &name, bytes).map(Some);
                    }
                }
                Self::Memory { name: recording, files } => {
                    if let Some(bytes) = files.get(&name) {
                        return in_memory(recording, &name, bytes).map(Some);
                    }
                }
            }
        }
        Ok(None)
    }
}

/// A file in memory, inflated if its name ends in `.gz`.
fn in_memory(recording: &str, file: &str, bytes: &[u8]) -> Result<Source, ImportError> {
    let name = format!("{recording}/{file}");
    if file.ends_with(".gz") { Source::inflate(name, bytes) } else { Ok(Source::new(name, bytes)) }
}
