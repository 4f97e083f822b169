//! How a handler is asked: by the plugin room, or by whatever a test puts in its place.

use crate::plugin::call::{Dispatch, IqCall, IqOutcome, Modules};

/// Who has the handlers.
pub trait IqHandlers: Send + Sync {
    /// Calls the handler of this target and namespace. `None`: there is none.
    fn handle(&self, request: IqCall<'_>) -> Option<Dispatch<IqOutcome>>;
}

impl IqHandlers for Modules {
    fn handle(&self, request: IqCall<'_>) -> Option<Dispatch<IqOutcome>> {
        self.iq(request)
    }
}
