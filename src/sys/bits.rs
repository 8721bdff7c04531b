//! Bit sets that tell which lane or task has something to do: one for a single thread, one shared by many.

use std::borrow::Borrow;
use std::cell::Cell;
use std::rc::Rc;

use crate::sys::sync::{AtomicU64, CachePadded, Ordering};

/// A bit set of one thread.
#[derive(Debug, Default)]
pub struct Bits<W = Cell<u64>> {
    words: Vec<W>,
}

/// A bit set of one thread whose bits may be set from where it is not at hand; see [`mark`](Self::mark).
pub type Marks = Bits<Rc<Cell<u64>>>;

/// One bit of [`Marks`].
#[derive(Clone, Debug)]
pub struct Mark {
    word: Rc<Cell<u64>>,
    bit: u64,
}

impl Mark {
    /// Sets the bit. Needs no look for its place, which would cost every tuple something.
    #[inline(always)]
    pub fn set(&self) {
        self.word.set(self.word.get() | self.bit);
    }
}

impl Marks {
    /// The bit of this index.
    pub fn mark(&self, index: usize) -> Mark {
        Mark { word: self.words[index / 64].clone(), bit: 1 << (index % 64) }
    }
}

impl<W: Borrow<Cell<u64>> + Default> Bits<W> {
    /// A set for indexes below `len`, all clear.
    pub fn new(len: usize) -> Self {
        Bits { words: (0..len.div_ceil(64)).map(|_| W::default()).collect() }
    }

    #[inline]
    fn word(&self, index: usize) -> &Cell<u64> {
        self.words[index / 64].borrow()
    }

    /// Sets a bit.
    #[inline]
    pub fn set(&self, index: usize) {
        let word = self.word(index);
        word.set(word.get() | 1 << (index % 64));
    }

    /// Clears a bit.
    #[inline]
    pub fn clear(&self, index: usize) {
        let word = self.word(index);
        word.set(word.get() & !(1 << (index % 64)));
    }

    /// True if the bit is set.
    #[inline]
    pub fn get(&self, index: usize) -> bool {
        self.word(index).get() >> (index % 64) & 1 == 1
    }

    /// True if no bit is set.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| word.borrow().get() == 0)
    }

    /// The lowest set bit at or after `from`.
    #[inline]
    pub fn next_from(&self, from: usize) -> Option<usize> {
        let mut index = from / 64;
        let mut word = self.words.get(index)?.borrow().get() & (!0u64 << (from % 64));
        loop {
            if word != 0 {
                return Some(index * 64 + word.trailing_zeros() as usize);
            }
            index += 1;
            word = self.words.get(index)?.borrow().get();
        }
    }

    /// Calls `each` for every set bit, lowest first, and clears them.
    #[inline]
    pub fn drain(&self, mut each: impl FnMut(usize)) {
        for (index, word) in self.words.iter().enumerate() {
            let mut bits = word.borrow().take();
            while bits != 0 {
                each(index * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }
}

/// A bit set that any thread may set and one thread drains; two levels, so that draining visits set words only.
#[derive(Debug)]
pub struct SharedBits {
    /// One bit per word of `words`; set after the word.
    summary: Vec<CachePadded<AtomicU64>>,
    words: Vec<AtomicU64>,
}

impl SharedBits {
    /// A set for indexes below `len`, all clear.
    pub fn new(len: usize) -> Self {
        let words = len.div_ceil(64).max(1);
        SharedBits {
            summary: (0..words.div_ceil(64)).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Sets a bit; everything written before is visible to whoever drains it.
    #[inline]
    pub fn set(&self, index: usize) {
        let word = index / 64;
        self.words[word].fetch_or(1 << (index % 64), Ordering::Release);
        self.summary[word / 64].fetch_or(1 << (word % 64), Ordering::Release);
    }

    /// True if nothing is set, as far as this thread can see. One load per 4,096 indexes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.summary.iter().all(|word| word.load(Ordering::Relaxed) == 0)
    }

    /// Calls `each` for every set bit and clears them; for the one draining thread only.
    #[inline]
    pub fn drain(&self, mut each: impl FnMut(usize)) {
        for (block, summary) in self.summary.iter().enumerate() {
            if summary.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut marked = summary.swap(0, Ordering::Acquire);
            while marked != 0 {
                let word = block * 64 + marked.trailing_zeros() as usize;
                marked &= marked - 1;
                let mut bits = self.words[word].swap(0, Ordering::Acquire);
                while bits != 0 {
                    each(word * 64 + bits.trailing_zeros() as usize);
                    bits &= bits - 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_from_crosses_words() {
        let bits: Bits = Bits::new(200);
        bits.set(3);
        bits.set(130);
        assert_eq!(bits.next_from(0), Some(3));
        assert_eq!(bits.next_from(4), Some(130));
        assert_eq!(bits.next_from(131), None);
        bits.clear(3);
        assert_eq!(bits.next_from(0), Some(130));
    }

    #[test]
    fn a_mark_sets_its_bit_and_no_other() {
        let marks = Marks::new(130);
        marks.mark(3).set();
        marks.mark(129).set();
        marks.mark(129).set();
        let mut seen = Vec::new();
        marks.drain(|index| seen.push(index));
        assert_eq!(seen, [3, 129]);
        assert!(marks.is_empty());
    }

    #[test]
    fn draining_shared_bits_gives_each_once() {
        let bits = SharedBits::new(10_000);
        for index in [0, 63, 64, 4_095, 4_096, 9_999, 64] {
            bits.set(index);
        }
        let mut seen = Vec::new();
        bits.drain(|index| seen.push(index));
        assert_eq!(seen, [0, 63, 64, 4_095, 4_096, 9_999]);
        assert!(bits.is_empty());
    }
}
