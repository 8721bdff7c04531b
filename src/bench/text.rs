//! The text that word count counts: the user's, the shipped one, or, where that is not at hand, a generated one.

use std::collections::HashSet;
use std::path::Path;

use bytes::Bytes;
use memchr::memchr;

use crate::error::{Error, Result};
use crate::sys::random::Random;

/// What the generated text has in common with the shipped one, the King James Bible.
const LINES: usize = 31_102;
const DISTINCT_WORDS: usize = 28_856;
const WORDS_PER_LINE: std::ops::RangeInclusive<u64> = 5..=46;
/// Zipf and Mandelbrot: the word of rank r is found in proportion to 1 / (r + SHIFT)^EXPONENT.
const EXPONENT: f64 = 1.2;
const SHIFT: f64 = 2.0;
const SEED: u64 = 0x5133;

/// A text in memory, cut into lines.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    /// The whole text; every line ends with `\n`.
    pub bytes: Bytes,
    /// What it is, for a row: the file's name, or `generated`.
    pub name: String,
    /// Words in it.
    pub words: u64,
}

impl Text {
    /// The text of this file; without one the shipped text if the sources are where this binary was built from, else a
    /// generated text of the same statistics.
    ///
    /// # Errors
    /// When the file cannot be read, or holds no word.
    pub fn load(input: Option<&Path>) -> Result<Text> {
        let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/data/kjv.txt"));
        let path = match input {
            Some(path) => path,
            None if shipped.is_file() => shipped,
            None => return Ok(Text::generated()),
        };
        let bytes = std::fs::read(path).map_err(|error| Error::io(format!("reading {}", path.display()), &error))?;
        let name = path.file_name().map_or_else(|| "text".to_owned(), |name| name.to_string_lossy().into_owned());
        let text = Text::new(name, bytes);
        if text.words == 0 {
            return Err(Error::usage(path.display().to_string(), "a text without a word cannot be counted"));
        }
        Ok(text)
    }

    /// A text of the shipped one's size, line lengths and word frequencies; the same on every machine.
    pub fn generated() -> Text {
        Text::new("generated".to_owned(), generate(LINES, DISTINCT_WORDS))
    }

    fn new(name: String, mut bytes: Vec<u8>) -> Text {
        if bytes.last().is_some_and(|&last| last != b'\n') {
            bytes.push(b'\n');
        }
        let words = words(&bytes).count();
        Text { bytes: bytes.into(), name, words: words as u64 }
    }

    /// The same words in lines of this many each. Words that do not fill the last line are left out, unless there is no
    /// other line: then the words begin again until it is full.
    pub fn in_lines_of(&self, words_per_line: usize) -> Text {
        let mut bytes = Vec::with_capacity(self.bytes.len() + 1);
        let full_lines = (self.words as usize / words_per_line).max(1);
        let mut all = words(&self.bytes).cycle();
        for _ in 0..full_lines {
            for (index, word) in all.by_ref().take(words_per_line).enumerate() {
                if index > 0 {
                    bytes.push(b' ');
                }
                bytes.extend_from_slice(word);
            }
            bytes.push(b'\n');
        }
        Text::new(self.name.clone(), bytes)
    }

    /// Its lines, again from the start after the last one, for ever.
    pub fn cycle(&self) -> Cycle {
        Cycle { bytes: self.bytes.clone(), at: 0 }
    }
}

/// The words of a line (or of a whole text): maximal runs of bytes other than ASCII white space.
#[inline]
pub(crate) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// The lines of a text without end. A line shares the text's memory.
#[derive(Clone, Debug)]
pub(crate) struct Cycle {
    bytes: Bytes,
    at: usize,
}

impl Cycle {
    /// The next line as part of the text, without its end.
    #[inline]
    pub fn next_slice(&mut self) -> &[u8] {
        let (start, end) = self.advance();
        &self.bytes[start..end]
    }

    /// The next line as a value of its own, without its end. One reference count.
    #[inline]
    pub fn next_line(&mut self) -> Bytes {
        let (start, end) = self.advance();
        self.bytes.slice(start..end)
    }

    /// True before the first line and after each last one.
    pub fn is_at_start(&self) -> bool {
        self.at == 0
    }

    #[inline]
    fn advance(&mut self) -> (usize, usize) {
        let start = self.at;
        let length = memchr(b'\n', &self.bytes[start..]).expect("every line of a text has an end");
        let end = start + length;
        self.at = if end + 1 < self.bytes.len() { end + 1 } else { 0 };
        (start, end)
    }
}

fn generate(lines: usize, distinct: usize) -> Vec<u8> {
    let mut random = Random::new(SEED);
    let vocabulary = vocabulary(distinct, &mut random);
    let mut total = 0.0;
    let cumulative: Vec<f64> = (1..=distinct)
        .map(|rank| {
            total += (rank as f64 + SHIFT).powf(-EXPONENT);
            total
        })
        .collect();
    let mut text = Vec::new();
    for _ in 0..lines {
        let words = WORDS_PER_LINE.start() + random.below(WORDS_PER_LINE.end() - WORDS_PER_LINE.start() + 1);
        for index in 0..words {
            let drawn = random.unit() * total;
            let rank = cumulative.partition_point(|&up_to| up_to < drawn).min(distinct - 1);
            if index > 0 {
                text.push(b' ');
            }
            text.extend_from_slice(&vocabulary[rank]);
        }
        text.push(b'\n');
    }
    text
}

/// Distinct words by rank; frequent ones are short.
fn vocabulary(distinct: usize, random: &mut Random) -> Vec<Vec<u8>> {
    let mut seen = HashSet::new();
    let mut vocabulary = Vec::with_capacity(distinct);
    for rank in 1..=distinct {
        let letters = 2 + (rank as f64).log10().mul_add(1.1, 0.5) as u64 + random.below(2);
        loop {
            let word: Vec<u8> = (0..letters).map(|_| b'a' + random.below(26) as u8).collect();
            if seen.insert(word.clone()) {
                vocabulary.push(word);
                break;
            }
        }
    }
    vocabulary
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(words: &str) -> Text {
        Text::new("test".to_owned(), words.as_bytes().to_vec())
    }

    #[test]
    fn a_generated_text_is_the_same_every_time_and_resembles_the_shipped_one() {
        let generated = Text::generated();
        assert_eq!(generated.bytes, Text::generated().bytes);
        assert_eq!(generated.name, "generated");
        let shipped = Text::load(None).unwrap();
        let close = |a: u64, b: u64| a.abs_diff(b) * 10 < b;
        assert!(close(generated.words, shipped.words), "{} words", generated.words);
        assert!(close(generated.bytes.len() as u64, shipped.bytes.len() as u64), "{} bytes", generated.bytes.len());
        let frequent = |text: &Text| {
            let mut counts = std::collections::HashMap::new();
            words(&text.bytes).for_each(|word| *counts.entry(word).or_insert(0_u64) += 1);
            let mut counts: Vec<u64> = counts.into_values().collect();
            counts.sort_unstable_by(|a, b| b.cmp(a));
            counts[..100].iter().sum::<u64>() as f64 / text.words as f64
        };
        let (ours, theirs) = (frequent(&generated), frequent(&shipped));
        assert!((ours - theirs).abs() < 0.1, "the 100 most frequent words are {ours} of all, not {theirs}");
    }

    #[test]
    fn a_text_is_read_from_its_file_and_an_empty_or_missing_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("two.txt");
        std::fs::write(&path, "a  b\n\nc").unwrap();
        let read = Text::load(Some(&path)).unwrap();
        assert_eq!((read.name.as_str(), read.words), ("two.txt", 3));
        std::fs::write(&path, " \n").unwrap();
        assert!(Text::load(Some(&path)).unwrap_err().is_usage());
        assert!(Text::load(Some(&directory.path().join("none"))).unwrap_err().to_string().contains("none"));
    }

    #[test]
    fn lines_come_round_again() {
        let mut cycle = text("a b\n\nc").cycle();
        assert!(cycle.is_at_start());
        let lines: Vec<Bytes> = (0..4).map(|_| cycle.next_line()).collect();
        assert_eq!(lines, ["a b", "", "c", "a b"]);
        assert_eq!(cycle.next_slice(), b"");
        cycle.next_slice();
        assert!(cycle.is_at_start());
    }

    #[test]
    fn lines_of_equal_length_keep_the_words_in_order() {
        assert_eq!(text("a b\nc d e\nf g").in_lines_of(3).bytes, "a b c\nd e f\n");
        assert_eq!(text("a b").in_lines_of(3).bytes, "a b a\n");
    }
}
