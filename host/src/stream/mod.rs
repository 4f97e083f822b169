//! One XML stream: negotiation states, TLS, timeouts, stream errors; a core without I/O and a driver.

pub mod tls;
