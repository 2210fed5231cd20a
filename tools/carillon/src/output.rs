//! Where answers go: to the standard output, as a page or as JSON.

use std::error::Error;
use std::fs::File;
use std::io;
use std::io::BufWriter;
use std::io::ErrorKind;
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::cli::Color;
use crate::failure::Failure;
use crate::page::Colours;
use crate::page::Page;

/// The widest page that is comfortable to read, columns.
const WIDEST: u16 = 150;
/// The narrowest a table can be made.
const NARROWEST: u16 = 60;
/// The width of a page that goes to a file or a pipe.
const UNKNOWN: u16 = 120;

/// An answer that can be shown to people and to programs.
pub(crate) trait Answer: Serialize {
    /// Writes it to a page.
    fn show(&self, page: &mut Page);
}

/// For whom an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// People.
    Page,
    /// Programs.
    Json,
}

/// The standard output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    colours: Colours,
    width: u16,
}

impl Output {
    /// The standard output with colours as asked for.
    pub(crate) fn new(color: Color) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let colours = match color {
            Color::Always => Colours::On,
            Color::Never => Colours::Off,
            Color::Auto if is_terminal && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty()) => Colours::On,
            Color::Auto => Colours::Off,
        };
        let columns = terminal_size::terminal_size().filter(|_| is_terminal).map_or(UNKNOWN, |(width, _)| width.0);
        Self { colours, width: columns.clamp(NARROWEST, WIDEST) }
    }

    /// An answer's page.
    pub(crate) fn text(self, answer: &impl Answer) -> String {
        let mut page = Page::new(self.colours, self.width);
        answer.show(&mut page);
        page.into_text()
    }

    /// Prints an answer.
    pub(crate) fn print(self, answer: &impl Answer, format: Format) -> Result<(), Failure> {
        let text = match format {
            Format::Page => self.text(answer),
            Format::Json => serde_json::to_string_pretty(answer).map_err(Failure::new)? + "\n",
        };
        write(text.as_bytes())
    }
}

/// A file that is written beside the answer. It is made before the work begins: what cannot be written is said before the
/// time is spent.
#[derive(Debug)]
pub(crate) struct OutFile<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> OutFile<'a> {
    /// Makes the file, empty.
    pub(crate) fn create(path: &'a Path) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|error| unwritable(path, &error))?;
        Ok(Self { path, file })
    }

    /// Writes the whole of it.
    pub(crate) fn write<E: Error>(
        &self,
        write: impl FnOnce(&mut BufWriter<&File>) -> Result<(), E>,
    ) -> Result<(), Failure> {
        let mut out = BufWriter::new(&self.file);
        write(&mut out).map_err(|error| unwritable(self.path, &error))?;
        out.flush().map_err(|error| unwritable(self.path, &error))
    }
}

fn unwritable(path: &Path, error: &dyn Error) -> Failure {
    Failure::new(format!("{} cannot be written: {}", path.display(), Failure::caused(error)))
}

/// Writes to the standard output. A reader that has seen enough and closes the pipe is no failure.
pub(crate) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("the standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}
