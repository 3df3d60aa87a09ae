//! What one plane allows at once and for how long.

use std::time::Duration;

/// Bounds of one [`Plane`](super::Plane). The defaults suit a handful of services on a private
/// network; each says what it protects.
#[derive(Clone, Debug)]
pub struct Limits {
    /// TLS handshakes in progress. Each costs a signature and a chain verification before we know
    /// anybody's name; above this, the oldest is dropped for the newcomer.
    pub handshakes_max: usize,
    /// TLS handshakes in progress from one address (IPv6: one /64); above this, its own oldest is
    /// dropped. So that one address alone never costs another its turn.
    pub handshakes_per_source_max: usize,
    /// From accepted TCP connection to a finished handshake: no silent client holds a slot longer.
    pub handshake_timeout: Duration,
    /// Authenticated connections, all identities together.
    pub connections_max: usize,
    /// Authenticated connections of one identity, so that one caller's leak locks out nobody else.
    pub connections_per_identity_max: usize,
    /// Age at which a connection is asked to go away, a little less for some so that they do not
    /// all return at once. The backstop for whatever the checks on live connections have missed.
    pub connection_age_max: Duration,
    /// How long requests in flight may take after a connection was asked to go away, and how long
    /// a plane may take to stop.
    pub drain_timeout: Duration,
    /// How often a live connection's whole chain is verified again without any cause. Finds what
    /// has no event of its own: an expired CRL or intermediate, a clock set back.
    pub recheck_interval: Duration,
    /// HTTP/2 streams of one connection at once.
    pub streams_max: u32,
    /// HTTP/2 flow control window of one stream, in bytes. Requests are small.
    pub stream_window_bytes: u32,
    /// HTTP/2 flow control window of one connection, in bytes.
    pub connection_window_bytes: u32,
    /// Decoded header list of one request, in bytes.
    pub header_list_bytes_max: u32,
    /// Reply bytes buffered for one stream whose reader is slow.
    pub send_buffer_bytes_max: usize,
    /// Silence after which a connection is pinged.
    pub keepalive_interval: Duration,
    /// How long the answer to a ping may take before the connection is closed.
    pub keepalive_timeout: Duration,
    /// Streams reset by the peer that may wait to be accepted (rapid reset, CVE-2023-44487).
    pub pending_accept_resets_max: usize,
    /// Streams that we reset for the peer's protocol errors before the connection is closed.
    pub local_error_resets_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshakes_max: 256,
            handshakes_per_source_max: 64,
            handshake_timeout: Duration::from_secs(5),
            connections_max: 1024,
            connections_per_identity_max: 64,
            connection_age_max: Duration::from_secs(15 * 60),
            drain_timeout: Duration::from_secs(15),
            recheck_interval: Duration::from_secs(30),
            streams_max: 64,
            stream_window_bytes: 64 * 1024,
            connection_window_bytes: 256 * 1024,
            header_list_bytes_max: 8 * 1024,
            send_buffer_bytes_max: 64 * 1024,
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
            pending_accept_resets_max: 20,
            local_error_resets_max: 256,
        }
    }
}
