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
    #[error("{file}:{line}: expected the record of a point as JSON: {error}")]
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

/// An open file of records.
pub(super) struct Store {
    name: String,
    file: File,
    records: Vec<Record>,
}

impl Store {
    /// Opens the file, or makes it, and reads what it has. A last line without its end was torn by an interruption: it is
    /// cut off, and its point will be run again.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let name = path.display().to_string();
        let fail = |action| {
            let file = name.clone();
            move |error| StoreError::Io { file, action, error }
        };
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = options.map_err(fail("opened"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(fail("read"))?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64).map_err(fail("cut to its last whole line"))?;
        file.seek(SeekFrom::End(0)).map_err(fail("written"))?;
        let mut records = Vec::new();
        for (index, line) in bytes[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
            let record = serde_json::from_slice(line);
            records.push(record.map_err(|error| StoreError::NotARecord {
                file: name.clone(),
                line: index + 1,
                error,
            })?);
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

/// A fingerprint of what a scenario says, policy, engine, load and seed apart: these are the point's. FNV-1a over its
/// JSON, which is the same on every machine.
pub(super) fn fingerprint(scenario: &Scenario) -> u64 {
    let mut plain = scenario.clone();
    (plain.policy, plain.engine, plain.load, plain.seed) = Default::default();
    // A scenario is plain data: numbers, texts and lists always have a JSON form.
    let bytes = serde_json::to_vec(&plain).unwrap_or_default();
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
