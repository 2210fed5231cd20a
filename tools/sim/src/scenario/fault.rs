//! What can be wrong with a scenario, and on which line.

use std::io;

use carillon_machine::ConfigError;
use carillon_machine::CostError;
use toml::de::DeTable;
use toml::de::DeValue;
use vector_allocator::IllegalVector;
use vector_allocator::LayoutError;

use crate::WorkloadError;

/// A scenario could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file could not be read.
    #[error("{file}: cannot be read")]
    Read {
        /// Which.
        file: String,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// It is no TOML, or has the wrong keys or types.
    #[error("{file}:{line}: {message}")]
    Syntax {
        /// Which file.
        file: String,
        /// Which line, from 1.
        line: usize,
        /// What was found, and what was expected.
        message: String,
    },
    /// It contradicts itself, or a number is out of range.
    #[error("{file}:{line}: {fault}")]
    Fault {
        /// Which file.
        file: String,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        fault: Fault,
    },
}

/// A scenario contradicts itself, or a number in it is out of range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{what}")]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What.
    pub what: What,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum What {
    /// A number is out of range.
    #[error("{name} is {}: expected {expected}", brief(*value))]
    OutOfRange {
        /// Which number.
        name: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// A source belongs to a domain that is not there.
    #[error("source {label:?} belongs to domain {domain}, which is not there: expected the id of a [[domain]]")]
    NoSuchDomain {
        /// The source.
        label: String,
        /// The domain.
        domain: u16,
    },
    /// A path cannot carry a source.
    #[error("source {label:?}: {reason}")]
    Path {
        /// The source.
        label: String,
        /// Why not.
        reason: &'static str,
    },
    /// A domain says how software's events end, and gets none.
    #[error(
        "late_eoi has no effect: domain {name:?} has no source of kind \"software\", and other events always end early"
    )]
    NoSoftwareEvent {
        /// The domain.
        name: String,
    },
    /// A source's vector is not one that the layout gives out.
    #[error("source {label:?} holds vector {vector:#04x}, which the layout does not lease on CPU {cpu}")]
    VectorNotLeasable {
        /// The source.
        label: String,
        /// Its vector.
        vector: u8,
        /// Where.
        cpu: u32,
    },
    /// Two sources hold one vector on one CPU.
    #[error("sources {first:?} and {second:?} both hold vector {vector:#04x} on CPU {cpu}")]
    VectorTwice {
        /// The source that came first.
        first: String,
        /// The other.
        second: String,
        /// The vector.
        vector: u8,
        /// Where.
        cpu: u32,
    },
    /// No vector is left to lease.
    #[error("source {label:?} gets no vector: {reason}")]
    NoVector {
        /// The source.
        label: String,
        /// What ran out.
        reason: String,
    },
    /// A vector number is illegal.
    #[error(transparent)]
    Vector(#[from] IllegalVector),
    /// The layout contradicts itself.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A cost cannot be set.
    #[error("cost {name:?}: {error}")]
    Cost {
        /// Which.
        name: String,
        /// Why not.
        error: CostError,
    },
    /// A workload cannot be.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The machine cannot be.
    #[error(transparent)]
    Machine(#[from] ConfigError),
}

/// Where in a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A key at the top.
    Top(&'static str),
    /// A key of `[host]`.
    Host(&'static str),
    /// A cost.
    Cost(String),
    /// A domain, counted from 0, and one of its keys.
    Domain(usize, &'static str),
    /// A source, counted from 0, and one of its keys.
    Source(usize, &'static str),
}

impl Place {
    /// The fault `what` at this place.
    #[must_use]
    pub fn fault(self, what: impl Into<What>) -> Fault {
        Fault { place: self, what: what.into() }
    }

    /// The keys that lead there.
    fn keys(&self) -> Vec<Key<'_>> {
        match self {
            Self::Top(key) => vec![Key::Name(key)],
            Self::Host(key) => vec![Key::Name("host"), Key::Name(key)],
            Self::Cost(name) => vec![Key::Name("costs_ns"), Key::Name(name)],
            Self::Domain(index, key) => vec![Key::Name("domain"), Key::Index(*index), Key::Name(key)],
            Self::Source(index, key) => vec![Key::Name("source"), Key::Index(*index), Key::Name(key)],
        }
    }
}

/// A number as a person reads it: one of many digits by its power of ten.
pub(crate) fn brief(value: f64) -> String {
    let is_long = value.is_finite() && value != 0.0 && !(1e-6..1e15).contains(&value.abs());
    if is_long { format!("{value:e}") } else { value.to_string() }
}

enum Key<'a> {
    Name(&'a str),
    Index(usize),
}

impl ScenarioError {
    /// What the parser says, with file and line.
    pub(super) fn syntax(file: &str, text: &str, error: &toml::de::Error) -> Self {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        Self::Syntax { file: file.to_owned(), line, message: error.message().replace('\n', ", ") }
    }

    /// A fault, with file and line.
    pub(super) fn fault(file: &str, text: &str, fault: Fault) -> Self {
        Self::Fault { file: file.to_owned(), line: line_of(text, offset_of(text, &fault.place)), fault }
    }
}

/// The line of a byte, from 1.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// The first byte of the nearest thing to `place` that the text has: a key that is missing is missing from its table.
fn offset_of(text: &str, place: &Place) -> usize {
    let Ok(table) = DeTable::parse(text) else { return 0 };
    let mut keys = place.keys().into_iter();
    let Some(Key::Name(first)) = keys.next() else { return 0 };
    let Some(mut value) = table.get_ref().get(first) else { return 0 };
    for key in keys {
        let inner = match (key, value.get_ref()) {
            (Key::Name(name), DeValue::Table(table)) => table.get(name),
            (Key::Index(index), DeValue::Array(array)) => array.get(index),
            _ => None,
        };
        match inner {
            Some(inner) => value = inner,
            None => break,
        }
    }
    value.span().start
}
