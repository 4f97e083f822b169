//! Whole files in, a configuration or its mistakes out.

use std::collections::BTreeMap;

use super::*;

/// The smallest configuration that is complete.
const SMALL: &str = "[tls]\nself_signed = true\n[vhost.\"example.org\"]\n";

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    parse_with(text, &[])
}

fn parse_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let environment: BTreeMap<&str, &str> = variables.iter().copied().collect();
    Config::parse(text, Path::new("/etc/moult/moult.toml"), &environment)
}

/// Parses [`SMALL`] with more sections behind it; the first line of `more` is line 4.
fn parse_more(more: &str) -> Result<Config, ConfigErrors> {
    parse(&format!("{SMALL}{more}"))
}

fn small() -> Config {
    parse(SMALL).unwrap()
}

fn mistakes(more: &str) -> String {
    match parse_more(more) {
        Ok(_) => String::from("no mistake was found"),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn the_smallest_file_gives_the_defaults() {
    let config = small();
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.listeners, defaults::listeners());
    assert_eq!(config.auth.mechanisms, Mechanism::ALL);
    assert_eq!(config.vhosts.keys().collect::<Vec<_>>(), ["example.org"]);
}

#[test]
fn every_wrong_value_is_refused_with_its_line_and_key() {
    let cases = [
        (
            "[server]\nworkers = -1",
            ":5: \"workers\" in [server] must be a whole number from 0 to 1024, not -1.",
        ),
        ("[server]\nworkers = \"2\"", ":5: \"workers\" in [server] must be a whole number"),
        ("[server]\ndata_dir = \"\"", ":5: \"data_dir\" in [server] must be a text that is not empty"),
        (
            "[server]\nadmins = [\"a b@example.org\"]",
            ":5: \"admins\" in [server]: \"a b@example.org\" is not a bare JID.",
        ),
        ("[server]\nadmins = [\"a@example.org/x\"]", "is not a bare JID."),
        ("[vhost.\"x.org\"]\nsee_other_host = \"b:c\"", "\"b:c\" is no other host; write it as"),
        ("[vhost.\"x.org\"]\nsee_other_host = \"[::1]5222\"", "is no other host"),
        ("[vhost.\"x.org\"]\nsee_other_host = \"a@b.org\"", "is no other host"),
        ("[vhost.\"x.org\"]\nsee_other_host = \"b.org:70000\"", "is no other host"),
        (
            "[server]\nstop_deadline = \"5\"",
            ":5: \"stop_deadline\" in [server] must be a duration from 1s to 1h",
        ),
        ("[log]\nlevel = 6", ":5: \"level\" in [log] must be a number from 0 to 5 or one of none"),
        ("[log]\nlevel = \"loud\"", "must be a number from 0 to 5"),
        ("[log.modules]\nmod_echo = \"loud\"", ":5: \"mod_echo\" in [log.modules] must be a number"),
        ("[log]\nformat = \"xml\"", "must be one of \"text\", \"json\", not \"xml\"."),
        (
            "[limits]\nstanza_size = \"1KiB\"",
            ":5: \"stanza_size\" in [limits] must be a size from 10000B to 64MiB",
        ),
        ("[limits]\ndepth = 2.5", "must be a whole number from 4 to 1024, not 2.5."),
        (
            "[limits]\nmailbox_bytes = \"100KiB\"",
            ":5: \"mailbox_bytes\" in [limits] is smaller than \"stanza_size\"",
        ),
        ("[limits]\nidle_timeout = true", "must be a duration from 0s to 1d, such as \"30s\", not true."),
        ("[shaper.slow]\nburst = 5", ":4: [shaper.slow] lacks \"rate\""),
        ("[shaper.slow]\nrate = 0", ":5: \"rate\" in [shaper.slow] must be a size from 1B"),
        (
            "[auth]\nmechanisms = [\"SCRAM-SHA-257\"]",
            ":5: \"mechanisms\" in [auth]: \"SCRAM-SHA-257\" is not a mechanism of this server. Did you mean \"SCRAM-SHA-256\"?",
        ),
        ("[auth]\nmechanisms = [\"PLAIN\", \"PLAIN\"]", "names PLAIN twice."),
        ("[auth]\nmechanisms = []", "is empty, so nobody could log in."),
        ("[auth]\nmechanisms = \"PLAIN\"", "must be a list of texts"),
        ("[auth]\nscram_iterations = 1000", "from 4096 to 1000000"),
        ("[session]\nresource_conflict = \"kill\"", "one of \"replace_old\", \"refuse_new\", \"number_new\""),
        ("[http]\nadmin_token = \"short\"", ":5: \"admin_token\" in [http] must be 16 characters or more"),
        ("[http]\nadmin_token = \"with a space in the middle\"", "without spaces"),
        ("[http]\napi_path = \"api\"", "must be a path such as \"/api\", not \"api\"."),
        ("[http]\napi_path = \"/metrics\"", "are the same path."),
        ("[http]\nmax_body = \"2GiB\"", "from 1KiB to 1GiB"),
        ("[modules]\nwatch = \"on\"", "one of \"off\", \"notify\", \"auto\", not \"on\"."),
        ("[modules]\ncall_deadline = \"1ms\"", "from 10ms to 1h"),
        (
            "[modules.mod_echo]\nisolation = \"process\"",
            ":5: \"isolation\" in [modules.mod_echo] cannot be \"process\" yet",
        ),
        ("[modules.mod_echo]\nisolation = \"jail\"", "must be \"in-process\", not \"jail\"."),
        ("[modules.mod_echo]\ndiscipline = \"parallel(0)\"", "or \"parallel(1 to 4096)\""),
        (
            "[modules.mod_echo]\ndiscipline = \"one_queue\"\niqdisc = \"parallel\"",
            ":6: \"iqdisc\" in [modules.mod_echo] is another word",
        ),
        ("[modules.mod_echo]\nenabled = \"no\"", "must be true or false"),
        (
            "[modules.mod_echo.deep]\nx = 1",
            ":4: \"deep\" in [modules.mod_echo] must be a value, a list of values",
        ),
        (
            "[modules.mod_echo]\nx = { env = \"HOME\" }",
            ":5: \"x\" in [modules.mod_echo]: the environment variable HOME is not read",
        ),
        (
            "[modules.mod_echo]\nx = { env = \"MOULT_NO\" }",
            "the environment variable MOULT_NO is not set, and neither is MOULT_NO_FILE.",
        ),
        ("[modules.mod_echo]\nx = { file = \"/nowhere\" }", "the secret file /nowhere cannot be read"),
        ("[modules.MOD]\nx = 1", ":4: [modules.MOD]: the id of a module has lower-case letters"),
        (
            "[vhost.\"example.org\".modules.mod_echo]\nisolation = \"in-process\"",
            "belongs into the section [modules.mod_...]",
        ),
        ("[vhost.\"a b\"]", ":4: \"a b\" is not a domain name"),
        ("[vhost.\"EXAMPLE.org\"]", ": The vhost example.org is configured twice"),
        (
            "[permissions.bots]\nfrom = [\"http\"]\nwho = [\"admin\"]",
            ":4: \"what\" in [permissions.bots] is absent or empty",
        ),
        (
            "[permissions.bots]\nfrom = [\"htpp\"]\nwho = [\"*\"]\nwhat = [\"*\"]",
            ":5: \"from\" in [permissions.bots]: \"htpp\" is not a front end. Did you mean \"http\"?",
        ),
        (
            "[permissions.bots]\nfrom = [\"*\"]\nwho = [\"example.org\"]\nwhat = [\"*\"]",
            "is neither \"*\", \"admin\" nor the bare JID",
        ),
        (
            "[permissions.bots]\nfrom = [\"*\"]\nwho = [\"*\"]\nwhat = [\"[tag:]\"]",
            "is neither a command, a glob nor a [tag:NAME].",
        ),
        (
            "[[listener]]\nport = 5222",
            ":4: [[listener]] lacks \"kind\", one of \"c2s\", \"c2s_tls\", \"http\".",
        ),
        ("[[listener]]\nkind = \"s2s\"", ":5: \"kind\" in [[listener]] must be one of"),
        (
            "[[listener]]\nkind = \"c2s\"\naddress = \"localhost\"",
            ":6: \"address\" in [[listener]] must be an IPv4 or IPv6 address",
        ),
        ("[[listener]]\nkind = \"c2s\"\nport = 70000", "a whole number from 0 to 65535"),
        ("[[listener]]\nkind = \"c2s\"\nshaper = \"fast\"", "there is no [shaper.fast]."),
        (
            "[shaper.fats]\nrate = 1\n[[listener]]\nkind = \"c2s\"\nshaper = \"fast\"",
            "Did you mean \"fats\"?",
        ),
        ("[listener]\nkind = \"c2s\"", "must be written as [[listener]]"),
    ];
    for (more, expected) in cases {
        let text = mistakes(more);
        assert!(text.contains(expected), "{more}\n  gives: {text}\n  not:   {expected}");
    }
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    let cases = [
        ("[server]\nworker = 1", ":5: \"worker\" in [server] is not a known key. Did you mean \"workers\"?"),
        ("[sever]\nworkers = 1", ":4: \"sever\" is not a known key. Did you mean \"server\"?"),
        ("[limits]\nstanza_sise = 1", "Did you mean \"stanza_size\"?"),
        ("[modules]\nwhatch = \"off\"", "Did you mean \"watch\"?"),
        ("[vhost.\"x.org\"]\nadmin = []", "Did you mean \"admins\"?"),
        ("[vhost.\"x.org\".tls]\ncertifcate = \"x\"", "Did you mean \"certificate\"?"),
        ("[session]\nqqqqqqqqqqqqqqqqqqqqqq = 1", "Known are resource_conflict."),
    ];
    for (more, expected) in cases {
        let text = mistakes(more);
        assert!(text.contains(expected), "{more}\n  gives: {text}\n  not:   {expected}");
    }
}

#[test]
fn all_mistakes_are_told_in_the_order_of_the_file() {
    let text =
        "[server]\nworkers = -1\n[limits]\ndepth = 0\n[tls]\nself_signed = true\n[auht]\n[log]\nlevel = 9\n";
    let lines: Vec<usize> = parse(text).unwrap_err().iter().map(|error| error.location.line).collect();
    assert_eq!(lines, [0, 2, 4, 7, 9], "the missing vhost has no line");
}

#[test]
fn two_listeners_on_one_socket_are_refused() {
    let listener = |address: &str, port: u16| {
        format!("[[listener]]\nkind = \"c2s\"\naddress = \"{address}\"\nport = {port}\n")
    };
    let both = |one: String, other: String| mistakes(&format!("{one}{other}"));
    let taken = both(listener("127.0.0.1", 5222), listener("127.0.0.1", 5222));
    assert!(
        taken.contains(":8: [[listener]]: 127.0.0.1:5222 is taken by another listener already"),
        "{taken}"
    );
    assert!(both(listener("0.0.0.0", 5222), listener("127.0.0.1", 5222)).contains("is taken"));
    for (one, other) in [
        (listener("127.0.0.1", 5222), listener("127.0.0.1", 5223)),
        (listener("127.0.0.1", 5222), listener("127.0.0.2", 5222)),
        (listener("0.0.0.0", 5222), listener("::", 5222)),
        (listener("127.0.0.1", 0), listener("127.0.0.1", 0)),
    ] {
        assert_eq!(parse_more(&format!("{one}{other}")).unwrap().listeners.len(), 2);
    }
}

#[test]
fn a_vhost_without_certificate_is_refused_where_a_listener_needs_one() {
    let errors = parse("[vhost.\"example.org\"]\n").unwrap_err().to_string();
    assert!(
        errors.contains(":1: The vhost example.org has no certificate, but the c2s listener on [::]:5222"),
        "{errors}"
    );
    let http_only = "[[listener]]\nkind = \"http\"\n[vhost.\"example.org\"]\n";
    assert!(parse(http_only).is_ok());
    let plain_only = "[tls]\nrequired = false\n[[listener]]\nkind = \"c2s\"\n[vhost.\"example.org\"]\n";
    assert!(parse(plain_only).is_ok());
}

#[test]
fn missing_certificate_files_are_named_once() {
    let text = "[tls]\ncertificate = \"no/cert.pem\"\nkey = \"/no/key.pem\"\n[vhost.\"example.org\"]\n";
    let errors = parse(text).unwrap_err();
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 2, "{errors}");
    assert!(
        texts[0].contains(":2: \"certificate\" in [tls] names /etc/moult/no/cert.pem, which cannot be read"),
        "{errors}"
    );
    assert!(texts[1].contains(":3: \"key\" in [tls] names /no/key.pem"), "{errors}");
    let unpaired =
        parse("[tls]\nself_signed = true\nkey = \"k\"\n[vhost.\"example.org\"]\n").unwrap_err().to_string();
    assert!(unpaired.contains("\"key\" in [tls] is given without \"certificate\""), "{unpaired}");
}

#[test]
fn a_control_socket_path_must_fit_the_system() {
    let long = "x".repeat(120);
    assert!(
        mistakes(&format!("[server]\ncontrol_socket = \"/{long}\""))
            .contains(":5: \"control_socket\" in [server] makes")
    );
    assert!(
        mistakes(&format!("[server]\ndata_dir = \"/{long}\"")).contains(":5: \"data_dir\" in [server] makes")
    );
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let config = parse_more("[server]\ndata_dir = \"data\"\n").unwrap();
    assert_eq!(config.server.data_dir, Path::new("/etc/moult/data"));
    assert_eq!(config.server.control_socket, Path::new("/etc/moult/data/moultctl.sock"));
}

#[test]
fn a_vhost_lays_its_module_options_over_the_global_ones() {
    let config = parse_more(
        "[vhost.\"example.org\".modules.mod_echo]\nhost = \"e.@HOST@\"\nenabled = false\n\
         [vhost.\"other.org\"]\n[modules.mod_echo]\nhost = \"echo\"\ncolour = \"red\"\niqdisc = \"parallel(4)\"\n",
    )
    .unwrap();
    let here = config.module_settings(Some("example.org"), "mod_echo");
    assert_eq!(here.discipline, Some(Discipline::ParallelN(4)));
    assert_eq!(here.options.get("host").unwrap().value.as_str(), Some("e.@HOST@"));
    assert_eq!(here.options.get("host").unwrap().location.to_string(), "/etc/moult/moult.toml:5");
    assert_eq!(here.options.get("colour").unwrap().value.as_str(), Some("red"));
    assert!(!config.is_module_enabled("example.org", "mod_echo"));
    assert!(config.is_module_enabled("other.org", "mod_echo"));
    assert_eq!(
        config.module_settings(Some("other.org"), "mod_echo").options.get("host").unwrap().value.as_str(),
        Some("echo")
    );
    assert_eq!(config.modules_for("example.org").len(), 1);
}

#[test]
fn without_a_section_the_load_policy_decides() {
    assert!(small().is_module_enabled("example.org", "mod_ping"));
    let configured = parse_more("[modules]\nload = \"configured\"\n[modules.mod_echo]\n").unwrap();
    assert!(!configured.is_module_enabled("example.org", "mod_ping"));
    assert!(configured.is_module_enabled("example.org", "mod_echo"));
}

#[test]
fn domains_are_normalised() {
    let config = parse("[tls]\nself_signed = true\n[vhost.\"XN--BCHER-KVA.example\"]\n").unwrap();
    assert_eq!(config.vhosts.keys().collect::<Vec<_>>(), ["bücher.example"]);
}

#[test]
fn a_secret_comes_from_the_file_the_environment_or_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "token-of-the-secret-file\r\n").unwrap();
    let path = path.to_str().unwrap();
    let in_file = format!("{SMALL}[http]\nadmin_token = \"token-of-the-config-file\"\n");
    let by_reference = format!("{SMALL}[http]\nadmin_token = {{ file = \"{path}\" }}\n");
    let token = |text: &str, variables: &[(&str, &str)]| {
        parse_with(text, variables).unwrap().http.admin_token.unwrap().reveal().to_owned()
    };
    assert_eq!(token(&in_file, &[]), "token-of-the-config-file");
    assert_eq!(
        token(&in_file, &[("MOULT_HTTP_ADMIN_TOKEN", "token-of-the-variable")]),
        "token-of-the-variable"
    );
    assert_eq!(token(SMALL, &[("MOULT_HTTP_ADMIN_TOKEN_FILE", path)]), "token-of-the-secret-file");
    assert_eq!(token(&by_reference, &[]), "token-of-the-secret-file");
}

#[test]
fn bad_secrets_are_refused_without_being_shown() {
    let both = [("MOULT_HTTP_ADMIN_TOKEN", "hunter2hunter2hunter2"), ("MOULT_HTTP_ADMIN_TOKEN_FILE", "/x")];
    let errors = parse_with(SMALL, &both).unwrap_err().to_string();
    assert!(
        errors.contains("Both MOULT_HTTP_ADMIN_TOKEN and MOULT_HTTP_ADMIN_TOKEN_FILE are set"),
        "{errors}"
    );
    let short = parse_with(SMALL, &[("MOULT_HTTP_ADMIN_TOKEN", "hunter2")]).unwrap_err().to_string();
    assert!(short.contains("16 characters or more") && !short.contains("hunter2"), "{short}");
    assert!(parse_with(SMALL, &[("MOULT_HTTP_ADMIN_TOKEN", "")]).is_err());
    assert!(
        mistakes("[http]\nadmin_token = { env = \"MOULT_X\", file = \"y\" }")
            .contains("must be a text that is not empty")
    );
}

#[test]
fn secrets_of_modules_are_masked_everywhere() {
    let text = format!("{SMALL}[modules.mod_x]\npassword = {{ env = \"MOULT_X\" }}\n");
    let config = parse_with(&text, &[("MOULT_X", "hunter2")]).unwrap();
    assert_eq!(
        config.module_settings(None, "mod_x").options.get("password").unwrap().value.as_str(),
        Some("hunter2")
    );
    let changed = parse_with(&text, &[("MOULT_X", "hunter3")]).unwrap();
    let changes = Config::diff(&config, &changed);
    assert_eq!(changes.len(), 1);
    let printed = format!("{}{}", config.dump(), changes[0]);
    assert!(printed.contains("password = \"********\"") && !printed.contains("hunter"), "{printed}");
}

#[test]
fn a_dump_reads_back_as_the_same_configuration() {
    let config = parse_more(
        "[vhost.\"example.org\".modules.mod_echo]\nhost = \"e\"\n[vhost.\"b.org\"]\nadmins = [\"a@b.org\"]\n\
         [[listener]]\nkind = \"c2s\"\nshaper = \"slow\"\n[shaper.slow]\nrate = \"64KiB\"\n\
         [modules.mod_x]\ndiscipline = \"parallel(3)\"\nhosts = [\"a\", \"b\"]\nratio = 1.5\n\
         [permissions.bots]\nfrom = [\"http\"]\nwho = [\"*\"]\nwhat = [\"stat*\", \"![tag:config]\"]\n",
    )
    .unwrap();
    let dump = config.dump();
    let again = parse(&dump).unwrap_or_else(|errors| panic!("{errors}\n{dump}"));
    assert_eq!(again, config, "{dump}");
}

#[test]
fn no_difference_between_equal_configurations() {
    assert_eq!(Config::diff(&small(), &small()), []);
}

#[test]
fn each_difference_says_what_it_takes() {
    let cases: [(&str, &str, Effect); 12] = [
        ("[limits]\ndepth = 30", "limits.depth: 64 -> 30 (applied)", Effect::Applied),
        ("[log]\nlevel = 5", "log.level: \"info\" -> \"debug\" (applied)", Effect::Applied),
        (
            "[server]\nworkers = 3",
            "server.workers: 0 -> 3 (needs server restart)",
            Effect::NeedsServerRestart,
        ),
        (
            "[log]\nformat = \"json\"",
            "log.format: \"text\" -> \"json\" (needs server restart)",
            Effect::NeedsServerRestart,
        ),
        ("[vhost.\"b.org\"]", "vhost.\"b.org\": new, section (applied)", Effect::Applied),
        ("[shaper.slow]\nrate = 5", "shaper.slow: new, section (applied)", Effect::Applied),
        (
            "[http]\nadmin_token = \"0123456789abcdef\"",
            "http.admin_token: new, ******** (applied)",
            Effect::Applied,
        ),
        ("[modules]\nwatch = \"auto\"", "modules.watch: \"notify\" -> \"auto\" (applied)", Effect::Applied),
        ("[modules.mod_x]", "modules.mod_x: new, section (applied)", Effect::Applied),
        (
            "[modules.mod_x]\nboot = 1",
            "modules.mod_x.boot: new, 1 (needs module restart)",
            Effect::NeedsModuleRestart,
        ),
        ("[modules.mod_x]\nlive = 1", "modules.mod_x.live: new, 1 (applied)", Effect::Applied),
        (
            "[vhost.\"example.org\".modules.mod_x]\nboot = 1",
            "vhost.\"example.org\".modules.mod_x.boot: new, 1 (needs module restart)",
            Effect::NeedsModuleRestart,
        ),
    ];
    for (more, expected, effect) in cases {
        let changes = Config::diff_with(&small(), &parse_more(more).unwrap(), &|_, option| match option {
            "boot" => Effect::NeedsModuleRestart,
            _ => Effect::Applied,
        });
        let found = changes.iter().find(|change| change.to_string() == expected);
        assert_eq!(found.map(|change| change.effect), Some(effect), "{more}: {changes:?}");
    }
}

#[test]
fn what_needs_a_restart_stays_as_it_is_and_all_else_is_followed() {
    let other = parse_more(
        "[server]\ndata_dir = \"/x\"\nplugin_dir = \"/y\"\ncontrol_socket = \"/z\"\npid_file = \"/p\"\nworkers = 3\n\
         module_workers = 4\nstop_deadline = \"7s\"\n[log]\nformat = \"json\"\nfile = \"/l\"\nlevel = 5\n\
         [[listener]]\nkind = \"c2s\"\nport = 9\n[http]\napi_path = \"/a\"\nmetrics_path = \"/m\"\nhealth_path = \"/h\"\n\
         max_connections = 9\n[auth]\nscram_iterations = 20000\n[modules]\nkeep_generations = 9\nmax_retained = 9\n\
         [limits]\ndepth = 9\n",
    )
    .unwrap();
    let restarts = |new: &Config| {
        let changes = Config::diff(&small(), new);
        changes.iter().filter(|change| change.effect == Effect::NeedsServerRestart).count()
    };
    assert!(restarts(&other) >= super::diff::SERVER_RESTART.len(), "every key of the list differs");
    let followed = other.as_followed_from(&small());
    assert_eq!(restarts(&followed), 0);
    assert_eq!((followed.limits.depth, followed.log.level), (9, LogLevel::Debug));
    assert_eq!(followed.server.stop_deadline, std::time::Duration::from_secs(7));
}

#[test]
fn listeners_are_told_apart_by_their_socket() {
    let one = "[[listener]]\nkind = \"c2s\"\naddress = \"127.0.0.1\"\nport = 1\n";
    let two = "[[listener]]\nkind = \"http\"\naddress = \"127.0.0.1\"\nport = 2\n";
    let (both, swapped) =
        (parse_more(&format!("{one}{two}")).unwrap(), parse_more(&format!("{two}{one}")).unwrap());
    assert_eq!(Config::diff(&both, &swapped), []);
    let changes = Config::diff(&both, &parse_more(one).unwrap());
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].path, "listener.\"http 127.0.0.1 2\"");
    assert_eq!((changes[0].after.as_ref(), changes[0].effect), (None, Effect::NeedsServerRestart));
}

#[test]
fn a_check_tells_everything_and_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("moult.toml");
    std::fs::write(&path, SMALL).unwrap();
    let report = check::check_file(&path);
    assert!(
        report.ok && report.text.contains("ok; vhosts: 1, listeners: 5") && report.text.contains("warning: "),
        "{report:?}"
    );
    std::fs::write(&path, "[limits]\ndepth = 0\n").unwrap();
    let report = check::check_file(&path);
    assert!(!report.ok && report.text.contains("moult.toml:2: \"depth\" in [limits]"), "{report:?}");
    let absent = check::check_file(&folder.path().join("no.toml"));
    assert!(
        !absent.ok && absent.text.contains("no.toml: The configuration file cannot be read"),
        "{absent:?}"
    );
}

#[test]
fn the_shipped_file_is_complete_and_shows_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/moult.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let shipped = Config::parse(&text, Path::new("/etc/moult/moult.toml"), &BTreeMap::new())
        .unwrap_or_else(|errors| panic!("{errors}"));
    let defaults = parse("[tls]\nself_signed = true\n[vhost.\"localhost\"]\n").unwrap();
    let sections = |config: &Config| {
        (config.limits.clone(), config.auth.clone(), config.session.clone(), config.log.clone())
    };
    assert_eq!(sections(&shipped), sections(&defaults));
    assert_eq!(shipped.http, defaults.http);
    assert_eq!(Modules { sections: BTreeMap::new(), ..shipped.modules.clone() }, defaults.modules);
    assert_eq!(shipped.server, defaults.server);
}

#[test]
fn the_shipped_file_explains_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/moult.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let dump: toml::Table = small().dump().parse().unwrap();
    for (section, table) in dump.iter().filter_map(|(section, value)| Some((section, value.as_table()?))) {
        for key in table.keys().filter(|key| !key.contains('.')) {
            let explained = text
                .lines()
                .any(|line| line.trim_start_matches(['#', ' ']).starts_with(&format!("{key} = ")));
            let is_section = text.contains(&format!("[{section}.{key}]"));
            assert!(explained || is_section, "{key} in [{section}] is not in config/moult.toml");
        }
    }
}

#[test]
fn the_control_socket_is_found_whatever_else_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("moult.toml");
    std::fs::write(&path, "[server]\ndata_dir = \"d\"\nworkers = -1\n[tls]\ncertificate = \"/no\"\n")
        .unwrap();
    assert_eq!(Config::control_socket(&path).unwrap(), folder.path().join("d/moultctl.sock"));
    std::fs::write(&path, "[server\n").unwrap();
    assert!(Config::control_socket(&path).is_err());
}
