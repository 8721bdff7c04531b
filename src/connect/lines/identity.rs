//! What tells a file from another one at the same path: its size, and a hash of some of its bytes.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use crate::error::Failure;

/// Bytes that are hashed: a microsecond or two.
pub(super) const SAMPLE_BYTES: usize = 16 << 10;

/// A sample of a file, in the words in which it is stored: `1000 bytes, 0..1000 xxh3 0123456789abcdef`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub size: u64,
    from: u64,
    to: u64,
    hash: u64,
}

impl Identity {
    /// Of these bytes of the file, which begin at `from`.
    pub fn of(size: u64, from: u64, bytes: &[u8]) -> Self {
        Identity { size, from, to: from + bytes.len() as u64, hash: xxh3_64(bytes) }
    }

    /// Reads a sample.
    pub fn read(path: &Path, size: u64, from: u64, to: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(to.saturating_sub(from).min(SAMPLE_BYTES as u64)).read_to_end(&mut bytes)?;
        Ok(Self::of(size, from, &bytes))
    }

    /// Of the file's beginning.
    pub fn of_head(path: &Path, size: u64) -> io::Result<Self> {
        Self::read(path, size, 0, size)
    }

    /// Fails unless the file still has the size and the bytes that a stored identity tells of.
    pub fn check(path: &Path, size: u64, stored: &str) -> Result<(), Failure> {
        let Some(then) = Self::parse(stored) else {
            return Err(Failure::fatal(format!("the stored identity of {}, {stored:?}, is malformed", path.display())));
        };
        let now = Self::read(path, size, then.from, then.to)?;
        if then == now {
            return Ok(());
        }
        Err(Failure::fatal(format!(
            "{} is not the input that the checkpoint was taken of: then {then}, now {now}; give the old input back, or \
             start over with --fresh",
            path.display()
        )))
    }

    fn parse(text: &str) -> Option<Self> {
        let (size, sample) = text.split_once(" bytes, ")?;
        let (range, hash) = sample.split_once(" xxh3 ")?;
        let (from, to) = range.split_once("..")?;
        let (size, from, to) = (size.parse().ok()?, from.parse().ok()?, to.parse().ok()?);
        Some(Identity { size, from, to, hash: u64::from_str_radix(hash, 16).ok()? })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, {}..{} xxh3 {:016x}", self.size, self.from, self.to, self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_back_as_it_was_written() {
        let identity = Identity::of(1_000, 10, b"some bytes");
        assert_eq!(Identity::parse(&identity.to_string()), Some(identity));
        assert_eq!(Identity::parse("10 bytes"), None);
    }
}
