//! `STARTED` of a generation that an update has put in place: an error there is a failed update. What was swapped in gives
//! way to the build before it; what was new, or has nothing to go back to, is taken out of service.

use super::Manager;
use super::swap::{Outcome, UpdateRequest, failed_entry};
use crate::plugin::error::ModuleError;
use crate::plugin::instance::Instance;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Who is to be told that it serves.
pub(super) struct Starting {
    pub(super) module: String,
    pub(super) generation: u64,
    pub(super) instances: Vec<Arc<Instance>>,
    pub(super) otherwise: Otherwise,
}

/// What is done when it does not want to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// It came in place of another build, which comes back.
    GoBack,
    /// It is taken out of service.
    TakeOut,
    /// It was gone back to: nothing better is there, and going on would be going round in circles.
    Leave,
}

impl Manager {
    /// Tells one module after the other, each instance within the deadline of a start; the report says what failed.
    pub(super) async fn tell_started(&self, outcome: &mut Outcome, request: &UpdateRequest) {
        let deadline = self.inner.core.config().modules.start_deadline;
        for mut starting in std::mem::take(&mut outcome.starting) {
            for instance in std::mem::take(&mut starting.instances) {
                let Err(error) = instance.started(deadline).await else { continue };
                tracing::error!("{error}");
                self.note(vec![failed_entry(request, outcome.report.transaction, &error)]);
                outcome.report.status = "error";
                if starting.otherwise != Otherwise::Leave {
                    outcome.report.updated.retain(|module| *module != starting.module);
                }
                let (error, is_undone) = self.not_started(&mut starting, &instance, error).await;
                outcome.report.errors.push(error);
                if is_undone {
                    break;
                }
            }
        }
    }

    /// Undoes what does not want to serve. Gives the failure with what was done about it, which is also what the module's
    /// last error says, and whether the build before it serves. Boxed, because the way back is an update too.
    fn not_started<'a>(
        &'a self,
        starting: &'a mut Starting,
        instance: &'a Arc<Instance>,
        mut error: ModuleError,
    ) -> Pin<Box<dyn Future<Output = (ModuleError, bool)> + Send + 'a>> {
        Box::pin(async move {
            let module = &starting.module;
            self.inner.watches.close(module, starting.generation);
            let undone = match starting.otherwise {
                Otherwise::GoBack => self.go_back(module, starting.generation, &error.reason).await,
                Otherwise::TakeOut => Err("it is taken out of service".to_owned()),
                Otherwise::Leave => {
                    Ok("it serves all the same, for there is nothing to go back to".to_owned())
                }
            };
            let (Ok(done) | Err(done)) = &undone;
            error.reason = format!("{}; {done}", error.reason);
            if undone.is_err() {
                // No second way back for the next instance.
                starting.otherwise = Otherwise::TakeOut;
                self.take_out(instance, &error).await;
            }
            self.inner.state.lock().await.memory.failed.insert(module.clone(), error.clone());
            (error, undone.is_ok())
        })
    }

    async fn go_back(&self, module: &str, generation: u64, why: &str) -> Result<String, String> {
        tracing::error!(module, generation, "its start was no success: {why}; rolling back");
        let report = self.rollback(module, None, "health").await;
        if report.updated.iter().any(|updated| updated == module) {
            return Ok("the build before it serves again".to_owned());
        }
        let reasons: Vec<&str> = report.errors.iter().map(|error| error.reason.as_str()).collect();
        let reasons = reasons.join("; ");
        tracing::error!(module, generation, "it could not be rolled back: {reasons}");
        Err(format!("it could not be rolled back ({reasons}) and is taken out of service"))
    }
}
