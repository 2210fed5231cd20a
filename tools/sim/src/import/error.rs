//! What is wrong with a file: where, what was expected, what stands there.

use std::io;

/// The longest piece of a file an error repeats, in characters.
const FOUND_CHARS: usize = 48;

/// A recorded file cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read or inflated.
    #[error("{file}: cannot be read")]
    Read {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is larger than any recording of this kind can be.
    #[error("{file}: larger than {limit} bytes")]
    TooLarge {
        /// The file.
        file: String,
        /// The most that is read.
        limit: u64,
    },
    /// A line of text is not as its writer prints it.
    #[error("{file}:{line}: expected {expected}, found {found:?}")]
    Line {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: u32,
        /// What should stand there.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// The file lacks what makes it a file of its kind.
    #[error("{file}: expected {expected}, found none")]
    Missing {
        /// The file.
        file: String,
        /// What should be in it.
        expected: &'static str,
    },
    /// A binary file does not start as a trace does.
    #[error(transparent)]
    Framing(#[from] FramingError),
}

/// Where the records of a binary file stop making sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: byte {offset}: expected {expected}, found {found}; {kept} whole records before it are kept")]
pub struct FramingError {
    /// The file.
    pub file: String,
    /// The first byte that belongs to no whole record.
    pub offset: u64,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// How many whole records lie before it.
    pub kept: usize,
}

impl ImportError {
    /// An error at a line of text; `found` is cut to a length that can be read.
    pub(crate) fn line(file: &str, line: u32, expected: impl Into<String>, found: &str) -> Self {
        let mut cut: String = found.chars().take(FOUND_CHARS).collect();
        if cut.len() < found.len() {
            cut.push('…');
        }
        Self::Line { file: file.to_owned(), line, expected: expected.into(), found: cut }
    }
}
