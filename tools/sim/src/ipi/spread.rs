//! How measurements lie about their means.

use super::published::Run;
use crate::RandomStream;

/// Relative deviations of runs from the mean of their way, all four ways together. That between runs is the only spread that is
/// published; an IPI of the benchmark deviates as a run does.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread(Vec<f64>);

impl Spread {
    /// That of some runs.
    pub(super) fn about_means(runs: &[Run]) -> Self {
        let ways: [fn(&Run) -> f64; 4] =
            [|run| run.xapic[0], |run| run.xapic[1], |run| run.x2apic[0], |run| run.x2apic[1]];
        let deviations = ways.into_iter().flat_map(|way| {
            let mean = runs.iter().map(way).sum::<f64>() / runs.len() as f64;
            runs.iter().map(move |run| way(run) / mean - 1.0)
        });
        Self(deviations.collect())
    }

    /// One of the deviations, each as likely as any other; none if there are none.
    pub(super) fn draw(&self, random: &mut RandomStream) -> f64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the length")]
        let place = (random.unit() * self.0.len() as f64) as usize;
        self.0.get(place).copied().unwrap_or(0.0)
    }

    /// The smallest and the largest.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        self.0.iter().fold((0.0, 0.0), |(low, high), one| (low.min(*one), high.max(*one)))
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;
    use crate::RandomStream;
    use crate::ipi::published::runs;

    #[test]
    fn every_deviation_is_drawn_and_they_add_up_to_nothing() {
        let spread = Spread::about_means(&runs().unwrap());
        let mut random = RandomStream::new(5, 0);
        let drawn: Vec<f64> = (0..20_000).map(|_| spread.draw(&mut random)).collect();
        assert!(spread.0.iter().all(|one| drawn.contains(one)));
        assert!((drawn.iter().sum::<f64>() / 20_000.0).abs() < 1e-3);
        let (low, high) = spread.range();
        assert!(low < -0.02 && high > 0.02 && drawn.iter().all(|one| (low..=high).contains(one)));
    }
}
