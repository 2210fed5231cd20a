//! What an import did not use, did not know, or had to decide: nothing is dropped in silence.

use std::fmt;

use serde::Serialize;

/// The longest piece of a passed-over line a note repeats, in characters.
const SAMPLE_CHARS: usize = 60;

/// A remark on the recorded input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The file it is about.
    pub file: String,
    /// The line, counted from 1, if it is about one.
    pub line: Option<u32>,
    /// What there is to say.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.text),
            None => write!(f, "{}: {}", self.file, self.text),
        }
    }
}

impl Note {
    /// A remark on a whole file.
    pub(crate) fn on_file(file: &str, text: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, text: text.into() }
    }
}

/// Gathers the notes of one file.
#[derive(Debug)]
pub(crate) struct Notes<'a> {
    file: &'a str,
    passed_over: u32,
    first: Option<(u32, String)>,
    notes: Vec<Note>,
}

impl<'a> Notes<'a> {
    pub(crate) const fn new(file: &'a str) -> Self {
        Self { file, passed_over: 0, first: None, notes: Vec::new() }
    }

    /// A remark on one line.
    pub(crate) fn on_line(&mut self, line: u32, text: impl Into<String>) {
        self.notes.push(Note { file: self.file.to_owned(), line: Some(line), text: text.into() });
    }

    /// A remark on the whole file.
    pub(crate) fn on_file(&mut self, text: impl Into<String>) {
        self.notes.push(Note::on_file(self.file, text));
    }

    /// A line of something else, such as other console output between the lines of a dump.
    pub(crate) fn pass_over(&mut self, line: u32, text: &str) {
        self.passed_over = self.passed_over.saturating_add(1);
        if self.first.is_none() {
            self.first = Some((line, text.chars().take(SAMPLE_CHARS).collect()));
        }
    }

    /// All of them; the passed-over lines as one.
    pub(crate) fn finish(mut self) -> Vec<Note> {
        if let Some((line, sample)) = self.first.take() {
            let text = format!("{} lines of something else passed over; the first is {sample:?}", self.passed_over);
            self.on_line(line, text);
        }
        self.notes
    }
}
