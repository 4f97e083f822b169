//! The router against fakes, subject by subject.

mod delivery;
mod ends;
mod hooks;
mod iqs;
mod order;
mod presence;
mod tables;
