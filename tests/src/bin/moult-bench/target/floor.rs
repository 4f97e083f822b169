//! The relay of `moult-bench floor`, as a process of its own so that its CPU can be read like a server's.

use std::process::Command;

use super::child::{ServerProcess, free_ports};
use super::{Needs, Running};
use crate::error::BenchError;

pub fn start(needs: &Needs) -> Result<Running, BenchError> {
    let folder = tempfile::Builder::new().prefix("bench-floor-").tempdir()?;
    let (certificate, client_config) = super::certificate(folder.path());
    let [address] = free_ports()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("floor").arg(address.to_string());
    if needs.fan_out {
        command.arg("--fan-out");
    }
    if needs.floor_tls {
        command.arg("--certificate").arg(&certificate.chain_file).arg("--key").arg(&certificate.key_file);
    }
    let mut process = ServerProcess::spawn("floor", folder.path(), &command)?;
    process.wait_for_output("ready")?;
    Ok(Running {
        pid: process.pid(),
        plain: address,
        tls: address,
        client_config,
        updater: None,
        control: None,
        _keeper: Box::new((process, folder)),
    })
}
