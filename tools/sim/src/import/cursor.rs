//! Reads one line field by field, and says where it stopped.

use std::str::FromStr;

use vector_allocator::CpuId;
use vector_allocator::CpuSet;

use super::ImportError;

/// More CPUs than Xen can be built for (`NR_CPUS`): a larger number is a damaged file, not a large host.
pub(crate) const CPUS_LIMIT: u32 = 16_384;

/// A place in a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    file: &'a str,
    line: u32,
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(file: &'a str, line: u32, text: &'a str) -> Self {
        Self { file, line, rest: text }
    }

    pub(crate) const fn line(&self) -> u32 {
        self.line
    }

    /// What is left of the line.
    pub(crate) const fn rest(&self) -> &'a str {
        self.rest
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.trim_start().is_empty()
    }

    /// An error here: `expected` should stand where the cursor is.
    pub(crate) fn error(&self, expected: impl Into<String>) -> ImportError {
        ImportError::line(self.file, self.line, expected, self.rest)
    }

    /// An error in this line at a piece of it that was read already.
    pub(crate) fn error_at(&self, piece: &str, expected: impl Into<String>) -> ImportError {
        ImportError::line(self.file, self.line, expected, piece)
    }

    /// Steps over `literal` and the blanks before it, if it stands here.
    pub(crate) fn accept(&mut self, literal: &str) -> bool {
        match self.rest.trim_start().strip_prefix(literal) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Steps over `literal` and the blanks before it.
    pub(crate) fn expect(&mut self, literal: &str) -> Result<(), ImportError> {
        if self.accept(literal) { Ok(()) } else { Err(self.error(format!("{literal:?}"))) }
    }

    /// Steps over `bytes` bytes, which end at a character's end.
    pub(crate) fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// Everything up to `end`, which is stepped over.
    pub(crate) fn until(&mut self, end: char) -> Result<&'a str, ImportError> {
        let (before, after) = self.rest.split_once(end).ok_or_else(|| self.error(format!("a closing {end:?}")))?;
        self.rest = after;
        Ok(before)
    }

    /// The next word: everything up to a blank.
    pub(crate) fn word(&mut self, what: &str) -> Result<&'a str, ImportError> {
        let rest = self.rest.trim_start();
        let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.error(what));
        }
        let (word, rest) = rest.split_at(length);
        self.rest = rest;
        Ok(word)
    }

    /// One character.
    pub(crate) fn character(&mut self, what: &str) -> Result<char, ImportError> {
        let mut characters = self.rest.chars();
        let character = characters.next().ok_or_else(|| self.error(what))?;
        self.rest = characters.as_str();
        Ok(character)
    }

    /// One of two digits, as hardware bits print.
    pub(crate) fn bit(&mut self, what: &str) -> Result<bool, ImportError> {
        let before = *self;
        match self.decimal::<u8>(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(before.error(format!("{what} of 0 or 1"))),
        }
    }

    /// A decimal number, with a sign if `T` has one.
    pub(crate) fn decimal<T: FromStr>(&mut self, what: &str) -> Result<T, ImportError> {
        let rest = self.rest.trim_start();
        let digits = rest.strip_prefix('-').unwrap_or(rest);
        let length = rest.len() - digits.len() + digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let (number, after) = rest.split_at(length);
        let number = number.parse().map_err(|_| self.error(what))?;
        self.rest = after;
        Ok(number)
    }

    /// A hexadecimal number of at most 16 digits.
    pub(crate) fn hex(&mut self, what: &str) -> Result<u64, ImportError> {
        let rest = self.rest.trim_start();
        let length = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(length);
        let number = u64::from_str_radix(number, 16).map_err(|_| self.error(what))?;
        self.rest = after;
        Ok(number)
    }

    /// A hexadecimal number that fits `T`.
    pub(crate) fn hex_as<T: TryFrom<u64>>(&mut self, what: &str) -> Result<T, ImportError> {
        let before = *self;
        self.hex(what)?.try_into().map_err(|_| before.error(what))
    }

    /// The number of a CPU.
    pub(crate) fn cpu(&mut self, what: &str) -> Result<CpuId, ImportError> {
        let before = *self;
        let number = self.decimal(what)?;
        if number < CPUS_LIMIT { Ok(CpuId(number)) } else { Err(before.error(format!("{what} below {CPUS_LIMIT}"))) }
    }

    /// A list of CPUs in braces, as Xen prints masks: `{0-3,6}`.
    pub(crate) fn cpus_in_braces(&mut self, what: &str) -> Result<CpuSet, ImportError> {
        let before = *self;
        self.expect("{")?;
        let list = self.until('}')?;
        cpu_list(list).ok_or_else(|| before.error(format!("{what}, a list of CPU numbers below {CPUS_LIMIT}")))
    }
}

/// The CPUs of a list such as `0-3,6`; none if it is no list of CPU numbers.
pub(crate) fn cpu_list(list: &str) -> Option<CpuSet> {
    let mut cpus = CpuSet::new();
    if list.trim().is_empty() {
        return Some(cpus);
    }
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= CPUS_LIMIT {
            return None;
        }
        for cpu in first..=last {
            cpus.insert(CpuId(cpu));
        }
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::Cursor;
    use super::cpu_list;

    #[test]
    fn cpu_lists_are_read_as_xen_prints_them_and_damaged_ones_are_refused() {
        for list in ["", "0", "0-3", "0-3,6", "0,2,4-5,1023"] {
            assert_eq!(cpu_list(list).unwrap().to_string(), format!("{{{list}}}"));
        }
        for list in ["x", "3-1", "0-", "-1", "0-4294967295", "16384", "0,,1"] {
            assert_eq!(cpu_list(list), None, "{list}");
        }
    }

    #[test]
    fn an_error_names_file_line_expectation_and_what_stands_there() {
        let mut cursor = Cursor::new("dump-i.txt", 7, "IRQ:  12 vec:zz");
        cursor.expect("IRQ:").unwrap();
        assert_eq!(cursor.decimal::<u32>("an IRQ number").unwrap(), 12);
        cursor.expect("vec:").unwrap();
        let error = cursor.hex("a vector").unwrap_err();
        assert_eq!(error.to_string(), "dump-i.txt:7: expected a vector, found \"zz\"");
    }
}
