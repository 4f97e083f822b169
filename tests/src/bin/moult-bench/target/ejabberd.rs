//! ejabberd from Debian's package.
//!
//! It runs without distribution and without its control script. Its application folder is mirrored by links, with
//! the measured module among its own: the command `update` looks at modules of the application only.

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

const PACKAGE: &str = "/usr/lib/x86_64-linux-gnu/ejabberd-23.01";
pub const APPLICATION: &str = "/usr/lib/x86_64-linux-gnu/ejabberd-23.01/ebin/ejabberd.app";

pub fn start(needs: &Needs) -> Result<Running, BenchError> {
    let folder = tempfile::Builder::new().prefix("bench-ejabberd-").tempdir()?;
    let path = folder.path();
    let (certificate, client_config) = super::certificate(path);
    let pem = [std::fs::read(&certificate.chain_file)?, std::fs::read(&certificate.key_file)?].concat();
    std::fs::write(path.join("server.pem"), pem)?;
    let [plain, tls, http] = free_ports()?;
    mirror_application(path)?;
    compile_module(path, 0)?;
    let config = include_str!("ejabberd/ejabberd.yml")
        .replace("@FOLDER@", &path.display().to_string())
        .replace("@PLAIN@", &plain.port().to_string())
        .replace("@TLS@", &tls.port().to_string())
        .replace("@HTTP@", &http.port().to_string());
    std::fs::write(path.join("ejabberd.yml"), config)?;
    let mut process = ServerProcess::spawn("ejabberd", path, &command(path))?;
    process.wait_for_ports(&[plain, tls, http])?;
    load_accounts(path, needs.accounts, http)?;
    let modules = path.to_owned();
    Ok(Running {
        pid: process.pid(),
        plain,
        tls,
        client_config,
        updater: Some(Updater {
            prepare: Box::new(move |build| compile_module(&modules, build)),
            load: Box::new(move || api(http, "update", "{\"module\":\"mod_bench\"}")),
        }),
        control: None,
        _keeper: Box::new((process, folder)),
    })
}

fn command(path: &Path) -> Command {
    let mut command = Command::new("erl");
    command
        .args(["-noinput", "+K", "true", "+P", "250000"])
        .args(["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"])
        .arg("-pa")
        .arg(path.join("ejabberd-23.01/ebin"))
        .args(["-mnesia", "dir", &format!("\"{}/mnesia\"", path.display()), "-s", "ejabberd"])
        .env("EJABBERD_CONFIG_PATH", path.join("ejabberd.yml"))
        .env("EJABBERD_LOG_PATH", path.join("ejabberd.log"))
        .env("ERL_LIBS", "/usr/lib/x86_64-linux-gnu")
        .env("ERL_MAX_PORTS", "32000")
        .env("HOME", path);
    command
}

fn mirror_application(path: &Path) -> Result<(), BenchError> {
    let mirror = path.join("ejabberd-23.01");
    let ebin = mirror.join("ebin");
    std::fs::create_dir_all(&ebin)?;
    std::os::unix::fs::symlink(format!("{PACKAGE}/priv"), mirror.join("priv"))?;
    for entry in std::fs::read_dir(format!("{PACKAGE}/ebin"))? {
        let entry = entry?;
        if entry.file_name() != "ejabberd.app" {
            std::os::unix::fs::symlink(entry.path(), ebin.join(entry.file_name()))?;
        }
    }
    let application = std::fs::read_to_string(APPLICATION)?;
    let (head, modules) = application
        .split_once("{modules,")
        .and_then(|(head, rest)| Some((head, rest.split_once('[')?.1)))
        .ok_or_else(|| BenchError::server("ejabberd", "its application file names no modules"))?;
    std::fs::write(ebin.join("ejabberd.app"), format!("{head}{{modules,[mod_bench,{modules}"))?;
    Ok(())
}

/// Compiles the module beside the old file and renames it into its place.
fn compile_module(path: &Path, build: usize) -> Result<(), BenchError> {
    let folder = path.join("build");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("mod_bench.erl"), include_str!("ejabberd/mod_bench.erl"))?;
    let status = Command::new("erlc")
        .arg(format!("-DBUILD=\"{build}\""))
        .arg("mod_bench.erl")
        .current_dir(&folder)
        .status()?;
    if !status.success() {
        return Err(BenchError::server("ejabberd", format!("erlc ended with {status}")));
    }
    std::fs::rename(folder.join("mod_bench.beam"), path.join("ejabberd-23.01/ebin/mod_bench.beam"))?;
    Ok(())
}

fn load_accounts(path: &Path, count: usize, http: SocketAddr) -> Result<(), BenchError> {
    let file = path.join("accounts.dump");
    std::fs::write(&file, Secrets::new().ejabberd_dump((0..count).map(user_name), DOMAIN))?;
    api(http, "load", &format!("{{\"file\":\"{}\"}}", file.display()))
}

/// Runs a command over ejabberd's HTTP API.
fn api(http: SocketAddr, command: &str, arguments: &str) -> Result<(), BenchError> {
    let mut socket = TcpStream::connect(http)?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(
        socket,
        "POST /api/{command} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{arguments}",
        arguments.len()
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let status = answer.lines().next().unwrap_or_default();
    if status.contains(" 200 ") {
        return Ok(());
    }
    Err(BenchError::server("ejabberd", format!("{command} was answered with {answer:?}")))
}
