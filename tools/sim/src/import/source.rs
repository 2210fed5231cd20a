//! A recorded file in memory: its name, for errors, and its bytes.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::ImportError;
use crate::regular_file;

/// The most that is read of one file, inflated: a trace of a minute on a large host is well below it.
const LIMIT: u64 = 1 << 30;

/// A recorded file.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    bytes: Vec<u8>,
}

impl Source {
    /// A file that is already in memory.
    #[must_use]
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }

    /// Reads a file; one whose name ends in `.gz` is inflated.
    ///
    /// # Errors
    /// [`ImportError::Read`] if it is no regular file or cannot be read or inflated, [`ImportError::TooLarge`] if it is above 1 GiB.
    pub fn read(path: &Path) -> Result<Self, ImportError> {
        let name = path.display().to_string();
        let file =
            regular_file::open_to_read(path).map_err(|source| ImportError::Read { file: name.clone(), source })?;
        if path.extension().is_some_and(|extension| extension == "gz") {
            Self::fill(name, MultiGzDecoder::new(file))
        } else {
            Self::fill(name, file)
        }
    }

    /// Inflates a file that is already in memory.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn inflate(name: impl Into<String>, compressed: &[u8]) -> Result<Self, ImportError> {
        Self::fill(name.into(), MultiGzDecoder::new(compressed))
    }

    fn fill(name: String, reader: impl Read) -> Result<Self, ImportError> {
        let mut bytes = Vec::new();
        match reader.take(LIMIT + 1).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() as u64 > LIMIT => Err(ImportError::TooLarge { file: name, limit: LIMIT }),
            Ok(_) => Ok(Self { name, bytes }),
            Err(source) => Err(ImportError::Read { file: name, source }),
        }
    }

    /// What errors call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its bytes, inflated.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its text; a byte that is no UTF-8 shows as U+FFFD, and in the error of the line it spoils.
    #[must_use]
    pub(crate) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::Source;
    use crate::import::ImportError;

    #[test]
    fn a_file_that_is_not_gzip_is_refused_by_name() {
        let error = Source::inflate("x.gz", b"not gzip at all").unwrap_err();
        assert!(matches!(&error, ImportError::Read { file, .. } if file == "x.gz"), "{error}");
    }

    #[test]
    fn a_missing_file_is_refused_by_name() {
        let error = Source::read(std::path::Path::new("/nonexistent/dump-i.txt")).unwrap_err();
        assert_eq!(error.to_string(), "/nonexistent/dump-i.txt: cannot be read");
    }
}
