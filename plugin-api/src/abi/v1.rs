//! API version 1: the frozen types.
//!
//! A module library exports one [`ModuleDecl`] under [`DECLARATION_SYMBOL`], the same manifest as an ELF note
//! ([`NOTE_SECTION`]), and the root header of `abi_stable` ([`ModuleRoot`]) for the probe's full layout check.
//!
//! The host drives an instance through five functions ([`ModuleVt`]). Everything that can happen to a module is one
//! [`Call`]; everything a module can say to the host goes through [`HostVt`], and everything it answers through
//! [`ReplyVt`]. Which fields of a [`Call`] carry something, and what a reply's code means, stands at each number in
//! [`call`] and [`reply`].

use abi_stable::{
    StableAbi,
    library::RootModule,
    package_version_strings,
    sabi_types::VersionStrings,
    std_types::{RSlice, RStr},
};

/// First eight bytes of a declaration: `MOULTMOD`, little endian.
pub const MAGIC: u64 = u64::from_le_bytes(*b"MOULTMOD");
/// A module of another major is refused.
pub const API_MAJOR: u16 = 1;
/// A module of a newer minor is refused when it needs what the host lacks; an older one always loads.
pub const API_MINOR: u16 = 2;
/// Name of the exported [`ModuleDecl`].
pub const DECLARATION_SYMBOL: &str = "MOULT_MODULE_V1";
/// ELF section of the note that repeats the manifest, readable without loading the library.
pub const NOTE_SECTION: &str = ".note.moult";
/// Owner name in that note, with its terminating zero.
pub const NOTE_OWNER: &[u8; 6] = b"Moult\0";
/// Type of the note whose description is the manifest (JSON, UTF-8).
pub const NOTE_TYPE_MANIFEST: u32 = 1;

/// Flags of a declaration.
pub mod flags {
    /// Built with `panic = "unwind"`: the glue can catch panics.
    pub const UNWIND: u64 = 1;
    /// Carries the interposers, so that `thread_detach` and `final_report` tell the truth.
    pub const INTERPOSED: u64 = 2;
    /// Built with debug assertions.
    pub const DEBUG: u64 = 4;
}

/// What every function of the boundary returns.
pub mod status {
    /// Finished; the reply, if one is due, was written.
    pub const DONE: i32 = 0;
    /// Not finished: a task was handed out (module side), or the poll will be woken (host side).
    pub const PENDING: i32 = 1;
    /// Refused or failed; the reason is in the reply's `finish` text.
    pub const ERROR: i32 = 2;
    /// The module panicked; the text is in the reply's `finish` text. The instance must not be trusted further than
    /// being dropped or asked again: the host counts and decides.
    pub const PANIC: i32 = 3;
    /// This side does not know that number or function.
    pub const UNSUPPORTED: i32 = 4;
}

/// Kinds of [`Call`]. Fields not named are empty or zero.
pub mod call {
    /// First call of an instance: register everything here. `number` is 1 on a swap (another generation serves), else 0.
    /// Outcomes: [`super::reply::START_RUNNING`] and its neighbours.
    pub const START: u32 = 1;
    /// The instance serves and, at server start, the listeners are up. ERROR marks the module failed.
    pub const STARTED: u32 = 2;
    /// Options may have changed: `args` = new options (JSON object), `number` = 1 if they differ from the old ones.
    /// UNSUPPORTED means «restart me instead».
    pub const RELOAD: u32 = 3;
    /// The server ends: `number` = 1 after an error, 0 on a clean end.
    pub const TERMINATED: u32 = 4;
    /// Last call before drop: `name` = reason (`unload`, `swap`, `shutdown`, `failed`, `restart`).
    pub const STOP: u32 = 5;
    /// Write the state: bytes by `write`, schema number by `finish(STATE, number)`. Nothing else runs meanwhile.
    /// UNSUPPORTED: this module has no state.
    pub const EXPORT_STATE: u32 = 6;
    /// Take over: `number` = schema, `body` = bytes. ERROR refuses, and the old generation goes on.
    pub const IMPORT_STATE: u32 = 7;
    /// An IQ get or set: `handler`, `from`, `to`, `id`, `name` = namespace of the payload, `number` = 0 get / 1 set,
    /// `body` = the whole stanza. Outcomes: IQ_RESULT (body = payload), IQ_ERROR, IQ_IGNORE.
    pub const IQ: u32 = 8;
    /// A stanza for a route this instance registered: `handler`, `from`, `to`, `name` = element name, `body` = stanza.
    /// Outcomes: FLOW_CONTINUE, FLOW_CONTINUE_AFTER, FLOW_STOP.
    pub const STANZA: u32 = 9;
    /// A hook: `handler`, `name` = hook, `from`, `to`, `args` = JSON of the hook's other arguments, `body` = stanza.
    /// Outcomes: HOOK_CONTINUE (body, if any, replaces the stanza), HOOK_STOP (text = reason; body as above).
    pub const HOOK: u32 = 10;
    /// A command: `handler`, `name` = command, `from` = who calls, `args` = JSON object of arguments.
    /// Outcomes: COMMAND_OK (body = JSON value), COMMAND_ERROR (number = HTTP-like code, text).
    pub const COMMAND: u32 = 11;
    /// An HTTP request: `handler`, `name` = path, `id` = method, `from` = peer address, `args` = JSON
    /// `{"query":…, "headers":{…}}`, `body`. Outcome: HTTP_RESPONSE (number = status, extra = JSON headers, body).
    pub const HTTP: u32 = 12;
    /// A timer fired: `handler`, `number` = registration id.
    pub const TIMER: u32 = 13;
    /// No stanza came within the time that the last FLOW_CONTINUE_AFTER or START_RUNNING_AFTER named.
    pub const IDLE: u32 = 14;
    /// A request by another module or the control program: `name` = method, `from` = caller, `args` = JSON.
    /// Outcomes: COMMAND_OK, COMMAND_ERROR.
    pub const REQUEST: u32 = 15;
    /// Like REQUEST without an answer.
    pub const CAST: u32 = 16;
    /// One batch of bringing the stores forward, before the instance serves: `number` = the schema that they have, `args` =
    /// JSON `{"cursor"}`, empty at the first batch. Answer: COMMAND_OK, body = JSON `{"next"}`, the cursor of the next batch
    /// or null at the end. Everything that is written meanwhile is undone when the update is refused. Since 1.2.
    pub const MIGRATE: u32 = 17;
}

/// Codes given to [`ReplyVt::finish`]. A reply is finished at most once; a later one is ignored and logged.
pub mod reply {
    /// The instance serves.
    pub const START_RUNNING: u32 = 1;
    /// The instance serves and wants an IDLE call after `number` milliseconds without a stanza.
    pub const START_RUNNING_AFTER: u32 = 2;
    /// Nothing to do on this vhost: not an error, shown as `ignored`.
    pub const START_IGNORE: u32 = 3;
    /// Cannot start: `text` = reason.
    pub const START_STOP: u32 = 4;
    /// State written, schema in `number`.
    pub const STATE: u32 = 5;
    /// Body is the payload of the result (may be empty).
    pub const IQ_RESULT: u32 = 6;
    /// `text` = condition of RFC 6120 8.3.3, `extra` = human text, `number` = 0 default type or 1 auth, 2 cancel,
    /// 3 continue, 4 modify, 5 wait.
    pub const IQ_ERROR: u32 = 7;
    /// No answer now: the module answers later by `route`, or never; then the host's deadline answers.
    pub const IQ_IGNORE: u32 = 8;
    /// Go on.
    pub const FLOW_CONTINUE: u32 = 9;
    /// Go on, and call IDLE after `number` milliseconds without a stanza.
    pub const FLOW_CONTINUE_AFTER: u32 = 10;
    /// Stop this instance: `text` = reason.
    pub const FLOW_STOP: u32 = 11;
    /// Next handler; a body replaces the stanza.
    pub const HOOK_CONTINUE: u32 = 12;
    /// The chain ends; a body replaces the stanza or is the accumulator; without one the stanza is dropped where the
    /// hook allows it.
    pub const HOOK_STOP: u32 = 13;
    /// Body is a JSON value.
    pub const COMMAND_OK: u32 = 14;
    /// `number` = 400, 401, 403, 404, 409, 500 …, `text` = sentence.
    pub const COMMAND_ERROR: u32 = 15;
    /// `number` = status, `extra` = JSON object of headers.
    pub const HTTP_RESPONSE: u32 = 16;
    /// A host operation's answer: `text` = JSON, body = bytes, `number` = count or time where the operation says so.
    pub const OP_OK: u32 = 17;
    /// A host operation failed: `text` = condition, `extra` = sentence.
    pub const OP_ERROR: u32 = 18;
    /// The call failed: `text` = reason. Goes with `status::ERROR` and `status::PANIC`.
    pub const FAILED: u32 = 19;
}

/// Kinds of [`Registration`].
pub mod registration {
    /// A domain in the GLOBAL route table: `name` = domain, `handler`.
    pub const ROUTE_GLOBAL: u32 = 1;
    /// A domain in the LOCAL route table: `name` = domain, `handler`.
    pub const ROUTE_LOCAL: u32 = 2;
    /// An IQ handler: `name` = namespace, `target`, `discipline`, `workers`, `handler`.
    pub const IQ: u32 = 3;
    /// A hook function: `name` = hook, `sequence`, `handler`.
    pub const HOOK: u32 = 4;
    /// A command: `name`, `args` = JSON `{"doc", "args":[{"name","kind","optional","secret","doc"}], "result", "tags"}`, `handler`.
    pub const COMMAND: u32 = 5;
    /// An HTTP path prefix: `name`, `args` = JSON `{"auth": "none"|"admin"}`, `handler`.
    pub const HTTP: u32 = 6;
    /// A timer: `interval_ms`, `target` = 1 repeating or 0 once, `handler`.
    pub const TIMER: u32 = 7;
    /// A service discovery feature of the vhost: `name`; `target` as for IQ.
    pub const FEATURE: u32 = 8;
    /// An identity of the vhost: `args` = JSON `{"category","type","name"}`; `name` = own domain or empty for the vhost.
    pub const IDENTITY: u32 = 9;
    /// An item of the vhost: `name` = JID, `args` = JSON `{"name","node"}`.
    pub const ITEM: u32 = 10;
    /// An element among the stream features: `name` = the element as XML with its namespace, `target` = BARE for streams that
    /// have logged in, SERVER for those that have not. Since 1.2.
    pub const STREAM_FEATURE: u32 = 11;
}

/// [`Registration::target`] of an IQ handler or feature.
pub mod target {
    /// The server's own JID (`domain`, `domain/resource`).
    pub const SERVER: u32 = 0;
    /// Bare JIDs of users (`user@domain`), online or not.
    pub const BARE: u32 = 1;
}

/// [`Registration::discipline`]: in what order and on which thread a handler runs.
pub mod discipline {
    /// What the module's option `discipline` says; `one_queue` where it says nothing.
    pub const DEFAULT: u32 = 0;
    /// In the caller's task; the order of each session is kept.
    pub const NO_QUEUE: u32 = 1;
    /// One at a time, first in first out over all senders.
    pub const ONE_QUEUE: u32 = 2;
    /// Each on its own task.
    pub const PARALLEL: u32 = 3;
    /// At most `workers` at a time.
    pub const PARALLEL_N: u32 = 4;
}

/// Host operations for [`HostVt::op_start`]. `args` is a JSON object; fields and answers stand at each number.
pub mod op {
    /// `number` = milliseconds.
    pub const SLEEP: u32 = 1;
    /// Send an IQ get or set and await its answer: `body` = stanza, `number` = timeout in ms. Answer: body = reply stanza.
    pub const SEND_IQ: u32 = 2;
    /// Call another module: `{"module","host","method","args"}`, `number` = timeout in ms. Answer: text = JSON.
    pub const REQUEST: u32 = 3;
    /// keyval: `{"store","key"}`. Answer: body; number = 1 found, 0 not.
    pub const KEYVAL_GET: u32 = 10;
    /// `{"store","key"}`, body.
    pub const KEYVAL_SET: u32 = 11;
    /// `{"store","key"}`.
    pub const KEYVAL_DELETE: u32 = 12;
    /// `{"store","prefix","after","limit"}`. Answer: text = JSON array of keys.
    pub const KEYVAL_KEYS: u32 = 13;
    /// map: `{"store","key","field"}`. Answer: body; number = 1 found, 0 not.
    pub const MAP_GET: u32 = 20;
    /// `{"store","key"}`. Answer: text = JSON object of field -> base64 value.
    pub const MAP_ALL: u32 = 21;
    /// `{"store","key","set":{field: base64}, "delete":[field]}`: all or nothing.
    pub const MAP_UPDATE: u32 = 22;
    /// `{"store","key"}`: removes all fields.
    pub const MAP_DELETE: u32 = 23;
    /// archive: `{"store","key","with","at_ms"}`, body. Answer: text = JSON string, the new id. Since 1.2 also `"id"`: the
    /// item gets this id where it is free and one that this store could have given.
    pub const ARCHIVE_APPEND: u32 = 30;
    /// `{"store","key","with","start_ms","end_ms","after","before","limit","reverse"}`.
    /// Answer: text = JSON `{"items":[{"id","with","at_ms","body"(base64)}],"count","complete"}`.
    pub const ARCHIVE_QUERY: u32 = 31;
    /// `{"store","key","before_ms"}` (empty key: all keys). Answer: number = removed.
    pub const ARCHIVE_DELETE: u32 = 32;
    /// `{"store","key","ids":[]}`: single items, all or none. Answer: number = removed. Since 1.1.
    pub const ARCHIVE_REMOVE: u32 = 33;
    /// map: `{"store","prefix","after","limit"}`. Answer: text = JSON array of keys that have fields. Since 1.2.
    pub const MAP_KEYS: u32 = 24;
    /// archive: `{"store","prefix","after","limit"}`. Answer: text = JSON array of keys that have items. Since 1.2.
    pub const ARCHIVE_KEYS: u32 = 34;
    /// Single items: `{"store","key","ids":[]}`. Answer as for ARCHIVE_QUERY: those that are there, in order. Since 1.2.
    pub const ARCHIVE_ITEMS: u32 = 35;
    /// The body of one item, whose id, time and peer stay: `{"store","key","id"}`, body. Answer: number = 1 done, 0 no such
    /// item. Since 1.2.
    pub const ARCHIVE_REPLACE: u32 = 36;
    /// Sessions of a bare JID: `{"jid"}`. Answer: text = JSON array of `{"jid","priority","show","available"}`.
    pub const SESSIONS_OF: u32 = 40;
    /// Does an account exist: `{"jid"}`. Answer: number = 1 or 0.
    pub const ACCOUNT_EXISTS: u32 = 41;
    /// Create an account: `{"jid","password"}`. Errors: `conflict`, `not-acceptable`.
    pub const ACCOUNT_CREATE: u32 = 42;
    /// Change a password: `{"jid","password"}`.
    pub const ACCOUNT_SET_PASSWORD: u32 = 43;
    /// Remove an account and close its sessions: `{"jid"}`.
    pub const ACCOUNT_REMOVE: u32 = 44;
    /// What all published instances of the vhost declared: `{"host"}`.
    /// Answer: text = JSON `{"features":[],"identities":[],"items":[]}`; `{"host","target":"bare"}` for accounts.
    pub const DISCO: u32 = 45;
    /// All full JIDs bound on the vhost: `{"host","after","limit"}`. Answer: text = JSON array.
    pub const SESSIONS_ALL: u32 = 46;
    /// Run a command of the one command table: `{"name","args"}`. Needs the capability `commands`. Answer: text = JSON.
    /// Since 1.1 also `"full":true`: the answer is `{"value"}` or `{"error":{"code","text","details"}}`, code as for
    /// COMMAND_ERROR; an older host answers the bare value or fails. Since 1.1 also `"as"`, a JID: the command is run with
    /// what that JID may do by XMPP, instead of what the module may.
    pub const COMMAND: u32 = 47;
    /// The answer to a disco#info question, after the hook `disco_info`: `{"host","target","from","to","node"}`, `target` =
    /// `bare` for accounts, body = JSON of the asker's own part (may be empty). Without a node, what was declared comes first.
    /// Answer: number = 1 known or 0 unknown node, text = JSON `{"identities":[],"features":[]}`. Since 1.1.
    pub const DISCO_INFO: u32 = 48;
    /// The same for disco#items and the hook `disco_items`. Answer: text = JSON `{"items":[]}`. Since 1.1.
    pub const DISCO_ITEMS: u32 = 49;
    /// The commands that a JID may call by XMPP, by name: `{"as"}`. Needs the capability `commands`. Answer: text = JSON array of
    /// [`OfferedCommand`](crate::hooks::OfferedCommand). Since 1.1.
    pub const COMMANDS_FOR: u32 = 50;
    /// The contacts of an account as the server has them or gets them by the hook `contacts`: `{"jid"}`. Answer: text = JSON
    /// array of `{"jid","subscription"}`. Since 1.1.
    pub const CONTACTS_OF: u32 = 60;
    /// A contact has changed: `{"account","contact","subscription"}`, already stored. The server tells the contact the
    /// account's presence, or that it is unavailable, where that follows (RFC 6121 3). Since 1.1.
    pub const CONTACT_CHANGED: u32 = 61;
    /// Into the mailboxes of an account's sessions, past the rules of routing: `{"to","among"}`, `among` = `available` (where
    /// the text is missing), `interested` in roster pushes, or `connected`; body = stanza. An IQ is readdressed to each
    /// resource. Answer: number = sessions that took it. Since 1.1.
    pub const DELIVER: u32 = 62;
}

/// Log levels of [`HostVt::log`].
pub mod level {
    /// Something is broken for good.
    pub const CRITICAL: u32 = 0;
    /// A request failed.
    pub const ERROR: u32 = 1;
    /// Worth a look.
    pub const WARNING: u32 = 2;
    /// An operator's story.
    pub const INFO: u32 = 3;
    /// A developer's story.
    pub const DEBUG: u32 = 4;
    /// Every step.
    pub const TRACE: u32 = 5;
}

/// A module instance. Made by `create`, owned by the host as a token it never looks into, ended by `drop_instance`.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct InstancePtr {
    /// Address in the module's heap.
    pub ptr: *mut u8,
}

/// A handler that has not finished. Made by `call` or handed to [`HostVt::spawn`], ended by `task_drop` exactly once.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct TaskPtr {
    /// Address in the module's heap.
    pub ptr: *mut u8,
}

/// What `create` is told. Borrowed for the call.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct InstanceInfo<'a> {
    /// Module id, as in the manifest.
    pub module: RStr<'a>,
    /// The vhost, or `global`.
    pub vhost: RStr<'a>,
    /// Validated options with defaults filled in: a JSON object.
    pub options: RStr<'a>,
    /// Number of the generation.
    pub generation: u64,
}

/// One call into an instance. Borrowed for the call: an asynchronous handler copies what it needs before it returns.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Call<'a> {
    /// One of [`call`].
    pub kind: u32,
    /// Meaning by kind.
    pub target: u32,
    /// The number that the module gave at registration.
    pub handler: u64,
    /// Meaning by kind.
    pub number: i64,
    /// Host's id for the task this call may become; for [`HostVt::task_wake`].
    pub task_id: u64,
    /// Sender or caller.
    pub from: RStr<'a>,
    /// Addressee.
    pub to: RStr<'a>,
    /// Stanza id or HTTP method.
    pub id: RStr<'a>,
    /// Namespace, hook, command, path or reason.
    pub name: RStr<'a>,
    /// JSON.
    pub args: RStr<'a>,
    /// Stanza, state or request body.
    pub body: RSlice<'a, u8>,
}

/// Where an answer goes. Valid for the call (or poll) it was given to; any thread of that call may use it, one at a time.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct ReplyRef<'a> {
    /// Host's own.
    pub ctx: *mut u8,
    /// Host's functions.
    pub vt: &'a ReplyVt,
}

/// The host's side of an answer. Size first: later minors append.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct ReplyVt {
    /// Bytes of this table as the host has it.
    pub size: u32,
    /// Appends to the body; the host copies. ERROR when the body passes the host's limit.
    pub write: unsafe extern "C" fn(ctx: *mut u8, bytes: RSlice<'_, u8>) -> i32,
    /// Ends the answer: code of [`reply`], number, text, extra.
    pub finish: unsafe extern "C" fn(ctx: *mut u8, code: u32, number: i64, text: RStr<'_>, extra: RStr<'_>),
}

/// The poll in which a task runs. Valid for that poll, on that thread.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct PollRef {
    /// Host's own; null when the caller is not a poll (then nobody is woken).
    pub ctx: *mut u8,
}

/// What a module registers. Borrowed for the call.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Registration<'a> {
    /// One of [`registration`].
    pub kind: u32,
    /// Meaning by kind.
    pub target: u32,
    /// One of [`discipline`].
    pub discipline: u32,
    /// For `PARALLEL_N`.
    pub workers: u32,
    /// For hooks: lower runs first.
    pub sequence: i32,
    /// Zero; keeps the layout free of padding.
    pub reserved: u32,
    /// Given back in [`Call::handler`].
    pub handler: u64,
    /// For timers.
    pub interval_ms: u64,
    /// Domain, namespace, hook, command or path.
    pub name: RStr<'a>,
    /// JSON.
    pub args: RStr<'a>,
}

/// The host as one instance sees it. Valid from `create` until `drop_instance` returns; any thread may use it.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct HostRef {
    /// Host's own.
    pub ctx: *const u8,
    /// Host's functions; the table outlives every module.
    pub vt: &'static HostVt,
}

/// The host's functions. Size first: later minors append, and a module looks at `size` before it uses what is newer
/// than itself. All may be called from any thread; none of them keeps a borrowed argument.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct HostVt {
    /// Bytes of this table as the host has it.
    pub size: u32,
    /// One line of log at a [`level`]; `component` may be empty.
    pub log: unsafe extern "C" fn(ctx: *const u8, level: u32, component: RStr<'_>, message: RStr<'_>),
    /// Whether such a line would be kept: lets a module skip the formatting.
    pub log_enabled: unsafe extern "C" fn(ctx: *const u8, level: u32) -> bool,
    /// Registers; `reply` gets OP_OK with the id in `number`, or OP_ERROR. Only lawful after `create` and before `STOP`.
    pub register: unsafe extern "C" fn(ctx: *const u8, what: &Registration<'_>, reply: ReplyRef<'_>) -> i32,
    /// Takes a registration back. ERROR when the id is not this instance's.
    pub unregister: unsafe extern "C" fn(ctx: *const u8, id: u64) -> i32,
    /// Sends a whole stanza on its way; `from` and `to` replace what it carries. OP_ERROR says why it was refused.
    pub route: unsafe extern "C" fn(
        ctx: *const u8,
        from: RStr<'_>,
        to: RStr<'_>,
        stanza: RSlice<'_, u8>,
        reply: ReplyRef<'_>,
    ) -> i32,
    /// Starts an operation of [`op`]; gives its id, 0 when too many are under way.
    pub op_start: unsafe extern "C" fn(
        ctx: *const u8,
        kind: u32,
        number: i64,
        args: RStr<'_>,
        body: RSlice<'_, u8>,
    ) -> u64,
    /// Asks for its answer: DONE (reply written, id spent), PENDING (the task of `poll` is woken later), ERROR.
    pub op_poll: unsafe extern "C" fn(ctx: *const u8, op: u64, poll: PollRef, reply: ReplyRef<'_>) -> i32,
    /// Waits for its answer on this thread, at most `timeout_ms`. For synchronous handlers.
    pub op_wait: unsafe extern "C" fn(ctx: *const u8, op: u64, timeout_ms: u64, reply: ReplyRef<'_>) -> i32,
    /// Forgets it; what it began may still happen.
    pub op_cancel: unsafe extern "C" fn(ctx: *const u8, op: u64),
    /// Polls that task again soon. Unknown ids are ignored, so a late wake harms nobody.
    pub task_wake: unsafe extern "C" fn(ctx: *const u8, task_id: u64),
    /// Gives the host a task of the module's own to drive until it is done or the instance is retired. 0 when refused;
    /// then the host has already dropped the task.
    pub spawn: unsafe extern "C" fn(ctx: *const u8, task: TaskPtr) -> u64,
    /// Ends the whole server at once with a critical line. ERROR without the capability `fatal`, or at run time, when
    /// it only fails the swap.
    pub fatal: unsafe extern "C" fn(ctx: *const u8, message: RStr<'_>) -> i32,
    /// Adds to a counter of the module shown in the metrics.
    pub counter_add: unsafe extern "C" fn(ctx: *const u8, name: RStr<'_>, delta: u64),
    /// Sets a gauge of the module shown in the metrics.
    pub gauge_set: unsafe extern "C" fn(ctx: *const u8, name: RStr<'_>, value: i64),
}

/// The functions of a module. Frozen: a later major has another table.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct ModuleVt {
    /// Bytes of this table as the module has it.
    pub size: u32,
    /// Makes an instance into `out`. No registrations yet: START follows. `host` stays valid for the instance's life.
    pub create: unsafe extern "C" fn(
        info: &InstanceInfo<'_>,
        host: HostRef,
        reply: ReplyRef<'_>,
        out: &mut InstancePtr,
    ) -> i32,
    /// One call. PENDING: `task` was filled and the host polls it.
    pub call: unsafe extern "C" fn(
        instance: InstancePtr,
        call: &Call<'_>,
        reply: ReplyRef<'_>,
        task: &mut TaskPtr,
    ) -> i32,
    /// Goes on with a task. Never after it returned anything but PENDING. `task_id` as in [`Call`] or from `spawn`.
    pub task_poll:
        unsafe extern "C" fn(task: TaskPtr, task_id: u64, poll: PollRef, reply: ReplyRef<'_>) -> i32,
    /// Ends a task, finished or not, exactly once.
    pub task_drop: unsafe extern "C" fn(task: TaskPtr),
    /// Ends an instance: no call, poll or task of it is under way or follows.
    pub drop_instance: unsafe extern "C" fn(instance: InstancePtr),
}

/// What still ties a library to the process, as its interposers counted it.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, Default)]
pub struct FinalReport {
    /// Threads of its own that still run.
    pub own_threads: u32,
    /// Destructors of thread-local values that were never run (their threads missed `thread_detach`).
    pub leftover_destructors: u32,
    /// Pthread keys given back by this call.
    pub keys_deleted: u32,
    /// Thread id of one own thread that still runs, 0 for none: for the report.
    pub a_thread: u32,
}

/// The one exported declaration. Everything in it is `'static` in the module and copied by the host at load.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct ModuleDecl {
    /// [`MAGIC`].
    pub magic: u64,
    /// Bytes of this struct as the module has it.
    pub size: u32,
    /// [`API_MAJOR`] the module was built with.
    pub api_major: u16,
    /// [`API_MINOR`] the module was built with.
    pub api_minor: u16,
    /// [`super::fingerprint::FINGERPRINT`] the module was built with.
    pub fingerprint: u64,
    /// [`flags`].
    pub flags: u64,
    /// Compiler that built it, as `rustc --version` says, or `unknown`.
    pub rustc: RStr<'static>,
    /// The manifest: JSON, the same bytes as in the ELF note.
    pub manifest: RStr<'static>,
    /// The module's functions.
    pub vt: &'static ModuleVt,
    /// Runs the thread-local destructors that this library left on the calling thread; gives their number. To be called
    /// on every host thread that entered the library, before it is closed.
    pub thread_detach: unsafe extern "C" fn() -> u32,
    /// Gives back pthread keys and counts what is left. After it no function of the library may be called.
    pub final_report: unsafe extern "C" fn(out: &mut FinalReport),
}

/// Root module in the sense of `abi_stable`: read by the probe child alone, whose full layout check covers every type
/// that is reachable from here.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ModuleRoot_Ref)))]
#[sabi(missing_field(panic))]
pub struct ModuleRoot {
    /// The declaration, as a function so that the header stays free of initialisers.
    #[sabi(last_prefix_field)]
    pub declaration: extern "C" fn() -> &'static ModuleDecl,
}

impl RootModule for ModuleRoot_Ref {
    abi_stable::declare_root_module_statics! {ModuleRoot_Ref}
    const BASE_NAME: &'static str = "moult_module";
    const NAME: &'static str = "moult_module";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

// SAFETY: the declaration is immutable, and its pointers lead to immutable statics of the same library.
unsafe impl Sync for ModuleDecl {}
// SAFETY: an instance is `Send + Sync` by the bound of the SDK's `Module`; the pointer itself is only a token.
unsafe impl Send for InstancePtr {}
// SAFETY: as above.
unsafe impl Sync for InstancePtr {}
// SAFETY: a task is a `Send` future by the bound of the SDK; the pointer itself is only a token.
unsafe impl Send for TaskPtr {}
// SAFETY: the host's context is made for use from any thread, as `HostVt` promises.
unsafe impl Send for HostRef {}
// SAFETY: as above.
unsafe impl Sync for HostRef {}

#[cfg(test)]
mod tests {
    #[test]
    fn the_crate_carries_the_major_of_the_api() {
        // `abi_stable` compares the crate's version with that of the module's copy of it.
        assert_eq!(env!("CARGO_PKG_VERSION_MAJOR"), super::API_MAJOR.to_string());
    }
}
