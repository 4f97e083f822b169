//! Binding, conflicts, ends, counts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::{
    BindError, BindRequest, Bound, BoundSession, Ended, SessionInfo, SessionLimits, SessionObserver, Sessions,
};
use crate::config::ConflictPolicy;
use crate::stanza::{Jid, StanzaErrorCondition, StreamError, StreamErrorCondition};

fn jid(text: &str) -> Jid {
    Jid::parse(text).unwrap()
}

fn ask(
    sessions: &Sessions,
    account: &str,
    resource: Option<&str>,
    policy: ConflictPolicy,
) -> Result<Bound, BindError> {
    let (mailbox, receiver) = sessions.mailbox();
    // The receiver would seal the mailbox when dropped; these tests look at the table only.
    std::mem::forget(receiver);
    sessions.bind(BindRequest {
        account: jid(account),
        resource: resource.map(str::to_owned),
        policy,
        mailbox,
        info: SessionInfo::default(),
    })
}

fn bind(sessions: &Sessions, account: &str, resource: &str) -> BoundSession {
    ask(sessions, account, Some(resource), ConflictPolicy::ReplaceOld).unwrap().session
}

fn sessions() -> Sessions {
    Sessions::new(SessionLimits::default())
}

fn names(sessions: &Sessions, account: &str) -> Vec<String> {
    sessions.resources(&jid(account)).iter().map(|session| session.resource().to_owned()).collect()
}

#[test]
fn a_wanted_resource_is_prepared_and_an_absent_one_is_made_up() {
    let sessions = sessions();
    let session = bind(&sessions, "a@b", "Home sweet home");
    assert_eq!(session.full_jid().as_str(), "a@b/Home sweet home");
    let made_up = ask(&sessions, "a@b", None, ConflictPolicy::RefuseNew).unwrap().session;
    assert_eq!(made_up.resource().len(), 16);
    let also = ask(&sessions, "a@b", Some(""), ConflictPolicy::RefuseNew).unwrap().session;
    assert_ne!(also.full_jid(), made_up.full_jid());
    let error = ask(&sessions, "a@b", Some("bad\u{7}"), ConflictPolicy::RefuseNew).unwrap_err();
    assert_eq!(error, BindError::BadResource);
    assert_eq!(error.stanza_error().condition, StanzaErrorCondition::BadRequest);
}

#[test]
fn the_older_session_gives_way_where_the_policy_says_so() {
    let sessions = sessions();
    let old = bind(&sessions, "a@b", "r");
    let bound = ask(&sessions, "a@b", Some("r"), ConflictPolicy::ReplaceOld).unwrap();
    let (replaced, _) = bound.replaced.unwrap();
    assert_eq!(replaced.id(), old.id());
    assert!(!old.is_live());
    assert_eq!(old.closed_for(), Some(StreamErrorCondition::Conflict));
    assert_eq!(sessions.find(&jid("a@b/r")).unwrap().id(), bound.session.id());
    drop(old);
    assert_eq!(sessions.find(&jid("a@b/r")).unwrap().id(), bound.session.id(), "its end removes itself only");
    assert_eq!(sessions.count("b"), 1);
}

#[test]
fn the_newcomer_is_refused_or_numbered_where_the_policy_says_so() {
    let sessions = sessions();
    let _old = bind(&sessions, "a@b", "r");
    let error = ask(&sessions, "a@b", Some("r"), ConflictPolicy::RefuseNew).unwrap_err();
    assert_eq!(error.stanza_error().condition, StanzaErrorCondition::Conflict);
    let second = ask(&sessions, "a@b", Some("r"), ConflictPolicy::NumberNew).unwrap().session;
    let third = ask(&sessions, "a@b", Some("r"), ConflictPolicy::NumberNew).unwrap().session;
    assert_eq!((second.resource(), third.resource()), ("r-2", "r-3"));
    assert_eq!(names(&sessions, "a@b"), ["r", "r-2", "r-3"]);
}

#[test]
fn an_account_has_only_so_many_sessions() {
    let sessions = Sessions::new(SessionLimits { sessions_per_account: 2, ..SessionLimits::default() });
    let _one = bind(&sessions, "a@b", "1");
    let _two = bind(&sessions, "a@b", "2");
    let error = ask(&sessions, "a@b", Some("3"), ConflictPolicy::ReplaceOld).unwrap_err();
    assert_eq!(error.stanza_error().condition, StanzaErrorCondition::ResourceConstraint);
    let replacing = ask(&sessions, "a@b", Some("2"), ConflictPolicy::ReplaceOld);
    assert!(replacing.is_ok(), "replacing does not add one");
    let _other_account = bind(&sessions, "c@b", "3");
}

#[test]
fn sessions_are_counted_listed_and_kicked() {
    let sessions = sessions();
    let held: Vec<_> = ["z@b/1", "a@b/2", "a@b/1", "m@c/1"]
        .map(jid)
        .iter()
        .map(|full| bind(&sessions, full.bare_str(), full.resource().unwrap()))
        .collect();
    assert_eq!((sessions.count("b"), sessions.count("c"), sessions.count("d")), (3, 1, 0));
    assert_eq!(sessions.count_all(), 4);
    let page = |after: Option<&str>, limit| {
        let after = after.map(jid);
        let page = sessions.page("b", after.as_ref(), limit);
        page.iter().map(|session| session.full_jid().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 2), ["a@b/1", "a@b/2"]);
    assert_eq!(page(Some("a@b/2"), 9), ["z@b/1"]);
    assert!(page(None, 0).is_empty());
    let reason: StreamError = StreamErrorCondition::PolicyViolation.into();
    assert!(sessions.kick(&jid("z@b/1"), &reason));
    assert!(!sessions.kick(&jid("z@b/2"), &reason));
    assert_eq!(sessions.kick_account(&jid("a@b"), &reason), 2);
    assert!(!held[0].is_live() && held[3].is_live());
    drop(held);
    assert_eq!(sessions.count_all(), 0);
    assert!(names(&sessions, "a@b").is_empty());
}

#[test]
fn nothing_is_bound_after_the_end_has_begun() {
    let sessions = sessions();
    let session = bind(&sessions, "a@b", "r");
    assert_eq!(sessions.close_all(&StreamErrorCondition::SystemShutdown.into()), 1);
    assert!(!session.is_live());
    let error = ask(&sessions, "a@b", Some("s"), ConflictPolicy::ReplaceOld).unwrap_err();
    assert_eq!(error, BindError::ShuttingDown);
}

#[derive(Default)]
struct Heard(Mutex<Vec<Ended>>);

impl SessionObserver for Heard {
    fn abandoned(&self, ended: Ended) {
        self.0.lock().unwrap().push(ended);
    }
}

#[test]
fn an_abandoned_session_is_heard_of_and_an_unbound_one_is_not() {
    let sessions = sessions();
    let heard = Arc::new(Heard::default());
    sessions.observe(heard.clone());
    let ended = bind(&sessions, "a@b", "r").unbind();
    assert_eq!(ended.session.resource(), "r");
    assert!(heard.0.lock().unwrap().is_empty());
    drop(bind(&sessions, "a@b", "s"));
    assert_eq!(heard.0.lock().unwrap()[0].session.resource(), "s");
}

/// Many binds of the same few resources at once: the table never has two holders of one name, and counts end at zero.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_binds_leave_one_holder_per_resource() {
    let sessions = sessions();
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let sessions = sessions.clone();
            tokio::spawn(async move {
                for turn in 0..200 {
                    let resource = format!("r{}", (turn + number) % 3);
                    let session = bind(&sessions, "a@b", &resource);
                    tokio::task::yield_now().await;
                    let names = names(&sessions, "a@b");
                    let mut unique = names.clone();
                    unique.sort();
                    unique.dedup();
                    assert_eq!(unique.len(), names.len(), "{names:?}");
                    drop(session);
                }
            })
        })
        .collect();
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(30), task).await.unwrap().unwrap();
    }
    assert_eq!((sessions.count_all(), sessions.count("b")), (0, 0));
    assert!(names(&sessions, "a@b").is_empty());
}
