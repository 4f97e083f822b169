//! Who may call which command from where.
//!
//! Built in: the local control socket may do everything; an admin may call every command that is not local-only;
//! everybody may call what is open to everybody. A `[permissions.NAME]` group adds to that, never takes away: a call
//! that matches its `from`, `who` and `what` is allowed. In `what` the patterns are tried in order and the last one
//! that matches decides, so that `!name` takes out again what an earlier pattern let in. A local-only command is
//! let in by its full name alone, never by a glob or a tag.
//!
//! A denial names the rule that is missing.

use std::collections::BTreeMap;

use super::{Caller, CommandError, CommandSpec, ErrorKind, FrontEnd, Permission, glob};
use crate::config::PermissionGroup;

/// The permission groups of the configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Access {
    groups: BTreeMap<String, PermissionGroup>,
}

impl Access {
    /// The rules of these groups beside the built-in ones.
    pub fn new(groups: BTreeMap<String, PermissionGroup>) -> Access {
        Access { groups }
    }

    /// Decides one call; the answer is the rule that allows it.
    pub fn decide(&self, spec: &CommandSpec, caller: &Caller) -> Result<String, CommandError> {
        if let Some(rule) = built_in(spec, caller) {
            return Ok(rule.to_owned());
        }
        let allowing = self.groups.iter().find(|(_, group)| {
            allows_from(group, caller) && allows_who(group, caller) && allows_what(group, spec)
        });
        match allowing {
            Some((name, _)) => Ok(format!("the group [permissions.{name}]")),
            None => Err(self.denial(spec, caller)),
        }
    }

    fn denial(&self, spec: &CommandSpec, caller: &Caller) -> CommandError {
        let (command, from, who) = (&spec.name, caller.from.name(), caller.subject());
        let reason = match spec.permission {
            Permission::Local => "it is for the local control socket",
            Permission::Admin | Permission::Everybody => "it is for admins",
        };
        let nearest = self.groups.iter().find_map(|(name, group)| {
            let fits = [allows_from(group, caller), allows_who(group, caller), allows_what(group, spec)];
            let missing =
                ["from", "who", "what"].into_iter().zip(fits).filter(|(_, fits)| !fits).collect::<Vec<_>>();
            (missing.len() == 1)
                .then(|| format!(" The group [permissions.{name}] fails at its \"{}\" only.", missing[0].0))
        });
        let message = format!(
            "The command \"{command}\" is not allowed: {reason}, and no group under [permissions] has from = \
             \"{from}\", who = \"{who}\", what = \"{command}\".{}",
            nearest.unwrap_or_default()
        );
        CommandError::new(ErrorKind::Denied, message)
    }
}

fn built_in(spec: &CommandSpec, caller: &Caller) -> Option<&'static str> {
    match (caller.from, spec.permission) {
        (FrontEnd::Local, _) => Some("the local control socket may do everything"),
        (_, Permission::Everybody) => Some("the command is open to everybody"),
        (_, Permission::Admin) if caller.admin => Some("admins may call it"),
        _ => None,
    }
}

fn allows_from(group: &PermissionGroup, caller: &Caller) -> bool {
    group.from.iter().any(|from| from == "*" || from == caller.from.name())
}

fn allows_who(group: &PermissionGroup, caller: &Caller) -> bool {
    group.who.iter().any(|who| match who.as_str() {
        "*" => true,
        "admin" => caller.admin,
        jid => caller.jid.as_deref() == Some(jid),
    })
}

fn allows_what(group: &PermissionGroup, spec: &CommandSpec) -> bool {
    let verdict = |pattern: &String| match pattern.strip_prefix('!') {
        Some(pattern) => covers(pattern, spec, false).then_some(false),
        None => covers(pattern, spec, spec.permission == Permission::Local).then_some(true),
    };
    group.what.iter().rev().find_map(verdict).unwrap_or(false)
}

fn covers(pattern: &str, spec: &CommandSpec, by_full_name_only: bool) -> bool {
    if pattern == spec.name || by_full_name_only {
        return pattern == spec.name;
    }
    match pattern.strip_prefix("[tag:").and_then(|tag| tag.strip_suffix(']')) {
        Some(tag) => spec.tags.iter().any(|other| glob::matches(tag, other)),
        None => glob::matches(pattern, &spec.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(from: FrontEnd, admin: bool, jid: Option<&str>) -> Caller {
        Caller { from, admin, jid: jid.map(str::to_owned), who: "test".into() }
    }

    fn spec(name: &'static str, permission: Permission) -> CommandSpec {
        CommandSpec { permission, ..CommandSpec::new(name, "statistics", "Tells.") }
    }

    fn access(from: &[&str], who: &[&str], what: &[&str]) -> Access {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let group = PermissionGroup { from: texts(from), who: texts(who), what: texts(what) };
        Access::new([("bots".to_owned(), group)].into())
    }

    #[test]
    fn the_built_in_rules() {
        let none = Access::default();
        let cases = [
            (FrontEnd::Local, false, Permission::Local, true),
            (FrontEnd::Local, false, Permission::Admin, true),
            (FrontEnd::Http, true, Permission::Local, false),
            (FrontEnd::Http, true, Permission::Admin, true),
            (FrontEnd::Http, false, Permission::Admin, false),
            (FrontEnd::Http, false, Permission::Everybody, true),
            (FrontEnd::Xmpp, true, Permission::Admin, true),
            (FrontEnd::Xmpp, true, Permission::Local, false),
            (FrontEnd::Module, false, Permission::Admin, false),
        ];
        for (from, admin, permission, allowed) in cases {
            let decision = none.decide(&spec("stop", permission), &caller(from, admin, None));
            assert_eq!(decision.is_ok(), allowed, "{from:?} {admin} {permission:?}");
        }
    }

    #[test]
    fn a_group_allows_what_matches_all_three_lists() {
        let ann = caller(FrontEnd::Xmpp, false, Some("ann@example.org"));
        let stats = spec("stats", Permission::Admin);
        type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str], bool);
        let cases: [Case<'_>; 10] = [
            (&["xmpp"], &["ann@example.org"], &["stats"], true),
            (&["*"], &["*"], &["*"], true),
            (&["http", "xmpp"], &["*"], &["sta*"], true),
            (&["*"], &["*"], &["[tag:statistics]"], true),
            (&["*"], &["*"], &["[tag:stat*]", "!stats"], false),
            (&["*"], &["*"], &["!stats", "*"], true),
            (&["http"], &["*"], &["*"], false),
            (&["*"], &["bob@example.org"], &["*"], false),
            (&["*"], &["admin"], &["*"], false),
            (&["*"], &["*"], &["status", "[tag:modules]"], false),
        ];
        for (from, who, what, allowed) in cases {
            assert_eq!(
                access(from, who, what).decide(&stats, &ann).is_ok(),
                allowed,
                "{from:?} {who:?} {what:?}"
            );
        }
    }

    #[test]
    fn a_local_command_is_let_in_by_its_full_name_alone() {
        let admin = caller(FrontEnd::Http, true, None);
        let stop = spec("stop", Permission::Local);
        for what in ["*", "st*", "[tag:statistics]"] {
            assert!(access(&["*"], &["*"], &[what]).decide(&stop, &admin).is_err(), "{what}");
        }
        assert!(access(&["*"], &["*"], &["stop"]).decide(&stop, &admin).is_ok());
    }

    #[test]
    fn a_denial_names_the_missing_rule_and_the_group_that_nearly_fits() {
        let bots = access(&["xmpp"], &["*"], &["stats"]);
        let error =
            bots.decide(&spec("stats", Permission::Admin), &caller(FrontEnd::Http, false, None)).unwrap_err();
        assert_eq!((error.kind, error.kind.status(), error.kind.code()), (ErrorKind::Denied, 403, 31));
        let expected = "no group under [permissions] has from = \"http\", who = \"*\", what = \"stats\". \
                        The group [permissions.bots] fails at its \"from\" only.";
        assert!(error.message.ends_with(expected), "{}", error.message);
    }
}
