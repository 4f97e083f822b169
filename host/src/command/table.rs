//! The table of commands: look-up, permission, arguments, audit, deadline, call.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::{
    Access, Answer, Args, CommandError, CommandResult, CommandSpec, ErrorKind, Input, builtin, help,
};
use crate::plugin::manager::carried_on;

/// A boxed handler. It may be called many times at once.
pub type Handler = Arc<dyn Fn(Call) -> HandlerFuture + Send + Sync>;
type HandlerFuture = Pin<Box<dyn Future<Output = CommandResult> + Send>>;

/// One call of a command, after its permission and its arguments were checked.
#[derive(Debug, Clone)]
pub struct Call {
    /// The command.
    pub spec: Arc<CommandSpec>,
    /// Its arguments.
    pub args: Args,
    /// Who calls.
    pub caller: Caller,
}

/// Who calls a command, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The way the call came in.
    pub from: FrontEnd,
    /// Whether it proved to be an admin: the admin token, or the JID of an admin.
    pub admin: bool,
    /// The bare JID, where the caller has one.
    pub jid: Option<String>,
    /// What the audit line says: a peer address, a process id, a JID, a module's `id@vhost`.
    pub who: String,
}

impl Caller {
    /// Whoever could open the control socket; `who` says what is known of that process.
    pub fn local(who: impl Into<String>) -> Caller {
        Caller { from: FrontEnd::Local, admin: true, jid: None, who: who.into() }
    }

    /// What a permission group would have to name under `who`.
    pub fn subject(&self) -> &str {
        match &self.jid {
            Some(jid) => jid,
            None if self.admin => "admin",
            None => "*",
        }
    }
}

/// The way a call came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrontEnd {
    /// The control socket: whoever may open it may do everything.
    Local,
    /// The HTTP API.
    Http,
    /// Ad-hoc commands (XEP-0050).
    Xmpp,
    /// A module.
    Module,
}

impl FrontEnd {
    /// Its word in a permission group.
    pub fn name(self) -> &'static str {
        match self {
            FrontEnd::Local => "local",
            FrontEnd::Http => "http",
            FrontEnd::Xmpp => "xmpp",
            FrontEnd::Module => "module",
        }
    }
}

/// Where the commands of modules come from.
pub trait CommandProvider: Send + Sync {
    /// The specs of all commands that modules offer now.
    fn specs(&self) -> Vec<Arc<CommandSpec>>;

    /// The spec of one of them.
    fn spec(&self, name: &str) -> Option<Arc<CommandSpec>> {
        self.specs().into_iter().find(|spec| spec.name == name)
    }

    /// Calls one of them.
    fn call(&self, call: Call) -> Pin<Box<dyn Future<Output = CommandResult> + Send>>;
}

/// How long a command may take where the builder says nothing else.
const DEADLINE: Duration = Duration::from_secs(300);
/// What is shown of the name of a command that does not exist.
const MAX_NAME: usize = 64;
/// Commands that may run at the same time.
const CONCURRENT: usize = 64;

/// All commands of the server. The server's own names win over those of modules.
pub struct Table {
    own: BTreeMap<&'static str, Own>,
    provider: Option<Arc<dyn CommandProvider>>,
    access: ArcSwap<Access>,
    deadline: Duration,
    running: Arc<Semaphore>,
    identify: Identify,
}

/// Who a JID is that calls by XMPP.
pub type Identify = Box<dyn Fn(&str) -> Caller + Send + Sync>;

fn nobody_special(jid: &str) -> Caller {
    Caller { from: FrontEnd::Xmpp, admin: false, jid: Some(jid.to_owned()), who: jid.to_owned() }
}

struct Own {
    spec: Arc<CommandSpec>,
    handler: Handler,
}

/// Collects the handlers of the server's own commands.
pub struct TableBuilder {
    own: BTreeMap<&'static str, Own>,
    access: Access,
    deadline: Duration,
    identify: Identify,
}

impl TableBuilder {
    /// No handlers yet, built-in permissions only.
    pub fn new() -> TableBuilder {
        TableBuilder {
            own: BTreeMap::new(),
            access: Access::default(),
            deadline: DEADLINE,
            identify: Box::new(nobody_special),
        }
    }

    /// The handler of one command of [`builtin`]. A name that is not there is our bug and is logged as one.
    pub fn handle<F, R>(mut self, name: &'static str, handler: F) -> TableBuilder
    where
        F: Fn(Call) -> R + Send + Sync + 'static,
        R: Future<Output = CommandResult> + Send + 'static,
    {
        let Some(spec) = builtin::server().into_iter().find(|spec| spec.name == name) else {
            tracing::error!(command = name, "a handler was given for a command that is not declared");
            return self;
        };
        let handler: Handler = Arc::new(move |call| Box::pin(handler(call)));
        self.own.insert(name, Own { spec: Arc::new(spec), handler });
        self
    }

    /// The permission groups.
    pub fn access(self, access: Access) -> TableBuilder {
        TableBuilder { access, ..self }
    }

    /// Who knows which JIDs are admins, for `can`.
    pub fn identify(self, identify: Identify) -> TableBuilder {
        TableBuilder { identify, ..self }
    }

    /// How long a command may take before its caller is told so.
    pub fn deadline(self, deadline: Duration) -> TableBuilder {
        TableBuilder { deadline, ..self }
    }

    /// Declared commands that have no handler: none, in a complete server.
    pub fn without_handler(&self) -> Vec<String> {
        let own = builtin::server().into_iter().map(|spec| spec.name.to_string());
        own.filter(|name| !self.own.contains_key(name.as_str()) && !is_answered_here(name)).collect()
    }

    /// The table, with the commands of `provider` beside the server's own.
    pub fn build(self, provider: Option<Arc<dyn CommandProvider>>) -> Table {
        Table {
            own: self.own,
            provider,
            access: ArcSwap::from_pointee(self.access),
            deadline: self.deadline,
            identify: self.identify,
            running: Arc::new(Semaphore::new(CONCURRENT)),
        }
    }
}

impl Default for TableBuilder {
    fn default() -> TableBuilder {
        TableBuilder::new()
    }
}

impl Table {
    /// Puts other permission groups in place, for a reload.
    pub fn set_access(&self, access: Access) {
        self.access.store(Arc::new(access));
    }

    /// The specs of every command that can be called now, by name.
    pub fn specs(&self) -> Vec<Arc<CommandSpec>> {
        let about_table =
            builtin::server().into_iter().filter(|spec| is_answered_here(&spec.name)).map(Arc::new);
        let of_modules = self.provider.iter().flat_map(|provider| provider.specs());
        let mut specs: BTreeMap<String, Arc<CommandSpec>> =
            of_modules.chain(about_table).map(|spec| (spec.name.to_string(), spec)).collect();
        specs.extend(self.own.values().map(|own| (own.spec.name.to_string(), Arc::clone(&own.spec))));
        specs.into_values().collect()
    }

    /// The spec of one command.
    pub fn spec(&self, name: &str) -> Option<Arc<CommandSpec>> {
        if let Some(own) = self.own.get(name) {
            return Some(Arc::clone(&own.spec));
        }
        if is_answered_here(name) {
            return builtin::server().into_iter().find(|spec| spec.name == name).map(Arc::new);
        }
        self.provider.as_ref()?.spec(name)
    }

    /// Whether `caller` may call `spec`; the answer is the rule that allows it.
    pub fn may_call(&self, spec: &CommandSpec, caller: &Caller) -> Result<String, CommandError> {
        self.access.load().decide(spec, caller)
    }

    /// Runs one command: permission, arguments, audit line, deadline, handler.
    ///
    /// A handler that has started goes on to its end, even when its caller hangs up or its deadline passes: half an
    /// update is worse than an answer nobody reads.
    pub async fn run(self: &Arc<Self>, name: &str, input: Input, caller: Caller) -> CommandResult {
        let started = Instant::now();
        let (result, spec, shown) = match self.prepare(name, input, &caller) {
            Ok(call) => {
                let (spec, shown) = (Arc::clone(&call.spec), call.args.masked(&call.spec));
                (self.call(call).await, Some(spec), shown)
            }
            Err(error) => (Err(error), self.spec(name), String::new()),
        };
        audit(name, spec.as_deref(), &caller, &shown, started.elapsed(), &result);
        result
    }

    fn prepare(&self, name: &str, input: Input, caller: &Caller) -> Result<Call, CommandError> {
        let spec = self.spec(name).ok_or_else(|| self.unknown(name))?;
        self.may_call(&spec, caller)?;
        let args = Args::parse(&spec, input)?;
        if let Some(arg) = args.local_only(&spec).filter(|_| caller.from != FrontEnd::Local) {
            let message =
                format!("{name}: only the local control socket may give the argument \"{}\".", arg.name);
            return Err(CommandError::new(ErrorKind::DeniedArgument, message));
        }
        Ok(Call { spec, args, caller: caller.clone() })
    }

    async fn call(self: &Arc<Self>, call: Call) -> CommandResult {
        let name = call.spec.name.clone();
        let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() else {
            let message = format!("{name}: {CONCURRENT} commands are running already; try again later.");
            return Err(CommandError::new(ErrorKind::Busy, message));
        };
        let table = Arc::clone(self);
        let task = tokio::spawn(carried_on(async move {
            let _permit = permit;
            table.dispatch(call).await
        }));
        match tokio::time::timeout(self.deadline, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => {
                let message =
                    format!("{name}: the handler of this command panicked, which is a bug; see the log.");
                Err(CommandError::new(ErrorKind::Bug, message))
            }
            Err(_) => {
                let message =
                    format!("{name}: there is no answer after {:?}; the command goes on.", self.deadline);
                Err(CommandError::new(ErrorKind::Timeout, message))
            }
        }
    }

    async fn dispatch(self: Arc<Self>, call: Call) -> CommandResult {
        match &*call.spec.name {
            "help" => help::answer(&self.specs(), call.args.optional_text("topic")),
            "can" => self.can(&call),
            name => match (self.own.get(name), &self.provider) {
                (Some(own), _) => (own.handler)(call).await,
                (None, Some(provider)) => provider.call(call).await,
                (None, None) => Err(self.unknown(name)),
            },
        }
    }

    fn can(&self, call: &Call) -> CommandResult {
        let name = call.args.text("command");
        let spec = self.spec(name).ok_or_else(|| self.unknown(name))?;
        let Some(jid) = call.args.optional_text("jid") else {
            let rule = self.may_call(&spec, &call.caller)?;
            return Ok(Answer::value(format!("{name} is allowed: {rule}.")));
        };
        let is_self = call.caller.jid.as_deref() == Some(jid);
        if !(call.caller.admin || is_self) {
            let message = "can: only admins may ask what others may do.";
            return Err(CommandError::new(ErrorKind::DeniedArgument, message));
        }
        let asked_for = (self.identify)(jid);
        let rule = self.may_call(&spec, &asked_for)?;
        Ok(Answer::value(format!("{name} is allowed to {jid}: {rule}.")))
    }

    fn unknown(&self, name: &str) -> CommandError {
        let specs = self.specs();
        // A longer name is no slip of the hand, and comparing it costs its length.
        let comparable = specs.iter().filter(|_| name.len() <= MAX_NAME);
        let best = comparable.map(|spec| (strsim::damerau_levenshtein(name, &spec.name), &spec.name)).min();
        let hint = match best {
            Some((distance, nearest)) if distance <= 1 + name.len() / 3 => {
                format!(" Did you mean \"{nearest}\"?")
            }
            _ => String::new(),
        };
        let name: String = name.chars().take(MAX_NAME).collect();
        CommandError::new(ErrorKind::UnknownCommand, format!("There is no command \"{name}\".{hint}"))
    }
}

/// The commands about the table itself.
fn is_answered_here(name: &str) -> bool {
    matches!(name, "help" | "can")
}

fn audit(
    name: &str,
    spec: Option<&CommandSpec>,
    caller: &Caller,
    args: &str,
    took: Duration,
    result: &CommandResult,
) {
    // The name of an unknown command is whatever the peer sent: it is not worth a field of its own.
    let command = spec.map_or("unknown", |spec| &*spec.name);
    let (from, who, ms) = (caller.from.name(), &*caller.who, took.as_millis());
    match result {
        Ok(_) => info!(target: "audit", command, from, who, args, ms, "command done"),
        Err(error) if matches!(error.kind, ErrorKind::Denied | ErrorKind::DeniedArgument) => {
            warn!(target: "audit", command, from, who, args, ms, reason = %error, "command denied");
        }
        Err(error) if error.kind == ErrorKind::UnknownCommand => {
            info!(target: "audit", command, asked = ?name.chars().take(MAX_NAME).collect::<String>(), from, who, "command unknown");
        }
        Err(error) => {
            info!(target: "audit", command, from, who, args, ms, kind = ?error.kind, reason = ?error.message, "command failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    struct Modules;

    impl CommandProvider for Modules {
        fn specs(&self) -> Vec<Arc<CommandSpec>> {
            let own = CommandSpec::new("echo_say", "echo", "Says.").arg(
                "text",
                super::super::ArgKind::String,
                "What.",
            );
            let shadow = CommandSpec::new("status", "echo", "Pretends to be the server's.");
            vec![Arc::new(own), Arc::new(shadow)]
        }

        fn call(&self, call: Call) -> HandlerFuture {
            Box::pin(async move { Ok(Answer::value(format!("module: {}", call.args.text("text")))) })
        }
    }

    fn table() -> Arc<Table> {
        let builder = TableBuilder::new()
            .handle("status", |_| async { Ok(Answer::value("running")) })
            .handle("stop", |_| async { panic!("a broken handler") })
            .handle("dump_config", |_| async { Ok(Answer::ok()) })
            .handle("send_message", |_| async { Ok(Answer::ok()) })
            .handle("stats", |_| std::future::pending());
        Arc::new(builder.deadline(Duration::from_millis(30)).build(Some(Arc::new(Modules))))
    }

    async fn run(name: &str, texts: &[&str], caller: Caller) -> CommandResult {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        table().run(name, Input::Positional(texts), caller).await
    }

    fn local() -> Caller {
        Caller::local("uid 0")
    }

    fn http(admin: bool) -> Caller {
        Caller { from: FrontEnd::Http, admin, jid: None, who: "127.0.0.1:1".into() }
    }

    #[tokio::test]
    async fn commands_of_the_server_and_of_modules_are_called_by_name() {
        assert_eq!(run("status", &[], local()).await.unwrap().value, json!("running"));
        assert_eq!(run("echo_say", &["hi"], local()).await.unwrap().value, json!("module: hi"));
    }

    #[tokio::test]
    async fn a_module_cannot_take_the_name_of_a_command_of_the_server() {
        let specs = table().specs();
        let status: Vec<_> = specs.iter().filter(|spec| spec.name == "status").collect();
        assert_eq!((status.len(), &*status[0].tags[0]), (1, "server"));
    }

    #[tokio::test]
    async fn an_unknown_command_is_refused_with_the_nearest_name() {
        let error = run("statsu", &[], local()).await.unwrap_err();
        assert_eq!((error.kind, error.kind.exit_code()), (ErrorKind::UnknownCommand, 2));
        assert_eq!(error.message, "There is no command \"statsu\". Did you mean \"stats\"?");
        assert!(run(&"x".repeat(5000), &[], local()).await.unwrap_err().message.len() < 200);
    }

    #[tokio::test]
    async fn a_denied_caller_learns_nothing_about_its_arguments() {
        let error = run("status", &["too", "many"], http(false)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied);
        assert_eq!(
            run("status", &["too", "many"], http(true)).await.unwrap_err().kind,
            ErrorKind::BadArgument
        );
    }

    #[tokio::test]
    async fn a_local_command_is_denied_to_the_admin_token() {
        assert_eq!(run("stop", &[], http(true)).await.unwrap_err().kind, ErrorKind::Denied);
    }

    #[tokio::test]
    async fn a_local_argument_is_denied_to_the_admin_token() {
        let error = run("dump_config", &["/etc/passwd"], http(true)).await.unwrap_err();
        assert_eq!((error.kind, error.kind.code()), (ErrorKind::DeniedArgument, 32));
        assert!(run("dump_config", &[], http(true)).await.is_ok());
        assert!(run("dump_config", &["/tmp/x"], local()).await.is_ok());
    }

    #[tokio::test]
    async fn neither_secrets_nor_messages_are_printed() {
        let spec = table().spec("send_message").unwrap();
        let texts = ["chat", "a@b.c", "d@e.f", "a secret subject", "a secret body"];
        let args = Args::parse(&spec, Input::Positional(texts.map(str::to_owned).to_vec())).unwrap();
        let call = Call { args: args.clone(), spec: Arc::clone(&spec), caller: local() };
        let printed = format!("{}{:?}", args.masked(&spec), call.args);
        assert!(printed.contains("to=\"d@e.f\"") && !printed.contains("secret"), "{printed}");
    }

    #[tokio::test]
    async fn a_panicking_handler_is_an_error_of_ours() {
        assert_eq!(run("stop", &[], local()).await.unwrap_err().kind, ErrorKind::Bug);
    }

    #[tokio::test]
    async fn a_slow_handler_is_told_to_its_caller() {
        let error = run("stats", &["onlineusers"], local()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Timeout);
    }

    #[tokio::test]
    async fn a_handler_goes_on_when_its_caller_hangs_up() {
        let (begun, mut has_begun) = tokio::sync::mpsc::channel(1);
        let (go_on, may_go_on) = tokio::sync::watch::channel(false);
        let builder = TableBuilder::new().handle("status", move |_| {
            let (begun, mut may_go_on) = (begun.clone(), may_go_on.clone());
            async move {
                begun.send("begun").await.unwrap();
                may_go_on.wait_for(|go| *go).await.unwrap();
                begun.send("done").await.unwrap();
                Ok(Answer::ok())
            }
        });
        let table = Arc::new(builder.build(None));
        let caller =
            tokio::spawn(async move { table.run("status", Input::Positional(vec![]), local()).await });
        assert_eq!(has_begun.recv().await, Some("begun"));
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        go_on.send(true).unwrap();
        assert_eq!(has_begun.recv().await, Some("done"));
    }

    #[tokio::test]
    async fn can_names_the_rule() {
        let said = run("can", &["status"], http(true)).await.unwrap().value;
        assert_eq!(said, json!("status is allowed: admins may call it."));
        assert_eq!(run("can", &["stop"], http(true)).await.unwrap_err().kind, ErrorKind::Denied);
    }

    #[tokio::test]
    async fn other_permission_groups_hold_from_the_next_call_on() {
        let table = table();
        let call = |table: Arc<Table>| async move {
            table.run("status", Input::Json(Map::new()), http(false)).await
        };
        assert!(call(table.clone()).await.is_err());
        let group = crate::config::PermissionGroup {
            from: vec!["http".into()],
            who: vec!["*".into()],
            what: vec!["status".into()],
        };
        table.set_access(Access::new([("monitoring".to_owned(), group)].into()));
        assert!(call(table).await.is_ok());
    }
}
