//! `moultctl`, the control program.

use std::process::ExitCode;

fn main() -> ExitCode {
    moult_host::ctl::client::main()
}
