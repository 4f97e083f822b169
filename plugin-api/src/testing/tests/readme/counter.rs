use moult_plugin_api::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

pub struct Counter {
    count: AtomicU64,
}

impl Module for Counter {
    type Options = ();

    fn start(host: &Host, (): ()) -> Result<Started<Self>, Stop> {
        host.on_iq("urn:example:count", Self::count)?;
        Started::running(Self { count: AtomicU64::new(0) })
    }

    fn export_state(&self) -> Option<(u32, Vec<u8>)> {
        Some((1, self.count.load(SeqCst).to_le_bytes().to_vec()))
    }

    fn import_state(&self, schema: u32, bytes: &[u8]) -> Result<(), Stop> {
        if schema != 1 {
            return Err(Stop::new(format!("state of schema {schema} cannot be read")));
        }
        self.count.store(u64::from_le_bytes(bytes.try_into()?), SeqCst);
        Ok(())
    }
}

impl Counter {
    fn count(&self, iq: &Iq<'_>) -> Element {
        let n = self.count.fetch_add(1, SeqCst);
        Element::new("count").with_ns(iq.ns()).with_text(n.to_string())
    }
}
