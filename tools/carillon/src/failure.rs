//! How the program ends when it does not end well.

use std::fmt;

/// Why it could not be done: exit code 1.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// A failure with its message.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
