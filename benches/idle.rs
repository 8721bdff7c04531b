//! An idle topology: the CPU it uses, and how long the first tuple after silence takes.
//!
//! `cargo bench --bench idle` (about half a minute). The wake-up of a parked plain thread, measured in turn with the
//! topology's, is what the machine itself takes; the ratio of the two is the engine's share.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use squall::connect::channel;
use squall::sys::cpu::{CpuId, machine, pin_current_thread, process_cpu_time};
use squall::sys::thread::spawn_named;
use squall::{Nothing, Outlet, TopologyBuilder};

const IDLE: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(20);
const SAMPLES: usize = 500;

fn main() {
    let (sender, source) = channel::<Instant>(16);
    let (times_in, times) = mpsc::channel();
    let mut t = TopologyBuilder::new("idle");
    let instants = t.source("instants", move || source.clone());
    t.bolt("measure", move |sent: Instant, _: &mut Outlet<Nothing>| {
        times_in.send(sent.elapsed()).expect("the bench waits for every time");
    })
    .global(&instants);
    let running = t.build().expect("valid").start().expect("starts");

    let machine = machine();
    println!("machine: {}, {} CPUs, {}", machine.cpu_model, machine.cpus_online, machine.kernel);
    let before = process_cpu_time();
    std::thread::sleep(IDLE);
    let percent = (process_cpu_time() - before).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    println!("idle for {} s under the default policy: {percent:.3} % of one CPU", IDLE.as_secs());

    let (wake_in, wake) = mpsc::channel::<Instant>();
    let (plain_in, plain) = mpsc::channel();
    // On the executor's CPU: a wake-up across CPUs takes longer than one on the same.
    let cpu = running.executor_cpus()[0];
    let parked = spawn_named("plain", move || {
        if let Some(cpu) = cpu {
            pin_current_thread(CpuId(cpu)).expect("the executor is pinned there too");
        }
        for sent in wake {
            plain_in.send(sent.elapsed()).expect("the bench waits for every time");
        }
    })
    .expect("a thread");
    let (mut first_tuple, mut plain_wake) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        std::thread::sleep(SILENCE);
        sender.send(Instant::now()).expect("running");
        first_tuple.push(times.recv().expect("every tuple arrives"));
        std::thread::sleep(SILENCE);
        wake_in.send(Instant::now()).expect("alive");
        plain_wake.push(plain.recv().expect("every wake-up arrives"));
    }
    drop(wake_in);
    parked.join().expect("does not panic");
    drop(sender);
    running.wait().expect("ends well");

    print_row("first tuple after 20 ms of silence", &mut first_tuple);
    print_row("wake-up of a plain parked thread", &mut plain_wake);
    let ratio = first_tuple[SAMPLES / 2].as_secs_f64() / plain_wake[SAMPLES / 2].as_secs_f64();
    println!("ratio of the medians: {ratio:.2}");
}

/// 500 samples carry a median and a 75th percentile; beyond that fewer than 100 samples remain.
fn print_row(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let us = |index: usize| times[index].as_secs_f64() * 1e6;
    let (p50, p75, max) = (us(SAMPLES / 2), us(SAMPLES * 3 / 4), us(SAMPLES - 1));
    println!("{what}: p50 {p50:.1} us, p75 {p75:.1} us, max {max:.1} us");
}
