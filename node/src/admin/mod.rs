//! The admin API as far as every role has it: `/metrics`, `/healthz`, `/readyz`.
//!
//! It is there from the first moment: `/healthz` says that the process is alive, `/readyz` that it serves. A role adds
//! routes of its own.

pub mod client;
pub mod exposition;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parking_lot::RwLock;
use prometheus::Registry;
use tokio::net::TcpListener;

/// The format of Prometheus' text exposition.
const EXPOSITION_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a role shows once it serves.
pub trait Measured: Send + Sync + 'static {
    /// Appends what is measured when it is asked for, in Prometheus' text format, beside what is in the registry.
    fn expose(&self, text: &mut String);
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
            registry: Registry::new(),
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
    if let Some(shown) = admin.shown() {
        shown.expose(&mut text);
    }
    ([(header::CONTENT_TYPE, EXPOSITION_TYPE)], text).into_response()
}
