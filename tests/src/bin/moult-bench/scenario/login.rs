//! Login: from TCP connection to bound resource, and the way out again.

use std::time::{Duration, Instant};

use moult_tests::sasl::{Hash, Mechanism};

use super::{Recorder, Settings, transport};
use crate::engine::{Crowd, Engine, LoginPlan};
use crate::error::BenchError;
use crate::measure::{Cost, Latencies, Meter};
use crate::target::{Needs, Target};

const USERS: usize = 100;
const CASES: [(Mechanism, bool); 3] =
    [(Mechanism::Scram(Hash::Sha1), false), (Mechanism::Scram(Hash::Sha1), true), (Mechanism::Plain, true)];

/// 16 logins underway at a time; the same users again and again, as many rounds as the time allows.
pub fn run(target: Target, settings: &Settings, recorder: &mut Recorder<'_>) -> Result<(), BenchError> {
    let server = target.start(&Needs { accounts: USERS, ..Needs::default() })?;
    for (mechanism, tls) in CASES {
        let plan = server.login_plan(mechanism, tls);
        // The first round fills the client's memory of salted passwords.
        round(&plan, server.pid)?;
        let since = Instant::now();
        let mut total = Total::default();
        while since.elapsed() < settings.measure {
            total.add(round(&plan, server.pid)?);
        }
        recorder.add(format!("{} {}", mechanism.name(), transport(tls)), total.values());
    }
    Ok(())
}

struct Round {
    login: Cost,
    logout: Cost,
    durations: Vec<Duration>,
}

fn round(plan: &LoginPlan, server: u32) -> Result<Round, BenchError> {
    let mut engine = Engine::new()?;
    let meter = Meter::start(server);
    let crowd = Crowd::log_in(&mut engine, plan, 0..USERS)?;
    let login = meter.stop();
    let meter = Meter::start(server);
    drop(engine);
    wait_until_idle(server);
    Ok(Round { login, logout: meter.stop(), durations: crowd.durations })
}

/// Waits until the server has finished with the connections that vanished: it uses hardly any CPU.
fn wait_until_idle(server: u32) {
    let deadline = Instant::now() + Duration::from_secs(3);
    while Instant::now() < deadline {
        let meter = Meter::start(server);
        std::thread::sleep(Duration::from_millis(30));
        if meter.stop().server < Duration::from_millis(1) {
            return;
        }
    }
}

#[derive(Default)]
struct Total {
    logins: usize,
    server: Duration,
    logout: Duration,
    client: Duration,
    other: Duration,
    wall: Duration,
    latencies: Latencies,
}

impl Total {
    fn add(&mut self, round: Round) {
        self.logins += round.durations.len();
        self.server += round.login.server;
        self.logout += round.logout.server;
        self.client += round.login.client;
        self.other += round.login.other;
        self.wall += round.login.wall;
        round.durations.into_iter().for_each(|duration| self.latencies.add(duration));
    }

    fn values(mut self) -> Vec<(&'static str, f64)> {
        let per_login = |time: Duration| time.as_secs_f64() * 1e3 / self.logins as f64;
        let [p50, p99, _, max] = self.latencies.quantiles();
        vec![
            ("srv_ms_login", per_login(self.server)),
            ("logins_s", self.logins as f64 / self.wall.as_secs_f64()),
            ("cli_ms_login", per_login(self.client)),
            ("srv_ms_logout", per_login(self.logout)),
            ("srv_cpu_pct", self.server.as_secs_f64() / self.wall.as_secs_f64() * 100.0),
            ("other_cpu_pct", self.other.as_secs_f64() / self.wall.as_secs_f64() * 100.0),
            ("p50_us", p50),
            ("p99_us", p99),
            ("max_us", max),
        ]
    }
}
