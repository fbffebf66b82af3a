//! The admin API as far as every role has it: `/metrics`, `/healthz`, `/readyz`.
//!
//! It is there from the first moment: `/healthz` says that the process is alive, `/readyz` that it serves, `/readyz/replicas`
//! that it can be counted on as well: whoever stops one replica of a group after the other waits for that. A role adds routes
//! of its own.
//!
//! Where processes speak mutual TLS with each other there are two addresses ([`Addresses`]): one over mutual TLS with all
//! routes, for peers, and the plain one, for the kubelet and Prometheus, with nothing but those above.

pub mod client;
pub mod exposition;
mod own;
mod secured;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parking_lot::RwLock;
use partita_tls::{Current, Mutual, Role};
use prometheus::Registry;
use tokio::net::TcpListener;

use crate::cli::Peers;
use crate::process;

/// The format of Prometheus' text exposition.
const EXPOSITION_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The addresses of an admin API, bound.
pub struct Addresses {
    listener: TcpListener,
    mutual: Option<(TcpListener, Current<Mutual>)>,
    /// The plain address.
    pub admin: SocketAddr,
    /// The address over mutual TLS.
    pub admin_tls: Option<SocketAddr>,
}

impl Addresses {
    /// Binds one address, or both where there are certificates for peers.
    pub async fn bind(admin: SocketAddr, peers: &Peers, tls: Option<&Current<Mutual>>) -> anyhow::Result<Self> {
        let (listener, admin) = process::bind("--admin-listen", admin).await?;
        let mut addresses = Self {
            listener,
            mutual: None,
            admin,
            admin_tls: None,
        };
        if let Some(tls) = tls {
            let (listener, bound) = process::bind("--admin-tls-listen", peers.admin_tls_listen).await?;
            addresses.admin_tls = Some(bound);
            addresses.mutual = Some((listener, tls.clone()));
        }
        Ok(addresses)
    }

    /// Answers until the process ends: calls of a role's own only to peers of these roles, where there is mutual TLS.
    pub fn serve<T: Measured>(self, admin: &Arc<Admin<T>>, routes: Router, roles: &'static [Role]) {
        let Some((mutual, tls)) = self.mutual else {
            tokio::spawn(serve(self.listener, routes));
            return;
        };
        let open = router().fallback(refused).with_state(Arc::clone(admin));
        tokio::spawn(serve(self.listener, open));
        tokio::spawn(secured::serve(mutual, tls, roles, routes));
    }
}

/// What a call without a certificate is answered.
async fn refused() -> Response {
    let message = "this needs a certificate: it is answered over mutual TLS only, at --admin-tls-listen";
    let body = serde_json::json!({ "message": message }).to_string();
    (
        StatusCode::FORBIDDEN,
        [(header::CONTENT_TYPE, "application/json")],
        body,
    )
        .into_response()
}

/// What a role shows once it serves.
pub trait Measured: Send + Sync + 'static {
    /// Appends what is measured when it is asked for, in Prometheus' text format, beside what is in the registry.
    fn expose(&self, text: &mut String);

    /// Whether the replicas here, if the role has any, have caught up since the process started; else what is missing.
    fn caught_up(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The state of an admin API.
pub struct Admin<T> {
    registry: Registry,
    phase: RwLock<Phase<T>>,
}

/// How far the process is.
enum Phase<T> {
    Starting,
    Serving(Arc<T>),
    Stopping(Option<Arc<T>>),
}

impl<T: Measured> Admin<T> {
    /// Of a process that starts.
    pub fn new() -> Self {
        Self {
            registry: {
                own::begin();
                Registry::new()
            },
            phase: RwLock::new(Phase::Starting),
        }
    }

    /// Where counters are registered.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The process serves from now on.
    pub fn serves(&self, shown: Arc<T>) {
        *self.phase.write() = Phase::Serving(shown);
    }

    /// The process is about to leave. What it measures can be read to the end.
    pub fn stops(&self) {
        let mut phase = self.phase.write();
        let shown = match &*phase {
            Phase::Serving(shown) => Some(Arc::clone(shown)),
            Phase::Starting | Phase::Stopping(_) => None,
        };
        *phase = Phase::Stopping(shown);
    }

    /// What is served, unless the process is starting or stopping.
    pub fn serving(&self) -> Option<Arc<T>> {
        match &*self.phase.read() {
            Phase::Serving(shown) => Some(Arc::clone(shown)),
            Phase::Starting | Phase::Stopping(_) => None,
        }
    }

    fn shown(&self) -> Option<Arc<T>> {
        match &*self.phase.read() {
            Phase::Serving(shown) => Some(Arc::clone(shown)),
            Phase::Stopping(shown) => shown.clone(),
            Phase::Starting => None,
        }
    }
}

/// The routes that every role has.
pub fn router<T: Measured>() -> Router<Arc<Admin<T>>> {
    Router::new()
        .route("/metrics", get(metrics::<T>))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready::<T>))
        .route("/readyz/replicas", get(caught_up::<T>))
}

/// Answers until the process ends.
pub async fn serve(listener: TcpListener, router: Router) {
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the admin API ended");
    }
}

async fn ready<T: Measured>(State(admin): State<Arc<Admin<T>>>) -> (StatusCode, &'static str) {
    match *admin.phase.read() {
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Phase::Serving(_) => (StatusCode::OK, "ready\n"),
        Phase::Stopping(_) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}

async fn caught_up<T: Measured>(State(admin): State<Arc<Admin<T>>>) -> (StatusCode, String) {
    let (status, word) = ready(State(Arc::clone(&admin))).await;
    match admin.serving().map(|serving| serving.caught_up()) {
        Some(Err(missing)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")),
        Some(Ok(())) | None => (status, word.to_owned()),
    }
}

async fn metrics<T: Measured>(State(admin): State<Arc<Admin<T>>>) -> Response {
    let mut text = match prometheus::TextEncoder::new().encode_to_string(&admin.registry.gather()) {
        Ok(text) => text,
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    };
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    exposition::family(
        &mut text,
        "partita_build_info",
        "gauge",
        "The version of this process",
        &[(version, 1)],
    );
    own::expose(&mut text);
    if let Some(shown) = admin.shown() {
        shown.expose(&mut text);
    }
    ([(header::CONTENT_TYPE, EXPOSITION_TYPE)], text).into_response()
}
