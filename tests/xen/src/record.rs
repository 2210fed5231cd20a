//! One record: `carillon: kind key=value key="words"`, wherever in a line it begins.

use std::collections::BTreeMap;

/// What a record begins with.
const MARK: &str = "carillon: ";

/// What a guest or dom0 told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    domain: Option<u16>,
    kind: String,
    fields: BTreeMap<String, String>,
}

impl Record {
    /// The record in a line of the console; `None` if there is none. Xen puts `(dN)` before what domain N writes.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (before, record) = line.split_once(MARK)?;
        let domain = before.rsplit_once("(d").and_then(|(_, number)| number.split_once(')')?.0.parse().ok());
        let (kind, mut rest) = record.split_once(' ').unwrap_or((record, ""));
        let mut fields = BTreeMap::new();
        while let Some((key, value)) = rest.trim_start().split_once('=') {
            let (value, after) = match value.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => value.split_once(' ').unwrap_or((value, "")),
            };
            fields.insert(key.to_owned(), value.trim_end().to_owned());
            rest = after;
        }
        Some(Self { domain, kind: kind.trim_end().to_owned(), fields })
    }

    /// The domain that wrote it; `None` for dom0, and where there is no Xen.
    #[must_use]
    pub const fn domain(&self) -> Option<u16> {
        self.domain
    }

    /// What it tells: `guest`, `note`, `case` or `end`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// A field's value.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.get(key).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::Record;

    #[test]
    fn a_record_has_its_domain_kind_and_fields() {
        let record =
            Record::parse("(XEN) [1.0] (d12) carillon: note case=a.b text=\"a = b c\" n=7\r").expect("a record");
        assert_eq!((record.domain(), record.kind()), (Some(12), "note"));
        let fields = ["case", "text", "n", "m"].map(|key| record.get(key));
        assert_eq!(fields, [Some("a.b"), Some("a = b c"), Some("7"), None]);
    }

    #[test]
    fn what_comes_without_xen_has_no_domain_and_what_is_cut_short_is_kept() {
        let record = Record::parse("carillon: case name=x reason=\"it was").expect("a record");
        assert_eq!((record.domain(), record.get("name"), record.get("reason")), (None, Some("x"), Some("it was")));
        assert_eq!(
            Record::parse("(XEN) (d1) carillon: end").map(|record| record.kind().to_owned()),
            Some("end".into())
        );
        assert_eq!(Record::parse("(XEN) (d1) something else"), None);
    }
}
