//! Topologies survive what a process can be put through: the short form of `tools/faults`.

#[path = "../tools/faults/below.rs"]
mod below;
#[allow(dead_code, reason = "the program prints more than the test looks at")]
#[path = "../tools/faults/campaign.rs"]
mod campaign;
#[path = "../tools/faults/fault.rs"]
mod fault;
#[allow(dead_code, reason = "the program prints more than the test looks at")]
#[path = "../tools/faults/generated/mod.rs"]
mod generated;
#[path = "../tools/faults/oracle.rs"]
mod oracle;
#[path = "../tools/faults/process.rs"]
mod process;
#[path = "../tools/faults/subject.rs"]
mod subject;
#[path = "../tools/faults/way.rs"]
mod way;

use std::fmt::Write as _;
use std::time::Duration;

use below::Below;
use campaign::Campaign;
use generated::runs::{Runs, Table};
use oracle::{Balances, Difference, compare, compare_words};
use subject::Subject;

/// Under the names that the simulation's files have for them, which are used here too.
use squall::{connect, error, state, storm, sys, task, topology};

/// Faults per store.
const KILLS: u64 = 60;

fn survives(store: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let squall = env!("CARGO_BIN_EXE_squall").into();
    let dir = folder.path().canonicalize().expect("it is there");
    let subjects =
        vec![Subject::Ledger { accounts: 500, transfers: 20_000 }, Subject::WordCount { lines: 2_000, repeat: 100 }];
    let (only_kills, kill_within) = (false, Duration::from_millis(200));
    let of_store = store.to_owned();
    let campaign = Campaign { squall, dir, store: of_store, seed: 7, kills: KILLS, subjects, only_kills, kill_within };
    let outcome = campaign.run().unwrap_or_else(|error| panic!("{error}"));
    assert!(outcome.holds(), "{outcome:?}");
    assert!(outcome.faults.values().sum::<u64>() >= KILLS, "{outcome:?}");
    // Where the library below the program meets nothing, the fault counts as a kill.
    assert!(Below::ALL.iter().any(|below| outcome.faults.contains_key(below.name())), "{outcome:?}");
    // What fails below squall's own store leaves what was there; only damage to what is stored may be too much.
    let is_damage = |fault: &&str| fault.contains("damaged");
    assert!(store != "log" || outcome.refused.keys().all(is_damage), "{outcome:?}");
}

#[test]
fn topologies_on_the_log_survive_their_faults() {
    survives("log");
}

#[cfg(feature = "sled")]
#[test]
fn topologies_on_sled_survive_their_faults() {
    survives("sled");
}

#[cfg(feature = "fjall")]
#[test]
fn topologies_on_fjall_survive_their_faults() {
    survives("fjall");
}

/// No test, but the program of generated topologies: does nothing unless it is started by one.
#[test]
fn child_program() {
    generated::run_if_asked();
}

/// Generated topologies per store; the seeds are such that every kind of component is among them several times.
const RUNS: u64 = 60;

fn generated(store: &str, seed: u64, runs: u64, environment: Vec<(String, String)>) -> Table {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().canonicalize().expect("it is there");
    let program = std::env::current_exe().expect("this test is a file");
    let own = ["child_program", "--exact", "--nocapture"].map(str::to_owned).to_vec();
    let store = store.to_owned();
    let runs = Runs { program: (program, own), dir, store, seed, runs, environment };
    runs.run().unwrap_or_else(|error| panic!("{error}"))
}

fn generated_survive(store: &str, seed: u64) {
    let table = generated(store, seed, RUNS, Vec::new());
    assert!(table.holds(), "{}", table.wrong.join("\n\n"));
    assert_eq!(table.missing(), Vec::<String>::new());
}

#[test]
fn generated_topologies_on_the_log_survive_their_faults() {
    generated_survive("log", 383_000);
}

#[cfg(feature = "sled")]
#[test]
fn generated_topologies_on_sled_survive_their_faults() {
    generated_survive("sled", 366_000);
}

#[cfg(feature = "fjall")]
#[test]
fn generated_topologies_on_fjall_survive_their_faults() {
    generated_survive("fjall", 335_000);
}

#[test]
fn a_tuple_that_is_forgotten_in_a_generated_topology_is_noticed() {
    // At most once: under the others its tree, or a barrier, waits for it first.
    let forgets = || vec![("SQUALL_FORGET".into(), "queue:30".into())];
    let table = generated("log", 22, 1, forgets());
    assert!(table.unaccounted > 0 && !table.holds(), "{table:?}");
}

fn written(balances: &Balances) -> String {
    let mut text = String::new();
    for (account, (balance, entries)) in balances {
        writeln!(text, "{account}\t{balance}\t{entries}").expect("a text takes everything");
    }
    text
}

#[test]
fn the_comparison_notices_what_is_lost_duplicated_or_wrong() {
    let expected = oracle::ledger(3, 10, 100);
    let with = |change: fn(&mut (i64, u64))| {
        let mut balances = expected.clone();
        change(balances.get_mut(&4).expect("every account has entries"));
        compare(&expected, &written(&balances)).expect("it is readable")
    };
    let none = Difference::default();
    assert_eq!(with(|_| ()), none);
    assert_eq!(with(|account| account.1 -= 1), Difference { lost: 1, ..none });
    assert_eq!(with(|account| account.1 += 2), Difference { duplicated: 2, ..none });
    assert_eq!(with(|account| account.0 += 1), Difference { wrong: 1, ..none });
    assert_eq!(compare(&expected, ""), Ok(Difference { lost: 200, ..none }), "an empty file");
    assert!(compare(&expected, "4\t10").is_err(), "half a line");
}

#[test]
fn the_comparison_of_counts_notices_what_is_lost_duplicated_or_in_another_order() {
    let text = b"b a\tb\n c";
    let none = Difference::default();
    let with = |written: &[u8]| compare_words(text, 2, written);
    assert_eq!(with(b"a\t2\nb\t4\nc\t2\n"), Ok(none));
    assert_eq!(with(b"a\t2\nb\t3\nc\t2\n"), Ok(Difference { lost: 1, ..none }));
    assert_eq!(with(b"a\t2\nb\t4\nc\t2\nd\t1\n"), Ok(Difference { duplicated: 1, ..none }));
    assert_eq!(with(b"b\t4\na\t2\nc\t2\n"), Ok(Difference { wrong: 1, ..none }));
    assert_eq!(with(b""), Ok(Difference { lost: 8, ..none }));
    assert!(with(b"a2\n").is_err());
}
