//! Loaded below a program (`LD_PRELOAD`): one of its file operations under a folder fails or is its end, or its clock
//! jumps.
//!
//! `SQUALL_FAULT` is `KIND:NTH`: the NTH operation of that kind fails, or the program is killed there;
//! `SQUALL_FAULT_UNDER` is the folder, or all but its `stderr`. What was done is said on standard error as
//! `injected: ...`. No crate, so that `rustc` alone builds it.

use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

const EIO: c_int = 5;
const ENOSPC: c_int = 28;
const AT_FDCWD: c_int = -100;
const CLOCK_REALTIME: c_int = 0;
const O_ACCMODE: c_int = 3;
const SIGKILL: c_int = 9;
/// `RTLD_NEXT` of Linux.
const NEXT: *mut c_void = -1_isize as *mut c_void;

#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanoseconds: c_long,
}

#[repr(C)]
pub struct IoVec {
    base: *const c_void,
    length: usize,
}

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn __errno_location() -> *mut c_int;
    fn raise(signal: c_int) -> c_int;
}

struct Plan {
    kind: String,
    nth: u64,
    under: PathBuf,
    met: AtomicU64,
}

fn plan() -> Option<&'static Plan> {
    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
    let read = || {
        let fault = std::env::var("SQUALL_FAULT").ok()?;
        let (kind, nth) = fault.split_once(':')?;
        let under = std::env::var_os("SQUALL_FAULT_UNDER")?.into();
        Some(Plan { kind: kind.to_owned(), nth: nth.parse().ok()?, under, met: AtomicU64::new(0) })
    };
    PLAN.get_or_init(read).as_ref()
}

/// The next definition of a function, looked up once.
///
/// # Safety
/// `F` is the type of the function of that name.
unsafe fn next<F: Copy>(cell: &AtomicUsize, name: &CStr) -> F {
    let mut found = cell.load(Ordering::Relaxed);
    if found == 0 {
        // SAFETY: a name with its zero; the handle is one that `dlsym` knows.
        found = unsafe { dlsym(NEXT, name.as_ptr()) } as usize;
        assert!(found != 0, "{name:?} is in no library");
        cell.store(found, Ordering::Relaxed);
    }
    // SAFETY: a function's address has the size of a pointer, and its type is the caller's promise.
    unsafe { std::mem::transmute_copy(&found) }
}

fn is_ours(plan: &Plan, path: &Path) -> bool {
    let is_manifest = || path.file_stem().is_some_and(|stem| stem == "manifest");
    path.starts_with(&plan.under) && !path.ends_with("stderr") && (!plan.kind.ends_with("manifest") || is_manifest())
}

fn path_of(fd: c_int) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()
}

/// True if this operation is the one. A full disk stays full.
fn is_due(kinds: &[&str], path: impl FnOnce() -> Option<PathBuf>) -> Option<&'static Plan> {
    let plan = plan().filter(|plan| kinds.contains(&plan.kind.as_str()))?;
    let path = path().filter(|path| is_ours(plan, path))?;
    let nth = plan.met.fetch_add(1, Ordering::Relaxed) + 1;
    if nth == plan.nth {
        eprintln!("injected: {} at {}", plan.kind, path.display());
    }
    (nth == plan.nth || (nth > plan.nth && plan.kind == "disk-full")).then_some(plan)
}

fn fail<T: From<i8>>(error: c_int) -> T {
    // SAFETY: the address of this thread's own `errno`.
    unsafe { *__errno_location() = error };
    T::from(-1)
}

/// The write that is under way is the last thing that the program does.
static IS_LAST: AtomicBool = AtomicBool::new(false);

fn die() -> ! {
    // SAFETY: takes a number and touches no memory of the program.
    unsafe { raise(SIGKILL) };
    unreachable!("SIGKILL cannot be caught")
}

/// The result of an operation, unless the program was to be killed after it.
fn survived<T>(result: T) -> T {
    if IS_LAST.load(Ordering::Relaxed) { die() } else { result }
}

/// Kills the program if this operation is the one.
fn may_die(kind: &str, path: impl FnOnce() -> Option<PathBuf>) {
    if is_due(&[kind], path).is_some() {
        die();
    }
}

/// What becomes of a write of so many bytes: as many as to write instead, or an error.
fn writes(fd: c_int, length: usize) -> Result<usize, c_int> {
    const KINDS: [&str; 5] = ["write-error", "write-short", "disk-full", "kill-write", "kill-manifest"];
    let Some(plan) = is_due(&KINDS, || path_of(fd)) else { return Ok(length) };
    match plan.kind.as_str() {
        "kill-manifest" => die(),
        "kill-write" => {
            IS_LAST.store(true, Ordering::Relaxed);
            Ok(length.div_ceil(2))
        }
        "write-short" => Ok(length.div_ceil(2)),
        "disk-full" if plan.met.load(Ordering::Relaxed) == plan.nth && length > 1 => Ok(length / 2),
        "disk-full" => Err(ENOSPC),
        _ => Err(EIO),
    }
}

/// What becomes of a sync.
fn syncs(fd: c_int, real: impl FnOnce(c_int) -> c_int) -> c_int {
    may_die("kill-sync", || path_of(fd));
    let result = match is_due(&["sync-error"], || path_of(fd)) {
        None => real(fd),
        Some(_) => fail(EIO),
    };
    may_die("kill-after-manifest", || path_of(fd));
    result
}

/// Defines functions of C; `real` is what the program would have called without this library.
macro_rules! wrapped {
    ($(fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty, $real:ident => $body:expr;)*) => {$(
        /// # Safety
        /// As the function of this name in C.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $type),*) -> $result {
            static CELL: AtomicUsize = AtomicUsize::new(0);
            const NAME: &CStr = match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("one zero, at the end"),
            };
            // SAFETY: the function of this name has this type; the caller's own arguments go on to it.
            unsafe {
                let $real = next::<unsafe extern "C" fn($($type),*) -> $result>(&CELL, NAME);
                $body
            }
        }
    )*};
}

wrapped! {
    fn write(fd: c_int, bytes: *const c_void, length: usize) -> isize, real => match writes(fd, length) {
        Ok(length) => survived(real(fd, bytes, length)),
        Err(error) => fail(error),
    };
    fn pwrite(fd: c_int, bytes: *const c_void, length: usize, at: i64) -> isize, real => match writes(fd, length) {
        Ok(length) => survived(real(fd, bytes, length, at)),
        Err(error) => fail(error),
    };
    fn pwrite64(fd: c_int, bytes: *const c_void, length: usize, at: i64) -> isize, real => match writes(fd, length) {
        Ok(length) => survived(real(fd, bytes, length, at)),
        Err(error) => fail(error),
    };
    fn writev(fd: c_int, parts: *const IoVec, count: c_int) -> isize, real => match writes(fd, count as usize) {
        Ok(count) => survived(real(fd, parts, count as c_int)),
        Err(error) => fail(error),
    };
    fn fsync(fd: c_int) -> c_int, real => syncs(fd, |fd| real(fd));
    fn fdatasync(fd: c_int) -> c_int, real => syncs(fd, |fd| real(fd));
    fn rename(from: *const c_char, to: *const c_char) -> c_int, real => {
        may_die("kill-rename", || text(from));
        let result = match is_due(&["rename-error"], || text(from)) {
            None => real(from, to),
            Some(_) => fail(EIO),
        };
        may_die("kill-after-rename", || text(from));
        result
    };
    fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int, real => match opens(AT_FDCWD, path, flags) {
        None => real(path, flags, mode),
        Some(error) => fail_fd(error),
    };
    fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int, real => match opens(AT_FDCWD, path, flags) {
        None => real(path, flags, mode),
        Some(error) => fail_fd(error),
    };
    fn openat(folder: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int, real => {
        match opens(folder, path, flags) {
            None => real(folder, path, flags, mode),
            Some(error) => fail_fd(error),
        }
    };
    fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int, real => {
        let result = real(clock, time);
        // The jump goes half a minute back or an hour on, as the number is odd or even, and stays.
        if clock == CLOCK_REALTIME && result == 0 && has_jumped() {
            (*time).seconds += if plan().is_some_and(|plan| plan.nth % 2 == 1) { -30 } else { 3_600 };
        }
        result
    };
}

/// # Safety
/// A text that ends with a zero.
unsafe fn text(path: *const c_char) -> Option<PathBuf> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { CStr::from_ptr(path) }.to_bytes();
    Some(PathBuf::from(String::from_utf8_lossy(bytes).into_owned()))
}

/// The error for opening a file to write into it; readers are spared.
///
/// # Safety
/// A text that ends with a zero.
unsafe fn opens(folder: c_int, path: *const c_char, flags: c_int) -> Option<c_int> {
    if flags & O_ACCMODE == 0 || folder != AT_FDCWD {
        return None;
    }
    // SAFETY: the caller's promise.
    is_due(&["open-error"], || unsafe { text(path) }).map(|_| EIO)
}

fn fail_fd(error: c_int) -> c_int {
    fail(error)
}

/// Programs ask for the time when they start, and then rarely.
fn has_jumped() -> bool {
    let Some(plan) = plan().filter(|plan| plan.kind == "clock-jump") else { return false };
    let nth = plan.met.fetch_add(1, Ordering::Relaxed) + 1;
    if nth == plan.nth {
        eprintln!("injected: clock-jump");
    }
    nth >= plan.nth
}
