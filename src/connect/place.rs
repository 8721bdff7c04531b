//! Where a sink writes, as one name for one place.

use std::fs;
use std::path::{Path, PathBuf};

/// The path without links and detours, for [`Checkpointed::place`](crate::task::snapshot::Checkpointed::place) and
/// [`Source::reads`](crate::Source::reads). None of what is neither a file nor a folder: a terminal or `/dev/null`
/// takes what several components write.
pub fn place_of(path: &Path) -> Option<String> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return None;
    }
    Some(absolute(path).display().to_string())
}

fn absolute(path: &Path) -> PathBuf {
    // What is not there yet has no links in it; what it is in may.
    let mut missing = Vec::new();
    let mut there = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    loop {
        if let Ok(found) = fs::canonicalize(&there) {
            return missing.iter().rev().fold(found, |path, name| path.join(name));
        }
        match (there.file_name().map(ToOwned::to_owned), there.parent().map(Path::to_owned)) {
            (Some(name), Some(parent)) => {
                missing.push(name);
                there = parent;
            }
            _ => return missing.iter().rev().fold(there, |path, name| path.join(name)),
        }
    }
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_has_one_name_whatever_leads_there() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let place = place_of(&real.join("new")).unwrap();
        for other in [link.join("new"), real.join("./new"), folder.path().join("link/../real/new")] {
            assert_eq!(place_of(&other).as_ref(), Some(&place), "{}", other.display());
        }
        assert_ne!(place_of(&real.join("other")), Some(place));
        assert_eq!(place_of(Path::new("/dev/null")), None);
        assert_eq!(folder_of(Path::new("counts.tsv")), Path::new("."));
    }
}
