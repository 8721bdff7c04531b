//! The engine accounts for every input in every run: a tuple that is forgotten anywhere is noticed, and the run says so
//! by its exit code. A hidden switch of debug builds (`SQUALL_FORGET=PLACE:NUMBER`) forgets one.

use std::process::Command;
use std::time::Duration;

#[path = "../src/testing/simulation/generated/elsewhere.rs"]
mod elsewhere;

use elsewhere::Elsewhere;
use squall::connect::Generator;
use squall::{Anchor, DeadLetter, Door, Failure, Guarantee, Nothing, Outlet, TopologyBuilder};

/// Under the names that the simulation's file has for them.
use squall::{error, sys, task};

fn emit(door: &Door<u64>, anchor: &Anchor, value: u64) -> bool {
    door.emit_anchored(anchor, value).is_ok()
}

/// One component of every kind, on two executors: prints what is unaccounted for, by component.
fn run(guarantee: Guarantee) {
    let mut t = TopologyBuilder::new("conserving");
    let numbers = t.source("numbers", || Generator::new(2_000, |n| n)).parallelism(2);
    let parse = |n: u64, out: &mut Outlet<u64>| {
        if n % 10 == 3 {
            return Err(Failure::reject("bad"));
        }
        out.emit(n);
        Ok(())
    };
    let parsed = t.bolt("parse", parse).parallelism(2).shuffle(&numbers);
    let looked_up = t.bolt("elsewhere", || Elsewhere::new(emit)).parallelism(2).shuffle(&parsed);
    let fan = |n: u64, out: &mut Outlet<u64>| out.hand_over((0..3).map(move |k| n * 3 + k));
    let fanned = t.bolt("fan", fan).parallelism(2).shuffle(&looked_up);
    t.bolt("sink", |_: u64, _: &mut Outlet<Nothing>| {}).parallelism(2).fields_by(&fanned, |n| n % 7);
    t.bolt("letters", |_: DeadLetter<u64>, _: &mut Outlet<Nothing>| {}).global(numbers.dead_letters());
    t.guarantee(guarantee);
    t.settings(|s| (s.executors, s.message_timeout) = (Some(2), Duration::from_millis(300)));
    let report = t.build().unwrap().run().unwrap();
    for component in &report.components {
        println!("CHILD {} {}", component.id, component.unaccounted);
    }
}

/// Runs as a process of its own, by the tests below.
#[test]
fn child() {
    match std::env::var("CONSERVATION_GUARANTEE").as_deref() {
        Ok("at-most-once") => run(Guarantee::AtMostOnce),
        Ok("at-least-once") => run(Guarantee::AtLeastOnce),
        Ok("exactly-once") => run(Guarantee::ExactlyOnce),
        _ => {}
    }
}

/// What a run reports as unaccounted for, by component.
fn unaccounted(guarantee: &str, forget: Option<&str>) -> Vec<(String, u64)> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env("CONSERVATION_GUARANTEE", guarantee);
    if let Some(forget) = forget {
        command.env("SQUALL_FORGET", forget);
    }
    let output = command.output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{guarantee} {forget:?}: {out}{}", String::from_utf8_lossy(&output.stderr));
    let lines = out.lines().filter_map(|line| line.split_once("CHILD ")?.1.split_once(' '));
    let all: Vec<_> = lines.map(|(id, inputs)| (id.to_owned(), inputs.parse::<u64>().unwrap())).collect();
    assert_eq!(all.len(), 6, "{out}");
    all.into_iter().filter(|(_, inputs)| *inputs > 0).collect()
}

#[test]
fn in_an_ordinary_run_nothing_is_unaccounted_for() {
    for guarantee in ["at-most-once", "at-least-once", "exactly-once"] {
        assert_eq!(unaccounted(guarantee, None), [], "{guarantee}");
    }
}

#[test]
fn a_tuple_that_is_forgotten_anywhere_is_noticed() {
    let places = [
        ("at-most-once", "lane:500"),
        ("exactly-once", "queue:500"),
        ("at-most-once", "queue:700"),
        ("at-least-once", "execute:500"),
        ("exactly-once", "settle:500"),
        ("at-most-once", "held:500"),
        ("at-most-once", "door:500"),
        ("at-least-once", "tree:500"),
        ("exactly-once", "source:500"),
        ("exactly-once", "given_up:50"),
    ];
    for (guarantee, forget) in places {
        let found = unaccounted(guarantee, Some(forget));
        assert_eq!(found.iter().map(|(_, inputs)| inputs).sum::<u64>(), 1, "{guarantee}, {forget}: {found:?}");
    }
}

#[test]
fn a_run_that_has_lost_an_input_has_an_exit_code_of_its_own() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    let arguments = ["run", "word_count", "--quiet", "--guarantee", "at-most-once"];
    let output = command.args(arguments).env("SQUALL_FORGET", "queue:20").env_remove("RUST_LOG").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("unaccounted for") && said.contains("bug of squall"), "{said}");
}
