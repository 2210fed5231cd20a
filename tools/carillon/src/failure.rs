//! How the program ends.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

/// What a command found, where it could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing to object to: exit code 0.
    Fine,
    /// The answer is no: exit code 3.
    No,
    /// What was changed was taken back: exit code 4.
    TakenBack,
    /// There is nothing to do: exit code 5.
    NothingToDo,
}

/// Why a command could not do its work: exit code 1.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
}

impl Verdict {
    /// No if `is_no`.
    pub(crate) const fn no_if(is_no: bool) -> Self {
        if is_no { Self::No } else { Self::Fine }
    }

    /// The exit code that says so.
    pub(crate) fn code(self) -> ExitCode {
        match self {
            Self::Fine => ExitCode::SUCCESS,
            Self::No => ExitCode::from(3),
            Self::TakenBack => ExitCode::from(4),
            Self::NothingToDo => ExitCode::from(5),
        }
    }
}

impl Failure {
    /// A failure with its message.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), hint: None }
    }

    /// A failure with the message of an error and of what caused it.
    pub(crate) fn caused(error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = error.source();
        }
        Self { message, hint: None }
    }

    /// The same with what to do about it.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Says it on the standard error.
    pub(crate) fn report(&self) -> ExitCode {
        // Nobody is left to be told if the standard error is closed.
        let text = format!("carillon: {self}");
        let clean: String = text.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
        let _ = writeln!(std::io::stderr(), "{clean}");
        ExitCode::FAILURE
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}
