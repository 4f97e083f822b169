run_as_root = true
pidfile = "@FOLDER@/prosody.pid"
data_path = "@FOLDER@/data"
plugin_paths = { "@FOLDER@/modules" }
certificates = "@FOLDER@/certs"
log = { warn = "@FOLDER@/prosody.log" }

interfaces = { "127.0.0.1" }
local_interfaces = { "127.0.0.1" }
c2s_ports = { @PLAIN@ }
c2s_direct_tls_ports = { @TLS@ }
s2s_ports = {}
http_ports = {}
https_ports = {}
console_ports = { @CONSOLE@ }
admin_socket = "@FOLDER@/prosody.sock"

gc = { mode = "generational" }
network_settings = { opportunistic_writes = false, tcp_backlog = 1024 }
c2s_require_encryption = false
ssl = { certificate = "@CERTIFICATE@", key = "@KEY@" }
c2s_direct_tls_ssl = { certificate = "@CERTIFICATE@", key = "@KEY@" }
authentication = "internal_hashed"
storage = "internal"
muc_room_locking = false
max_history_messages = 0

-- No archive, no offline store, no limits.
modules_enabled = { "admin_shell", "admin_telnet", "bench", "disco", "ping", "posix", "roster", "saslauth", "time", "tls", "version" }
modules_disabled = { "http", "limits", "offline", "s2s" }

VirtualHost "localhost"
Component "echo.localhost" "bench_echo"
Component "conference.localhost" "muc"
