//! The numbers of the server, and whether its parts work.

use std::sync::Arc;

use super::shared::Shared;
use crate::http::{Exposition, Family, Health, HealthSource, MetricKind, MetricsSource};

/// Everything that is counted.
pub(super) struct Numbers(pub Arc<Shared>);

/// The parts whose state makes the health of the server.
pub(super) struct Parts(pub Arc<Shared>);

impl MetricsSource for Numbers {
    fn write(&self, to: &mut Exposition) {
        let family =
            Family { name: "moult_sessions", kind: MetricKind::Gauge, unit: "", help: "Bound resources." };
        to.single(family, self.0.sessions.count_all());
    }
}

impl HealthSource for Parts {
    fn check(&self) -> Vec<Health> {
        let quarantined: Vec<String> = self
            .0
            .manager
            .core()
            .slots()
            .iter()
            .filter(|slot| slot.is_quarantined())
            .map(|slot| slot.key.to_string())
            .collect();
        let fault = (!quarantined.is_empty()).then(|| format!("quarantined: {}", quarantined.join(", ")));
        vec![Health { part: "modules", fault }]
    }
}
