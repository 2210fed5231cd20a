//! Random numbers that are the same everywhere and forever: a fixed generator, and logarithms that do not come from the
//! C library of the machine, which may round otherwise.

use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;

/// A stream of random numbers of one user's own: what one source draws does not shift what another draws.
#[derive(Debug)]
pub struct RandomStream(ChaCha12Rng);

impl RandomStream {
    /// Stream number `stream` of `seed`; streams of one seed are independent of each other.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut generator = ChaCha12Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self(generator)
    }

    /// Evenly distributed over the open interval from 0 to 1.
    pub fn unit(&mut self) -> f64 {
        // 52 bits and the middle between two of them: 0 and 1 are never hit, so that every logarithm is finite.
        ((self.0.random::<u64>() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    /// Exponentially distributed: the distance between events that know nothing of each other.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * libm::log(self.unit())
    }

    /// The distance to the `count`-th of such events, or `limit` if that is nearer; `mean` is the distance between two.
    /// Drawing stops at the limit.
    pub fn erlang(&mut self, count: u32, mean: f64, limit: f64) -> f64 {
        let mut distance = 0.0;
        for _ in 0..count {
            distance += self.exponential(mean);
            if distance >= limit {
                return limit;
            }
        }
        distance
    }
}

#[cfg(test)]
mod tests {
    use super::RandomStream;

    #[test]
    fn a_seed_and_a_stream_give_the_same_numbers_for_ever() {
        let mut stream = RandomStream::new(2013, 7);
        let first: Vec<u64> = (0..4).map(|_| stream.exponential(1e6).to_bits()).collect();
        let expected = [0x4107_c90b_380c_546d, 0x412f_19d3_6387_36d8, 0x40de_23ed_5d2f_e3e7, 0x40ee_121e_f092_20c4];
        assert_eq!(first, expected, "{first:#x?}");
    }

    #[test]
    fn streams_of_one_seed_differ() {
        assert_ne!(RandomStream::new(1, 0).unit(), RandomStream::new(1, 1).unit());
        assert_ne!(RandomStream::new(1, 0).unit(), RandomStream::new(2, 0).unit());
    }

    #[test]
    fn means_are_what_they_are_asked_to_be() {
        let mut stream = RandomStream::new(3, 0);
        let samples = 100_000;
        let exponential = (0..samples).map(|_| stream.exponential(250.0)).sum::<f64>() / f64::from(samples);
        assert!((exponential - 250.0).abs() < 5.0, "{exponential}");
        let erlang = (0..samples).map(|_| stream.erlang(4, 250.0, f64::MAX)).sum::<f64>() / f64::from(samples);
        assert!((erlang - 1000.0).abs() < 10.0, "{erlang}");
        assert_eq!(stream.erlang(u32::MAX, 250.0, 900.0), 900.0);
    }
}
