//! Log lines of modules: the fields every line carries, and the levels that can be set per module.

use super::services::Origin;
use arc_swap::ArcSwap;
use moult_plugin_api::abi::v1::level;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Levels set for single modules (`set_loglevel LEVEL MODULE`); others follow the server's level.
static LEVELS: LazyLock<ArcSwap<HashMap<Arc<str>, u32>>> = LazyLock::new(ArcSwap::default);

/// Sets the level of one module, or with `None` lets it follow the server again.
pub fn set_level(module: &str, level: Option<u32>) {
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
pub fn level_of(module: &str) -> Option<u32> {
    LEVELS.load().get(module).copied()
}

/// Whether a line at `level` would be kept.
pub fn enabled(origin: &Origin, level: u32) -> bool {
    if level_of(&origin.module).is_some_and(|most| level > most) {
        return false;
    }
    match super::bridge::tracing_level(level) {
        tracing::Level::TRACE => tracing::enabled!(target: "moult::module", tracing::Level::TRACE),
        tracing::Level::DEBUG => tracing::enabled!(target: "moult::module", tracing::Level::DEBUG),
        tracing::Level::INFO => tracing::enabled!(target: "moult::module", tracing::Level::INFO),
        tracing::Level::WARN => tracing::enabled!(target: "moult::module", tracing::Level::WARN),
        tracing::Level::ERROR => true,
    }
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
                module = &*origin.module,
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
    fn a_module_can_be_quieter_than_the_server() {
        let origin = Origin { module: "mod_quiet".into(), vhost: "a".into(), generation: 1 };
        set_level("mod_quiet", Some(level::ERROR));
        assert!(!enabled(&origin, level::WARNING));
        assert!(enabled(&origin, level::ERROR));
        set_level("mod_quiet", None);
        assert_eq!(level_of("mod_quiet"), None);
    }
}
