//! The live view: the page that scripts get, painted over itself until a key ends it.

use std::io;
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::time::Duration;

use carillon_xen_host::ForeignMemory;
use carillon_xen_host::Hypercalls;
use crossterm::QueueableCommand as _;
use crossterm::cursor;
use crossterm::event;
use crossterm::event::Event;
use crossterm::event::KeyCode;
use crossterm::event::KeyModifiers;
use crossterm::terminal;
use crossterm::terminal::Clear;
use crossterm::terminal::ClearType;

use super::watch::Watch;
use crate::failure::Failure;
use crate::output::Output;

/// Rows that are not the page's: the line that says how to leave.
const FOOT: u16 = 1;

/// The terminal as the view needs it, and as it was when this is dropped.
struct Screen;

impl Screen {
    fn take() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        // From here on it must be given back.
        let screen = Self;
        io::stdout().queue(terminal::EnterAlternateScreen)?.queue(cursor::Hide)?.flush()?;
        Ok(screen)
    }

    /// Paints as much of a text as the terminal has rows for.
    fn paint(text: &str) -> io::Result<()> {
        let (_, rows) = terminal::size()?;
        let mut out = io::stdout().lock();
        out.queue(Clear(ClearType::All))?.queue(cursor::MoveTo(0, 0))?;
        for line in text.lines().take(usize::from(rows.saturating_sub(FOOT))) {
            write!(out, "{line}\r\n")?;
        }
        out.queue(cursor::MoveTo(0, rows.saturating_sub(1)))?;
        write!(out, "q: quit")?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nobody is left to be told if the terminal is gone.
        let _ = io::stdout().queue(cursor::Show).and_then(|out| out.queue(terminal::LeaveAlternateScreen)).map(|_| ());
        let _ = io::stdout().flush();
        let _ = terminal::disable_raw_mode();
    }
}

/// Shows the rates again and again, until `q`, escape or control-C.
pub(super) fn show<H: Hypercalls + ForeignMemory>(
    out: Output,
    watch: &mut Watch<'_, H>,
    interval: Duration,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(format!("the terminal cannot be used: {error}"));
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::new("there is no terminal to show a live view on").hint("--once or --batch N prints text"));
    }
    let _screen = Screen::take().map_err(failed)?;
    loop {
        let text = out.text(&watch.next(interval)?);
        Screen::paint(&text).map_err(failed)?;
        while event::poll(Duration::ZERO).map_err(failed)? {
            if is_the_end(&event::read().map_err(failed)?) {
                return Ok(());
            }
        }
    }
}

/// Whether an event ends the view.
fn is_the_end(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::Event;
    use crossterm::event::KeyCode;
    use crossterm::event::KeyEvent;
    use crossterm::event::KeyModifiers;

    use super::is_the_end;

    #[test]
    fn q_escape_and_control_c_end_the_view_and_nothing_else_does() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        assert!(is_the_end(&key(KeyCode::Char('q'), KeyModifiers::NONE)));
        assert!(is_the_end(&key(KeyCode::Esc, KeyModifiers::NONE)));
        assert!(is_the_end(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!is_the_end(&key(KeyCode::Char('c'), KeyModifiers::NONE)));
        assert!(!is_the_end(&Event::Resize(80, 24)));
    }
}
