//! A guest's configuration for `xl` (xl.cfg(5), `libxlu_cfg_l.l`, `libxlu_cfg_y.y`).
//!
//! ```text
//! file     settings apart by newlines or semicolons; # begins a comment
//! setting  name = value, or name += value, which appends
//! value    "text" or 'text' with backslash escapes, a number, or [ value, value, … ], in which newlines do not count
//! ```
//!
//! As with `xl`, the last of several settings of one name counts, and what nobody asks for is not looked at.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

use super::ImportError;
use super::Source;

/// How deep lists may lie in lists: `xl` itself asks for two.
const DEPTH: usize = 8;

/// A guest's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XlConfig {
    file: String,
    settings: Vec<Setting>,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    name: String,
    line: u32,
    value: Value,
}

/// What a setting says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    /// A text or a number, which `xl` tells apart only where it uses them.
    Text(String),
    List(Vec<Item>),
}

/// A value in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    line: u32,
    value: Value,
}

/// A text and the line it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located<'a> {
    /// The text.
    pub text: &'a str,
    /// The line, counted from 1.
    pub line: u32,
}

/// Reads a configuration.
///
/// # Errors
/// [`ImportError::Line`] at the first thing `xl` would not understand.
pub fn parse(source: &Source) -> Result<XlConfig, ImportError> {
    let text: Cow<'_, str> = source.text();
    let mut parser = Parser { file: source.name(), line: 1, rest: text.chars().peekable() };
    let mut config = XlConfig { file: source.name().to_owned(), settings: Vec::new() };
    while let Some((line, token)) = parser.token()? {
        match token {
            Token::Newline | Token::Semicolon => {}
            Token::Name(name) => {
                let is_appended = match parser.required("= or +=")? {
                    (_, Token::Equals) => false,
                    (_, Token::PlusEquals) => true,
                    (at, other) => return Err(parser.unexpected(at, "= or +=", &other)),
                };
                let value = parser.value(0)?;
                match is_appended {
                    false => config.settings.push(Setting { name, line, value }),
                    true => config.append(name, line, value)?,
                }
                match parser.token()? {
                    None | Some((_, Token::Newline | Token::Semicolon)) => {}
                    Some((at, other)) => return Err(parser.unexpected(at, "a newline or ; after a setting", &other)),
                }
            }
            other => return Err(parser.unexpected(line, "the name of a setting", &other)),
        }
    }
    Ok(config)
}

impl XlConfig {
    /// What errors call the file.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The text of a setting; none if it is not there.
    ///
    /// # Errors
    /// [`ImportError::Line`] if it is a list.
    pub fn text(&self, name: &str) -> Result<Option<Located<'_>>, ImportError> {
        let Some(setting) = self.setting(name) else { return Ok(None) };
        match &setting.value {
            Value::Text(text) => Ok(Some(Located { text, line: setting.line })),
            Value::List(_) => Err(self.error(setting.line, format!("one value for {name}"), "a list")),
        }
    }

    /// The number of a setting, decimal, octal (`017`) or hexadecimal (`0xf`); none if it is not there.
    ///
    /// # Errors
    /// [`ImportError::Line`] if it is none, or beyond 32 bits.
    pub fn number(&self, name: &str) -> Result<Option<u32>, ImportError> {
        let Some(Located { text, line }) = self.text(name)? else { return Ok(None) };
        match number(text) {
            Some(number) => Ok(Some(number)),
            None => Err(self.error(line, format!("a number for {name}"), text)),
        }
    }

    /// Whether a setting is on: any number but 0; none if it is not there.
    ///
    /// # Errors
    /// As [`number`](Self::number).
    pub fn flag(&self, name: &str) -> Result<Option<bool>, ImportError> {
        Ok(self.number(name)?.map(|number| number != 0))
    }

    /// The texts of a list; none if it is not there.
    ///
    /// # Errors
    /// [`ImportError::Line`] if it is no list, or one with lists in it.
    pub fn texts(&self, name: &str) -> Result<Vec<Located<'_>>, ImportError> {
        let Some(setting) = self.setting(name) else { return Ok(Vec::new()) };
        let items = match &setting.value {
            Value::List(items) => items,
            Value::Text(text) => return Err(self.error(setting.line, format!("a list for {name}"), text)),
        };
        let text = |item: &'_ Item| match &item.value {
            Value::Text(_) => Ok(()),
            Value::List(_) => Err(self.error(item.line, format!("a text in the list {name}"), "a list")),
        };
        items.iter().try_for_each(text)?;
        Ok(items
            .iter()
            .filter_map(|item| match &item.value {
                Value::Text(text) => Some(Located { text, line: item.line }),
                Value::List(_) => None,
            })
            .collect())
    }

    /// An error at a line of the file.
    pub(crate) fn error(&self, line: u32, expected: impl Into<String>, found: &str) -> ImportError {
        ImportError::line(&self.file, line, expected, found)
    }

    fn setting(&self, name: &str) -> Option<&Setting> {
        self.settings.iter().rfind(|setting| setting.name == name)
    }

    /// Appends to what a setting says, text to text and list to list; where there is none it is the first.
    fn append(&mut self, name: String, line: u32, value: Value) -> Result<(), ImportError> {
        let value = match (self.setting(&name).map(|setting| setting.value.clone()), value) {
            (None, value) => value,
            (Some(Value::Text(text)), Value::Text(more)) => Value::Text(text + &more),
            (Some(Value::List(items)), Value::List(more)) => Value::List([items, more].concat()),
            (Some(_), _) => {
                return Err(self.error(
                    line,
                    format!("what can be appended to {name}"),
                    "a list for a text, or the reverse",
                ));
            }
        };
        self.settings.push(Setting { name, line, value });
        Ok(())
    }
}

/// A number as `strtol` reads it with base 0.
pub(crate) fn number(text: &str) -> Option<u32> {
    let (digits, base) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    // A sign would be one of a number that `xl` takes but no setting here can have.
    if !digits.starts_with(|c: char| c.is_digit(base)) {
        return None;
    }
    u32::from_str_radix(digits, base).ok()
}

/// A word of the language.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Name(String),
    Number(String),
    Text(String),
    Equals,
    PlusEquals,
    Comma,
    Open,
    Close,
    Semicolon,
    Newline,
}

impl Token {
    /// As it stands in the file, about.
    fn found(&self) -> &str {
        match self {
            Self::Name(text) | Self::Number(text) | Self::Text(text) => text,
            Self::Equals => "=",
            Self::PlusEquals => "+=",
            Self::Comma => ",",
            Self::Open => "[",
            Self::Close => "]",
            Self::Semicolon => ";",
            Self::Newline => "the end of the line",
        }
    }
}

/// A place in the file.
struct Parser<'a> {
    file: &'a str,
    line: u32,
    rest: Peekable<Chars<'a>>,
}

impl Parser<'_> {
    fn unexpected(&self, line: u32, expected: &str, found: &Token) -> ImportError {
        ImportError::line(self.file, line, expected, found.found())
    }

    /// The next word and its line; none at the end of the file.
    fn token(&mut self) -> Result<Option<(u32, Token)>, ImportError> {
        while self.rest.next_if(|c| matches!(c, ' ' | '\t' | '\r')).is_some() {}
        let line = self.line;
        let Some(first) = self.rest.next() else { return Ok(None) };
        let token = match first {
            '\n' => self.newline(),
            '#' => {
                while self.rest.next_if(|c| *c != '\n').is_some() {}
                match self.rest.next() {
                    Some(_) => self.newline(),
                    None => return Ok(None),
                }
            }
            ',' => Token::Comma,
            '[' => Token::Open,
            ']' => Token::Close,
            '=' => Token::Equals,
            '+' if self.rest.next_if_eq(&'=').is_some() => Token::PlusEquals,
            ';' => Token::Semicolon,
            '\'' | '"' => Token::Text(self.quoted(first)?),
            'a'..='z' => Token::Name(self.word(first, |c| matches!(c, 'a'..='z' | '0'..='9' | '_'))),
            '0'..='9' => Token::Number(self.word(first, |c| matches!(c, '0'..='9' | 'a'..='f' | 'x'))),
            other => {
                let found = self.word(other, |c| !c.is_whitespace());
                return Err(ImportError::line(
                    self.file,
                    line,
                    "a setting, a text in quotes, a number or a list",
                    &found,
                ));
            }
        };
        Ok(Some((line, token)))
    }

    fn newline(&mut self) -> Token {
        self.line = self.line.saturating_add(1);
        Token::Newline
    }

    fn word(&mut self, first: char, belongs: impl Fn(char) -> bool) -> String {
        let mut word = String::from(first);
        while let Some(next) = self.rest.next_if(|c| belongs(*c)) {
            word.push(next);
        }
        word
    }

    /// What stands up to the closing quote, on one line, with its escapes resolved.
    fn quoted(&mut self, quote: char) -> Result<String, ImportError> {
        let mut text = String::new();
        loop {
            match self.rest.next() {
                Some(next) if next == quote => return Ok(text),
                Some('\\') => text.push(self.escaped()?),
                None | Some('\n') => {
                    return Err(ImportError::line(self.file, self.line, format!("a closing {quote}"), &text));
                }
                Some(next) => text.push(next),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, ImportError> {
        let kind = self.rest.next().unwrap_or('\n');
        Ok(match kind {
            '"' | '\'' | '\\' => kind,
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'x' => {
                let digits: String = (0..2).filter_map(|_| self.rest.next_if(char::is_ascii_hexdigit)).collect();
                let code = u8::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 2);
                let code =
                    code.ok_or_else(|| ImportError::line(self.file, self.line, "two hexadecimal digits", &digits))?;
                char::from(code)
            }
            other => {
                let expected = "a quote, a backslash or one of abfnrtvx after a backslash";
                return Err(ImportError::line(self.file, self.line, expected, &other.to_string()));
            }
        })
    }

    /// The next word where the file must not end.
    fn required(&mut self, expected: &str) -> Result<(u32, Token), ImportError> {
        let line = self.line;
        self.token()?.ok_or_else(|| ImportError::line(self.file, line, expected, "the end of the file"))
    }

    /// The next word in a list, where newlines do not count.
    fn in_list(&mut self, expected: &str) -> Result<(u32, Token), ImportError> {
        loop {
            match self.required(expected)? {
                (_, Token::Newline) => {}
                found => return Ok(found),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, ImportError> {
        let (line, token) = self.required("a value")?;
        self.value_of(line, token, depth)
    }

    fn value_of(&mut self, line: u32, token: Token, depth: usize) -> Result<Value, ImportError> {
        match token {
            Token::Number(text) | Token::Text(text) => Ok(Value::Text(text)),
            Token::Open if depth < DEPTH => self.list(depth + 1),
            Token::Open => Err(self.unexpected(line, "lists no deeper than 8", &token)),
            other => Err(self.unexpected(line, "a text in quotes, a number or a list", &other)),
        }
    }

    /// The rest of a list that has been opened.
    fn list(&mut self, depth: usize) -> Result<Value, ImportError> {
        let mut items = Vec::new();
        loop {
            match self.in_list("a value or ]")? {
                (_, Token::Close) => return Ok(Value::List(items)),
                (line, token) => items.push(Item { line, value: self.value_of(line, token, depth)? }),
            }
            match self.in_list(", or ]")? {
                (_, Token::Close) => return Ok(Value::List(items)),
                (_, Token::Comma) => {}
                (line, other) => return Err(self.unexpected(line, ", or ]", &other)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::proptest;

    use super::XlConfig;
    use super::parse;
    use crate::import::Source;

    fn config(text: &str) -> XlConfig {
        parse(&Source::new("guest.cfg", text)).expect("a configuration")
    }

    fn error(text: &str) -> String {
        parse(&Source::new("guest.cfg", text)).expect_err("an error").to_string()
    }

    #[test]
    fn settings_comments_and_lists_over_several_lines_are_read() {
        let config = config(
            "# a guest\nname = \"sys-net\"; type='hvm' # inline\nvcpus = 0x10\nmaxmem=010\npci = [\n  '00:14.3',  # Wi-Fi\n\
             \n  \"0000:00:1f.6,permissive=1\",\n]",
        );
        assert_eq!(config.text("name").unwrap().map(|found| (found.text, found.line)), Some(("sys-net", 2)));
        assert_eq!(config.text("type").unwrap().map(|found| found.text), Some("hvm"));
        assert_eq!((config.number("vcpus").unwrap(), config.number("maxmem").unwrap()), (Some(16), Some(8)));
        let pci: Vec<(&str, u32)> = config.texts("pci").unwrap().iter().map(|found| (found.text, found.line)).collect();
        assert_eq!(pci, [("00:14.3", 6), ("0000:00:1f.6,permissive=1", 8)]);
        assert_eq!(config.number("memory").unwrap(), None);
    }

    #[test]
    fn the_last_setting_counts_and_appending_joins_texts_and_lists() {
        let config = config("vcpus=1\nvcpus=\"2\"\npci=['00:01.0']\npci+=['00:02.0']\nextra='a'\nextra += ' b'\n");
        assert_eq!(config.number("vcpus").unwrap(), Some(2));
        assert_eq!(config.texts("pci").unwrap().len(), 2);
        assert_eq!(config.text("extra").unwrap().map(|found| found.text), Some("a b"));
        assert!(error("pci=[]\npci+='x'").starts_with("guest.cfg:2: expected what can be appended to pci"));
    }

    #[test]
    fn texts_have_cs_escapes() {
        let config = config(r#"name = "a\"b\\c\x41\n""#);
        assert_eq!(config.text("name").unwrap().map(|found| found.text), Some("a\"b\\cA\n"));
        assert!(error(r#"name = "\q""#).contains("after a backslash, found \"q\""));
    }

    #[test]
    fn what_xl_would_not_understand_is_refused_by_its_line() {
        for (text, expected) in [
            ("name = x\n", "guest.cfg:1: expected a text in quotes, a number or a list, found \"x\""),
            ("\nname = \"x\n", "guest.cfg:2: expected a closing \", found \"x\""),
            ("pci = [ '00:01.0'\n '00:02.0' ]", "guest.cfg:2: expected , or ], found \"00:02.0\""),
            ("pci = [ '00:01.0',\n", "guest.cfg:2: expected a value or ], found \"the end of the file\""),
            ("name \"x\"\n", "guest.cfg:1: expected = or +=, found \"x\""),
            ("vcpus = 2 memory = 3", "guest.cfg:1: expected a newline or ; after a setting, found \"memory\""),
            ("import os\n", "guest.cfg:1: expected = or +=, found \"os\""),
            ("= 1", "guest.cfg:1: expected the name of a setting, found \"=\""),
            ("Name = 1", "guest.cfg:1: expected a setting, a text in quotes, a number or a list, found \"Name\""),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
        let deep = format!("a={}", "[".repeat(100_000));
        assert!(error(&deep).contains("lists no deeper than 8"));
    }

    #[test]
    fn a_setting_of_another_kind_than_asked_for_is_refused_by_its_line() {
        let config = config("vcpus=[1]\npci='00:01.0'\nmemory='lots'\nirqs=[[1]]\nmaxmem=08\n");
        for (asked, expected) in [
            (config.number("vcpus").map(|_| ()), "guest.cfg:1: expected one value for vcpus, found \"a list\""),
            (config.texts("pci").map(|_| ()), "guest.cfg:2: expected a list for pci, found \"00:01.0\""),
            (config.number("memory").map(|_| ()), "guest.cfg:3: expected a number for memory, found \"lots\""),
            (config.texts("irqs").map(|_| ()), "guest.cfg:4: expected a text in the list irqs, found \"a list\""),
            (config.number("maxmem").map(|_| ()), "guest.cfg:5: expected a number for maxmem, found \"08\""),
        ] {
            assert_eq!(asked.expect_err("another kind").to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(text in "[a-z0-9 =+\\[\\],;'\"\\\\#\n\tx]{0,80}", bytes in any::<Vec<u8>>()) {
            let _ = parse(&Source::new("guest.cfg", text));
            let _ = parse(&Source::new("guest.cfg", bytes));
        }
    }
}
