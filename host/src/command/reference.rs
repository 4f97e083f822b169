//! The reference of all commands: as man page and as Markdown.

use std::fmt::Write;

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::help::{kind_name, result_name, tags};
use super::{ArgSpec, CommandSpec, Permission};

/// The sections `COMMANDS` of the man page of `moultctl`, in roff.
pub fn man_commands(specs: &[CommandSpec]) -> String {
    let mut page = Roff::new();
    let specs: Vec<&CommandSpec> = specs.iter().collect();
    for (tag, commands) in tags(&specs) {
        page.control("SH", [format!("COMMANDS: {}", tag.to_uppercase()).as_str()]);
        for spec in commands {
            man_command(&mut page, spec);
        }
    }
    page.to_roff()
}

/// The reference as Markdown.
pub fn markdown(specs: &[CommandSpec]) -> String {
    let mut text = String::new();
    let specs: Vec<&CommandSpec> = specs.iter().collect();
    for (tag, commands) in tags(&specs) {
        let _ = writeln!(text, "## {tag}\n");
        commands.into_iter().for_each(|spec| markdown_command(&mut text, spec));
    }
    text
}

fn man_command(page: &mut Roff, spec: &CommandSpec) {
    let mut usage: Vec<Inline> = vec![bold(&*spec.name)];
    for arg in &spec.args {
        usage.push(roman(" "));
        usage.push(if arg.is_flag() { bold(arg.usage()) } else { italic(arg.usage()) });
    }
    page.control("TP", []);
    page.text(usage);
    page.text([roman(prose(spec))]);
    for arg in &spec.args {
        page.control("RS", []);
        page.control("TP", []);
        page.text([italic(arg.usage())]);
        page.text([roman(arg_prose(arg))]);
        page.control("RE", []);
    }
}

fn markdown_command(text: &mut String, spec: &CommandSpec) {
    let _ = writeln!(text, "### `{}`\n\n{}\n", spec.usage(), prose(spec));
    for arg in &spec.args {
        let _ = writeln!(text, "- `{}`: {}", arg.name, arg_prose(arg));
    }
    if !spec.args.is_empty() {
        text.push('\n');
    }
}

fn prose(spec: &CommandSpec) -> String {
    let mut prose = spec.summary.to_string();
    if !spec.description.is_empty() {
        let _ = write!(prose, " {}", spec.description);
    }
    let _ = write!(prose, " Answer: {}.", result_name(&spec.result));
    if spec.permission == Permission::Local {
        prose.push_str(" For the local control socket only.");
    }
    prose
}

fn arg_prose(arg: &ArgSpec) -> String {
    format!("{} ({})", arg.doc, kind_name(&arg.kind))
}

#[cfg(test)]
mod tests {
    use super::super::builtin;
    use super::*;

    #[test]
    fn every_command_stands_in_the_man_page_and_in_the_reference() {
        let (man, markdown) = (man_commands(&builtin::all()), markdown(&builtin::all()));
        for spec in builtin::all() {
            assert!(man.contains(&format!("\\fB{}\\fR", spec.name)), "{}", spec.name);
            assert!(markdown.contains(&format!("### `{}", spec.name)), "{}", spec.name);
        }
        assert!(man.contains(".SH \"COMMANDS: MODULES\""), "{man}");
    }
}
