//! Random streams in random pieces, before the judge.

use proptest::prelude::*;

use super::generator::{Choices, cuts, stream};
use super::oracle::judge;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_streams_get_the_verdict_of_rxml(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
        let mut choices = Choices::new(&bytes);
        let cuts = cuts(&mut choices);
        judge(&stream(&mut choices), &cuts);
    }

    #[test]
    fn arbitrary_bytes_get_the_verdict_of_rxml(
        bytes in prop::collection::vec(prop::sample::select(&b"<>/='\"ab:& ;!?[]-x#\r\xC3\xA9"[..]), 0..60),
        cut in 1usize..8,
    ) {
        judge(&bytes, &[cut]);
        judge(&[b"<s>", &bytes[..]].concat(), &[cut]);
    }
}

/// A long run over seeded streams. `MOULT_FUZZ_SEED` and `MOULT_FUZZ_STREAMS` choose another one.
#[test]
fn a_seeded_run_finds_no_disagreement() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seed = number("MOULT_FUZZ_SEED").unwrap_or(0x6D6F_756C_7421);
    let streams = number("MOULT_FUZZ_STREAMS").unwrap_or(10_000);
    println!("MOULT_FUZZ_SEED={seed} MOULT_FUZZ_STREAMS={streams}");
    let mut random = SplitMix(seed);
    for _ in 0..streams {
        let bytes: Vec<u8> = (0..40).flat_map(|_| random.next().to_le_bytes()).collect();
        let mut choices = Choices::new(&bytes);
        let cuts = cuts(&mut choices);
        judge(&stream(&mut choices), &cuts);
    }
}

/// The generator of Steele, Lea and Flood, "Fast splittable pseudorandom number generators".
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
