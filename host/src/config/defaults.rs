//! Every default of the configuration, in one place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::{
    Auth, ClientState, Http, Limits, Listener, ListenerKind, LoadPolicy, Log, LogFormat, LogLevel, Mechanism,
    Modules, Purge, Server, StreamManagement, Tls, TlsVersion, Watch,
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Where `moultd` and `moultctl` look for the configuration where nobody names one.
pub const CONFIG_FILE: &str = "/etc/moult/moult.toml";
/// The default port of client streams with STARTTLS.
pub const C2S_PORT: u16 = 5222;
/// The default port of client streams under direct TLS.
pub const C2S_TLS_PORT: u16 = 5223;
/// The default port of HTTP.
pub const HTTP_PORT: u16 = 5280;
/// The name of the control socket in the data folder.
pub const CONTROL_SOCKET: &str = "moultctl.sock";

impl Default for Server {
    fn default() -> Server {
        let data_dir = PathBuf::from("/var/lib/moult");
        Server {
            plugin_dir: "/usr/lib/moult/plugins".into(),
            control_socket: data_dir.join(CONTROL_SOCKET),
            data_dir,
            pid_file: None,
            workers: 0,
            module_workers: 0,
            stop_deadline: Duration::from_secs(10),
            admins: Vec::new(),
        }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log { level: LogLevel::Info, format: LogFormat::Text, file: None, modules: Default::default() }
    }
}

/// The listeners where the file has none: client streams on every address, HTTP on loopback only.
pub fn listeners() -> Vec<Listener> {
    let everywhere = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let everywhere_v4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let listener = |kind, ip, port| Listener { kind, address: SocketAddr::new(ip, port), shaper: None };
    vec![
        listener(ListenerKind::C2s, everywhere, C2S_PORT),
        listener(ListenerKind::C2s, everywhere_v4, C2S_PORT),
        listener(ListenerKind::C2sTls, everywhere, C2S_TLS_PORT),
        listener(ListenerKind::C2sTls, everywhere_v4, C2S_TLS_PORT),
        listener(ListenerKind::Http, IpAddr::V4(Ipv4Addr::LOCALHOST), HTTP_PORT),
    ]
}

impl Default for Tls {
    fn default() -> Tls {
        Tls { certificate: None, min_version: TlsVersion::Tls12, required: true, self_signed: false }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            stanza_size_before_auth: 16 * KIB,
            stanza_size: 256 * KIB,
            depth: 64,
            attributes: 64,
            connections_per_address: 1000,
            connections: 100_000,
            unauthenticated_connections: 5_000,
            negotiation_timeout: Duration::from_secs(60),
            keepalive_interval: Duration::from_secs(300),
            idle_timeout: Duration::ZERO,
            write_timeout: Duration::from_secs(60),
            login_attempts_per_account: 20,
            login_attempts_per_address: 50,
            login_attempts_window: Duration::from_secs(300),
            login_attempts_per_connection: 5,
            mailbox_items: 1_000,
            mailbox_bytes: 4 * MIB,
            resources_per_account: 20,
            directed_presences: 1_000,
        }
    }
}

impl Default for Auth {
    fn default() -> Auth {
        Auth { mechanisms: Mechanism::ALL.to_vec(), scram_iterations: 10_000 }
    }
}

impl Default for StreamManagement {
    fn default() -> StreamManagement {
        StreamManagement {
            enabled: true,
            resume_timeout: Duration::from_secs(300),
            max_detached: 10_000,
            queue_items: 1_000,
            queue_bytes: 4 * MIB,
            ack_every: 5,
            ack_after: Duration::from_secs(1),
            ack_timeout: Duration::from_secs(60),
            location: None,
        }
    }
}

impl Default for ClientState {
    fn default() -> ClientState {
        ClientState { enabled: true, queue_items: 100 }
    }
}

impl Default for Http {
    fn default() -> Http {
        Http {
            admin_token: None,
            api_path: "/api".into(),
            metrics_path: "/metrics".into(),
            metrics_auth: false,
            health_path: "/health".into(),
            websocket: true,
            websocket_path: "/ws".into(),
            bosh: true,
            bosh_path: "/bosh".into(),
            bosh_max_wait: Duration::from_secs(60),
            bosh_inactivity: Duration::from_secs(60),
            bosh_max_pause: Duration::from_secs(120),
            max_body: MIB,
            request_deadline: Duration::from_secs(60),
            max_connections: 256,
        }
    }
}

impl Default for Modules {
    fn default() -> Modules {
        Modules {
            watch: Watch::Notify,
            load: LoadPolicy::All,
            update_on_hup: false,
            install_from: None,
            probe_deadline: Duration::from_secs(5),
            start_deadline: Duration::from_secs(10),
            stop_deadline: Duration::from_secs(1),
            freeze_deadline: Duration::from_secs(2),
            migration_deadline: Duration::from_secs(8),
            drain_deadline: Duration::from_secs(10),
            purge: Purge::Drain,
            health_window: Duration::from_secs(5),
            health_failures: 10,
            keep_generations: 5,
            max_retained: 16,
            state_limit: 64 * MIB,
            queue_length: 1_024,
            call_deadline: Duration::from_secs(10),
            sections: Default::default(),
        }
    }
}
