//! Where the log of changes goes: to the page as it happens, to a file as lines of JSON.

use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use super::attempt::Entry;
use crate::failure::Failure;
use crate::output;
use crate::output::Format;

/// The log of changes.
#[derive(Debug)]
pub(crate) struct Log {
    format: Format,
    file: Option<File>,
}

impl Log {
    /// A log that is shown as asked for, and appended to a file, if there is one.
    pub(crate) fn open(format: Format, file: Option<&Path>) -> Result<Self, Failure> {
        let open = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.map_err(|error| Failure::new(format!("{} cannot be written: {error}", path.display())))
        };
        Ok(Self { format, file: file.map(open).transpose()? })
    }

    /// Tells an entry.
    pub(crate) fn tell(&mut self, entry: &Entry) -> Result<(), Failure> {
        self.line(entry, || entry.to_string())
    }

    /// Tells anything, as a line of JSON or in words.
    pub(crate) fn line(&mut self, value: &impl Serialize, words: impl FnOnce() -> String) -> Result<(), Failure> {
        let json = serde_json::to_string(value).map_err(Failure::new)? + "\n";
        if let Some(file) = &mut self.file {
            file.write_all(json.as_bytes())
                .map_err(|error| Failure::new(format!("the log cannot be written: {error}")))?;
        }
        match self.format {
            Format::Json => output::write(json.as_bytes()),
            Format::Page => output::write(format!("{}\n", words()).as_bytes()),
        }
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Deed { number, what, why, predicted } => {
                write!(f, "{number:>3}. {what}: {why}")?;
                match predicted.as_slice() {
                    [] => Ok(()),
                    few if few.len() <= 4 => write!(f, "; predicted {}", few.join(" or ")),
                    many => write!(f, "; predicted one of {} vectors", many.len()),
                }
            }
            Self::Changed(change) => {
                write!(f, "     {}: {} -> {}   ({})", change.what, change.from, change.to, change.command)
            }
            Self::Shows { number, vector, as_predicted } => {
                let vector = vector.as_deref().unwrap_or("none");
                let verdict = if *as_predicted { "" } else { ", which was not predicted" };
                write!(f, "     move {number} shows: vector {vector}{verdict}")
            }
            Self::Failed { why } => write!(f, "     failed: {why}"),
            Self::Stopped => f.write_str("stopped: taking back what was done"),
            Self::PutBack(restored) => {
                f.write_str("put back:")?;
                for change in &restored.changes {
                    write!(f, "\n     {}: {} -> {}", change.what, change.from, change.to)?;
                }
                let lines = restored.differs.iter().map(|line| ("differs", line));
                for (word, line) in lines.chain(restored.failed.iter().map(|line| ("FAILED", line))) {
                    write!(f, "\n     {word}: {line}")?;
                }
                Ok(())
            }
            Self::Over { outcome, needs } => {
                write!(f, "{outcome}")?;
                match needs {
                    Some(needs) => write!(f, "\nA hypervisor would need {needs}."),
                    None => Ok(()),
                }
            }
        }
    }
}
