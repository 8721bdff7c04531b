//! The gate's judgement: what it lets through and what it does not. What it measures, it measures in `benches/gate`.

#[path = "../benches/gate/baseline.rs"]
mod baseline;

use std::path::Path;

use baseline::{Baseline, Cost, Verdict};

fn cost(instructions: impl Into<Option<f64>>, allocations: f64) -> Cost {
    Cost { instructions: instructions.into(), allocations }
}

#[test]
fn dearer_than_the_margin_or_any_allocation_more_is_worse() {
    let mut baseline = Baseline { toolchain: "rustc".into(), margin_percent: 3.0, cases: Default::default() };
    baseline.set("hop", &cost(100.0, 0.0));
    let verdict =
        |instructions: Option<f64>, allocations| baseline.judge("hop", &cost(instructions, allocations)).unwrap().0;
    assert_eq!(verdict(Some(102.9), 0.0), Verdict::Within);
    assert_eq!(verdict(Some(103.1), 0.0), Verdict::Worse);
    assert_eq!(verdict(Some(97.1), 0.0), Verdict::Within);
    assert_eq!(verdict(Some(96.9), 0.0), Verdict::Better);
    assert_eq!(verdict(Some(50.0), 0.01), Verdict::Worse, "cheaper instructions do not pay for an allocation");
    assert_eq!(verdict(None, 0.0), Verdict::Within, "where instructions cannot be compared, allocations still are");
    assert_eq!(verdict(None, 0.01), Verdict::Worse);
    assert!(baseline.judge("jump", &cost(1.0, 0.0)).unwrap_err().contains("--update-gate"));
}

#[test]
fn a_baseline_survives_being_written_and_a_renewed_one_keeps_the_margin() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baseline.toml");
    assert_eq!(Baseline::renew(&path, "old".into()).unwrap().margin_percent, 3.0);
    assert!(Baseline::read(&path).unwrap_err().contains("--update-gate"));

    let mut baseline = Baseline { toolchain: "old".into(), margin_percent: 5.0, cases: Default::default() };
    baseline.set("hop", &cost(251.444, 0.001));
    baseline.write(&path).unwrap();
    let read = Baseline::read(&path).unwrap();
    assert_eq!((read.toolchain.as_str(), read.margin_percent), ("old", 5.0));
    assert_eq!((read.cases["hop"].instructions, read.cases["hop"].allocations), (251.44, 0.0));
    let renewed = Baseline::renew(&path, "new".into()).unwrap();
    assert_eq!((renewed.margin_percent, renewed.cases.len()), (5.0, 0));

    std::fs::write(&path, "margin = 3").unwrap();
    let message = Baseline::renew(&path, "new".into()).unwrap_err();
    assert!(message.contains("baseline.toml") && message.contains("mend it"), "{message}");
}

#[test]
fn the_committed_baseline_can_be_read() {
    let baseline =
        Baseline::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/gate/baseline.toml"))).unwrap();
    assert!(baseline.toolchain.starts_with("rustc ") && !baseline.cases.is_empty());
}
