//! `carillon record`: this host's files in a directory, for the importers.

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use carillon_xen_host::ForeignMemory;
use carillon_xen_host::Hypercalls;
use carillon_xen_host::Hypervisor;
use carillon_xen_host::TraceBuffers;
use carillon_xen_host::TraceSize;
use carillon_xen_host::XenError;
use hypervisor_abi::trace;
use serde::Serialize;

use super::Files;
use super::failure;
use super::gather::INTERRUPTS;
use crate::cli::RecordArgs;
use crate::failure::Failure;
use crate::failure::Verdict;
use crate::output::Answer;
use crate::output::Output;
use crate::page::Page;
use crate::page::Tone;

/// Pages of a CPU's trace buffer, as `xentrace -S 256` has them: a quarter of a second at a million records.
const TRACE: TraceSize = TraceSize { pages_per_cpu: NonZeroU32::new(256).expect("not zero") };
/// How often the trace buffers are emptied.
const DRAIN: Duration = Duration::from_millis(20);
/// What only dom0's tracing file system and the guests themselves know.
const BY_HAND: [(&str, &str); 2] = [
    ("ftrace-irq.txt", "how long dom0's handlers run; `carillon explain dumps` says how to record it"),
    ("guest-interrupts-N.txt", "the guests' names of their interrupts; copy /proc/interrupts of guest N there"),
];

/// What was recorded.
#[derive(Debug, Serialize)]
struct Recording {
    directory: String,
    files: Vec<Written>,
    missing: Vec<NotWritten>,
}

/// A file that was written.
#[derive(Debug, Serialize)]
struct Written {
    name: String,
    bytes: usize,
}

/// A file that was not.
#[derive(Debug, Serialize)]
struct NotWritten {
    name: String,
    why: String,
}

/// Records this host.
pub(crate) fn run(args: &RecordArgs, out: Output) -> Result<Verdict, Failure> {
    let unwritable =
        |path: &Path, error: std::io::Error| Failure::new(format!("{} cannot be written: {error}", path.display()));
    // What cannot be written is said before the time is spent, and no recording is mixed with an older one.
    fs::create_dir_all(&args.directory).map_err(|error| unwritable(&args.directory, error))?;
    let mut entries = fs::read_dir(&args.directory).map_err(|error| unwritable(&args.directory, error))?;
    if entries.next().is_some() {
        return Err(Failure::new(format!("{} is not empty", args.directory.display()))
            .hint("a recording's files belong together: name a directory that is empty or not there"));
    }
    let xen = super::hypervisor()?;
    let mut files = Files::gather(&xen)?;
    match traced(&xen, Duration::from_nanos(args.duration_ns)) {
        Ok(trace) => files.put("xentrace.bin", trace),
        Err(error) => files.lack("xentrace.bin", &failure(&error)),
    }
    match fs::read(INTERRUPTS) {
        Ok(interrupts) => files.put("interrupts-after.txt", interrupts),
        Err(error) => files.lack("interrupts-after.txt", &format!("{INTERRUPTS}: {error}")),
    }
    for (file, what) in BY_HAND {
        files.lack(file, &what);
    }
    for (name, contents) in &files.contents {
        let path = args.directory.join(name);
        fs::write(&path, contents).map_err(|error| unwritable(&path, error))?;
    }
    let recording = Recording {
        directory: args.directory.display().to_string(),
        files: files.contents.into_iter().map(|(name, contents)| Written { name, bytes: contents.len() }).collect(),
        missing: files.missing.into_iter().map(|missing| NotWritten { name: missing.file, why: missing.why }).collect(),
    };
    out.print(&recording, args.output.format())?;
    Ok(Verdict::Fine)
}

/// What `xentrace` would write in that time.
fn traced<H: Hypercalls + ForeignMemory>(xen: &Hypervisor<H>, duration: Duration) -> Result<Vec<u8>, XenError> {
    let mut trace = Vec::new();
    let mut buffers = TraceBuffers::start(xen, trace::RECORDED_EVENTS, TRACE)?;
    let begin = Instant::now();
    while begin.elapsed() < duration {
        thread::sleep(DRAIN.min(duration));
        buffers.drain(&mut trace)?;
    }
    Ok(trace)
}

impl Answer for Recording {
    fn show(&self, page: &mut Page) {
        page.title(&self.directory);
        let rows = self.files.iter().map(|file| vec![file.name.clone().into(), file.bytes.to_string().into()]);
        page.table(&["file", "bytes"], rows.collect());
        page.heading("What was not recorded, and why");
        for missing in &self.missing {
            page.line(Tone::Faint, &format!("  {}: {}", missing.name, missing.why));
        }
        page.line(Tone::Plain, &format!("Then: carillon inspect --from {}", self.directory));
    }
}
