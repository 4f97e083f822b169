//! Opening the configured sockets, and closing them.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::error::StartError;
use super::metrics::{Numbers, Parts};
use super::shared::{ListeningOn, Shared};
use super::streams::Streams;
use super::suspended;
use crate::config::{Listener, ListenerKind, Location};
use crate::http::{BoshWelcome, HttpParts, HttpServer, Welcome, XmppDoor};
use crate::listener::{ConnectionSettings, Hub, ListenerSettings, Listening};
use crate::stream::Via;

/// The open sockets of a running server.
pub(super) struct Listeners {
    hub: Arc<Hub<Streams>>,
    client: Vec<Listening>,
    http: Vec<JoinHandle<()>>,
    stop_http: watch::Sender<bool>,
}

impl Listeners {
    /// Opens all of them, or none.
    pub async fn open(shared: &Arc<Shared>) -> Result<Self, StartError> {
        let config = shared.config();
        let settings = ConnectionSettings::from_config(&config);
        let events = Streams::new(Arc::clone(shared));
        let hub = Arc::new(Hub::new(events, Arc::clone(&shared.certificates), settings));
        // Set once: there is one hub.
        let _ = shared.hub.set(Arc::downgrade(&hub));
        suspended::restore(shared, &hub).await;
        let (stop_http, _) = watch::channel(false);
        let mut listeners = Self { hub, client: Vec::new(), http: Vec::new(), stop_http };
        let mut http_sockets = Vec::new();
        for (number, listener) in config.listeners.iter().enumerate() {
            let Some(settings) = ListenerSettings::from_config(&config, listener) else {
                let bound = TcpListener::bind(listener.address).await;
                http_sockets
                    .push((number, bound.map_err(|error| cannot_open(shared, number, listener, error))?));
                continue;
            };
            let started = Listening::start(Arc::clone(&listeners.hub), settings);
            let listening = started.map_err(|error| cannot_open(shared, number, listener, error.source))?;
            let (address, shaper) = (listening.address(), Some(listening.shaper().clone()));
            shared.listens(ListeningOn { number, kind: listener.kind, address, shaper });
            listeners.client.push(listening);
        }
        listeners.serve_http(shared, http_sockets);
        Ok(listeners)
    }

    fn serve_http(&mut self, shared: &Arc<Shared>, sockets: Vec<(usize, TcpListener)>) {
        let Some(table) = shared.table.get().and_then(std::sync::Weak::upgrade) else { return };
        let server = HttpServer::new(
            shared.config().http.clone(),
            HttpParts {
                table,
                phase: shared.phase.listen(),
                health: Arc::new(Parts(Arc::clone(shared))),
                metrics: Arc::new(Numbers(Arc::clone(shared))),
                modules: Arc::new(shared.manager.modules()),
                door: Some(Arc::new(Door(Arc::downgrade(&self.hub)))),
            },
        );
        // Set once: there is one front end, for all its sockets.
        let _ = shared.http.set(server.clone());
        for (number, socket) in sockets {
            if let Ok(address) = socket.local_addr() {
                tracing::info!(%address, "serving HTTP");
                shared.listens(ListeningOn { number, kind: ListenerKind::Http, address, shaper: None });
            }
            let (server, mut stop) = (server.clone(), self.stop_http.subscribe());
            self.http.push(tokio::spawn(async move {
                // A dropped sender stops it as well.
                server.serve(socket, async move { drop(stop.wait_for(|stop| *stop).await) }).await;
            }));
        }
    }

    /// Lets what clients have sent come to its place before any session goes; whether it has.
    pub async fn quiet(&self, deadline: std::time::Duration) -> bool {
        self.hub.quiet(deadline).await
    }

    /// Accepts nothing more, ends every stream, and lets HTTP requests come to their end.
    pub async fn close(self, deadline: std::time::Duration) {
        for listening in self.client {
            listening.stop().await;
        }
        let cut = self.hub.shut_down(deadline).await;
        if cut > 0 {
            tracing::warn!(connections = cut, "connections were cut at the end of the server");
        }
        self.stop_http.send_replace(true);
        for serving in self.http {
            if serving.await.is_err() {
                tracing::error!("an HTTP listener panicked, which is a bug");
            }
        }
    }
}

/// The way of clients from HTTP to the other connections.
struct Door(Weak<Hub<Streams>>);

impl XmppDoor for Door {
    fn admit(&self, client: SocketAddr, secure: bool) -> Option<Welcome> {
        let admitted = self.0.upgrade()?.admit(client, Via::WebSocket { secure })?;
        Some(Box::new(move |connection| admitted.serve(connection)))
    }

    fn admit_bosh(&self, client: SocketAddr, secure: bool) -> Option<BoshWelcome> {
        let admitted = self.0.upgrade()?.admit(client, Via::Bosh { secure })?;
        Some(Box::new(move |session| admitted.serve_bosh(session)))
    }
}

fn cannot_open(shared: &Shared, number: usize, listener: &Listener, source: std::io::Error) -> StartError {
    let place = Location::new(&shared.config_path.clone().into(), line_of(&shared.config_path, number));
    StartError::Listen { place, kind: listener.kind.name(), address: listener.address, source }
}

/// The line of the configuration that begins this listener; 0 where the listeners are those by default.
fn line_of(config: &std::path::Path, number: usize) -> usize {
    let text = std::fs::read_to_string(config).unwrap_or_default();
    let begins = |line: &str| line.split('#').next().is_some_and(|line| line.trim() == "[[listener]]");
    let mut lines = text.lines().enumerate().filter(|(_, line)| begins(line));
    lines.nth(number).map_or(0, |(index, _)| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_by_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("moult.toml");
        std::fs::write(&file, "[server]\n[[listener]]\nport = 1\n# [[listener]]\n  [[listener]] # two\n")
            .unwrap();
        assert_eq!((line_of(&file, 0), line_of(&file, 1), line_of(&file, 2)), (2, 5, 0));
    }
}
