//! Prosody from Debian's package.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::accounts::Secrets;
use super::child::{ServerProcess, free_ports};
use super::{DOMAIN, Needs, Running, Updater};
use crate::engine::user_name;
use crate::error::BenchError;

pub const PROGRAM: &str = "/usr/bin/prosody";

pub fn start(needs: &Needs) -> Result<Running, BenchError> {
    let folder = tempfile::Builder::new().prefix("bench-prosody-").tempdir()?;
    let path = folder.path();
    let (certificate, client_config) = super::certificate(path);
    let [plain, tls, console] = free_ports()?;
    std::fs::create_dir_all(path.join("modules"))?;
    std::fs::create_dir_all(path.join("certs"))?;
    write_module(path, 0)?;
    std::fs::write(path.join("modules/mod_bench_echo.lua"), include_str!("prosody/mod_bench_echo.lua"))?;
    write_accounts(path, needs.accounts)?;
    let config = include_str!("prosody/prosody.cfg.lua")
        .replace("@FOLDER@", &path.display().to_string())
        .replace("@PLAIN@", &plain.port().to_string())
        .replace("@TLS@", &tls.port().to_string())
        .replace("@CONSOLE@", &console.port().to_string())
        .replace("@CERTIFICATE@", &certificate.chain_file.display().to_string())
        .replace("@KEY@", &certificate.key_file.display().to_string());
    let config_file = path.join("prosody.cfg.lua");
    std::fs::write(&config_file, config)?;
    let mut command = Command::new(PROGRAM);
    command.arg("-F").arg("--config").arg(config_file);
    let mut process = ServerProcess::spawn("prosody", path, &command)?;
    process.wait_for_ports(&[plain, tls, console])?;
    let modules = path.to_owned();
    Ok(Running {
        pid: process.pid(),
        plain,
        tls,
        client_config,
        updater: Some(Updater {
            prepare: Box::new(move |build| Ok(write_module(&modules, build)?)),
            load: Box::new(move || reload_module(console)),
        }),
        control: None,
        _keeper: Box::new((process, folder)),
    })
}

fn write_module(path: &Path, build: usize) -> std::io::Result<()> {
    let text = include_str!("prosody/mod_bench.lua").replace("@BUILD@", &build.to_string());
    std::fs::write(path.join("modules/mod_bench.lua"), text)
}

fn write_accounts(path: &Path, count: usize) -> std::io::Result<()> {
    let folder = path.join("data").join(DOMAIN).join("accounts");
    std::fs::create_dir_all(&folder)?;
    let account = Secrets::new().prosody_account();
    (0..count).try_for_each(|user| std::fs::write(folder.join(format!("{}.dat", user_name(user))), &account))
}

/// `module:reload` on the telnet console.
fn reload_module(console: SocketAddr) -> Result<(), BenchError> {
    let mut socket = TcpStream::connect(console)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    writeln!(socket, "module:reload(\"bench\", \"{DOMAIN}\")")?;
    let mut answer = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        let count = socket.read(&mut buffer)?;
        answer.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&answer);
        if text.contains("Module reloaded") {
            return Ok(());
        }
        if count == 0 || text.contains("Error") {
            return Err(BenchError::server("prosody", text));
        }
    }
}
