//! What runs in the probe child: limits first, then the file, the load, the declaration, the layout of every type, the
//! unload. It writes what it is about to do before it does it, so that its end can be explained by its last line.

use super::answer::{Line, Step};
use super::{ARGUMENT, ProbeReport};
use crate::plugin::error::one_line;
use crate::plugin::loader::decl::Declaration;
use crate::plugin::loader::{MappedFile, confine, elf, library, mapped};
use moult_plugin_api::abi::v1::ModuleRoot_Ref;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

/// The file to probe, if this process was started as a probe child. To be asked before anything else is done.
pub fn requested() -> Option<PathBuf> {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(first) if first == ARGUMENT => arguments.next().map(PathBuf::from),
        _ => None,
    }
}

/// Probes the file and ends the process.
pub fn child_main(path: &Path) -> ! {
    let Ok(output) = confine::take_output() else { confine::leave(2) };
    let mut speaker = Speaker(output);
    if let Err(why) = take_limits() {
        speaker.say(&Line::Broken(why));
        confine::leave(2);
    }
    let verdict = panic::catch_unwind(AssertUnwindSafe(|| examine(path, &mut speaker)));
    let (line, code) = match verdict {
        Ok(Ok(report)) => (Line::Fit(Box::new(report)), 0),
        Ok(Err(why)) => (Line::Refused(one_line(&why)), 1),
        Err(_) => (Line::Refused("the check of its layout panicked".into()), 1),
    };
    speaker.say(&line);
    confine::leave(code)
}

struct Speaker(File);

impl Speaker {
    fn say(&mut self, line: &Line) {
        let Ok(mut bytes) = serde_json::to_vec(line) else { confine::leave(3) };
        bytes.push(b'\n');
        if self.0.write_all(&bytes).is_err() {
            // Nobody listens any more.
            confine::leave(3);
        }
    }
}

fn take_limits() -> Result<(), String> {
    let arguments: Vec<OsString> = std::env::args_os().skip(3).collect();
    let number = |i: usize| -> Result<u64, String> {
        let text = arguments.get(i).and_then(|argument| argument.to_str());
        text.and_then(|text| text.parse().ok())
            .ok_or_else(|| format!("argument {i} of the probe is no number"))
    };
    let parent = u32::try_from(number(2)?).map_err(|e| e.to_string())?;
    confine::confine(number(0)?, number(1)?, parent).map_err(|e| format!("its limits cannot be set: {e}"))
}

fn examine(path: &Path, speaker: &mut Speaker) -> Result<ProbeReport, String> {
    speaker.say(&Line::Step(Step::Reading));
    let facts = read_facts(path)?;
    if let Some(why) = facts.refusal() {
        return Err(why);
    }
    speaker.say(&Line::Step(Step::Loading));
    let handle = library::open(path)?;
    speaker.say(&Line::Step(Step::Checking));
    let declaration = library::declaration(&handle)?;
    if facts.manifest.as_deref() != Some(declaration.manifest_json.as_bytes()) {
        return Err("the manifest in its ELF note is missing or not that of its declaration".into());
    }
    check_layout(&handle)?;
    speaker.say(&Line::Step(Step::Unloading));
    let (unmaps, warnings) = unload(handle, &declaration, path);
    Ok(ProbeReport {
        manifest: declaration.manifest,
        rustc: declaration.rustc,
        api_minor: declaration.api_minor,
        flags: declaration.flags,
        unmaps,
        warnings,
    })
}

fn read_facts(path: &Path) -> Result<elf::ElfFacts, String> {
    let unreadable = |e: std::io::Error| format!("its private copy cannot be read: {e}");
    if std::fs::metadata(path).map_err(unreadable)?.len() == 0 {
        return elf::inspect(&[]).map_err(|problem| problem.reason);
    }
    let file = MappedFile::open(path).map_err(unreadable)?;
    elf::inspect(&file).map_err(|problem| problem.reason)
}

/// The full check of `abi_stable`, which leaves traces in the process that runs it and therefore runs only here.
fn check_layout(handle: &libloading::os::unix::Library) -> Result<(), String> {
    let header = library::abi_stable_header(handle)?;
    header.ensure_layout::<ModuleRoot_Ref>().map_err(|e| {
        format!("its types are laid out in another way than this server's: {}", errors_in(&e.to_string()))
    })
}

/// One added field makes an error of hundreds of lines; what is wrong stands in the blocks that begin with `Error:`.
fn errors_in(text: &str) -> String {
    let mut blocks: Vec<String> = Vec::new();
    for block in text.split("\n\n").filter_map(|block| block.trim_start().strip_prefix("Error:")) {
        let block = one_line(block);
        if !blocks.contains(&block) {
            blocks.push(block);
        }
    }
    if blocks.is_empty() { one_line(text) } else { blocks.join(" / ") }
}

/// Unloads it as the server would, so that what goes wrong then goes wrong here.
fn unload(
    handle: libloading::os::unix::Library,
    declaration: &Declaration,
    path: &Path,
) -> (bool, Vec<String>) {
    let mut warnings = Vec::new();
    let report = library::end_in_probe(declaration);
    if report.own_threads != 0 {
        warnings.push(format!("it starts {} threads while it is loaded", report.own_threads));
        return (false, warnings);
    }
    // Whether it worked is what the next line looks at.
    let _ = handle.close();
    let unmaps = !mapped::is_loaded(path);
    if !unmaps {
        warnings.push("it could not be unmapped right after it was loaded".into());
    }
    (unmaps, warnings)
}

#[cfg(test)]
mod tests {
    use super::errors_in;

    #[test]
    fn a_layout_error_is_reduced_to_what_is_wrong() {
        let text = "\nCompared <this>:\n --- Type Layout ---\n long\n\n\nError:too many fields,\nexpected:9\nfound:8\n\n\
                    Data: x\n\nError:too many fields,\nexpected:9\nfound:8\n\n";
        assert_eq!(errors_in(text), "too many fields, expected:9 found:8");
        assert_eq!(errors_in("something\nelse"), "something else");
    }
}
