//! Lines of Xen's console: with or without its prefix and a time stamp.

/// What Xen puts before every line of its own.
const PREFIX: &str = "(XEN)";

/// One line without prefix, time stamp and line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConsoleLine<'a> {
    /// Counted from 1.
    pub(crate) number: u32,
    /// The line; its indentation is kept.
    pub(crate) text: &'a str,
}

/// The lines of a console capture that have text.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = ConsoleLine<'_>> {
    (1u32..).zip(text.lines()).filter_map(|(number, line)| {
        let text = without_time_stamp(without_prefix(line.trim_end()));
        (!text.trim().is_empty()).then_some(ConsoleLine { number, text })
    })
}

fn without_prefix(line: &str) -> &str {
    line.trim_start().strip_prefix(PREFIX).map_or(line, |rest| rest.strip_prefix(' ').unwrap_or(rest))
}

/// Steps over `[2026-11-21 03:29:14]`, `[2026-11-21 03:29:14.250]`, `[    1.234567]` or `[00000016ae2f]`
/// (`console_timestamps=`).
fn without_time_stamp(line: &str) -> &str {
    let Some((stamp, rest)) = line.strip_prefix('[').and_then(|inner| inner.split_once(']')) else {
        return line;
    };
    let is_stamp = stamp.chars().any(|c| c.is_ascii_digit())
        && stamp.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, ' ' | '-' | ':' | '.'));
    if is_stamp { rest.strip_prefix(' ').unwrap_or(rest) } else { line }
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn prefixes_and_every_form_of_time_stamp_are_stepped_over() {
        for before in
            ["", "(XEN) ", "(XEN) [2026-11-21 03:29:14] ", "(XEN) [2026-11-21 03:29:14.250] ", "(XEN) [    1.234567] "]
        {
            let text = format!("{before}   IRQ:   0 vec:f0\r\n\r\n{before}IRQ information:\n");
            let read: Vec<_> = lines(&text).map(|line| (line.number, line.text)).collect();
            assert_eq!(read, [(1, "   IRQ:   0 vec:f0"), (3, "IRQ information:")], "{before:?}");
        }
    }

    #[test]
    fn brackets_that_hold_no_time_stay() {
        let read: Vec<_> = lines("(XEN) [i: dump interrupt bindings]").map(|line| line.text).collect();
        assert_eq!(read, ["[i: dump interrupt bindings]"]);
    }
}
