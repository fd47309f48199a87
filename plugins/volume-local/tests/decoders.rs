//! The fuzz target's property over mutated seeds, a bounded number of times: what every build runs.
//! (`fuzz/run` runs it with coverage feedback for as long as it is given.)

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[path = "../../../fuzz/frames.rs"]
mod frames;

/// Mutated inputs.
const INPUTS: u32 = 10_000;

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/volume_frame");
    let entries = std::fs::read_dir(folder).expect("seeds");
    let paths = entries.map(|entry| entry.expect("a seed").path());
    paths
        .map(|path| std::fs::read(path).expect("read"))
        .collect()
}

#[test]
fn a_frame_of_a_migration_is_read_as_it_is_or_refused() {
    let seeds = seeds();
    assert!(!seeds.is_empty());
    seeds.iter().for_each(|seed| frames::frame(seed));
    let byte = prop_oneof![any::<u8>(), 0..9_u8, Just(b'/'), Just(0xff)];
    let changes = prop::collection::vec((any::<usize>(), any::<bool>(), byte), 1..6);
    let inputs = (0..seeds.len(), changes, any::<Option<usize>>());
    let config = Config {
        cases: INPUTS,
        failure_persistence: None,
        ..Config::default()
    };
    let tested = TestRunner::new(config).run(&inputs, |(seed, changes, cut)| {
        let mut bytes = seeds[seed].clone();
        for (at, inserts, byte) in changes {
            let at = at % bytes.len();
            match inserts {
                true => bytes.insert(at, byte),
                false => bytes[at] = byte,
            }
        }
        bytes.truncate(cut.map_or(usize::MAX, |cut| cut % bytes.len()));
        frames::frame(&bytes);
        Ok(())
    });
    tested.expect("the property holds");
}
