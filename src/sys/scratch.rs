//! Folders of small files that are gone when the process is: made by it, held by a lock, and swept up by the next
//! process of the same kind if it was killed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};

use super::process::OtherProcess;

/// A place in a folder of files that are named by numbers. The folder is made for the first place and removed with the
/// last, unless it was there before.
#[derive(Debug)]
pub struct Scratch(PathBuf);

#[derive(Debug)]
struct Folder {
    places: usize,
    /// It was made here, and is held by this lock: nobody sweeps it up while this process lives.
    made: Option<File>,
}

fn folders() -> MutexGuard<'static, BTreeMap<PathBuf, Folder>> {
    static FOLDERS: Mutex<BTreeMap<PathBuf, Folder>> = Mutex::new(BTreeMap::new());
    FOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scratch {
    /// A place in this folder.
    ///
    /// # Errors
    /// It is not there and cannot be made.
    pub fn enter(path: &Path) -> io::Result<Self> {
        let mut folders = folders();
        if let Some(folder) = folders.get_mut(path) {
            folder.places += 1;
        } else {
            let made = make(path)?;
            folders.insert(path.to_owned(), Folder { places: 1, made });
        }
        Ok(Scratch(path.to_owned()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut folders = folders();
        let Some(folder) = folders.get_mut(&self.0) else { return };
        folder.places -= 1;
        if folder.places == 0 {
            // Under the lock on all folders: nobody enters it meanwhile.
            if folders.remove(&self.0).is_some_and(|folder| folder.made.is_some()) {
                remove(&self.0);
            }
        }
    }
}

/// Makes and locks a folder; none if it was there before.
fn make(path: &Path) -> io::Result<Option<File>> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    loop {
        match fs::create_dir(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(None),
            Err(error) => return Err(error),
        }
        // Where there is no such lock the folder is as good without: it is only not swept up.
        let Ok(lock) = File::open(path) else { return Ok(None) };
        let _ = flock(&lock, FlockOperation::NonBlockingLockExclusive);
        // Somebody may have swept it up between the two steps.
        match (fs::metadata(path), lock.metadata()) {
            (Ok(there), Ok(locked)) if there.ino() == locked.ino() => return Ok(Some(lock)),
            _ => {}
        }
    }
}

/// Removes a folder and the files in it that are named by numbers. What else is in it stays, and so does the folder.
fn remove(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_number) {
            // Gone already, or not ours: then the folder stays, which the next step finds out.
            let _ = fs::remove_file(entry.path());
        }
    }
    if let Err(error) = fs::remove_dir(path) {
        tracing::debug!(folder = %path.display(), %error, "a temporary folder stays");
    }
}

fn is_number(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Removes the folders in `parent` that are called this prefix and the number of a process, and that it has left
/// behind: it does not live any more.
pub fn sweep(parent: &Path, prefix: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(number) = name.to_str().and_then(|name| name.strip_prefix(prefix)).filter(|name| is_number(name))
        else {
            continue;
        };
        // Looked at as well, since earlier versions took no lock.
        if number.parse().is_ok_and(|pid| !matches!(OtherProcess::find(pid), Ok(None))) {
            continue;
        }
        // Whoever made it holds the lock for as long as it lives, also if its number means nothing here.
        if let Ok(folder) = File::open(entry.path())
            && flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            remove(&entry.path());
        }
    }
}

#[cfg(all(test, not(squall_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_last_place_and_takes_numbered_files_with_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("deep/pids-1");
        let (first, second) = (Scratch::enter(&path).unwrap(), Scratch::enter(&path).unwrap());
        fs::write(path.join("123"), "").unwrap();
        drop(first);
        assert!(path.join("123").exists(), "somebody is still there");
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn what_others_have_made_stays() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("123"), "").unwrap();
        drop(Scratch::enter(place.path()).unwrap());
        assert!(place.path().join("123").exists());
        let path = place.path().join("pids");
        let scratch = Scratch::enter(&path).unwrap();
        fs::write(path.join("mine.txt"), "").unwrap();
        drop(scratch);
        assert!(path.join("mine.txt").exists());
    }

    #[test]
    fn what_a_killed_process_has_left_is_swept_up_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        let own = format!("pids-{}", std::process::id());
        for left in ["pids-999999999", "pids-x", "other-1", &own] {
            fs::create_dir(path(left)).unwrap();
            fs::write(path(left).join("7"), "").unwrap();
        }
        let held = Scratch::enter(&path("pids-999999998")).unwrap();
        sweep(place.path(), "pids-");
        let stays = ["pids-999999999", "pids-999999998", "pids-x", "other-1", &own].map(|name| path(name).exists());
        assert_eq!(stays, [false, true, true, true, true]);
        drop(held);
    }
}
