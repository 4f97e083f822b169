//! `moultd`, the server.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use clap_mangen::Man;

use moult_host::config::defaults::CONFIG_FILE;
use moult_host::plugin::loader::allocator;
use moult_host::plugin::probe;
use moult_host::server;

/// An XMPP server whose features are hot-swappable shared libraries.
///
/// Exit codes: 0 after an orderly end, 1 if the server could not start or go on, 2 if the configuration or the command
/// line is wrong.
#[derive(Debug, Parser)]
#[command(name = "moultd", version)]
struct Options {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE)]
    config: PathBuf,
    /// Checks a configuration file (that of --config where none is named), tells all mistakes, and starts nothing.
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with = "init")]
    check_config: Option<Option<PathBuf>>,
    /// Makes a working directory: configuration, certificate, store with an administrator and two demo accounts, modules.
    #[arg(long, value_name = "DIR")]
    init: Option<PathBuf>,
    /// Serves from a working directory, and makes it first, as --init does, where it has no configuration.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["init", "check_config", "config"])]
    serve: Option<PathBuf>,
    /// Writes what this server and the modules in a folder implement as a DOAP file (XEP-0453), and starts nothing.
    #[arg(long, value_name = "FOLDER", exclusive = true)]
    doap: Option<PathBuf>,
    /// Writes the manual page, for packages.
    #[arg(long, hide = true, exclusive = true)]
    man: bool,
}

/// What the manual page says beside the options, in the language of man pages.
const MAN_SECTIONS: &str = include_str!("man_sections.roff");

fn main() -> ExitCode {
    // A probe child is this binary too; it must do nothing else before it has confined itself.
    if let Some(path) = probe::requested() {
        probe::child_main(&path);
    }
    let options = Options::parse();
    if options.man {
        return man(&mut io::stdout()).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    if let Some(folder) = &options.doap {
        return server::doap(folder);
    }
    if let Some(directory) = &options.init {
        return server::init(directory);
    }
    if let Some(file) = &options.check_config {
        return server::check_config(file.as_ref().unwrap_or(&options.config));
    }
    allocator::settle();
    if let Some(directory) = &options.serve {
        return server::serve(directory);
    }
    if !options.config.exists() && options.config == Path::new(CONFIG_FILE) {
        eprintln!(
            "There is no {CONFIG_FILE}. `moultd --serve DIR` makes a server in a folder of its own and runs it."
        );
        return ExitCode::from(2);
    }
    server::run(&options.config)
}

fn man(out: &mut dyn Write) -> io::Result<()> {
    let page = Man::new(Options::command()).section("8");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    out.write_all(MAN_SECTIONS.as_bytes())?;
    page.render_version_section(out)
}
