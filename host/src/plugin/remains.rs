//! What is left of a generation that could not be ended: instances whose calls do not return or whose stop does not come
//! back, and the library that these hold. With its library it counts as retained; it is tried again as often as asked.

use super::bridge::context::HostContext;
use super::core::Core;
use super::instance::{Instance, StopReason};
use super::loader::{Library, MappedBytes};
use super::retire::RetainedInfo;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long a step that was not ready before may take when it is tried again.
const BRIEF: Duration = Duration::from_millis(100);

/// The library of a generation, and the contexts that its code may use.
pub(super) type Code = (Arc<Library>, Vec<Arc<HostContext>>);
/// A module and its generation.
pub(super) type Key = (String, u64);

/// All remains.
#[derive(Default)]
pub(super) struct Remains {
    all: BTreeMap<Key, Remain>,
}

struct Remain {
    instances: Vec<(Arc<Instance>, StopReason)>,
    code: Option<Code>,
    why: String,
    bytes: MappedBytes,
    since: SystemTime,
}

/// What a further attempt came to.
pub(super) enum Again {
    /// Still the same.
    No,
    /// Everything of it has ended; it had no library to unmap.
    Ended,
    /// Its instances have ended, and nobody else holds the library.
    Free(Box<Library>, Vec<Arc<HostContext>>),
}

impl Remains {
    /// Adds instances that could not be ended, and the code, where the generation is ended with them.
    pub fn add(
        &mut self,
        key: Key,
        instances: Vec<(Arc<Instance>, StopReason)>,
        code: Option<Code>,
        why: String,
    ) {
        let remain = self.all.entry(key).or_insert_with(|| Remain {
            instances: Vec::new(),
            code: None,
            why: String::new(),
            bytes: MappedBytes::default(),
            since: SystemTime::now(),
        });
        remain.instances.extend(instances);
        remain.why = why;
        if let Some(code) = code {
            remain.bytes = code.0.mapped_bytes();
            remain.code = Some(code);
        }
    }

    /// Adds the code of a generation of which something remains already; gives it back where nothing does.
    pub fn join(&mut self, key: &Key, code: Code) -> Result<(), Code> {
        let Some(remain) = self.all.get_mut(key) else { return Err(code) };
        remain.bytes = code.0.mapped_bytes();
        remain.code = Some(code);
        Ok(())
    }

    /// Which there are.
    pub fn keys(&self) -> Vec<Key> {
        self.all.keys().cloned().collect()
    }

    /// Those whose generation serves no more: what they keep mapped, and why.
    pub fn infos(&self) -> Vec<RetainedInfo> {
        let with_code = self.all.iter().filter(|(_, remain)| remain.code.is_some());
        with_code.map(|(key, remain)| remain.info(key)).collect()
    }

    /// How many generations of this module they keep mapped.
    pub fn count(&self, module: &str) -> usize {
        self.all.iter().filter(|((of, _), remain)| of == module && remain.code.is_some()).count()
    }

    /// Tries to end it now. What has ended is in here no more.
    pub async fn again(&mut self, key: &Key, core: &Core) -> Again {
        let Some(remain) = self.all.get_mut(key) else { return Again::No };
        let mut left = Vec::new();
        for (instance, reason) in std::mem::take(&mut remain.instances) {
            match end(&instance, reason).await {
                Ok(()) => core.has_ended(&instance),
                Err(why) => {
                    remain.why = why;
                    left.push((instance, reason));
                }
            }
        }
        remain.instances = left;
        if !remain.instances.is_empty() {
            return Again::No;
        }
        match remain.code.take() {
            None => {
                self.all.remove(key);
                Again::Ended
            }
            Some((library, contexts)) => match Arc::try_unwrap(library) {
                Ok(library) => {
                    self.all.remove(key);
                    Again::Free(Box::new(library), contexts)
                }
                Err(shared) => {
                    remain.why = format!("{} others refer to its library", Arc::strong_count(&shared) - 1);
                    remain.code = Some((shared, contexts));
                    Again::No
                }
            },
        }
    }
}

impl Remain {
    fn info(&self, (module, generation): &Key) -> RetainedInfo {
        RetainedInfo {
            module: module.clone(),
            generation: *generation,
            reasons: vec![self.why.clone()],
            bytes: self.bytes,
            since: self.since,
        }
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        // Code of the module may run in them as long as the process lives.
        std::mem::forget(std::mem::take(&mut self.all));
    }
}

async fn end(instance: &Arc<Instance>, reason: StopReason) -> Result<(), String> {
    if let Err(left) = instance.gate().wait_empty(Duration::ZERO).await {
        return Err(waits_for_calls(left));
    }
    instance.end(reason, BRIEF).await.map_err(|error| error.reason)
}

/// Why an instance with these calls inside cannot be ended.
pub(super) fn waits_for_calls(calls: u64) -> String {
    format!("{calls} calls that do not return")
}
