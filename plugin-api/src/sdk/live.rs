//! Options that change while a module runs.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// A value that is replaced as a whole while others read it: a module's options, taken over in
/// [`Module::on_reload`](super::Module::on_reload).
///
/// ```
/// use moult_plugin_api::sdk::Live;
/// let limit = Live::new(7);
/// let before = limit.get();
/// limit.set(8);
/// assert_eq!((*before, *limit.get()), (7, 8));
/// ```
pub struct Live<T>(RwLock<Arc<T>>);

impl<T> Live<T> {
    /// With this value.
    pub fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    /// The value that holds now. It stays what it is for whoever has it.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another value from now on.
    pub fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

impl<T: fmt::Debug> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Live").field(&self.get()).finish()
    }
}
