//! Both ends together: `moultctl`'s client against a control socket with a table of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{broadcast, oneshot, watch};

use super::client::{test_prompt, test_run};
use super::{Control, ControlSocket, InstanceLock, LogSource};
use crate::command::{
    Answer, ArgKind, Call, CommandError, CommandProvider, CommandResult, CommandSpec, ErrorKind, Phase,
    Table, TableBuilder,
};

struct Modules;

impl CommandProvider for Modules {
    fn specs(&self) -> Vec<Arc<CommandSpec>> {
        vec![Arc::new(CommandSpec::new("echo_say", "echo", "Says it again.").arg(
            "text",
            ArgKind::String,
            "What.",
        ))]
    }

    fn call(&self, call: Call) -> std::pin::Pin<Box<dyn Future<Output = CommandResult> + Send>> {
        Box::pin(async move { Ok(Answer::value(call.args.text("text"))) })
    }
}

struct Log(broadcast::Sender<Arc<str>>);

impl LogSource for Log {
    fn subscribe(&self) -> broadcast::Receiver<Arc<str>> {
        self.0.subscribe()
    }
}

struct Server {
    folder: tempfile::TempDir,
    phase: watch::Sender<Phase>,
    log: broadcast::Sender<Arc<str>>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<InstanceLock>,
}

impl Server {
    fn start() -> Server {
        let folder = tempfile::tempdir().unwrap();
        let socket = ControlSocket::bind(&folder.path().join("ctl")).unwrap();
        let (phase, phase_seen) = watch::channel(Phase::Running);
        let log = broadcast::channel(16).0;
        let (stop, stopped) = oneshot::channel::<()>();
        let control = Control { table: table(), phase: phase_seen, log: Arc::new(Log(log.clone())) };
        let task = tokio::spawn(socket.serve(control, async move { _ = stopped.await }));
        Server { folder, phase, log, stop, task }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("ctl")
    }

    async fn ctl(&self, words: &[&str]) -> (u8, String, String) {
        ctl(&self.socket(), words).await
    }
}

async fn ctl(socket: &Path, words: &[&str]) -> (u8, String, String) {
    let mut line = vec!["moultctl".to_owned(), "--socket".to_owned(), socket.display().to_string()];
    line.extend(words.iter().map(|word| (*word).to_owned()));
    tokio::task::spawn_blocking(move || test_run(line)).await.unwrap()
}

fn table() -> Arc<Table> {
    let builder = TableBuilder::new()
        .handle("status", |_| async {
            Ok(Answer::value(json!({"phase": "running", "who\u{1b}[2J": "a\u{7}b"})))
        })
        .handle(
            "registered_users",
            |call| async move { Ok(Answer::value(json!([call.args.text("host"), "b"]))) },
        )
        .handle("check_account", |_| async { Ok(Answer::value(1)) })
        .handle("register", |call| async move {
            let message = format!("{} exists already.", call.args.text("user"));
            Err(CommandError::new(ErrorKind::Conflict, message))
        })
        .handle("update", |_| async {
            let details = json!({"stage": "probe", "module": "mod_echo"});
            Err(CommandError::new(ErrorKind::Failed, "mod_echo: the probe died.").with_details(details))
        });
    Arc::new(builder.build(Some(Arc::new(Modules))))
}

#[tokio::test]
async fn answers_are_printed_as_text_or_as_json() {
    let server = Server::start();
    assert_eq!(
        server.ctl(&["registered_users", "EXAMPLE.org"]).await,
        (0, "example.org\nb\n".into(), String::new())
    );
    let (code, json, _) = server.ctl(&["--json", "registered_users", "a.b"]).await;
    assert_eq!((code, serde_json::from_str::<Value>(&json).unwrap()), (0, json!(["a.b", "b"])));
    assert_eq!(server.ctl(&["echo_say", "hi there"]).await.1, "hi there\n");
}

#[tokio::test]
async fn an_answer_cannot_steer_the_terminal() {
    let (_, text, _) = Server::start().ctl(&["status"]).await;
    assert_eq!(text, "phase: running\nwho\\u{1b}[2J: a\\u{7}b\n");
}

#[tokio::test]
async fn exit_codes_tell_what_went_wrong() {
    let server = Server::start();
    let cases: [(&[&str], u8, &str); 7] = [
        (&["register", "ann", "a.b", "secret"], 1, "ann exists already.\n"),
        (
            &["register", "ann"],
            2,
            "register: the argument \"host\" is missing. Usage: register USER HOST PASSWORD\n",
        ),
        (&["reigster"], 2, "There is no command \"reigster\". Did you mean \"register\"?\n"),
        (&["../phase"], 2, "There is no command \"../phase\".\n"),
        (&["check_account", "ann", "a.b"], 1, ""),
        (&["update", "all"], 1, "mod_echo: the probe died.\nmodule: mod_echo\nstage: probe\n"),
        (&["started", "--deadline=soon"], 2, "started: the argument \"deadline\" must be a duration"),
    ];
    for (words, code, message) in cases {
        let (exit, out, err) = server.ctl(words).await;
        assert_eq!(exit, code, "{words:?}: {out}{err}");
        assert!(err.starts_with(message), "{words:?}: {err}");
    }
}

#[tokio::test]
async fn an_error_is_json_where_json_was_asked_for() {
    let (code, out, err) = Server::start().ctl(&["--json", "update", "all"]).await;
    let body: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, err.as_str(), &body["details"]["stage"], &body["status"]),
        (1, "", &json!("probe"), &json!("error"))
    );
}

#[tokio::test]
async fn without_a_server_there_is_no_connection_but_help() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, err) = ctl(&folder.path().join("none"), &["status"]).await;
    assert_eq!(code, 3);
    assert!(err.starts_with("There is no connection to a server at "), "{err}");
    let (code, help, _) = ctl(&folder.path().join("none"), &["help"]).await;
    assert!(code == 0 && help.contains("update_list") && help.contains("plugin"), "{help}");
}

#[tokio::test]
async fn help_knows_the_commands_of_modules_while_a_server_runs() {
    let (_, help, _) = Server::start().ctl(&["help", "echo_say"]).await;
    assert!(help.starts_with("echo_say TEXT\n\nSays it again."), "{help}");
}

#[tokio::test]
async fn started_waits_until_the_server_runs() {
    let server = Server::start();
    server.phase.send_replace(Phase::Starting);
    let (code, _, err) = server.ctl(&["started", "50ms"]).await;
    assert_eq!((code, err.as_str()), (1, "It did not happen within 50ms.\n"));
    let socket = server.socket();
    let waiting = tokio::spawn(async move { ctl(&socket, &["started"]).await });
    server.phase.send_replace(Phase::Running);
    assert_eq!(waiting.await.unwrap().0, 0);
}

#[tokio::test]
async fn stopped_waits_until_the_lock_is_free() {
    let server = Server::start();
    assert_eq!(server.ctl(&["stopped", "50ms"]).await.0, 1);
    let socket = server.socket();
    server.stop.send(()).unwrap();
    let lock = server.task.await.unwrap();
    assert!(!socket.exists());
    assert_eq!(ctl(&socket, &["stopped", "50ms"]).await.0, 1, "the lock is still held");
    drop(lock);
    assert_eq!(ctl(&socket, &["stopped"]).await.0, 0);
}

#[tokio::test]
async fn the_log_is_streamed_to_whoever_listens() {
    let server = Server::start();
    let socket = server.socket();
    let shown = tokio::spawn(async move { ctl(&socket, &["live", "--log-only"]).await });
    // The listener subscribes some time after it connected: the condition is that somebody listens.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while server.log.receiver_count() == 0 {
        assert!(tokio::time::Instant::now() < deadline, "nobody listens to the log");
        tokio::task::yield_now().await;
    }
    server.log.send("one\u{1b}[2J".into()).unwrap();
    server.log.send("two".into()).unwrap();
    // The stream ends with the server.
    drop(server.log);
    server.stop.send(()).unwrap();
    drop(server.task.await.unwrap());
    let (_, out, err) = shown.await.unwrap();
    assert_eq!(out, "one\\u{1b}[2J\ntwo\n", "{err}");
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused() {
    let server = Server::start();
    let (code, _, err) = server.ctl(&["echo_say", &"x".repeat(2 << 20)]).await;
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("not understood"), "{err}");
}

#[tokio::test]
async fn the_prompt_runs_line_after_line_until_quit() {
    let server = Server::start();
    let socket = server.socket();
    let lines = "echo_say 'one line'\n\n  registered_users a.b \nreigster\necho_say 'open\nregister ann a.b x\nquit\necho_say never\n";
    let said = tokio::task::spawn_blocking(move || test_prompt(&socket, lines)).await.unwrap();
    let expected = [
        "one line",
        "a.b",
        "b",
        "There is no command \"reigster\". Did you mean \"register\"?",
        "A quote is not closed.",
        "ann exists already.",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}
