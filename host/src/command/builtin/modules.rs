//! Commands about modules: looking, updating, loading, undoing.

use super::super::{ArgKind, CommandSpec, ResultKind};

const TAG: &str = "modules";

/// The specs, in the order in which help shows them.
pub(super) fn specs() -> Vec<CommandSpec> {
    [looking(), updating(), loading(), installing(), upkeep()].concat()
}

fn looking() -> Vec<CommandSpec> {
    vec![
        CommandSpec::new("update_list", TAG, "Lists the modules that an update would take: changed, new or removed in the plugin folder.")
            .flag("all", "Whether to list new, removed and failed ones too, with their state.")
            .returns(ResultKind::List)
            .described("One module per line; no line means that there is nothing to update."),
        CommandSpec::new("update_info", TAG, "Shows what an update would do, and changes nothing.")
            .optional("modules", ArgKind::List, "Modules, or all; all where absent.")
            .returns(ResultKind::Object)
            .described(
                "The six facts of ejabberd: directory, modules, script (load, update or restart for each module), \
                 low-level script with its point of no return, purge mode, check. What still holds old generations, \
                 and what they cost, stands behind them.",
            ),
        CommandSpec::new("update_history", TAG, "Lists the updates of this server, the last one first.")
            .optional("limit", ArgKind::Integer, "How many at most; 20 where absent.")
            .returns_table(&["id", "time", "trigger", "module", "result", "from", "to", "reason"]),
        CommandSpec::new("module_list", TAG, "Lists the modules that are known, with their state.")
            .returns_table(&["module", "version", "generation", "state", "vhosts", "retained"]),
        CommandSpec::new("module_info", TAG, "Shows everything about one module.")
            .arg("module", ArgKind::Module, "Its id, or its id@vhost for one instance.")
            .returns(ResultKind::Object)
            .described("Manifest, options with their defaults, instances, registrations, calls, old generations."),
        CommandSpec::new("module_metrics", TAG, "Shows calls, errors, panics, queue and latency of each module.")
            .optional("module", ArgKind::Module, "Only this one.")
            .returns_table(&["module", "calls", "errors", "panics", "queued", "p50_us", "p99_us", "retained_bytes"]),
    ]
}

fn updating() -> Vec<CommandSpec> {
    vec![
        CommandSpec::new("update", TAG, "Swaps modules for the libraries that lie in the plugin folder now.")
            .arg("modules", ArgKind::List, "Modules, or all for every changed and new one.")
            .flag("soft", "Whether to wait for calls on the old generation as long as they take.")
            .flag("brutal", "Whether to cut calls on the old generation at once, with error replies.")
            .flag("force", "Whether to give up state that cannot be handed over.")
            .returns(ResultKind::Object)
            .changing()
            .described(
                "One transaction over everything named: if any part of it fails before the point of no return, \
                 nothing has changed; if any fails in the health window after it, everything is put back.",
            ),
        CommandSpec::new("rollback", TAG, "Puts a former build of a module back.")
            .arg("module", ArgKind::Module, "Which one.")
            .optional(
                "build",
                ArgKind::String,
                "Its version, or how its hash begins, as update_history shows them; the one before where absent.",
            )
            .returns(ResultKind::Object)
            .changing(),
        CommandSpec::new("restart_module", TAG, "Stops a module on a vhost, and starts it with the library that lies there now.")
            .arg("host", ArgKind::Host, "The vhost.")
            .arg("module", ArgKind::Module, "The module.")
            .returns(ResultKind::Code)
            .changing()
            .described("0 means restarted, 1 that it was not running there, 2 that its new library could not be loaded."),
    ]
}

fn loading() -> Vec<CommandSpec> {
    vec![
        CommandSpec::new("module_load", TAG, "Loads a module that lies in the plugin folder, or starts it on one more vhost.")
            .arg("module", ArgKind::Module, "Its id, or its id@vhost.")
            .returns(ResultKind::Object)
            .changing(),
        CommandSpec::new("module_reload", TAG, "Takes the library that lies there now, or starts the module anew where it is the same.")
            .arg("module", ArgKind::Module, "Its id, or its id@vhost to start one instance anew.")
            .returns(ResultKind::Object)
            .changing(),
        CommandSpec::new("module_unload", TAG, "Stops a module, on one vhost or everywhere, and unloads it in the latter case.")
            .arg("module", ArgKind::Module, "Its id, or its id@vhost.")
            .flag("force", "Whether to unload it although others depend on it.")
            .returns(ResultKind::Object)
            .changing()
            .described("Comes back when it is really gone, or says what still holds it. Its library stays where it lies."),
    ]
}

fn installing() -> Vec<CommandSpec> {
    let files = |name: &'static str, doc: &'static str| {
        CommandSpec::new(name, TAG, doc).returns_table(&["name", "version", "state", "summary"])
    };
    let installs = |name: &'static str, doc: &'static str| {
        CommandSpec::new(name, TAG, doc)
            .arg("module", ArgKind::String, "Its id, or the name of its file there.")
            .returns(ResultKind::Object)
            .changing()
    };
    vec![
        files("modules_available", "Lists the modules that could be installed, and how they differ from those that are.")
            .described("Those in the folder `install_from` of [modules]."),
        files("modules_installed", "Lists the modules in the plugin folder."),
        CommandSpec::new("module_check", TAG, "Tries a library as an update would, and loads nothing.")
            .arg("module", ArgKind::String, "Its id, or from the local control socket the absolute path of its file.")
            .returns(ResultKind::Object)
            .described("A child process opens a copy of it, with limits and a deadline. An id is looked up in the plugin folder first."),
        installs("module_install", "Copies a module into the plugin folder, and loads it.")
            .described("From the folder `install_from` of [modules], after a probe. What cannot be loaded is taken out again."),
        installs("module_upgrade", "Puts another build of a module into the plugin folder, and swaps it in.")
            .described("From the folder `install_from` of [modules], after a probe. If the update fails, the file before comes back."),
        CommandSpec::new("module_uninstall", TAG, "Unloads a module, and removes its file from the plugin folder.")
            .arg("module", ArgKind::Module, "Its id.")
            .flag("force", "Whether to unload it although others depend on it.")
            .returns(ResultKind::Object)
            .changing()
            .described("Only where `install_from` of [modules] is set."),
    ]
}

fn upkeep() -> Vec<CommandSpec> {
    vec![
        CommandSpec::new("module_quarantine", TAG, "Takes a module out of service without unloading it, or ends that.")
            .arg("module", ArgKind::Module, "Its id, or its id@vhost.")
            .flag("lift", "Whether to let calls in again.")
            .returns(ResultKind::Object)
            .changing()
            .described(
                "Whoever waits for it is answered at once, and so is whoever asks later, with an error that says why. The \
                 server does the same to a module that panics again and again or does not return. An update of the module, \
                 its restart, and --lift end it.",
            ),
        CommandSpec::new("gc", TAG, "Tries again to unmap old generations that could not be unmapped.")
            .returns(ResultKind::Object)
            .changing()
            .described("The server does so by itself from time to time. It answers what is still mapped, and what holds it."),
    ]
}
