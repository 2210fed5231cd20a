//! A host as it was recorded: everything its files say, side by side, and what they leave open.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use vector_allocator::DomainId;

use super::recording::Recorded;
use super::recording::Recording;
use crate::import::BootLog;
use crate::import::DomainDump;
use crate::import::DomainLine;
use crate::import::EventDump;
use crate::import::ImportError;
use crate::import::IoApicDump;
use crate::import::IrqDump;
use crate::import::MsiDump;
use crate::import::Note;
use crate::import::PciFunction;
use crate::import::PortStatus;
use crate::import::ProcInterrupts;
use crate::import::Source;
use crate::import::VcpuLine;
use crate::import::XlInfo;
use crate::import::boot_log;
use crate::import::dump_e;
use crate::import::dump_i;
use crate::import::dump_m;
use crate::import::dump_q;
use crate::import::dump_z;
use crate::import::lsevtchn;
use crate::import::pci;
use crate::import::proc_interrupts;
use crate::import::xl;

/// A recorded host.
///
/// Its dumps are taken one after the other, about a second apart, so they can contradict each other;
/// [`notes`](Self::notes) then says so and which one counts.
#[derive(Clone, Debug, Serialize)]
pub struct HostSnapshot {
    /// What a person calls the recording.
    pub name: String,
    /// `dump-i.txt`: the IRQs. It counts where others contradict it.
    pub irqs: IrqDump,
    /// `dump-M.txt`: the message-signalled interrupts.
    pub messages: Option<MsiDump>,
    /// `dump-z.txt`: the IO-APICs.
    pub io_apics: Option<IoApicDump>,
    /// `dump-e.txt`: the event channels.
    pub events: Option<EventDump>,
    /// `dump-q.txt`: the domains.
    pub domains: Option<DomainDump>,
    /// `xl-info.txt`.
    pub info: Option<XlInfo>,
    /// `xl-list.txt`.
    pub domain_list: Option<Vec<DomainLine>>,
    /// `xl-vcpu-list.txt`.
    pub vcpu_list: Option<Vec<VcpuLine>>,
    /// `lsevtchn-N.txt`, by domain N.
    pub ports: BTreeMap<u16, Vec<PortStatus>>,
    /// `pci.txt`: the PCI functions and dom0's drivers.
    pub functions: Option<Vec<PciFunction>>,
    /// `interrupts.txt`: dom0's `/proc/interrupts`.
    pub interrupts: Option<ProcInterrupts>,
    /// `interrupts-after.txt`: the same, after the trace was taken.
    pub interrupts_after: Option<ProcInterrupts>,
    /// `guest-interrupts-N.txt` by domain N, or `guest-interrupts.txt` of the only guest.
    pub guest_interrupts: BTreeMap<u16, ProcInterrupts>,
    /// `xl-dmesg.txt`: what Xen said while it booted.
    pub boot_log: Option<BootLog>,
    /// What the files leave open, what was passed over, and where they contradict each other.
    pub notes: Vec<Note>,
    #[serde(skip)]
    pub(super) recording: Recording,
}

/// The files a recording can do without, and what cannot be told then.
const OPTIONAL: [(&str, &str); 9] = [
    ("dump-M.txt", "message-signalled interrupts cannot be checked against the IRQs"),
    ("dump-z.txt", "IO-APIC pins cannot be checked against the IRQs"),
    ("dump-e.txt", "which vCPU handles an interrupt is not known: any of its domain's can"),
    ("dump-q.txt", "who may use an unbound interrupt is not known: it counts as dom0's"),
    ("xl-info.txt", "version, command line and number of CPUs are not known"),
    ("xl-vcpu-list.txt", "the toolstack's view of the vCPUs is not known"),
    ("pci.txt", "devices cannot be named"),
    ("interrupts.txt", "dom0's names of interrupts are not known"),
    ("xl-dmesg.txt", "the APIC driver is taken from the dumps"),
];

impl HostSnapshot {
    /// Reads a recording from a directory; each file may be plain or end in `.gz`.
    ///
    /// # Errors
    /// [`ImportError`] if `dump-i.txt` is missing, or a file that is there cannot be understood.
    pub fn load(directory: &Path) -> Result<Self, ImportError> {
        Self::read(Recording::Directory(directory.to_owned()))
    }

    /// Reads a recording whose files are in memory, by the names they have in a directory; `name` is what errors call it.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_files(name: impl Into<String>, files: BTreeMap<String, Vec<u8>>) -> Result<Self, ImportError> {
        Self::read(Recording::Memory { name: name.into(), files: Arc::new(files) })
    }

    /// A recording that comes with the program.
    ///
    /// # Errors
    /// As [`load`](Self::load); the recordings are tested to give none.
    pub fn recorded(recorded: Recorded) -> Result<Self, ImportError> {
        Self::read(Recording::Embedded(recorded))
    }

    fn read(recording: Recording) -> Result<Self, ImportError> {
        let name = recording.name();
        let open = |file: &str| recording.open(file);
        let missing =
            || ImportError::Missing { file: name.clone(), expected: "the file dump-i.txt (`xl debug-keys i`)" };
        let mut snapshot = Self {
            irqs: dump_i::parse(&open("dump-i.txt")?.ok_or_else(missing)?)?,
            messages: read_with(open("dump-M.txt")?, dump_m::parse)?,
            io_apics: read_with(open("dump-z.txt")?, dump_z::parse)?,
            events: read_with(open("dump-e.txt")?, dump_e::parse)?,
            domains: read_with(open("dump-q.txt")?, dump_q::parse)?,
            info: read_with(open("xl-info.txt")?, xl::parse_info)?,
            domain_list: read_with(open("xl-list.txt")?, xl::parse_list)?,
            vcpu_list: read_with(open("xl-vcpu-list.txt")?, xl::parse_vcpu_list)?,
            ports: BTreeMap::new(),
            functions: read_with(open("pci.txt")?, pci::parse)?,
            interrupts: read_with(open("interrupts.txt")?, proc_interrupts::parse)?,
            interrupts_after: read_with(open("interrupts-after.txt")?, proc_interrupts::parse)?,
            guest_interrupts: BTreeMap::new(),
            boot_log: open("xl-dmesg.txt")?.map(|source| boot_log::parse(&source)),
            notes: Vec::new(),
            name: name.clone(),
            recording: recording.clone(),
        };
        for (file, consequence) in OPTIONAL {
            if open(file)?.is_none() {
                snapshot.notes.push(Note::on_file(&name, format!("{file} is not there: {consequence}")));
            }
        }
        snapshot.read_domains_files()?;
        snapshot.gather_notes();
        snapshot.note_contradictions();
        let (_, unnamed) = snapshot.pirq_names();
        snapshot.notes.extend(unnamed);
        Ok(snapshot)
    }

    /// Reads the files there is one of for each domain.
    fn read_domains_files(&mut self) -> Result<(), ImportError> {
        let ids = self.domain_ids();
        for id in &ids {
            if let Some(ports) = read_with(self.recording.open(&format!("lsevtchn-{}.txt", id.0))?, lsevtchn::parse)? {
                self.ports.insert(id.0, ports);
            }
            let file = format!("guest-interrupts-{}.txt", id.0);
            if let Some(table) = read_with(self.recording.open(&file)?, proc_interrupts::parse)? {
                self.guest_interrupts.insert(id.0, table);
            }
        }
        let mut guests = ids.iter().filter(|id| id.0 != 0);
        if let Some(table) = read_with(self.recording.open("guest-interrupts.txt")?, proc_interrupts::parse)? {
            match (guests.next(), guests.next()) {
                (Some(guest), None) => {
                    self.guest_interrupts.entry(guest.0).or_insert(table);
                }
                _ => self.notes.push(Note::on_file(
                    "guest-interrupts.txt",
                    "whose it is cannot be told, since there is not exactly one guest; call it guest-interrupts-N.txt",
                )),
            }
        }
        Ok(())
    }

    /// Every domain any file tells of, ascending.
    #[must_use]
    pub fn domain_ids(&self) -> Vec<DomainId> {
        let events = self.events.iter().flat_map(|dump| dump.domains.iter().map(|domain| domain.domain));
        let domains = self.domains.iter().flat_map(|dump| dump.domains.iter().map(|domain| domain.id));
        let listed = self.domain_list.iter().flatten().map(|line| line.id);
        let bound = self.irqs.irqs.iter().flat_map(|irq| irq.binders().iter().map(|binder| binder.domain));
        let mut ids: Vec<DomainId> = events.chain(domains).chain(listed).chain(bound).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// A domain's name; none if `xl list` was not recorded or has not got it.
    #[must_use]
    pub fn domain_name(&self, id: DomainId) -> Option<&str> {
        let listed = self.domain_list.iter().flatten().find(|line| line.id == id).map(|line| line.name.as_str());
        listed.or_else(|| self.vcpu_list.iter().flatten().find(|line| line.domain == id).map(|line| line.name.as_str()))
    }

    /// Moves what the importers noted from their parts to the whole.
    fn gather_notes(&mut self) {
        let Self { irqs, messages, io_apics, events, domains, interrupts, interrupts_after, guest_interrupts, .. } =
            self;
        let parts = [
            Some(&mut irqs.notes),
            messages.as_mut().map(|dump| &mut dump.notes),
            io_apics.as_mut().map(|dump| &mut dump.notes),
            events.as_mut().map(|dump| &mut dump.notes),
            domains.as_mut().map(|dump| &mut dump.notes),
            interrupts.as_mut().map(|file| &mut file.notes),
            interrupts_after.as_mut().map(|file| &mut file.notes),
        ];
        let all = parts.into_iter().flatten().chain(guest_interrupts.values_mut().map(|file| &mut file.notes));
        for notes in all {
            self.notes.append(notes);
        }
    }
}

fn read_with<T>(
    source: Option<Source>,
    parse: impl Fn(&Source) -> Result<T, ImportError>,
) -> Result<Option<T>, ImportError> {
    source.map(|source| parse(&source)).transpose()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use super::HostSnapshot;
    use crate::snapshot::Recorded;

    #[test]
    fn files_in_memory_make_the_same_host_as_a_directory_of_them() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/xen-sas-nic");
        let entries = fs::read_dir(&directory).expect("the recording").flatten();
        let files: BTreeMap<String, Vec<u8>> = entries
            .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("a file")))
            .collect();
        let (in_memory, embedded) =
            (HostSnapshot::from_files("buffers", files).unwrap(), HostSnapshot::recorded(Recorded::SasNic).unwrap());
        assert_eq!(in_memory.name, "buffers");
        assert_eq!(in_memory.assignment(), embedded.assignment());
        assert_eq!(in_memory.activity().unwrap().vcpus, embedded.activity().unwrap().vcpus);
        let error = HostSnapshot::from_files("buffers", BTreeMap::new()).unwrap_err().to_string();
        assert!(error.starts_with("buffers: expected the file dump-i.txt"), "{error}");
    }
}
