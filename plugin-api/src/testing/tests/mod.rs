//! The SDK and its glue, through the very functions that the server calls.

mod handlers;
mod hooks;
mod lifecycle;
mod panics;
mod readme;
mod stores;
mod tasks;
