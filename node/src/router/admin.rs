//! What a router's admin API shows: `/metrics`, `/healthz`, `/readyz`, and `/directory` for other routers and replicas.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use partita_tls::{Current, Https, Mutual, Role};
use partita_transport::Client;

use crate::admin::exposition::family;
use crate::admin::{self, Admin, Measured};
use crate::directory::{Directory, serve};
use crate::tls;

/// What is measured when it is asked for.
pub struct Shown {
    /// The tables.
    pub directory: Arc<Directory>,
    /// The calls to nodes.
    pub client: Client,
    /// How often a request has waited before it was sent again.
    pub pauses: Arc<AtomicU64>,
    /// How many access keys there are; `None` when everybody may call.
    pub keys: Option<Box<dyn Fn() -> usize + Send + Sync>>,
    /// The certificates for nodes and others.
    pub tls: Option<Current<Mutual>>,
    /// The certificate for clients.
    pub https: Option<Current<Https>>,
}

/// Who may make these calls, where there is mutual TLS.
pub const CALLERS: &[Role] = &[Role::Router, Role::Replica, Role::Operator, Role::Admin];

/// The admin API's routes.
pub fn router(admin: Arc<Admin<Shown>>, directory: Arc<Directory>) -> Router {
    admin::router()
        .route("/directory", serve::route(directory))
        .with_state(admin)
}

impl Measured for Shown {
    fn expose(&self, text: &mut String) {
        self.expose_directory(text);
        self.expose_client(text);
        family(
            text,
            "partita_router_pauses_total",
            "counter",
            "Times that a request waited before it was sent again: nobody was known to lead its partition, or to have its keys",
            &[(String::new(), self.pauses.load(Ordering::Relaxed))],
        );
        let peers = self.tls.as_ref().map(|tls| ("peers", tls.status()));
        let clients = self.https.as_ref().map(|https| ("https", https.status()));
        let certificates: Vec<_> = peers.into_iter().chain(clients).collect();
        if !certificates.is_empty() {
            tls::expose(text, &certificates);
        }
        if let Some(count) = &self.keys {
            gauge(
                text,
                "partita_access_keys",
                "Access keys that are known",
                count() as u64,
            );
        }
    }
}

impl Shown {
    fn expose_directory(&self, text: &mut String) {
        let listing = self.directory.current();
        let served = listing.tables.iter().filter(|entry| entry.served()).count();
        gauge(
            text,
            "partita_directory_tables",
            "Tables in the directory",
            listing.tables.len() as u64,
        );
        gauge(
            text,
            "partita_directory_tables_served",
            "Tables in the directory that can be read and written",
            served as u64,
        );
        gauge(
            text,
            "partita_directory_revision",
            "A number that changes with the directory's content",
            listing.revision,
        );
        family(
            text,
            "partita_directory_source_away_seconds",
            "gauge",
            "For how long the directory's source has not answered; 0 while it does",
            &[(String::new(), self.directory.source_away().as_secs_f64())],
        );
    }

    fn expose_client(&self, text: &mut String) {
        let stats = self.client.stats();
        let gauges = [
            (
                "partita_transport_connections",
                "Open connections to nodes",
                stats.connections,
            ),
            (
                "partita_transport_in_flight",
                "Calls sent to nodes and not yet answered",
                stats.in_flight,
            ),
        ];
        for (name, help, value) in gauges {
            gauge(text, name, help, value);
        }
        let counters = [
            (
                "partita_transport_connections_opened_total",
                "Connections opened to nodes",
                stats.connections_opened,
            ),
            (
                "partita_transport_connections_failed_total",
                "Attempts to connect to nodes that failed",
                stats.connections_failed,
            ),
            (
                "partita_transport_connections_lost_total",
                "Connections that ended with calls waiting",
                stats.connections_lost,
            ),
            (
                "partita_transport_requests_total",
                "Requests sent to nodes",
                stats.requests,
            ),
            (
                "partita_transport_repeated_total",
                "Requests repeated because their connection ended",
                stats.repeated,
            ),
            (
                "partita_transport_not_sent_total",
                "Calls that found no node",
                stats.not_sent,
            ),
            (
                "partita_transport_lost_total",
                "Calls sent and never answered",
                stats.lost,
            ),
            (
                "partita_transport_received_bytes_total",
                "Bytes received from nodes",
                stats.bytes_in,
            ),
            (
                "partita_transport_sent_bytes_total",
                "Bytes sent to nodes",
                stats.bytes_out,
            ),
        ];
        for (name, help, value) in counters {
            family(text, name, "counter", help, &[(String::new(), value)]);
        }
    }
}

fn gauge(text: &mut String, name: &str, help: &str, value: u64) {
    family(text, name, "gauge", help, &[(String::new(), value)]);
}
