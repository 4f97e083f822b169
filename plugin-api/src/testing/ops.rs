//! Operations: most answer at once, a sleep or an IQ that nobody answers waits for the clock.

use super::world::{FakeHost, World, bare};
use crate::abi::v1::op;
use crate::glue::caller::{OpReply, OpStatus};
use crate::hooks::name;
use crate::sdk::element::{Element, parse_element};
use crate::sdk::{HostError, Jid};
use serde_json::Value;

/// An operation under way.
pub(super) struct FakeOp {
    pub(super) instance: u64,
    pub(super) state: State,
    /// The task that waits for it.
    pub(super) waiter: Option<u64>,
}

pub(super) enum State {
    Answered(OpStatus),
    /// Answers so when the clock is there.
    At(u64, OpStatus),
}

type Failure = (String, String);

/// What tests answer in the place of clients, commands and other modules.
#[derive(Default)]
#[allow(clippy::type_complexity, reason = "three closures, each used once")]
pub(super) struct Responders {
    pub(super) iqs: Option<Box<dyn FnMut(&Element) -> Option<Element> + Send>>,
    pub(super) commands: Option<Box<dyn FnMut(&str, &Value) -> Result<Value, Failure> + Send>>,
    pub(super) requests: Option<Box<dyn FnMut(&str, &str, &Value) -> Result<Value, Failure> + Send>>,
    pub(super) disco: Option<Box<dyn FnMut(&str, &Value, Option<Value>) -> Option<Value> + Send>>,
}

pub(super) fn done(reply: OpReply) -> State {
    State::Answered(OpStatus::Done(reply))
}

pub(super) fn json(value: &Value) -> State {
    done(OpReply { text: value.to_string(), ..OpReply::default() })
}

pub(super) fn number(number: i64) -> State {
    done(OpReply { number, ..OpReply::default() })
}

pub(super) fn failed(condition: &str, text: &str) -> State {
    State::Answered(OpStatus::Failed(HostError { condition: condition.to_owned(), text: text.to_owned() }))
}

fn found(value: Option<Vec<u8>>) -> State {
    match value {
        Some(body) => done(OpReply { number: 1, body, ..OpReply::default() }),
        None => number(0),
    }
}

impl FakeHost {
    /// Begins an operation.
    pub(super) fn begin(&self, kind: u32, millis: i64, args: &str, body: &[u8]) -> State {
        let args: Value = match serde_json::from_str(if args.is_empty() { "{}" } else { args }) {
            Ok(args) => args,
            Err(e) => return failed("bad-request", &format!("the arguments are no JSON: {e}")),
        };
        let deadline = self.now_ms().saturating_add(u64::try_from(millis).unwrap_or(0));
        match kind {
            op::SLEEP => State::At(deadline, OpStatus::Done(OpReply::default())),
            op::SEND_IQ => self.send_iq(deadline, body),
            op::REQUEST => self.request(&args),
            op::COMMAND => self.command(&args),
            op::COMMANDS_FOR => json(&serde_json::json!(self.offered(text(&args, "as")))),
            op::KEYVAL_GET..=op::ARCHIVE_REPLACE => self.world().store_op(kind, &args, body),
            op::SESSIONS_OF..=op::SESSIONS_ALL => self.account_op(kind, &args),
            op::DISCO_INFO | op::DISCO_ITEMS => self.discover(kind, &args, body),
            op::CONTACTS_OF..=op::DELIVER => self.presence_op(kind, &args, body),
            _ => failed("feature-not-implemented", "the fake host does not know this operation"),
        }
    }

    fn send_iq(&self, deadline: u64, body: &[u8]) -> State {
        let request = std::str::from_utf8(body).ok().and_then(|text| parse_element(text).ok());
        let Some(mut request) = request.filter(|r| r.name() == "iq" && r.attr("id").is_some()) else {
            return failed("bad-request", "what was sent is no IQ with an id");
        };
        if request.attr("from").is_none() {
            request.set_attr("from", self.vhost());
        }
        let answer = self.responders().iqs.as_mut().and_then(|answer| answer(&request));
        match answer {
            Some(answer) => done(OpReply { body: answer.to_bytes(), ..OpReply::default() }),
            None => {
                let text = "nobody answered in time".to_owned();
                State::At(
                    deadline,
                    OpStatus::Failed(HostError { condition: "remote-server-timeout".to_owned(), text }),
                )
            }
        }
    }

    fn request(&self, args: &Value) -> State {
        let (module, method) = (text(args, "module"), text(args, "method"));
        match self.responders().requests.as_mut() {
            Some(answer) => respond(answer(module, method, &args["args"])),
            None => failed("item-not-found", "there is no such module"),
        }
    }

    fn command(&self, args: &Value) -> State {
        if !self.world().capabilities.iter().any(|c| c == "commands") {
            return failed("forbidden", "the module lacks the capability «commands»");
        }
        if let Some(caller) = args["as"].as_str() {
            let offered = self.offered(caller).iter().any(|command| command.name == text(args, "name"));
            if !offered {
                return failed("forbidden", "this JID may not call the command");
            }
        }
        match self.responders().commands.as_mut() {
            Some(answer) => {
                let answer = answer(text(args, "name"), &args["args"]);
                respond(if args["full"] == true { Ok(in_full(answer)) } else { answer })
            }
            None => failed("item-not-found", "there is no such command"),
        }
    }

    /// What was declared, the asker's own part, and what the hooks make of it.
    fn discover(&self, kind: u32, args: &Value, own: &[u8]) -> State {
        let declared = self.world().disco(u32::from(text(args, "target") == "bare"), text(args, "host"));
        let own: Value = serde_json::from_slice(own).unwrap_or_default();
        let declared = if text(args, "node").is_empty() { serde_json::json!(declared) } else { own.clone() };
        let both = |key: &str| -> Vec<Value> {
            let (first, second) = (declared[key].as_array(), own[key].as_array());
            let second = second.filter(|_| text(args, "node").is_empty());
            first.into_iter().chain(second).flatten().cloned().collect()
        };
        let begun = match kind {
            op::DISCO_ITEMS => serde_json::json!({"items": both("items")}),
            _ => {
                serde_json::json!({"identities": both("identities"), "features": both("features"), "forms": both("forms")})
            }
        };
        let begun = (!declared.is_null()).then_some(begun);
        let hook = if kind == op::DISCO_ITEMS { name::DISCO_ITEMS } else { name::DISCO_INFO };
        let collected = match self.responders().disco.as_mut() {
            Some(answer) => answer(hook, args, begun),
            None => begun,
        };
        let text = collected.as_ref().map(Value::to_string).unwrap_or_default();
        done(OpReply { number: i64::from(collected.is_some()), text, ..OpReply::default() })
    }

    fn account_op(&self, kind: u32, args: &Value) -> State {
        let mut world = self.world();
        let jid = bare(text(args, "jid"));
        match kind {
            op::SESSIONS_OF => {
                let of: Vec<_> = world.sessions.iter().filter(|s| bare(&s.jid) == jid).collect();
                json(&serde_json::json!(of))
            }
            op::SESSIONS_ALL => json(&world.sessions_after(text(args, "after"), args["limit"].as_u64())),
            op::ACCOUNT_EXISTS => number(i64::from(world.accounts.contains_key(&jid))),
            op::ACCOUNT_CREATE if world.accounts.contains_key(&jid) => {
                failed("conflict", "there is such an account")
            }
            op::ACCOUNT_CREATE | op::ACCOUNT_SET_PASSWORD if text(args, "password").is_empty() => {
                failed("not-acceptable", "the password is empty")
            }
            op::ACCOUNT_SET_PASSWORD if !world.accounts.contains_key(&jid) => {
                failed("item-not-found", "no such account")
            }
            op::ACCOUNT_CREATE | op::ACCOUNT_SET_PASSWORD => {
                world.accounts.insert(jid, text(args, "password").to_owned());
                number(0)
            }
            op::ACCOUNT_REMOVE => {
                world.sessions.retain(|s| bare(&s.jid) != jid);
                world
                    .accounts
                    .remove(&jid)
                    .map_or_else(|| failed("item-not-found", "no such account"), |_| number(0))
            }
            op::DISCO => {
                let target = u32::from(text(args, "target") == "bare");
                json(&serde_json::json!(world.disco(target, text(args, "host"))))
            }
            _ => failed("feature-not-implemented", "the fake host does not know this operation"),
        }
    }
}

fn respond(answer: Result<Value, Failure>) -> State {
    match answer {
        Ok(value) => json(&value),
        Err((condition, text)) => failed(&condition, &text),
    }
}

pub(super) fn text<'a>(args: &'a Value, field: &str) -> &'a str {
    args[field].as_str().unwrap_or_default()
}

impl World {
    fn sessions_after(&self, after: &str, limit: Option<u64>) -> Value {
        let mut all: Vec<&str> =
            self.sessions.iter().map(|s| s.jid.as_str()).filter(|jid| *jid > after).collect();
        all.sort_unstable();
        all.truncate(limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX));
        serde_json::json!(all)
    }

    fn store_op(&mut self, kind: u32, args: &Value, body: &[u8]) -> State {
        let (store, key, stores) = (text(args, "store"), text(args, "key"), &mut self.stores);
        let limit = || args["limit"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        match kind {
            op::KEYVAL_GET => found(stores.keyval_get(store, key)),
            op::KEYVAL_SET => {
                stores.keyval_set(store, key, body);
                number(0)
            }
            op::KEYVAL_DELETE => {
                stores.keyval_delete(store, key);
                number(0)
            }
            op::KEYVAL_KEYS => json(&serde_json::json!(stores.keyval_keys(
                store,
                text(args, "prefix"),
                text(args, "after"),
                limit()
            ))),
            op::MAP_GET => found(stores.map_get(store, key, text(args, "field"))),
            op::MAP_ALL => json(&serde_json::json!(stores.map_all(store, key))),
            op::MAP_UPDATE => {
                let set = serde_json::from_value(args["set"].clone()).unwrap_or_default();
                let delete: Vec<String> = serde_json::from_value(args["delete"].clone()).unwrap_or_default();
                stores
                    .map_update(store, key, set, &delete)
                    .map_or_else(|e| failed("bad-request", &e), |()| number(0))
            }
            op::MAP_DELETE => {
                stores.map_delete(store, key);
                number(0)
            }
            op::MAP_KEYS => json(&serde_json::json!(stores.map_keys(
                store,
                text(args, "prefix"),
                text(args, "after"),
                limit()
            ))),
            op::ARCHIVE_APPEND => {
                let at = args["at_ms"].as_i64().unwrap_or_default();
                let id = text(args, "id");
                json(&Value::from(stores.archive_append(store, key, text(args, "with"), at, id, body)))
            }
            op::ARCHIVE_KEYS => json(&serde_json::json!(stores.archive_keys(
                store,
                text(args, "prefix"),
                text(args, "after"),
                limit()
            ))),
            op::ARCHIVE_ITEMS => json(&stores.archive_items(store, key, &args["ids"])),
            op::ARCHIVE_REPLACE => number(stores.archive_replace(store, key, text(args, "id"), body)),
            op::ARCHIVE_QUERY => json(&stores.archive_query(store, key, args)),
            op::ARCHIVE_REMOVE => number(stores.archive_remove(store, key, &args["ids"])),
            op::ARCHIVE_DELETE => {
                number(stores.archive_delete(store, key, args["before_ms"].as_i64().unwrap_or(i64::MIN)))
            }
            _ => failed("feature-not-implemented", "the fake host does not know this operation"),
        }
    }

    /// The operation's state at the present time; an answer is given once.
    pub(super) fn take_answer(&mut self, id: u64, waiter: Option<u64>) -> OpStatus {
        let now = self.now_ms;
        let Some(op) = self.ops.get_mut(&id) else {
            let text = "there is no such operation".to_owned();
            return OpStatus::Failed(HostError { condition: "item-not-found".to_owned(), text });
        };
        match &op.state {
            State::At(due, _) if *due > now => {
                op.waiter = waiter.or(op.waiter);
                return OpStatus::Pending;
            }
            _ => {}
        }
        match self.ops.remove(&id).map(|op| op.state) {
            Some(State::Answered(status) | State::At(_, status)) => status,
            None => OpStatus::Pending,
        }
    }
}

/// A domain as the host normalises it.
pub(super) fn domain(name: &str) -> Result<String, HostError> {
    let malformed = |why: String| HostError {
        condition: "jid-malformed".to_owned(),
        text: format!("'{name}' is no domain: {why}"),
    };
    let jid = Jid::parse(name).map_err(|e| malformed(e.to_string()))?;
    if jid.localpart().is_some() || jid.resource().is_some() {
        return Err(malformed("it has a localpart or a resource".to_owned()));
    }
    Ok(jid.domain().to_owned())
}

/// A command's answer as it is asked for with `full`; a fake command has no details beyond its text.
fn in_full(answer: Result<Value, (String, String)>) -> Value {
    match answer {
        Ok(value) => serde_json::json!({ "value": value }),
        Err((condition, text)) => {
            let code = if condition == "item-not-found" { 404 } else { 409 };
            serde_json::json!({ "error": { "code": code, "text": text, "details": { "condition": condition } } })
        }
    }
}
