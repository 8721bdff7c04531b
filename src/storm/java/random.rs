//! `java.util.Random`.

/// The generator of `java.util.Random`, bit for bit: a 48-bit linear congruential one.
///
/// ```
/// use squall::storm::java::JavaRandom;
///
/// let mut random = JavaRandom::new(42);
/// assert_eq!(random.next_int(10), 0);
/// assert_eq!(random.next_int(10), 3);
/// ```
#[derive(Clone, Debug)]
pub struct JavaRandom(u64);

const MULTIPLIER: u64 = 0x5_deec_e66d;
const MASK: u64 = (1 << 48) - 1;

impl JavaRandom {
    /// `new Random(seed)`.
    pub fn new(seed: i64) -> Self {
        JavaRandom((seed as u64 ^ MULTIPLIER) & MASK)
    }

    fn next_bits(&mut self, bits: u32) -> i32 {
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(0xb) & MASK;
        (self.0 >> (48 - bits)) as i32
    }

    /// `nextInt(bound)`.
    ///
    /// # Panics
    /// If the bound is not positive.
    pub fn next_int(&mut self, bound: i32) -> i32 {
        assert!(bound > 0, "the bound must be positive");
        let mut bits = self.next_bits(31);
        if bound & (bound - 1) == 0 {
            return ((i64::from(bound) * i64::from(bits)) >> 31) as i32;
        }
        // The highest, incomplete run of values is drawn again, or some results would be likelier.
        loop {
            let value = bits % bound;
            if bits.wrapping_sub(value).wrapping_add(bound - 1) >= 0 {
                return value;
            }
            bits = self.next_bits(31);
        }
    }
}
