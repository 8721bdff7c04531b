//! A global allocator that counts: what a program asks of its allocator, between a start and a stop.
//!
//! A binary that wants to know wraps its allocator once; while nothing is being counted that costs one relaxed load per
//! allocation. Counting itself is slow where threads allocate at the same time: never time a run that counts.
//!
//! ```
//! use std::alloc::System;
//! use squall::sys::alloc::{self, Counting};
//!
//! #[global_allocator]
//! static ALLOCATOR: Counting<System> = Counting::new(System);
//!
//! alloc::start();
//! let two = (Box::new(1), vec![0_u8; 100]);
//! let counted = alloc::stop();
//! drop(two);
//! assert!(counted.allocations >= 2 && counted.bytes >= 104);
//! ```
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::hint::black_box;
use std::ops::{Add, Sub};
// Not through the facade: a static needs `new` in a constant, and a model has no business inside its own allocator.
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// Bits of `MODE`: zero while an allocation has nobody to tell.
const COUNT: u8 = 1;
const PROBE: u8 = 2;

static MODE: AtomicU8 = AtomicU8::new(0);
static INSTALLED: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    // Constant and without a destructor: the first use on a thread registers nothing, so it cannot allocate, and the
    // last allocations of a thread that ends still find it.
    static OF_THIS_THREAD: Cell<Counted> = const { Cell::new(Counted { allocations: 0, bytes: 0 }) };
}

/// What was asked of the allocator. Subtract an earlier count from a later one to know what came between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counted {
    /// Calls that allocate or reallocate.
    pub allocations: u64,
    /// Bytes asked for; of a reallocation what it adds.
    pub bytes: u64,
}

impl Sub for Counted {
    type Output = Counted;
    fn sub(self, earlier: Counted) -> Counted {
        Counted { allocations: self.allocations - earlier.allocations, bytes: self.bytes - earlier.bytes }
    }
}

impl Add for Counted {
    type Output = Counted;
    fn add(self, other: Counted) -> Counted {
        Counted { allocations: self.allocations + other.allocations, bytes: self.bytes + other.bytes }
    }
}

/// Counts from zero, on all threads, until [`stop`]. There is one count in a process: who starts it again, resets it.
pub fn start() {
    ALLOCATIONS.store(0, Ordering::Relaxed);
    BYTES.store(0, Ordering::Relaxed);
    MODE.fetch_or(COUNT, Ordering::SeqCst);
}

/// Ends counting; what all threads together asked for since [`start`]. An allocation that another thread makes at this
/// moment may or may not be in it. All zeros if no [`Counting`] [is installed](is_installed).
pub fn stop() -> Counted {
    MODE.fetch_and(!COUNT, Ordering::SeqCst);
    Counted { allocations: ALLOCATIONS.load(Ordering::Relaxed), bytes: BYTES.load(Ordering::Relaxed) }
}

/// What the calling thread has asked for while counting was on, since the thread began; never reset. So an executor's
/// thread can tell its own allocations from everybody else's.
pub fn of_this_thread() -> Counted {
    OF_THIS_THREAD.get()
}

/// True if a [`Counting`] is this program's global allocator. Without one, counts stay zero and say nothing. Asking
/// allocates once.
pub fn is_installed() -> bool {
    MODE.fetch_or(PROBE, Ordering::SeqCst);
    drop(black_box(Box::new(0_u8)));
    MODE.fetch_and(!PROBE, Ordering::SeqCst);
    INSTALLED.load(Ordering::SeqCst)
}

/// Wraps an allocator, and counts what is asked of it between [`start`] and [`stop`].
#[derive(Debug, Default)]
pub struct Counting<A>(A);

impl<A> Counting<A> {
    /// Wraps `inner`, which does the allocating.
    pub const fn new(inner: A) -> Self {
        Counting(inner)
    }
}

#[inline]
fn note(bytes: usize) {
    let mode = MODE.load(Ordering::Relaxed);
    if mode != 0 {
        note_in(mode, bytes as u64);
    }
}

#[cold]
fn note_in(mode: u8, bytes: u64) {
    if mode & PROBE != 0 {
        INSTALLED.store(true, Ordering::SeqCst);
    }
    if mode & COUNT != 0 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(bytes, Ordering::Relaxed);
        OF_THIS_THREAD.set(OF_THIS_THREAD.get() + Counted { allocations: 1, bytes });
    }
}

// SAFETY: every call goes to `A` unchanged, and `A` keeps the contract; noting it neither allocates nor unwinds.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are the ones `A` asks for.
        unsafe { self.0.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as in `alloc`.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(new_size.saturating_sub(layout.size()));
        // SAFETY: as in `alloc`; `block` came from `A`, since every block does.
        unsafe { self.0.realloc(block, layout, new_size) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in `realloc`.
        unsafe { self.0.dealloc(block, layout) }
    }
}
