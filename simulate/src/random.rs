//! Numbers that a seed decides: xoshiro256++ (Blackman and Vigna, public domain), seeded by splitmix64.

use crate::series;

/// Above this mean a Poisson number is drawn from its normal approximation.
const EXACT_BELOW: f64 = 30.0;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random([u64; 4]);

/// A Poisson distribution with its constant worked out.
#[derive(Clone, Copy, Debug)]
pub struct Poisson {
    mean: f64,
    /// e^-mean.
    none: f64,
    /// Square root of the mean.
    deviation: f64,
}

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// In `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normal with mean 0 and deviation 1: the sum of twelve uniform numbers, so within ±6.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    /// One Poisson number.
    pub fn poisson(&mut self, of: &Poisson) -> f64 {
        if of.mean > EXACT_BELOW {
            let value = of.mean + of.deviation * self.normal() + 0.5;
            return value.max(0.0) as u64 as f64;
        }
        let unit = self.unit();
        let (mut count, mut probability, mut below) = (0.0, of.none, of.none);
        // A mean of 30 has all its weight far below 200.
        while unit >= below && count < 200.0 {
            count += 1.0;
            probability *= of.mean / count;
            below += probability;
        }
        count
    }
}

impl Poisson {
    /// Of a mean, which is taken as 0 where it is negative.
    pub fn new(mean: f64) -> Self {
        let mean = mean.max(0.0);
        Self { mean, none: series::exp(-mean), deviation: mean.sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_published_one() {
        // The reference implementation's first outputs for the state 1, 2, 3, 4.
        let mut random = Random([1, 2, 3, 4]);
        let first: Vec<u64> = (0..4).map(|_| random.bits()).collect();
        assert_eq!(first, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
    }

    #[test]
    fn poisson_numbers_have_their_mean_and_variance() {
        for mean in [0.0, 0.13, 2.5, 25.0, 400.0] {
            let (mut random, of) = (Random::new(1), Poisson::new(mean));
            let drawn: Vec<f64> = (0..40_000).map(|_| random.poisson(&of)).collect();
            let average = drawn.iter().sum::<f64>() / 40_000.0;
            let variance =
                drawn.iter().map(|x| (x - average) * (x - average)).sum::<f64>() / 40_000.0;
            assert!((average - mean).abs() <= 0.02 * mean, "{mean}: {average}");
            assert!((variance - mean).abs() <= 0.05 * mean, "{mean}: variance {variance}");
        }
    }
}
