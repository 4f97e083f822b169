//! XMPP clients that come over HTTP: who they are, and who serves them.
//!
//! Encryption: a request from this machine comes from a proxy, or from somebody who needs none. Such a proxy says where
//! the client is and whether it came by https; nobody else is believed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::HeaderMap;

use crate::stream::bosh::BoshSession;
use crate::stream::io::Socket;

/// Somebody who serves XMPP clients that come over HTTP.
pub trait XmppDoor: Send + Sync {
    /// What to do with the client's connection once the upgrade has been answered; `None` if there is no room for it.
    fn admit(&self, client: SocketAddr, secure: bool) -> Option<Welcome>;

    /// What to do with the client's session once it has begun; `None` if there is no room for it.
    fn admit_bosh(&self, client: SocketAddr, secure: bool) -> Option<BoshWelcome>;
}

/// Takes the upgraded connection.
pub type Welcome = Box<dyn FnOnce(Box<dyn Socket>) + Send>;

/// Takes a session of BOSH.
pub type BoshWelcome = Box<dyn FnOnce(Arc<BoshSession>) + Send>;

/// Where the client is, and whether what it says is encrypted on its way to this machine.
pub(super) fn client_of(peer: SocketAddr, headers: &HeaderMap) -> (SocketAddr, bool) {
    if !peer.ip().to_canonical().is_loopback() {
        return (peer, false);
    }
    let last = |name: &str| {
        let value = headers.get_all(name).into_iter().next_back()?.to_str().ok()?;
        value.rsplit(',').next().map(str::trim)
    };
    let client = last("x-forwarded-for").and_then(|address| address.parse::<IpAddr>().ok());
    let secure = last("x-forwarded-proto").is_none_or(|proto| matches!(proto, "https" | "wss"));
    (client.map_or(peer, |address| SocketAddr::new(address, 0)), secure)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (name.parse::<header::HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        });
        pairs.collect()
    }

    #[test]
    fn only_a_proxy_on_this_machine_is_believed() {
        let forwarded =
            headers(&[("x-forwarded-for", "10.0.0.1, 192.0.2.7"), ("x-forwarded-proto", "https")]);
        let local: SocketAddr = "127.0.0.1:5000".parse().unwrap();
        let remote: SocketAddr = "192.0.2.1:5000".parse().unwrap();
        assert_eq!(client_of(local, &forwarded), ("192.0.2.7:0".parse().unwrap(), true));
        assert_eq!(client_of(remote, &forwarded), (remote, false));
        assert_eq!(client_of(local, &HeaderMap::new()), (local, true));
        let plain = headers(&[("x-forwarded-for", "nonsense"), ("x-forwarded-proto", "http")]);
        assert_eq!(client_of("[::1]:5000".parse().unwrap(), &plain), ("[::1]:5000".parse().unwrap(), false));
    }
}
