//! What is measured, one file per scenario.
//!
//! A scenario starts the server it measures, so that none inherits what another left behind, and hands out one
//! [`Sample`] per case as soon as it has it.

mod disciplines;
mod fan_out;
mod idle;
pub mod iq;
pub mod lanes;
mod login;
mod messages;
mod muc;
mod presence;
pub mod setup;
pub mod traffic;
mod update;

use std::time::Duration;

use clap::ValueEnum;

use crate::error::BenchError;
use crate::target::Target;

/// How long and how large.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Load before a phase is measured.
    pub warm_up: Duration,
    /// Load while it is measured.
    pub measure: Duration,
    /// Sizes of the idle scenario, ascending.
    pub idle_sessions: &'static [usize],
    /// Occupants of the MUC scenario.
    pub occupants: &'static [usize],
    /// Subscribers of the presence scenario.
    pub contacts: usize,
    /// Updates in one update scenario.
    pub updates: usize,
}

/// What one case cost on one server in one run.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The scenario.
    pub scenario: Scenario,
    /// Its case, in words.
    pub case: String,
    /// The server.
    pub server: &'static str,
    /// Names and values, in the order of the table's columns.
    pub values: Vec<(&'static str, f64)>,
}

/// The scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Scenario {
    /// From TCP connection to bound resource.
    Login,
    /// Memory of sessions that do nothing.
    Idle,
    /// 1:1 messages between 50 pairs.
    Messages,
    /// IQ to the server, to a module, to the echo service.
    Iq,
    /// IQ to a module, by its queue discipline.
    Disciplines,
    /// One user's presence to many contacts.
    Presence,
    /// One occupant's message to all others.
    Muc,
    /// A module updated under 1,000 IQ per second.
    Update,
}

impl Scenario {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Login => "login",
            Scenario::Idle => "idle",
            Scenario::Messages => "messages",
            Scenario::Iq => "iq",
            Scenario::Disciplines => "disciplines",
            Scenario::Presence => "presence",
            Scenario::Muc => "muc",
            Scenario::Update => "update",
        }
    }

    /// Whether it makes sense for this server.
    pub fn applies_to(self, target: Target) -> bool {
        match (self, target) {
            (Scenario::Disciplines, target) => target == Target::Moult,
            (Scenario::Messages | Scenario::Presence, _) => true,
            (_, target) => target != Target::Floor,
        }
    }

    /// Runs all its cases on one server.
    pub fn run(
        self,
        target: Target,
        settings: &Settings,
        record: &mut dyn FnMut(Sample),
    ) -> Result<(), BenchError> {
        let mut recorder = Recorder { scenario: self, server: target.name(), record };
        match self {
            Scenario::Login => login::run(target, settings, &mut recorder),
            Scenario::Idle => idle::run(target, settings, &mut recorder),
            Scenario::Messages => messages::run(target, settings, &mut recorder),
            Scenario::Iq => iq::run(target, settings, &mut recorder),
            Scenario::Disciplines => disciplines::run(target, settings, &mut recorder),
            Scenario::Presence => presence::run(target, settings, &mut recorder),
            Scenario::Muc => muc::run(target, settings, &mut recorder),
            Scenario::Update => update::run(target, settings, &mut recorder),
        }
    }
}

/// Hands samples of one scenario on one server out.
pub struct Recorder<'a> {
    scenario: Scenario,
    server: &'static str,
    record: &'a mut dyn FnMut(Sample),
}

impl Recorder<'_> {
    fn add(&mut self, case: impl Into<String>, values: Vec<(&'static str, f64)>) {
        (self.record)(Sample { scenario: self.scenario, case: case.into(), server: self.server, values });
    }
}

fn transport(tls: bool) -> &'static str {
    if tls { "TLS" } else { "plain" }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
