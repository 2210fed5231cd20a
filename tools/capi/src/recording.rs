//! A host as its dumps tell of it, for C: text in, a snapshot to inspect and to plan for.

use std::collections::BTreeMap;
use std::ffi::c_char;

use carillon_sim::snapshot::HostSnapshot;
use parking_lot::Mutex;

use crate::call::enter;
use crate::handle;
use crate::handle::Handle;
use crate::handle::Object;
use crate::inspection::Inspection;
use crate::plan::GoalOptions;
use crate::plan::Plan;
use crate::pointer::bytes;
use crate::pointer::from_c;
use crate::pointer::input;
use crate::pointer::number;
use crate::pointer::text;
use crate::status::Failure;
use crate::status::Status;

/// A host's files, by the names they have in a recording's directory.
struct Recording {
    name: String,
    files: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Object for Recording {
    const NAME: &'static str = "a recording";
}

impl Recording {
    fn read(&self) -> Result<HostSnapshot, Failure> {
        let files = self.files.lock().clone();
        Ok(HostSnapshot::from_files(&self.name, files)?)
    }
}

/// Makes an empty recording of a host.
///
/// @param name       What errors and answers call the host.
/// @param recording  The recording.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_recording_create(name: *const c_char, recording: *mut Handle) -> Status {
    enter(|| {
        let name = from_c!(text(name, "name"))?.to_owned();
        let recording = from_c!(number(recording, "recording"))?;
        recording.write(handle::insert(Recording { name, files: Mutex::default() })?);
        Ok(())
    })
}

/// Adds a file to a recording, or replaces it; the bytes are copied. It is read when the recording is inspected or planned
/// for.
///
/// @param recording  The recording.
/// @param file       Its name: `dump-i.txt` (what `xl debug-keys i` prints) must be there; `dump-M.txt`, `dump-e.txt`,
///                   `dump-q.txt`, `dump-z.txt`, `xl-info.txt`, `xl-dmesg.txt`, `xl-list.txt`, `xl-vcpu-list.txt`,
///                   `interrupts.txt`, `pci.txt` and others say more. With `.gz` at its end it is inflated.
/// @param contents   What is in it.
/// @param size       How many bytes.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_recording_add(
    recording: Handle,
    file: *const c_char,
    contents: *const u8,
    size: usize,
) -> Status {
    enter(|| {
        let file = from_c!(text(file, "file"))?.to_owned();
        let contents = from_c!(bytes(contents, size, "contents"))?.to_vec();
        handle::with(recording, |recording: &Recording| {
            recording.files.lock().insert(file, contents);
            Ok(())
        })
    })
}

/// Inspects a recorded host: whose interrupt is where, and where a guest outranks dom0 or can hold it back.
///
/// @param recording   The recording.
/// @param inspection  What was found.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_recording_inspect(recording: Handle, inspection: *mut Handle) -> Status {
    enter(|| {
        let inspection = from_c!(number(inspection, "inspection"))?;
        let host = handle::with(recording, Recording::read)?;
        inspection.write(handle::insert(Inspection::of(&host)?)?);
        Ok(())
    })
}

/// Plans the fewest moves after which no guest outranks dom0 or can hold it back.
///
/// @param recording  The recording.
/// @param goal       What to mend, and by which means; null with size 0 for everything by every means but pinning dom0.
/// @param goal_size  The size of the structure.
/// @param plan       The plan.
///
/// # Safety
/// See the crate's "Pointers".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn carillon_recording_plan(
    recording: Handle,
    goal: *const GoalOptions,
    goal_size: usize,
    plan: *mut Handle,
) -> Status {
    enter(|| {
        let goal = match goal.is_null() && goal_size == 0 {
            true => vector_allocator::Goal::default(),
            false => from_c!(input(goal, goal_size, "goal"))?.goal()?,
        };
        let plan = from_c!(number(plan, "plan"))?;
        let host = handle::with(recording, Recording::read)?;
        plan.write(handle::insert(Plan::of(&host, &goal)?)?);
        Ok(())
    })
}
