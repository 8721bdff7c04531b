//! Reading `/proc` and `/sys` below a root that tests can replace.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// No file read here is larger on any real machine; a larger one is cut, never grown into.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// The directory that holds `proc` and `sys`: `/`, or a temporary directory in tests.
pub(super) struct Source {
    root: PathBuf,
}

impl Source {
    /// The running system.
    pub(super) fn system() -> Self {
        Self::at("/")
    }

    pub(super) fn at(root: impl Into<PathBuf>) -> Self {
        Source { root: root.into() }
    }

    /// The text of a file given by its absolute path on a running system.
    pub(super) fn read(&self, path: impl AsRef<Path>) -> io::Result<String> {
        let path = path.as_ref();
        let mut bytes = Vec::new();
        File::open(self.root.join(path.strip_prefix("/").unwrap_or(path)))?
            .take(FILE_BYTES_MAX)
            .read_to_end(&mut bytes)?;
        // A CPU model or a mount point need not be UTF-8; nothing that matters here is lost by replacement.
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// As [`read`](Source::read), where a file that cannot be read only means that the fact is not known.
    pub(super) fn read_optional(&self, path: impl AsRef<Path>) -> Option<String> {
        self.read(path).ok()
    }
}

/// The value of the first line `name : value`, as in `/proc/cpuinfo`, `/proc/meminfo` and `/proc/self/status`.
pub(super) fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// A field that the kernel gives in kibibytes (`24683656 kB`), in bytes.
pub(super) fn kib_field_bytes(text: &str, name: &str) -> Option<u64> {
    let kib: u64 = field(text, name)?.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Writes files below a temporary directory that stands for `/`.
    pub(in crate::sys::cpu) fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Source) {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let source = Source::at(directory.path());
        (directory, source)
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "MemTotalX: 1 kB\nMemTotal:   24 kB\nmodel name\t: Frog 9000: turbo\nBad: x kB\n";
        assert_eq!(kib_field_bytes(text, "MemTotal"), Some(24 * 1024));
        assert_eq!(field(text, "model name"), Some("Frog 9000: turbo"));
        assert_eq!(kib_field_bytes(text, "Bad"), None);
        assert_eq!(field(text, "Mem"), None);
    }

    #[test]
    fn absolute_paths_stay_below_the_root() {
        let (_directory, source) = tree(&[("/proc/x", "here")]);
        assert_eq!(source.read("/proc/x").unwrap(), "here");
        assert!(source.read("/proc/self/status").is_err());
    }
}
