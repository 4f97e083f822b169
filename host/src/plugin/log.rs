//! Log lines of modules: the fields every line carries (`module=ID@VERSION`, vhost, generation, component), and the levels that
//! can be set per module.

use super::services::Origin;
use arc_swap::ArcSwap;
use moult_plugin_api::abi::v1::level;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, LazyLock};

/// Levels set for single modules (`set_loglevel LEVEL MODULE`); others follow the server's level.
static LEVELS: LazyLock<ArcSwap<HashMap<Arc<str>, i32>>> = LazyLock::new(ArcSwap::default);

/// The server's level: one of `v1::level`, or -1 for nothing at all.
static SERVER_LEVEL: AtomicI32 = AtomicI32::new(level::INFO as i32);

/// Sets the level of the modules that have none of their own.
pub fn set_server_level(level: i32) {
    SERVER_LEVEL.store(level, Ordering::Relaxed);
}

/// Sets the level of one module, which may be quieter or more talkative than the server; with `None` it follows the
/// server again.
pub fn set_level(module: &str, level: Option<i32>) {
    LEVELS.rcu(|levels| {
        let mut levels = HashMap::clone(levels);
        match level {
            Some(level) => drop(levels.insert(module.into(), level)),
            None => drop(levels.remove(module)),
        }
        levels
    });
}

/// The level set for one module.
pub fn level_of(module: &str) -> Option<i32> {
    LEVELS.load().get(module).copied()
}

/// Whether a line at `level` would be kept. The server's log lets all of a module's lines through: this decides.
pub fn enabled(origin: &Origin, level: u32) -> bool {
    let most = level_of(&origin.module).unwrap_or_else(|| SERVER_LEVEL.load(Ordering::Relaxed));
    i32::try_from(level).is_ok_and(|level| level <= most)
}

/// Writes one line of a module.
pub fn line(origin: &Origin, at: u32, component: &str, message: &str) {
    if !enabled(origin, at) {
        return;
    }
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: "moult::module",
                module = %format_args!("{}@{}", origin.module, origin.version),
                vhost = &*origin.vhost,
                generation = origin.generation,
                component = (!component.is_empty()).then_some(component),
                "{message}"
            )
        };
    }
    match at {
        level::CRITICAL | level::ERROR => line!(error),
        level::WARNING => line!(warn),
        level::INFO => line!(info),
        level::DEBUG => line!(debug),
        _ => line!(trace),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_can_be_quieter_or_more_talkative_than_the_server() {
        let origin =
            Origin { module: "mod_quiet".into(), version: "1".into(), vhost: "a".into(), generation: 1 };
        set_level("mod_quiet", Some(level::ERROR as i32));
        assert!(!enabled(&origin, level::WARNING));
        assert!(enabled(&origin, level::ERROR));
        set_level("mod_quiet", Some(level::TRACE as i32));
        assert!(enabled(&origin, level::TRACE));
        set_level("mod_quiet", Some(-1));
        assert!(!enabled(&origin, level::CRITICAL));
        set_level("mod_quiet", None);
        assert_eq!(level_of("mod_quiet"), None);
        assert!(enabled(&origin, level::INFO));
    }
}
