//! The trial of a library in a short-lived child process: whatever it does there, the server does not notice.
//!
//! `parent` runs the child and judges its end, `child` is what runs in it, `answer` is what they say to each other. The
//! child is this server's own binary with `--probe`, so that both sides agree on every layout.

mod answer;
mod child;
mod parent;

pub use child::{child_main, requested};
pub use parent::probe;

use moult_plugin_api::manifest::Manifest;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// First argument of a probe child.
pub const ARGUMENT: &str = "--probe";

/// Limits of the child.
#[derive(Debug, Clone)]
pub struct ProbeSettings {
    /// The binary to run with `--probe`; this one.
    pub program: PathBuf,
    /// How long it may take.
    pub deadline: Duration,
    /// Address space it may use, in bytes.
    pub address_space: u64,
    /// Processor seconds it may use.
    pub cpu_seconds: u64,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        ProbeSettings {
            program: PathBuf::from("/proc/self/exe"),
            deadline: Duration::from_millis(1500),
            address_space: 4 << 30,
            cpu_seconds: 2,
        }
    }
}

/// What the trial brought out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// The manifest, equal in note and declaration.
    pub manifest: Manifest,
    /// Compiler that built it.
    pub rustc: String,
    /// API minor it was built with.
    pub api_minor: u16,
    /// Flags of the declaration.
    pub flags: u64,
    /// Whether the child could unmap it again.
    pub unmaps: bool,
    /// What an operator should know, and what does not hinder loading.
    pub warnings: Vec<String>,
}
