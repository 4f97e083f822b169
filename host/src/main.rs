//! `moultd`, the server.

fn main() {}
