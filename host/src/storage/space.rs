//! The name of a key space: whose data it is.
//!
//! Every stored row belongs to one (vhost, owner) pair, so two modules, or one module on two vhosts, can use the same
//! keys without meeting.

use std::sync::Arc;

/// A key space: the data of one module on one vhost. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Space {
    vhost: Arc<str>,
    owner: Arc<str>,
}

impl Space {
    /// The space of `module` on `vhost`; the global instance of a module has the empty vhost.
    pub fn module(vhost: &str, module: &str) -> Space {
        // A name that looks like the host's or like a store must not become one, wherever it comes from.
        let owner = match module.contains(['%', '/', '@']) {
            true => module.replace('%', "%25").replace('/', "%2F").replace('@', "%40").into(),
            false => module.into(),
        };
        Space { vhost: vhost.into(), owner }
    }

    /// A named store of this module, apart from its other stores. The empty name is the space itself.
    pub fn store(&self, name: &str) -> Space {
        match name {
            "" => self.clone(),
            // The owner's part holds no slash of its own, so two modules' stores cannot meet.
            name => Space { vhost: self.vhost.clone(), owner: format!("{}/{name}", self.owner).into() },
        }
    }

    /// The space of a room of the host itself. The `@` keeps it apart from every module name.
    pub fn core(vhost: &str, room: &str) -> Space {
        Space { vhost: vhost.into(), owner: format!("@{room}").into() }
    }

    /// True for the host's own data.
    pub fn is_core(&self) -> bool {
        self.owner.starts_with('@')
    }

    /// The vhost, empty for data that belongs to the whole server.
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// The module's name, with the store's where it is named, or `@room` for the host's own data.
    pub fn owner(&self) -> &str {
        &self.owner
    }
}

impl std::fmt::Display for Space {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.vhost {
            "" => write!(formatter, "{}", self.owner),
            vhost => write!(formatter, "{} on {vhost}", self.owner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_module_name_reaches_the_data_of_the_host_or_of_another_module() {
        assert_ne!(Space::module("", "@auth"), Space::core("", "auth"));
        assert!(!Space::module("", "@auth").is_core());
        assert_ne!(Space::module("a", "mod_one/two"), Space::module("a", "mod_one").store("two"));
        assert_ne!(Space::module("a", "mod%2Fone"), Space::module("a", "mod/one"));
        assert_eq!(Space::module("a", "mod_one").store("x/@y").owner(), "mod_one/x/@y");
    }
}
