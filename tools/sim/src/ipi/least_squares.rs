//! Linear least squares of a few unknowns, by the normal equations.

/// An observation: how often each unknown counts, and what all together were measured to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Observation {
    pub(super) counts: Vec<f64>,
    pub(super) measured: f64,
}

/// A pivot smaller than this, of counts that are small whole numbers, is a zero.
const NOTHING: f64 = 1e-9;

/// The values of `unknowns` unknowns for which the squares of all deviations add up to the least; none if the observations
/// do not tell some of them apart.
pub(super) fn solve(unknowns: usize, observations: &[Observation]) -> Option<Vec<f64>> {
    // Each row: the counts' products with those of one unknown, and with what was measured.
    let mut rows: Vec<Vec<f64>> = (0..unknowns)
        .map(|i| {
            let product =
                |of: &dyn Fn(&Observation) -> f64| observations.iter().map(|one| one.counts[i] * of(one)).sum();
            let mut row: Vec<f64> = (0..unknowns).map(|j| product(&|one| one.counts[j])).collect();
            row.push(product(&|one| one.measured));
            row
        })
        .collect();
    for column in 0..unknowns {
        let largest = (column..unknowns).max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()))?;
        rows.swap(column, largest);
        let pivot = rows[column].clone();
        if pivot[column].abs() < NOTHING {
            return None;
        }
        for (index, row) in rows.iter_mut().enumerate() {
            if index != column {
                let factor = row[column] / pivot[column];
                row.iter_mut().zip(&pivot).for_each(|(cell, above)| *cell -= factor * above);
            }
        }
    }
    Some(rows.iter().enumerate().map(|(index, row)| row[unknowns] / row[index]).collect())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::proptest;

    use super::Observation;
    use super::solve;

    fn observation(counts: &[f64], measured: f64) -> Observation {
        Observation { counts: counts.to_vec(), measured }
    }

    #[test]
    fn one_unknown_is_the_mean_and_two_are_told_apart() {
        let mean = solve(1, &[observation(&[1.0], 3.0), observation(&[1.0], 5.0)]).unwrap();
        assert!((mean[0] - 4.0).abs() < 1e-9);
        let two = solve(2, &[observation(&[1.0, 0.0], 10.0), observation(&[1.0, 1.0], 17.0)]).unwrap();
        assert!((two[0] - 10.0).abs() < 1e-9 && (two[1] - 7.0).abs() < 1e-9, "{two:?}");
    }

    #[test]
    fn what_always_counts_together_cannot_be_told_apart() {
        assert_eq!(solve(2, &[observation(&[1.0, 1.0], 4.0), observation(&[2.0, 2.0], 8.0)]), None);
        assert_eq!(solve(1, &[]), None);
    }

    proptest! {
        #[test]
        fn no_values_near_the_solution_deviate_less(
            counts in vec(vec(0..3_u8, 3), 6..20),
            measured in vec(0..10_000_u32, 20),
            change in vec(-5.0..5.0_f64, 3),
        ) {
            let observations: Vec<Observation> = counts
                .iter()
                .zip(&measured)
                .map(|(counts, measured)| Observation {
                    counts: counts.iter().map(|count| f64::from(*count)).collect(),
                    measured: f64::from(*measured),
                })
                .collect();
            let deviation = |values: &[f64]| -> f64 {
                let of = |one: &Observation| {
                    let total: f64 = one.counts.iter().zip(values).map(|(count, value)| count * value).sum();
                    (total - one.measured).powi(2)
                };
                observations.iter().map(of).sum()
            };
            if let Some(best) = solve(3, &observations) {
                let near: Vec<f64> = best.iter().zip(&change).map(|(value, change)| value + change).collect();
                let (least, other) = (deviation(&best), deviation(&near));
                assert!(least <= other * (1.0 + 1e-9) + 1e-3, "{least} {other}");
            }
        }
    }
}
