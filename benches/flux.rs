//! What it takes to read, check and build a Flux file of a thousand components.
//!
//! ```sh
//! cargo bench --bench flux
//! ```

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use squall::storm::flux::{FluxOptions, topology};

/// A chain of bolts behind every spout, with everything that a component usually has.
fn file(components: usize) -> String {
    let mut text =
        "name: large\nconfig:\n  topology.workers: 1\n  topology.max.spout.pending: 100\ncomponents:\n".to_owned();
    let _ =
        writeln!(text, "  - id: fields\n    className: org.apache.storm.tuple.Fields\n    constructorArgs: [[sum]]");
    let _ =
        writeln!(text, "spouts:\n  - id: numbers\n    className: squall.Numbers\n    constructorArgs: [10]\nbolts:");
    for number in 1..components {
        let _ = writeln!(
            text,
            "  - id: \"bolt-{number}\"\n    className: \"squall.Sum\"\n    parallelism: 2\n    config:\n      \
             own.key: {number}\n    properties:\n      - name: field\n        value: {}",
            if number == 1 { "number" } else { "sum" }
        );
    }
    let _ = writeln!(text, "streams:");
    for number in 1..components {
        let from = if number == 1 { "numbers".to_owned() } else { format!("bolt-{}", number - 1) };
        let field = if number == 1 { "number" } else { "sum" };
        let _ = writeln!(
            text,
            "  - name: \"{from} --> bolt-{number}\"\n    from: \"{from}\"\n    to: \"bolt-{number}\"\n    \
             grouping:\n      type: FIELDS\n      args: [\"{field}\"]"
        );
    }
    text
}

fn load(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("large.yaml");
    std::fs::write(&path, file(1_000)).expect("a file");
    c.bench_function("load_and_validate_1000_components", |b| {
        b.iter(|| {
            let topology = topology(black_box(&path), &FluxOptions::default()).expect("a topology");
            topology.resolve().expect("settings")
        });
    });
}

criterion_group!(benches, load);
criterion_main!(benches);
