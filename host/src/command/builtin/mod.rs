//! The specs of the server's own commands, and of those that `moultctl` answers by itself.
//!
//! They are here, without their handlers, so that help, completion, man page and reference exist without a server.

mod accounts;
mod client;
mod modules;
mod server;
mod sessions;

use super::CommandSpec;

/// The commands a server answers.
pub fn server() -> Vec<CommandSpec> {
    [modules::specs(), server::specs(), accounts::specs(), sessions::specs()].concat()
}

/// The commands `moultctl` answers by itself.
pub fn client() -> Vec<CommandSpec> {
    client::specs()
}

/// Whose a command of these is.
pub fn owner(name: &str) -> Option<&'static str> {
    let has = |specs: Vec<CommandSpec>| specs.iter().any(|spec| spec.name == name);
    match name {
        _ if has(server()) => Some("the server"),
        _ if has(client()) => Some("moultctl"),
        _ => None,
    }
}

/// All of them, by name.
pub fn all() -> Vec<CommandSpec> {
    let mut all = [server(), client()].concat();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

#[cfg(test)]
mod tests {
    use super::super::{ArgKind, ResultKind};
    use super::*;

    #[test]
    fn every_name_is_declared_once() {
        let all = all();
        assert!(all.windows(2).all(|pair| pair[0].name != pair[1].name));
    }

    #[test]
    fn every_command_and_argument_is_explained_in_a_sentence() {
        for spec in all() {
            assert!(
                spec.summary.ends_with('.') && spec.summary.len() <= 100,
                "{}: {}",
                spec.name,
                spec.summary
            );
            for arg in &spec.args {
                assert!(arg.doc.ends_with('.'), "{} {}: {}", spec.name, arg.name, arg.doc);
            }
        }
    }

    #[test]
    fn what_may_be_left_out_stands_behind_what_may_not() {
        for spec in all() {
            let optional: Vec<bool> = spec.args.iter().map(|arg| arg.optional).collect();
            assert!(optional.is_sorted(), "{}", spec.usage());
            let flags: Vec<bool> = spec.args.iter().map(|arg| arg.is_flag()).collect();
            assert!(flags.is_sorted(), "{}", spec.usage());
        }
    }

    #[test]
    fn passwords_are_secret() {
        for spec in all() {
            for arg in
                spec.args.iter().filter(|arg| arg.name.contains("password") || arg.name.contains("token"))
            {
                assert!(arg.secret, "{} {}", spec.name, arg.name);
            }
        }
    }

    #[test]
    fn a_command_that_only_looks_does_not_answer_with_a_bare_code() {
        for spec in server().into_iter().filter(|spec| !spec.changes_state) {
            assert!(spec.result != ResultKind::Code || spec.name.starts_with("check_"), "{}", spec.name);
        }
    }

    #[test]
    fn a_list_stands_where_it_can_take_the_rest() {
        for spec in all() {
            let positional: Vec<_> = spec.args.iter().filter(|arg| !arg.is_flag()).collect();
            let lists = positional.iter().filter(|arg| arg.kind == ArgKind::List).count();
            let last_is_list = positional.last().is_some_and(|arg| arg.kind == ArgKind::List);
            assert!(lists == 0 || (lists == 1 && last_is_list), "{}", spec.usage());
        }
    }
}
