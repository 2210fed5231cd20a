//! Opens files that are nothing else: a pipe can block for ever, a device can be read without end.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;

/// Opens `path` with `options`, if it is a regular file or not there yet.
///
/// # Errors
/// Those of the system; [`io::ErrorKind::InvalidInput`] for a directory, a pipe, a socket or a device, which are not even
/// opened, since that can block.
pub(crate) fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            let kind = if found.is_dir() { "a directory" } else { "a pipe, a socket or a device" };
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("expected a regular file, found {kind}")))
        }
        // One that is not there can be made; whatever else is wrong, opening it tells.
        _ => options.open(path),
    }
}

/// Opens `path` for reading.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().read(true))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::open_to_read;

    #[test]
    fn a_device_and_a_directory_are_refused_before_they_are_opened() {
        for (path, found) in [("/dev/zero", "found a pipe, a socket or a device"), ("/dev", "found a directory")] {
            let error = open_to_read(Path::new(path)).unwrap_err();
            assert!(error.to_string().ends_with(found), "{path}: {error}");
        }
    }
}
