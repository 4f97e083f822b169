//! Answers of service discovery: what all instances declared, then what the hooks `disco_info` and `disco_items` make of it.
//!
//! Who answers a question (mod_disco) asks for the answer by an operation and hands in what it has to add itself. Without a
//! node the answer begins with what was declared; a node has only what the asker and the hooks say of it, so a node that
//! nobody speaks of is told apart from one with nothing in it.

use super::{HookCall, Modules};
use crate::plugin::bridge::cause;
use crate::plugin::hook::HookPoint;
use crate::plugin::registration::IqTarget;
use crate::plugin::services::{BoxFuture, OpError, OpReply, OpRequest};
use crate::stanza::Jid;
use moult_plugin_api::abi::v1::op;
use moult_plugin_api::hooks::{InfoAnswer, ItemsAnswer};
use serde::Deserialize;
use serde_json::{Value, json};

/// So deep may a discovery hook ask for discovery itself.
const MAX_NESTING: u8 = 8;

/// The arguments of `DISCO`, `DISCO_INFO` and `DISCO_ITEMS`; the first has `host` and `target` alone.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Question {
    host: String,
    target: String,
    from: String,
    to: String,
    node: String,
}

type Answer = Result<OpReply, OpError>;

impl Modules {
    /// The operations of service discovery.
    pub(in crate::plugin) fn disco_op(&self, request: &OpRequest) -> BoxFuture<Answer> {
        let begun = match request.kind {
            op::DISCO_INFO => self.discover(HookPoint::DiscoInfo, request),
            op::DISCO_ITEMS => self.discover(HookPoint::DiscoItems, request),
            _ => self.declared_alone(request),
        };
        begun.unwrap_or_else(|error| Box::pin(std::future::ready(Err(error))))
    }

    fn declared_alone(&self, request: &OpRequest) -> Result<BoxFuture<Answer>, OpError> {
        let text = self.declared(&question(request)?)?.to_string();
        Ok(Box::pin(std::future::ready(Ok(OpReply { text, ..OpReply::default() }))))
    }

    fn discover(&self, point: HookPoint, request: &OpRequest) -> Result<BoxFuture<Answer>, OpError> {
        let question = question(request)?;
        let call = HookCall {
            from: address(&question.from)?,
            to: address(&question.to)?,
            args: json!({ "node": question.node }).to_string(),
            body: self.beginning(point, &question, &request.body)?,
            hops: deeper(point)?,
            ..HookCall::default()
        };
        let collecting = self.hook(point, &question.host, call);
        Ok(Box::pin(async move {
            let collected = collecting.wait().await.body;
            let number = i64::from(!collected.is_empty());
            let text = String::from_utf8(collected).map_err(|_| unreadable("an answer that is no text"))?;
            Ok(OpReply { number, text, ..OpReply::default() })
        }))
    }

    /// The answer before the first hook; nothing for a node that the asker does not know.
    fn beginning(&self, point: HookPoint, question: &Question, own: &[u8]) -> Result<Vec<u8>, OpError> {
        let declared = self.declared(question)?;
        if !own.is_empty() {
            check_accumulator(point, own).map_err(unreadable)?;
        }
        match (question.node.is_empty(), own.is_empty()) {
            (true, _) => Ok(joined(point, &declared, own).into()),
            (false, true) => Ok(Vec::new()),
            (false, false) => Ok(joined(point, &Value::Null, own).into()),
        }
    }

    fn declared(&self, question: &Question) -> Result<Value, OpError> {
        let target = if question.target == "bare" { IqTarget::Bare } else { IqTarget::Server };
        let snapshot = self.snapshot();
        let disco = snapshot.disco(&question.host, target).ok_or_else(|| {
            OpError::new("item-not-found", format!("'{}' is no vhost of this server", question.host))
        })?;
        serde_json::to_value(disco)
            .map_err(|e| OpError::new("internal-server-error", format!("service discovery: {e}")))
    }
}

/// Whether these bytes can be the accumulator of that hook.
pub(super) fn check_accumulator(point: HookPoint, bytes: &[u8]) -> Result<(), String> {
    let read = match point {
        HookPoint::DiscoItems => serde_json::from_slice::<ItemsAnswer>(bytes).map(drop),
        HookPoint::DiscoInfo => serde_json::from_slice::<InfoAnswer>(bytes).map(drop),
        _ => Ok(()),
    };
    read.map_err(|e| format!("the accumulator cannot be read: {e}"))
}

/// What was declared, and behind it what the asker adds.
fn joined(point: HookPoint, declared: &Value, own: &[u8]) -> String {
    let own: Value = serde_json::from_slice(own).unwrap_or_default();
    let both = |key: &str| -> Vec<Value> {
        let arrays = [declared[key].as_array(), own[key].as_array()];
        arrays.into_iter().flatten().flatten().cloned().collect()
    };
    match point {
        HookPoint::DiscoItems => json!({ "items": both("items") }),
        _ => {
            json!({ "identities": both("identities"), "features": both("features"), "forms": both("forms") })
        }
    }
    .to_string()
}

fn question(request: &OpRequest) -> Result<Question, OpError> {
    Question::deserialize(&request.args).map_err(unreadable)
}

fn address(text: &str) -> Result<Option<Jid>, OpError> {
    if text.is_empty() {
        return Ok(None);
    }
    let jid = Jid::parse(text).map(Some);
    jid.map_err(|e| OpError::new("jid-malformed", format!("'{text}' is no JID: {e}")))
}

/// One deeper than what the running call is about, if that is not too deep.
fn deeper(point: HookPoint) -> Result<u8, OpError> {
    let depth = cause::hops().saturating_add(1);
    if depth > MAX_NESTING {
        let text = format!("Modules ask each other for {point} in a circle ({MAX_NESTING} times).");
        return Err(OpError::new("resource-constraint", text));
    }
    Ok(depth)
}

fn unreadable(why: impl std::fmt::Display) -> OpError {
    OpError::new("bad-request", format!("service discovery: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_declared_comes_first_and_each_hook_has_its_own_fields() {
        let declared = json!({"features": ["a"], "identities": [], "items": [{"jid": "x"}]});
        let own = br#"{"features": ["b"], "items": [{"jid": "y"}], "forms": ["<x/>"]}"#;
        let read = |point| serde_json::from_str::<Value>(&joined(point, &declared, own)).unwrap();
        let info = json!({"features": ["a", "b"], "identities": [], "forms": ["<x/>"]});
        assert_eq!(read(HookPoint::DiscoInfo), info);
        assert_eq!(read(HookPoint::DiscoItems), json!({"items": [{"jid": "x"}, {"jid": "y"}]}));
        assert_eq!(joined(HookPoint::DiscoItems, &Value::Null, b"{}"), r#"{"items":[]}"#);
    }

    #[test]
    fn an_accumulator_of_another_shape_is_no_answer() {
        for (point, bytes, is_answer) in [
            (HookPoint::DiscoInfo, r#"{"features":["a"]}"#, true),
            (HookPoint::DiscoInfo, r#"{"features":[1]}"#, false),
            (HookPoint::DiscoItems, r#"{"items":[{"jid":"a"}]}"#, true),
            (HookPoint::DiscoItems, r#"{"items":"a"}"#, false),
            (HookPoint::DiscoItems, "nonsense", false),
            (HookPoint::SessionOpened, "nonsense", true),
        ] {
            assert_eq!(check_accumulator(point, bytes.as_bytes()).is_ok(), is_answer, "{point} {bytes}");
        }
    }

    #[test]
    fn questions_are_read_with_their_defaults_and_mistakes_are_told() {
        let request = |args| OpRequest { kind: op::DISCO, number: 0, args, body: Vec::new() };
        assert_eq!(question(&request(json!({"host": "h"}))).unwrap().host, "h");
        assert_eq!(question(&request(json!({"host": 1}))).err().unwrap().condition, "bad-request");
        assert_eq!(address("").unwrap(), None);
        assert_eq!(address("@").unwrap_err().condition, "jid-malformed");
    }
}
