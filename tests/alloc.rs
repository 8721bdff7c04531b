//! The counting allocator: what it counts, on which thread, and that it counts only when told. One test, since there is
//! one count in a process.

use std::alloc::System;
use std::hint::black_box;

use squall::sys::alloc::{self, Counted, Counting};
use squall::sys::thread::spawn_named;

#[global_allocator]
static ALLOCATOR: Counting<System> = Counting::new(System);

#[test]
fn allocations_are_counted_between_start_and_stop_for_the_process_and_by_thread() {
    assert!(alloc::is_installed());

    drop(black_box(Box::new([0_u8; 64])));
    assert_eq!(alloc::of_this_thread(), Counted::default(), "nothing is counted before the start");

    alloc::start();
    let before = alloc::of_this_thread();
    let mut grows: Vec<u8> = black_box(Vec::with_capacity(100));
    grows.reserve_exact(150);
    let zeroed = black_box(vec![0_u8; 50]);
    let mine = alloc::of_this_thread() - before;
    drop((grows, zeroed));
    assert_eq!(mine, Counted { allocations: 3, bytes: 200 }, "a reallocation counts once, with what it adds");

    let other = spawn_named("other", || {
        let before = alloc::of_this_thread();
        drop(black_box(Box::new([0_u8; 1_000])));
        alloc::of_this_thread() - before
    });
    assert_eq!(other.unwrap().join().unwrap(), Counted { allocations: 1, bytes: 1_000 });
    let all = alloc::stop();
    assert!(all.allocations >= 4 && all.bytes >= 1_200, "both threads, and what starting one takes: {all:?}");

    let stopped = alloc::of_this_thread();
    drop(black_box(Box::new([0_u8; 64])));
    assert_eq!(alloc::of_this_thread(), stopped, "nothing is counted after the stop");
    assert_eq!(alloc::stop(), all, "nor for the process");

    alloc::start();
    assert!(alloc::stop().allocations < all.allocations, "a start counts from zero");
}
