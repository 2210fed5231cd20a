//! Sets of CPUs as a person writes them: `all`, or numbers and ranges such as `0-3,6`.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;
use vector_allocator::CpuId;
use vector_allocator::CpuSet;

/// The highest CPU number a mask may name.
const HIGHEST: u32 = 65_535;

/// A set of CPUs of a machine whose size need not be known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CpuMask {
    /// Every CPU of the machine.
    #[default]
    All,
    /// These.
    Some(CpuSet),
}

/// A text is no set of CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no set of CPUs: expected `all`, or numbers up to {HIGHEST} and ranges such as `0-3,6`")]
pub struct IllegalMask(String);

impl CpuMask {
    /// The CPUs meant on a machine of `cpus` CPUs.
    #[must_use]
    pub fn on(&self, cpus: u32) -> CpuSet {
        match self {
            Self::All => CpuSet::first_n(cpus),
            Self::Some(set) => set.clone(),
        }
    }
}

impl TryFrom<String> for CpuMask {
    type Error = IllegalMask;

    fn try_from(text: String) -> Result<Self, IllegalMask> {
        if text == "all" {
            return Ok(Self::All);
        }
        let set = text.split(',').try_fold(CpuSet::new(), |mut set, part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
            let range = Some(first..=last).filter(|range| last <= HIGHEST && !range.is_empty())?;
            range.for_each(|cpu| {
                set.insert(CpuId(cpu));
            });
            Some(set)
        });
        set.map(Self::Some).ok_or(IllegalMask(text))
    }
}

impl From<CpuMask> for String {
    fn from(mask: CpuMask) -> Self {
        mask.to_string()
    }
}

impl fmt::Display for CpuMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Some(set) => f.write_str(set.to_string().trim_matches(['{', '}'])),
        }
    }
}

#[cfg(test)]
mod tests {
    use vector_allocator::CpuId;

    use super::CpuMask;

    #[test]
    fn masks_are_read_as_they_are_written() {
        for text in ["all", "0", "0-3", "0-3,6,9-11"] {
            let mask = CpuMask::try_from(text.to_owned()).unwrap();
            assert_eq!(mask.to_string(), text);
        }
        let mask = CpuMask::try_from("1, 3-4".to_owned()).unwrap();
        assert_eq!(mask.on(2), [1, 3, 4].map(CpuId).into_iter().collect());
        assert_eq!(CpuMask::All.on(2), [0, 1].map(CpuId).into_iter().collect());
    }

    #[test]
    fn what_is_no_mask_is_refused() {
        for text in ["", "a", "3-1", "-1", "0-4294967295", "1,,2", "ALL"] {
            assert!(CpuMask::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }
}
