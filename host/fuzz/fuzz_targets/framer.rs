//! Fuzzes the framer against `rxml`: same verdict on every input, however it is cut.
//!
//! ```text
//! cargo install cargo-fuzz --locked
//! cd host && cargo +nightly fuzz run framer -- -max_len=4096 -max_total_time=600
//! ```
//!
//! `cargo +nightly fuzz build` builds it alone. The first byte of an input decides how it is cut and whether the rest
//! is the stream itself or a list of decisions from which a nearly correct stream is made. `cargo test` runs the same
//! judge over a bounded number of streams.

#![no_main]
#![allow(dead_code, unused_imports)]

use libfuzzer_sys::fuzz_target;

use xml::{Element, Event, FrameError, Framer, Limits, Node};

#[path = "../../src/xml/tests/generator.rs"]
mod generator;
#[path = "../../src/xml/tests/oracle.rs"]
mod oracle;
#[path = "../../src/xml/mod.rs"]
mod xml;

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    let cuts = [usize::from(first >> 1 & 7) + 1, usize::from(first >> 4) + 1];
    if first & 1 == 0 {
        oracle::judge(rest, &cuts);
    } else {
        oracle::judge(&generator::stream(&mut generator::Choices::new(rest)), &cuts);
    }
});
