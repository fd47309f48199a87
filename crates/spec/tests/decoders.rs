//! The fuzz targets' properties over mutated seeds, a bounded number of times: what every build runs.
//! (`fuzz/run` runs the same properties with coverage feedback for as long as it is given.)

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[path = "../../../fuzz/decoders.rs"]
mod decoders;

/// Mutated inputs per decoder.
const INPUTS: u32 = 2_000;

/// One change of a seed; positions are taken modulo its length.
#[derive(Debug, Clone)]
enum Change {
    Set(usize, u8),
    Insert(usize, u8),
    Cut(usize, usize),
    Repeat(usize, usize),
    /// Another value in place of what follows the next colon.
    Value(usize, &'static str),
}

const VALUES: [&str; 10] = [
    "null",
    "{}",
    "[]",
    "\"\"",
    "-1",
    "0",
    "1e9",
    "18446744073709551616",
    "[{}]",
    "\"\\u0000\"",
];

fn change() -> impl Strategy<Value = Change> {
    let at = any::<usize>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        (at(), 1_usize..40).prop_map(|(at, length)| Change::Cut(at, length)),
        (at(), 1_usize..40).prop_map(|(at, length)| Change::Repeat(at, length)),
        (at(), proptest::sample::select(&VALUES[..]))
            .prop_map(|(at, value)| Change::Value(at, value)),
    ]
}

fn apply(seed: &mut Vec<u8>, change: Change) {
    let length = seed.len();
    let range = |at: usize, n: usize| {
        let start = at % length.max(1);
        start.min(length)..(start + n).min(length)
    };
    match change {
        Change::Set(at, byte) => seed.splice(range(at, 1), [byte]).for_each(drop),
        Change::Insert(at, byte) => seed.splice(range(at, 0), [byte]).for_each(drop),
        Change::Cut(at, n) => seed.drain(range(at, n)).for_each(drop),
        Change::Repeat(at, n) => {
            let piece = seed[range(at, n)].to_vec();
            seed.splice(range(at, 0), piece).for_each(drop);
        }
        Change::Value(at, value) => {
            let from = range(at, 0).start;
            let Some(colon) = seed[from..].iter().position(|b| *b == b':') else {
                return;
            };
            let start = from + colon + 1;
            let end = seed[start..]
                .iter()
                .position(|b| matches!(b, b',' | b'}' | b']'));
            let end = end.map_or(seed.len(), |n| start + n);
            seed.splice(start..end, value.bytes()).for_each(drop);
        }
    }
}

fn seeds(decoder: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds")
        .join(decoder);
    let files = std::fs::read_dir(dir)
        .expect("seeds")
        .map(|entry| entry.expect("seed").path());
    files
        .map(|file| std::fs::read(file).expect("seed"))
        .collect()
}

fn run(decoder: &str, property: fn(&[u8])) {
    let seeds = seeds(decoder);
    for seed in &seeds {
        property(seed);
    }
    let inputs = (
        proptest::sample::select(seeds),
        proptest::collection::vec(change(), 1..8),
    );
    let config = Config {
        cases: INPUTS,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&inputs, |(mut input, changes)| {
        changes
            .into_iter()
            .for_each(|change| apply(&mut input, change));
        property(&input);
        Ok(())
    });
    outcome.unwrap_or_else(|failed| panic!("{decoder}: {failed}"));
}

#[test]
fn net_conf_survives_mutated_configurations() {
    run("net_conf", decoders::net_conf);
}

#[test]
fn cni_result_survives_mutated_results() {
    run("cni_result", decoders::cni_result);
}

#[test]
fn conflist_survives_mutated_lists() {
    run("conflist", decoders::conflist);
}

#[test]
fn cni_args_survives_mutated_arguments() {
    run("cni_args", decoders::cni_args);
}
