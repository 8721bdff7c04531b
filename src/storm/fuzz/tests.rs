//! The short form: the corpora as they are, and with a few changes.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

/// The files of a corpus, with their names.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/fuzz").join(name);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let file = |path: std::path::PathBuf| (path.display().to_string(), fs::read(&path).unwrap());
    files.into_iter().map(file).collect()
}

#[test]
fn the_corpora_are_read() {
    for (name, target) in TARGETS {
        for (file, bytes) in corpus(name) {
            // Shown if it panics.
            println!("{file}");
            target(&bytes);
        }
    }
}

/// One change of a text: bytes from another one put in somewhere, in place of some that were there.
type Change = (prop::sample::Index, usize, prop::sample::Index, prop::sample::Index, usize);

fn changed(files: &[(String, Vec<u8>)], file: prop::sample::Index, changes: &[Change]) -> Vec<u8> {
    let mut bytes = file.get(files).1.clone();
    for (at, gone, from, start, length) in changes {
        let from = &from.get(files).1;
        let start = start.index(from.len() + 1);
        let piece = from[start..from.len().min(start + length)].to_vec();
        let at = at.index(bytes.len() + 1);
        let end = bytes.len().min(at + gone);
        bytes.splice(at..end, piece);
    }
    bytes
}

fn any_change() -> impl Strategy<Value = Change> {
    (any::<prop::sample::Index>(), 0..20_usize, any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..40_usize)
}

#[test]
fn the_corpora_are_read_with_anything_changed() {
    let corpora = TARGETS.map(|(name, target)| (corpus(name), target));
    let config = ProptestConfig { cases: 1_000, ..ProptestConfig::default() };
    proptest!(config, |(
        reader in 0..corpora.len(),
        file in any::<prop::sample::Index>(),
        changes in prop::collection::vec(any_change(), 1..5),
    )| {
        let (files, target) = &corpora[reader];
        target(&changed(files, file, &changes));
    });
}
