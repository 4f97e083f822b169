//! `plugin new`: the crate of a new module, from a template that is part of this program.
//!
//! The crate depends on `plugin-api` by its path, so that no network, registry or git is needed and the contract is
//! the one of the server at hand. The path is the one that was named, or the first `plugin-api` found upwards from
//! this program's own place and from the present folder, or an installed one.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use moult_plugin_api::manifest::is_module_id;

use super::ClientError;

const MANIFEST: &str = include_str!("template/Cargo.toml.template");
const STATELESS: &str = include_str!("template/lib.rs.template");
const STATEFUL: &str = include_str!("template/stateful.rs.template");
const IGNORED: &str = "target/\n";
const API: &str = "plugin-api";
const INSTALLED: &str = "share/moult/plugin-api";

/// Writes the crate of the module `name` into `folder`; the answer is the list of files. One `with_state` hands what it
/// knows over to its next build.
pub(super) fn write(
    name: &str,
    folder: &Path,
    api_path: Option<&Path>,
    with_state: bool,
) -> Result<Vec<PathBuf>, ClientError> {
    let is_name = |short: &&str| is_module_id(name) && short.bytes().any(|byte| byte != b'_');
    let short = name.strip_prefix("mod_").filter(is_name);
    let short = short.ok_or_else(|| {
        let message = "The id of a module is mod_ and lower-case letters, digits or _, such as mod_hello";
        ClientError::Usage(format!("{message}; \"{}\" is not.", name.escape_default()))
    })?;
    let api = api_folder(api_path)?;
    let fill = |template: &str| filled(template, name, short, &api);
    let source = if with_state { STATEFUL } else { STATELESS };
    let files =
        [("Cargo.toml", fill(MANIFEST)), ("src/lib.rs", fill(source)), (".gitignore", IGNORED.to_owned())];
    make_folder(folder).map_err(|error| refused(folder, &error))?;
    let mut written = Vec::new();
    for (file, text) in files {
        let path = folder.join(file);
        write_new(&path, &text).map_err(|error| refused(&path, &error))?;
        written.push(path);
    }
    Ok(written)
}

/// The folder is made, or is there and empty: nothing of anybody is ever overwritten.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() && fs::read_dir(folder)?.next().is_some() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there already and not empty"));
    }
    fs::create_dir_all(folder.join("src"))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

fn filled(template: &str, name: &str, short: &str, api: &str) -> String {
    let api = toml::Value::String(api.to_owned()).to_string();
    let domain = short.trim_matches('_').replace('_', "-");
    let values =
        [("{{name}}", name), ("{{short}}", &domain), ("{{type}}", &type_name(short)), ("{{api}}", &api)];
    values.iter().fold(template.to_owned(), |text, (mark, value)| text.replace(mark, value))
}

/// `hello_world` as `HelloWorld`; a letter in front where the name begins with a digit.
fn type_name(short: &str) -> String {
    let mut name = String::new();
    for word in short.split('_').filter(|word| !word.is_empty()) {
        let (first, rest) = word.split_at(1);
        name.push_str(&first.to_ascii_uppercase());
        name.push_str(rest);
    }
    if name.starts_with(|c: char| c.is_ascii_uppercase()) { name } else { format!("Mod{name}") }
}

fn api_folder(named: Option<&Path>) -> Result<String, ClientError> {
    let is_api = |folder: &PathBuf| folder.join("Cargo.toml").is_file();
    let found = match named {
        Some(named) => Some(named.to_owned()).filter(is_api),
        None => candidates().into_iter().find(is_api),
    };
    let found = found.ok_or_else(|| match named {
        Some(named) => ClientError::Refused(format!("There is no Cargo.toml in {}.", named.display())),
        None => ClientError::Refused("plugin-api was not found; name its folder with --api-path.".to_owned()),
    })?;
    let absolute = fs::canonicalize(&found).map_err(|error| refused(&found, &error))?;
    absolute.into_os_string().into_string().map_err(|path| {
        ClientError::Refused(format!(
            "The path {} is not UTF-8 and cannot stand in a Cargo.toml.",
            path.display()
        ))
    })
}

fn candidates() -> Vec<PathBuf> {
    let here = std::env::current_exe().ok();
    let above_here = here.iter().flat_map(|path| path.ancestors().skip(1));
    let installed = above_here.clone().map(|folder| folder.join(INSTALLED));
    let current = std::env::current_dir().ok();
    let above_current = current.iter().flat_map(|path| path.ancestors());
    above_here.chain(above_current).map(|folder| folder.join(API)).chain(installed).collect()
}

fn refused(path: &Path, error: &io::Error) -> ClientError {
    ClientError::Refused(format!("{} cannot be written: {error}.", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_is_written_with_its_own_names_and_is_short() {
        let folder = tempfile::tempdir().unwrap();
        let crate_folder = folder.path().join("deep/mod_good_day");
        assert_eq!(write("mod_good_day", &crate_folder, None, false).unwrap().len(), 3);
        let source = fs::read_to_string(crate_folder.join("src/lib.rs")).unwrap();
        assert!(source.lines().count() <= 40, "{} lines", source.lines().count());
        assert!(
            source.contains("pub struct GoodDay(Options);") && source.contains("\"good-day.@HOST@\""),
            "{source}"
        );
        assert!(!source.contains("{{"), "{source}");
        let manifest: toml::Table =
            fs::read_to_string(crate_folder.join("Cargo.toml")).unwrap().parse().unwrap();
        let api = Path::new(manifest["dependencies"]["moult-plugin-api"]["path"].as_str().unwrap());
        assert!(api.is_absolute() && api.join("src/lib.rs").is_file());
        assert_eq!(manifest["package"]["name"].as_str(), Some("mod_good_day"));
    }

    #[test]
    fn one_with_state_says_what_it_hands_over() {
        let folder = tempfile::tempdir().unwrap();
        let crate_folder = folder.path().join("mod_tally");
        write("mod_tally", &crate_folder, None, true).unwrap();
        let source = fs::read_to_string(crate_folder.join("src/lib.rs")).unwrap();
        assert!(source.contains("module: Tally, state: { writes: 1, reads: 1 }"), "{source}");
        assert!(!source.contains("{{"), "{source}");
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "",
            "mod_",
            "hello",
            "../mod_x",
            "mod_/../x",
            "mod_x/y",
            "mod_X",
            "mod_x\n",
            "/mod_x",
            "mod_x.so",
            "mod-x",
        ] {
            let error = write(name, &folder.path().join("new"), None, false).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{name:?}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("precious"), "x").unwrap();
        assert_eq!(write("mod_x", folder.path(), None, true).unwrap_err().exit_code(), 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let file = folder.path().join("precious");
        assert!(write("mod_x", &file, None, false).is_err());
    }

    #[test]
    fn a_path_with_quotes_stays_one_path() {
        let folder = tempfile::tempdir().unwrap();
        let api = folder.path().join("a\"b\\c");
        fs::create_dir(&api).unwrap();
        fs::write(api.join("Cargo.toml"), "").unwrap();
        write("mod_x", &folder.path().join("x"), Some(&api), false).unwrap();
        let manifest: toml::Table =
            fs::read_to_string(folder.path().join("x/Cargo.toml")).unwrap().parse().unwrap();
        let written = manifest["dependencies"]["moult-plugin-api"]["path"].as_str();
        assert_eq!(written, fs::canonicalize(&api).unwrap().to_str());
        assert!(
            write("mod_x", &folder.path().join("y"), Some(folder.path()), false).is_err(),
            "no plugin-api there"
        );
    }

    #[test]
    fn types_are_named_after_the_module() {
        for (short, name) in [("hello", "Hello"), ("good_day", "GoodDay"), ("2fa", "Mod2fa")] {
            assert_eq!(type_name(short), name);
        }
    }
}
