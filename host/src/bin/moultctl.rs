//! `moultctl`, the control program.

fn main() {}
