//! The fuzz targets' properties over mutated seeds, a bounded number of times: what every build runs.
//! (`fuzz/run` runs the same properties with coverage feedback for as long as it is given.)

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use wharf_image::decoders;

/// Mutated inputs per decoder.
const INPUTS: u32 = 2_000;

fn holds(seeds: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds")
        .join(seeds);
    let entries = std::fs::read_dir(folder)
        .expect("seeds")
        .map(|entry| entry.expect("a seed").path());
    let seeds: Vec<Vec<u8>> = entries
        .map(|path| std::fs::read(path).expect("read"))
        .collect();
    seeds.iter().for_each(|seed| property(seed));
    // Most bytes of an archive are padding: changes of digits and of lengths are what reaches the readers.
    let change = (
        any::<usize>(),
        prop_oneof![any::<u8>(), b'0'..=b'9', Just(0), Just(b'\n'), Just(0xff)],
    );
    let changes = (
        0..seeds.len(),
        prop::collection::vec(change, 1..8),
        any::<Option<usize>>(),
    );
    let mut runner = TestRunner::new(Config::with_cases(INPUTS));
    let tested = runner.run(&changes, |(seed, changes, cut)| {
        let mut bytes = seeds[seed].clone();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
            mend_checksum(&mut bytes, at / 512 * 512);
        }
        bytes.truncate(cut.map_or(usize::MAX, |cut| cut % bytes.len()));
        property(&bytes);
        Ok(())
    });
    tested.expect("the property holds");
}

/// Else nearly every change would stop at the header's checksum.
fn mend_checksum(bytes: &mut [u8], start: usize) {
    let Some(block) = bytes
        .get_mut(start..start + 512)
        .filter(|block| block[257..262] == *b"ustar")
    else {
        return;
    };
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn a_layers_archive_is_read_as_it_is_or_refused() {
    holds("image_tar", decoders::tar);
}

#[test]
fn an_archive_of_images_is_read_as_it_is_or_refused() {
    holds("image_manifest", decoders::images_of);
}
