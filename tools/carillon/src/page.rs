//! A page of output: headings, sentences and tables, with or without colours.

use std::fmt::Write as _;

use anstyle::AnsiColor;
use anstyle::Style;
use comfy_table::Cell;
use comfy_table::ContentArrangement;
use comfy_table::LineStyle;
use comfy_table::Table;
use comfy_table::TableStyle;

/// Columns apart, a line below the header and nothing else.
const LOOK: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// How much something matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Ordinary.
    Plain,
    /// Good news.
    Good,
    /// Worth a look.
    Warn,
    /// Harm.
    Bad,
    /// Less important than the rest.
    Faint,
}

/// A page being written.
#[derive(Debug)]
pub(crate) struct Page {
    text: String,
    colours: Colours,
    width: u16,
}

/// Whether a page may use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    /// It may.
    On,
    /// It may not.
    Off,
}

/// A piece of a table.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    text: String,
    tone: Tone,
}

impl<T: Into<String>> From<T> for Piece {
    fn from(text: T) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }
}

impl Piece {
    /// A piece with a tone.
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

impl Page {
    /// An empty page of `width` columns.
    pub(crate) fn new(colours: Colours, width: u16) -> Self {
        Self { text: String::new(), colours, width }
    }

    /// How wide it is, columns.
    pub(crate) const fn width(&self) -> u16 {
        self.width
    }

    /// What was written.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// A title with a line below.
    pub(crate) fn title(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        let style = Style::new().bold();
        self.styled(style, text);
        self.styled(style, &"═".repeat(text.chars().count()));
    }

    /// A heading inside a page.
    pub(crate) fn heading(&mut self, text: &str) {
        self.text.push('\n');
        self.styled(Style::new().bold(), text);
    }

    /// A sentence, wrapped at the page's width.
    pub(crate) fn line(&mut self, tone: Tone, text: &str) {
        let indent: String = text.chars().take_while(|c| *c == ' ').collect();
        let hanging = if text.trim_start().starts_with("• ") { format!("{indent}  ") } else { indent.clone() };
        let mut line = indent;
        for word in text.split_whitespace() {
            let used = line.chars().count();
            if used + 1 + word.chars().count() > usize::from(self.width) && !line.trim().is_empty() {
                self.styled(style(tone), &line);
                line.clone_from(&hanging);
            }
            if !line.is_empty() && !line.ends_with(' ') {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.styled(style(tone), &line);
    }

    /// A line as it is: a command must not be broken.
    pub(crate) fn verbatim(&mut self, tone: Tone, text: &str) {
        self.styled(style(tone), text.trim_end());
    }

    /// A table; nothing if it has no rows.
    pub(crate) fn table(&mut self, head: &[&str], rows: Vec<Vec<Piece>>) {
        if rows.is_empty() {
            return;
        }
        let mut table = Table::new();
        table.load_style(LOOK).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(self.width);
        match self.colours {
            Colours::On => table.enforce_styling(),
            Colours::Off => table.force_no_tty(),
        };
        table.set_header(head.iter().map(|cell| Cell::new(*cell)));
        for row in rows {
            table.add_row(row.into_iter().map(cell));
        }
        for line in table.lines() {
            let _ = writeln!(self.text, "{}", line.trim_end());
        }
    }

    fn styled(&mut self, style: Style, text: &str) {
        // Writing to a String cannot fail.
        let text = clean(text);
        let _ = match self.colours {
            Colours::On => writeln!(self.text, "{style}{text}{style:#}"),
            Colours::Off => writeln!(self.text, "{text}"),
        };
    }
}

/// A text without control characters: labels come from other people's machines, and a terminal obeys what it is sent.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

const fn style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Warn => AnsiColor::Yellow.on_default(),
        Tone::Bad => AnsiColor::Red.on_default(),
        Tone::Faint => Style::new().dimmed(),
    }
}

fn cell(piece: Piece) -> Cell {
    let cell = Cell::new(clean(&piece.text));
    match piece.tone {
        Tone::Plain => cell,
        Tone::Good => cell.fg(comfy_table::Color::Green),
        Tone::Warn => cell.fg(comfy_table::Color::Yellow),
        Tone::Bad => cell.fg(comfy_table::Color::Red),
        Tone::Faint => cell.fg(comfy_table::Color::DarkGrey),
    }
}

#[cfg(test)]
mod tests {
    use super::Colours;
    use super::Page;
    use super::Piece;
    use super::Tone;

    #[test]
    fn without_colours_a_page_holds_no_escape_sequence() {
        let mut page = Page::new(Colours::Off, 80);
        page.title("Title");
        page.line(Tone::Bad, "harm");
        page.table(&["a"], vec![vec![Piece::toned("x", Tone::Good)]]);
        assert!(!page.into_text().contains('\u{1b}'));
    }

    #[test]
    fn with_colours_it_does() {
        let mut page = Page::new(Colours::On, 80);
        page.line(Tone::Bad, "harm");
        assert!(page.into_text().contains("\u{1b}[31mharm"));
    }

    #[test]
    fn long_sentences_wrap_and_keep_their_indent() {
        let mut page = Page::new(Colours::Off, 20);
        page.line(Tone::Plain, "  • one two three four five");
        assert_eq!(page.into_text(), "  • one two three\n    four five\n");
    }

    #[test]
    fn a_label_cannot_command_the_terminal() {
        let mut page = Page::new(Colours::Off, 80);
        page.line(Tone::Plain, "a\u{1b}]0;title\u{7}b");
        page.table(&["a"], vec![vec![Piece::from("\u{1b}[31mred\r\n")]]);
        assert!(!page.into_text().chars().any(|c| c.is_control() && c != '\n'));
    }

    #[test]
    fn a_table_without_rows_leaves_no_trace() {
        let mut page = Page::new(Colours::Off, 80);
        page.table(&["a"], vec![]);
        assert_eq!(page.into_text(), "");
    }
}
