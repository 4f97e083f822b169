//! `moultctl`, as an operator calls it.

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use super::Server;
use crate::artifacts;
use crate::eventually::DEADLINE;

/// What `moultctl` said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CtlAnswer {
    /// Exit code: 0 ok, 1 error, 2 usage, 3 no connection.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl CtlAnswer {
    /// The lines of standard output.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}

impl Server {
    /// Runs `moultctl` with these arguments and succeeds; panics with what it said otherwise.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        let answer = self.try_ctl(arguments).await;
        assert_eq!(answer.code, 0, "moultctl {arguments:?}: {}{}", answer.stdout, answer.stderr);
        answer.stdout
    }

    /// The same with `--json`, parsed.
    pub async fn ctl_json(&self, arguments: &[&str]) -> Value {
        let text = self.ctl(&[&["--json"], arguments].concat()).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("moultctl {arguments:?}: {error}: {text}"))
    }

    /// Runs `moultctl` with these arguments.
    pub async fn try_ctl(&self, arguments: &[&str]) -> CtlAnswer {
        let mut command = Command::new(artifacts::moultctl());
        command.arg("--config").arg(self.config_file()).args(arguments).kill_on_drop(true);
        let output = timeout(DEADLINE, command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("moultctl {arguments:?} does not end"));
        let output = output.expect("moultctl can be started");
        CtlAnswer {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
