//! Seeded randomness: a counter put through a mixing function (SplitMix64; Steele, Lea and Flood, OOPSLA 2014).

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Mixes 64 bits so that every input bit affects every output bit. A bijection.
#[inline]
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A small deterministic generator; the same seed gives the same sequence on every machine. Not for secrets.
#[derive(Clone, Debug)]
pub struct Random {
    counter: u64,
}

impl Random {
    /// A generator for a seed.
    pub fn new(seed: u64) -> Self {
        Random { counter: mix(seed ^ GOLDEN) }
    }

    /// A generator whose sequence is independent of this one's for every distinct `label`.
    pub fn fork(&self, label: u64) -> Self {
        Random { counter: mix(self.counter ^ mix(label.wrapping_add(GOLDEN))) }
    }

    /// The next 64 bits. About 1 ns.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(GOLDEN);
        mix(self.counter)
    }

    /// A number below `bound`, by multiply and shift (bias below 2⁻³²; Lemire, 2019).
    ///
    /// # Panics
    /// If `bound` is 0.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "the bound of a random number must be positive");
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `[0, 1)` with 53 random bits.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with the given probability.
    #[inline]
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }
}
