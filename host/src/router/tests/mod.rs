//! The router against fakes, subject by subject.

mod contacts;
mod delivery;
mod ends;
mod hooks;
mod iqs;
mod opening;
mod order;
mod presence;
mod tables;
