//! A server's process: ready when its ports answer, stopped by its id.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::BenchError;

/// How long a server may take to start or to stop.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

/// A child process that is terminated when it is dropped.
#[derive(Debug)]
pub struct ServerProcess {
    name: &'static str,
    child: Child,
    output: PathBuf,
}

impl ServerProcess {
    /// Starts `program` with its output in `output.log` in `folder`. If this process dies, the kernel ends the child.
    pub fn spawn(name: &'static str, folder: &Path, command: &Command) -> Result<ServerProcess, BenchError> {
        let output = folder.join("output.log");
        let log = File::create(&output)?;
        let mut wrapped = Command::new("setpriv");
        wrapped.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            wrapped.env(key, value.unwrap_or_default());
        }
        wrapped.current_dir(folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(ServerProcess { name, child: wrapped.spawn()?, output })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until all these ports accept connections.
    pub fn wait_for_ports(&mut self, ports: &[SocketAddr]) -> Result<(), BenchError> {
        for port in ports {
            self.wait_until(&format!("listen on {port}"), |_| TcpStream::connect(port).is_ok())?;
        }
        Ok(())
    }

    /// Waits until the process has written this.
    pub fn wait_for_output(&mut self, text: &str) -> Result<(), BenchError> {
        self.wait_until(&format!("say {text:?}"), |output| output.contains(text))
    }

    fn wait_until(&mut self, what: &str, is_done: impl Fn(&str) -> bool) -> Result<(), BenchError> {
        let since = Instant::now();
        loop {
            let output = std::fs::read_to_string(&self.output).unwrap_or_default();
            if is_done(&output) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                let last_line = output.lines().last().unwrap_or_default();
                return Err(BenchError::server(
                    self.name,
                    format!("it ended at start ({status}): {last_line}"),
                ));
            }
            if since.elapsed() > DEADLINE {
                return Err(BenchError::server(self.name, format!("it does not {what}")));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid
            && let Ok(None) = self.child.try_wait()
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        let since = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if since.elapsed() > Duration::from_secs(5) {
                let _ = self.child.kill();
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Ports that nobody listens on at this moment.
pub fn free_ports<const N: usize>() -> io::Result<[SocketAddr; N]> {
    let listeners: Vec<_> = (0..N).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<io::Result<_>>()?;
    let mut ports = [SocketAddr::from(([127, 0, 0, 1], 0)); N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?;
    }
    Ok(ports)
}
