//! What goes: files that are old, slots that were never filled, and everything of an account that is removed.

use crate::Upload;
use crate::slots::Slot;
use moult_plugin_api::prelude::*;
use moult_plugin_api::sdk::datetime::now_ms;

/// Slots looked at in one piece.
const PAGE: usize = 200;

impl Upload {
    /// Looks at every slot once.
    pub(crate) async fn sweep(&self) {
        let mut after = String::new();
        let mut gone = 0_u64;
        loop {
            let tokens = match self.slots().keys("", &after, PAGE).await {
                Ok(tokens) => tokens,
                Err(error) => return warn!(self.host, "old files cannot be looked for: {error}"),
            };
            for token in &tokens {
                gone += u64::from(self.swept(token).await);
            }
            match tokens.last() {
                Some(last) if tokens.len() == PAGE => after.clone_from(last),
                _ => break,
            }
        }
        if gone > 0 {
            info!(self.host, "{gone} old files or unused slots were removed");
        }
    }

    /// Removes one slot if it is time.
    async fn swept(&self, token: &str) -> bool {
        let Ok(Some(bytes)) = self.slots().get(token).await else { return false };
        let Some(slot) = Slot::read(&bytes) else {
            warn!(self.host, "the slot {token} cannot be read; it is left alone");
            return false;
        };
        let expire = i64::try_from(self.options.get().expire.as_millis()).unwrap_or(i64::MAX);
        let is_old = expire > 0 && now_ms().saturating_sub(slot.at) > expire;
        let is_unused = !slot.stored && !self.is_waiting(&slot);
        if !is_old && !is_unused {
            return false;
        }
        match self.forget(token, &slot.owner).await {
            Ok(()) => true,
            Err(error) => {
                warn!(self.host, "the old file {token} was not removed: {}", error.0);
                false
            }
        }
    }

    /// Everything of one owner.
    pub(crate) async fn forget_all(&self, owner: &str) -> Result<(), HostError> {
        for token in self.owners().all(owner).await?.keys() {
            if let Err(error) = self.forget(token, owner).await {
                warn!(self.host, "the file {token} was not removed: {}", error.0);
            }
        }
        self.owners().delete(owner).await
    }
}
