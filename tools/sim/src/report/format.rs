//! Numbers as people read them; the table in the terminal and the report use the same.

/// The units of time with their length in ns, shortest first.
const UNITS: [(u64, &str); 4] = [(1, "ns"), (1_000, "µs"), (1_000_000, "ms"), (1_000_000_000, "s")];

/// A duration in the largest unit that leaves a whole part, three digits: `850 ns`, `12.3 µs`, `1.00 ms`, `90.0 s`.
#[must_use]
pub fn duration(ns: u64) -> String {
    if ns < 1_000 {
        return format!("{ns} ns");
    }
    let mut text = String::new();
    for (length, unit) in UNITS.into_iter().skip(1) {
        let value = ns as f64 / length as f64;
        text = format!("{} {unit}", three_digits(value));
        // What rounds up to a thousand belongs to the next unit.
        if value < 999.5 {
            break;
        }
    }
    text
}

/// A point in time, exact to the nanosecond, in ms: `812.345678 ms`.
#[must_use]
pub fn instant(ns: u64) -> String {
    format!("{}.{:06} ms", ns / 1_000_000, ns % 1_000_000)
}

/// A part of a whole in per cent: `12.3 %`; `< 0.1 %` for what is there but small, `–` of nothing.
#[must_use]
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    if part > 0 && percent < 0.05 { "< 0.1 %".to_owned() } else { format!("{percent:.1} %") }
}

/// A count with its thousands set apart: `1,234,567`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A vector as Xen's dumps print it, two hexadecimal digits: `D8`.
#[must_use]
pub fn vector(number: u8) -> String {
    format!("{number:02X}")
}

fn three_digits(value: f64) -> String {
    if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::prop_assert;
    use proptest::proptest;

    use super::count;
    use super::duration;
    use super::instant;
    use super::share;
    use super::vector;

    #[test]
    fn a_duration_is_in_the_unit_a_person_would_choose() {
        for (ns, text) in [
            (0, "0 ns"),
            (850, "850 ns"),
            (1_000, "1.00 µs"),
            (12_345, "12.3 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (1_000_000, "1.00 ms"),
            (9_995_000, "10.0 ms"),
            (99_950_000, "100 ms"),
            (2_000_000_000, "2.00 s"),
            (90_000_000_000, "90.0 s"),
            (12_345_000_000_000, "12345 s"),
        ] {
            assert_eq!(duration(ns), text, "{ns} ns");
        }
    }

    #[test]
    fn a_point_in_time_keeps_every_nanosecond() {
        assert_eq!(instant(812_345_678), "812.345678 ms");
        assert_eq!(instant(1_000_001), "1.000001 ms");
    }

    #[test]
    fn a_share_tells_little_from_nothing() {
        assert_eq!(share(0, 1_000_000), "0.0 %");
        assert_eq!(share(1, 1_000_000), "< 0.1 %");
        assert_eq!(share(123, 1_000), "12.3 %");
        assert_eq!(share(5, 0), "–");
    }

    #[test]
    fn counts_and_vectors_read_as_in_the_field() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(vector(0xd8), "D8");
        assert_eq!(vector(0x0a), "0A");
    }

    proptest! {
        #[test]
        fn no_duration_is_off_by_more_than_half_a_per_cent(ns in 1_u64..1_000_000_000_000) {
            let text = duration(ns);
            let (value, unit) = text.split_once(' ').expect("value and unit");
            let length = super::UNITS.iter().find(|(_, name)| *name == unit).expect("a unit").0;
            let shown = value.parse::<f64>().expect("a number") * length as f64;
            prop_assert!((shown - ns as f64).abs() <= ns as f64 * 0.005, "{ns} ns is shown as {text}");
        }

        #[test]
        fn a_count_loses_no_digit(number in any::<u64>()) {
            prop_assert!(count(number).replace(',', "") == number.to_string());
        }
    }
}
