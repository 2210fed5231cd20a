//! The file of a sweep: JSON lines, one record each, appended as points finish and read back to go on.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::path::Path;

use super::Point;
use super::Record;
use crate::Scenario;
use crate::regular_file;

/// The file of a sweep could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened, read or written.
    #[error("{file}: cannot be {action}")]
    Io {
        /// Which file.
        file: String,
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// A line is no record.
    #[error("{file}:{line}: expected the record of a point as JSON")]
    NotARecord {
        /// Which file.
        file: String,
        /// Which line, from 1.
        line: usize,
        /// What the parser says.
        #[source]
        error: serde_json::Error,
    },
}

/// How every record begins: what begins so and ends too early was torn by an interruption.
const BEGINNING: &[u8] = b"{\"point\":{\"scenario\":\"";

/// An open file of records.
pub(super) struct Store {
    name: String,
    file: File,
    records: Vec<Record>,
}

impl Store {
    /// Opens the file, or makes it, and reads what it has. A record torn at the file's end is cut off, and its point will
    /// be run again. Nothing is changed unless all else in the file is whole records.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let name = path.display().to_string();
        let fail = |action| {
            let file = name.clone();
            move |error| StoreError::Io { file, action, error }
        };
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let mut file = regular_file::open(path, &options).map_err(fail("opened"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(fail("read"))?;
        let mut records = Vec::new();
        let mut torn = 0;
        for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            match serde_json::from_slice(line) {
                Ok(record) => records.push(record),
                Err(error) if error.is_eof() && is_torn(line) => torn = line.len(),
                Err(error) => return Err(StoreError::NotARecord { file: name, line: index + 1, error }),
            }
        }
        bytes.truncate(bytes.len() - torn);
        file.set_len(bytes.len() as u64).map_err(fail("cut to its last whole record"))?;
        file.seek(SeekFrom::End(0)).map_err(fail("written"))?;
        if bytes.last().is_some_and(|last| *last != b'\n') {
            file.write_all(b"\n").map_err(fail("written"))?;
        }
        Ok(Self { name, file, records })
    }

    /// Whether a point is finished.
    pub(super) fn has(&self, point: &Point) -> bool {
        self.find(point).is_some()
    }

    /// The record of a point.
    pub(super) fn find(&self, point: &Point) -> Option<&Record> {
        self.records.iter().find(|record| record.point == *point)
    }

    /// Appends a record as one line, in one write.
    pub(super) fn append(&mut self, record: Record) -> Result<(), StoreError> {
        let fail = |error| StoreError::Io { file: self.name.clone(), action: "written", error };
        let mut line = serde_json::to_vec(&record).map_err(|error| fail(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(fail)?;
        self.records.push(record);
        Ok(())
    }
}

/// Whether a line is the beginning of a record, without a line's end.
fn is_torn(line: &[u8]) -> bool {
    !line.ends_with(b"\n") && (line.starts_with(BEGINNING) || BEGINNING.starts_with(line))
}

/// A fingerprint of what a scenario says, policy, path, load and seed apart: these are the point's. The program's version
/// is part of it, since another one may find something else.
pub(super) fn fingerprint(scenario: &Scenario) -> u64 {
    fingerprint_by(env!("CARGO_PKG_VERSION"), scenario)
}

/// FNV-1a over the version and the scenario's JSON, which are the same on every machine.
fn fingerprint_by(version: &str, scenario: &Scenario) -> u64 {
    let mut plain = scenario.clone();
    (plain.policy, plain.path, plain.load, plain.seed) = Default::default();
    // A scenario is plain data: numbers, texts and lists always have a JSON form.
    let bytes = serde_json::to_vec(&plain).unwrap_or_default();
    let all = version.bytes().chain(bytes);
    all.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::BEGINNING;
    use super::fingerprint;
    use super::fingerprint_by;
    use crate::DevicePath;
    use crate::Shipped;
    use crate::VectorPolicy;
    use crate::sweep::Outcome;
    use crate::sweep::Point;
    use crate::sweep::Record;

    #[test]
    fn another_version_of_the_program_has_other_fingerprints() {
        let scenario = Shipped::named("question-2013").unwrap().scenario().unwrap();
        assert_eq!(fingerprint(&scenario), fingerprint_by(env!("CARGO_PKG_VERSION"), &scenario));
        assert_ne!(fingerprint_by("0.1.0", &scenario), fingerprint_by("0.1.1", &scenario));
    }

    #[test]
    fn every_record_begins_as_a_torn_one_is_known_by() {
        let point =
            Point { scenario: 7, policy: VectorPolicy::Recorded, path: DevicePath::AsIs, load: 1.0, seed: u64::MAX };
        let record = Record { point, outcome: Outcome::Fault(String::new()) };
        assert!(serde_json::to_vec(&record).unwrap().starts_with(BEGINNING));
    }
}
