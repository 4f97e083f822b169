//! What calls into an instance come to, read from the boundary's numbers.

use super::world::FakeHost;
use crate::abi::v1::{reply, status};
use crate::glue::caller::Answered;
use crate::sdk::element::parse_element;
use crate::sdk::{Condition, Element, Flow, StanzaError, Stop};
use std::time::Duration;

/// Answer of an IQ: the payload of a result, `None` when it is empty; or the error, which is `service-unavailable` when
/// nobody handles the namespace.
pub type IqResult = Result<Option<Element>, StanzaError>;

/// How a start did not lead to a running instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartFailure {
    /// The module has nothing to do on this vhost.
    Ignored,
    /// It failed for this reason.
    Stopped(String),
}

/// What an instance left behind, and the host undid. A module need not tidy its registrations up, so they are counted
/// apart from what it should not leave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Registrations, undone.
    pub registrations: usize,
    /// Tasks that had not ended, cut.
    pub tasks: usize,
    /// Operations that nobody took the answer of, forgotten.
    pub operations: usize,
}

impl Leftovers {
    /// Whether nothing that had begun was cut off.
    pub fn is_clean(&self) -> bool {
        self.tasks == 0 && self.operations == 0
    }
}

/// What a hook's chain came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookResult {
    /// The chain went to its end, with this stanza or accumulator.
    Continued(Vec<u8>),
    /// A handler ended it; without a body the stanza ends here.
    Stopped {
        /// Why.
        reason: String,
        /// What goes on.
        body: Option<Vec<u8>>,
    },
}

/// A call that has become a task.
pub struct Pending {
    pub(super) host: FakeHost,
    pub(super) task: Result<Answered, u64>,
}

impl Pending {
    /// The answer, once there is one. Moves no clock.
    pub fn try_iq(&mut self) -> Option<IqResult> {
        if let Err(task) = self.task {
            self.task = Ok(self.host.answer_of(task)?);
        }
        self.task.as_ref().ok().map(iq_result)
    }
}

pub(super) fn outcome(answered: &Answered) -> Result<(), Stop> {
    if answered.status == status::DONE { Ok(()) } else { Err(Stop::new(answered.text.clone())) }
}

pub(super) fn flow(answered: &Answered) -> Flow {
    match answered.code {
        reply::FLOW_CONTINUE => Flow::Continue,
        reply::FLOW_CONTINUE_AFTER => {
            Flow::ContinueAfter(Duration::from_millis(answered.number.unsigned_abs()))
        }
        reply::FLOW_STOP => Flow::Stop(answered.text.clone()),
        code => panic!("a stanza was answered with {code}: {}", answered.text),
    }
}

pub(super) fn iq_result(answered: &Answered) -> IqResult {
    match answered.code {
        reply::IQ_RESULT if answered.body.is_empty() => Ok(None),
        reply::IQ_RESULT => {
            let text = std::str::from_utf8(&answered.body).expect("a payload is UTF-8");
            Ok(Some(parse_element(text).unwrap_or_else(|e| panic!("the payload {text} is no element: {e}"))))
        }
        reply::IQ_ERROR => {
            let condition = Condition::from_name(&answered.text).expect("a condition of RFC 6120");
            let mut error = StanzaError::new(condition, answered.extra.clone());
            if let Some(kind) = crate::sdk::ErrorType::from_number(answered.number) {
                error.kind = kind;
            }
            Err(error)
        }
        reply::IQ_IGNORE => {
            Err(StanzaError::new(Condition::UndefinedCondition, "the handler ignored the IQ"))
        }
        code => panic!("an IQ was answered with {code}: {}", answered.text),
    }
}
