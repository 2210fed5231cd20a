//! Times, factors and costs as people write them.

use carillon_machine::CostError;
use carillon_machine::Costs;
use carillon_machine::Span;

/// The shortest and longest a scenario may run, ns: a microsecond and ten thousand seconds.
const TIMES: std::ops::RangeInclusive<f64> = 1e3..=1e13;
/// The factors on a rate that a scenario may have.
const LOADS: std::ops::RangeInclusive<f64> = 0.001..=1000.0;

/// Parses `500ms`, `2s`, `750us`, `100ns` to ns.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "s" => 1e9,
        "ms" => 1e6,
        "us" | "µs" => 1e3,
        "ns" => 1.0,
        _ => return Err(format!("expected a number with s, ms, us or ns, as in 500ms; found unit '{unit}'")),
    };
    let value: f64 = number.parse().map_err(|_| format!("expected a number before '{unit}', found '{number}'"))?;
    let ns = value * scale;
    if TIMES.contains(&ns) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to lie within its range")]
        Ok(ns as u64)
    } else {
        Err(format!("{text} is not between 1us and 10000s"))
    }
}

/// A number of things: `1 queue`, `2 queues`.
pub(crate) fn many(number: u32, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Parses a factor on a rate: positive and finite.
pub(crate) fn parse_load(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(load) if LOADS.contains(&load) => Ok(load),
        _ => Err(format!("expected a factor from 0.001 to 1000, found '{text}'")),
    }
}

/// Parses a register's value: `0xc0051`, `C0051h` or decimal.
pub(crate) fn parse_word(text: &str) -> Result<u64, String> {
    let lower = text.to_lowercase();
    let hex = lower.strip_prefix("0x").or_else(|| lower.strip_suffix('h'));
    let parsed = hex.map_or_else(|| lower.parse().ok(), |digits| u64::from_str_radix(digits, 16).ok());
    parsed.ok_or_else(|| format!("expected a value of at most 64 bits, as in 0xc0051, found '{text}'"))
}

/// Parses a cost, as in `vm_exit=900`, to its name and ns.
pub(crate) fn parse_cost(text: &str) -> Result<(String, u64), String> {
    let (name, ns) = text.split_once('=').ok_or("expected NAME=NS, as in vm_exit=900")?;
    let ns = ns.parse().map_err(|_| format!("expected a whole number of ns after '{name}=', found '{ns}'"))?;
    Costs::default().set(name, Span(ns)).map_err(|error| match error {
        CostError::Unknown => format!("there is no cost '{name}'; `carillon explain costs` lists them"),
        other => other.to_string(),
    })?;
    Ok((name.to_owned(), ns))
}

#[cfg(test)]
mod tests {
    use super::parse;
    use super::parse_cost;
    use super::parse_load;
    use super::parse_word;

    #[test]
    fn times_are_read_in_every_unit() {
        for (text, ns) in [("2s", 2_000_000_000), ("500ms", 500_000_000), ("1.5us", 1500), ("7500ns", 7500)] {
            assert_eq!(parse(text), Ok(ns));
        }
    }

    #[test]
    fn a_time_without_unit_or_out_of_range_is_refused_with_what_was_expected() {
        assert!(parse("5").unwrap_err().contains("as in 500ms"));
        assert!(parse("x ms").is_err());
        assert!(parse("0s").is_err());
        assert!(parse("99999999999s").is_err());
        assert!(parse_load("0").is_err());
        assert!(parse_load("nan").is_err());
        assert_eq!(parse_load("2.5"), Ok(2.5));
    }

    #[test]
    fn a_value_is_read_in_either_base_and_never_beyond_64_bits() {
        for text in ["0xc0051", "C0051h", "786513"] {
            assert_eq!(parse_word(text), Ok(0xc_0051), "{text}");
        }
        assert_eq!(parse_word("0xffffffffffffffff"), Ok(u64::MAX));
        for text in ["0x1ffffffffffffffff", "-1", "", "0x", "c0051"] {
            assert!(parse_word(text).unwrap_err().contains("0xc0051"), "{text}");
        }
    }

    #[test]
    fn a_cost_is_known_by_name_and_a_mistake_is_named() {
        assert_eq!(parse_cost("vm_exit=900"), Ok(("vm_exit".to_owned(), 900)));
        assert!(parse_cost("vmexit=900").unwrap_err().contains("'vmexit'"));
        assert!(parse_cost("vm_exit").unwrap_err().contains("NAME=NS"));
        assert!(parse_cost("vm_exit=9us").unwrap_err().contains("'9us'"));
        assert!(parse_cost("vm_exit=9000000000").unwrap_err().contains("longer than"));
    }
}
