//! The ledger survives what a process can be put through: the short form of `tools/faults`.

#[allow(dead_code, reason = "the program prints more than the test looks at")]
#[path = "../tools/faults/campaign.rs"]
mod campaign;
#[path = "../tools/faults/oracle.rs"]
mod oracle;

use std::fmt::Write as _;

use campaign::Campaign;
use oracle::{Balances, Difference, compare};

fn survives(store: &str, kills: u64) {
    let dir = tempfile::tempdir().expect("a folder");
    let squall = env!("CARGO_BIN_EXE_squall").into();
    let dir = dir.path().to_owned();
    let campaign = Campaign { squall, dir, store: store.into(), seed: 7, kills, transfers: 20_000 };
    let outcome = campaign.run().unwrap_or_else(|error| panic!("{error}"));
    assert!(outcome.holds(), "{outcome:?}");
    assert!(outcome.faults.values().sum::<u64>() >= kills, "{outcome:?}");
}

#[test]
fn a_ledger_on_the_log_survives_its_faults() {
    survives("log", 20);
}

#[cfg(feature = "sled")]
#[test]
fn a_ledger_on_sled_survives_its_faults() {
    survives("sled", 5);
}

#[cfg(feature = "fjall")]
#[test]
fn a_ledger_on_fjall_survives_its_faults() {
    survives("fjall", 5);
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
