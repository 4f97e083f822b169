//! The router against fakes, subject by subject.

mod contacts;
mod delivery;
mod ends;
mod hooks;
mod iqs;
mod order;
mod presence;
mod tables;
