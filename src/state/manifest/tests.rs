use super::*;
use crate::state::{Codec, Kind};

use proptest::prelude::*;

use crate::sys::disk::simulated::Simulated;

fn generation(checkpoint: u64) -> Generation {
    Generation {
        checkpoint: CheckpointId(checkpoint),
        topology: "ledger".into(),
        key_groups: 1024,
        states: vec![StateEntry {
            space: 3,
            component: "accounts".into(),
            state: "balance".into(),
            schema: Schema {
                kind: Kind::Value,
                codec: Codec::MessagePack,
                key: "u64".into(),
                element: None,
                value: "i64".into(),
                version: 1,
                stamped: false,
            },
        }],
        operators: vec![OperatorEntry {
            component: "lines".into(),
            tasks: vec![Blob(vec![0, 255, 7])],
            finished: vec![true],
            dead_lettered: 3,
        }],
        ..Generation::default()
    }
}

fn open(disk: &Disk) -> Vec<Generation> {
    match Manifest::open(disk, Path::new("/state")).expect("it can be opened") {
        Found::Manifest(manifest, _) => manifest.generations,
        Found::Nothing(wrong) => panic!("nothing verifies: {wrong:?}"),
    }
}

#[test]
fn what_is_written_is_read_and_longer_leftovers_do_not_disturb() {
    let disk = Disk::simulated(Simulated::new(1));
    disk.make_dir(Path::new("/state")).unwrap();
    let mut manifest = Manifest::begin(&disk, Path::new("/state")).unwrap();
    assert_eq!(open(&disk), []);
    for generations in [vec![generation(1), generation(2)], vec![generation(3)], vec![], vec![generation(4)]] {
        manifest.write(generations.clone()).unwrap();
        assert_eq!(open(&disk), generations);
    }
}

#[test]
fn a_field_that_is_not_known_yet_is_passed_over() {
    #[derive(Serialize)]
    struct Later {
        checkpoint: u64,
        invented_later: &'static str,
    }
    let bytes = rmp_serde::to_vec_named(&[Later { checkpoint: 9, invented_later: "x" }]).unwrap();
    let read: Vec<Generation> = rmp_serde::from_slice(&bytes).unwrap();
    assert_eq!(read, [Generation { checkpoint: CheckpointId(9), ..Generation::default() }]);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = encode(7, &[generation(5)]).unwrap();
    assert_eq!(decode(&bytes).unwrap(), (7, vec![generation(5)]));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&flipped).is_err(), "bit {bit}");
    }
}

/// After any power cut the manifest holds what was last acknowledged, or what was being written.
#[test]
fn a_power_cut_leaves_the_acknowledged_generations_or_the_next_ones() {
    let simulated = Simulated::new(1);
    let disk = Disk::simulated(simulated.clone());
    disk.make_dir(Path::new("/state")).unwrap();
    let mut manifest = Manifest::begin(&disk, Path::new("/state")).unwrap();
    simulated.record();
    let mut acknowledged = vec![(0, vec![])];
    for checkpoint in 1..8 {
        let generations = vec![generation(checkpoint); checkpoint as usize % 3 + 1];
        manifest.write(generations.clone()).unwrap();
        acknowledged.push((simulated.recorded(), generations));
    }
    for changes in 0..=simulated.recorded() {
        for seed in std::iter::once(None).chain((0..50).map(Some)) {
            let found = open(&Disk::simulated(simulated.image(changes, seed)));
            let last = acknowledged.iter().rposition(|(at, _)| *at <= changes).expect("the first is at 0");
            let next = acknowledged.get(last + 1).map(|(_, generations)| generations);
            assert!(found == acknowledged[last].1 || Some(&found) == next, "after {changes} changes, seed {seed:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = decode(&bytes);
        let mut content = rmp_serde::from_slice::<Vec<Generation>>(&bytes).unwrap_or_default();
        content.truncate(3);
        prop_assert_eq!(decode(&encode(1, &content).unwrap()).unwrap().1, content);
    }

    #[test]
    fn a_cut_is_noticed(cut in 1usize..100) {
        let bytes = encode(7, &[generation(5)]).unwrap();
        prop_assert!(decode(&bytes[..bytes.len().saturating_sub(cut)]).is_err());
    }
}
