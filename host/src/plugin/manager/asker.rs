//! The module whose call asks for a change of modules, by a command or over HTTP.
//!
//! Where that module itself is updated, rolled back, restarted or unloaded, its old code waits for the answer to this very
//! request, so the request must not wait for the old code: that ends beside it, with the deadlines of every other.

use std::sync::Arc;

tokio::task_local! {
    static ASKER: Arc<str>;
}

/// Does what `module` has asked for.
pub async fn asked_by<F: Future>(module: Arc<str>, what: F) -> F::Output {
    ASKER.scope(module, what).await
}

/// The same wish, for another task that carries it out.
pub fn carried_on<F: Future>(what: F) -> impl Future<Output = F::Output> {
    let asker = ASKER.try_with(Arc::clone).ok();
    async move {
        match asker {
            Some(asker) => ASKER.scope(asker, what).await,
            None => what.await,
        }
    }
}

/// Whether this task does what `module` has asked for.
pub(super) fn is_asker(module: &str) -> bool {
    ASKER.try_with(|asker| **asker == *module).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_module_is_the_asker_for_as_long_as_its_wish_is_carried_out() {
        assert!(!is_asker("mod_a"));
        let (own, other) = asked_by("mod_a".into(), async { (is_asker("mod_a"), is_asker("mod_b")) }).await;
        assert!(own && !other && !is_asker("mod_a"));
        let elsewhere = async || is_asker("mod_a");
        let by_another_task = async { tokio::spawn(carried_on(elsewhere())).await };
        assert!(asked_by("mod_a".into(), by_another_task).await.unwrap());
        assert!(!tokio::spawn(carried_on(elsewhere())).await.unwrap());
    }
}
