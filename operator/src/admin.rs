//! `/metrics`, `/healthz` and `/readyz`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;

/// The format of Prometheus' text exposition.
const EXPOSITION_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the admin port shows.
#[derive(Debug, Default)]
pub struct Admin {
    registry: Registry,
    ready: AtomicBool,
}

impl Admin {
    /// Where metrics are registered.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Whether the process does (or could at once do) its work.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }
}

/// Answers until the process ends.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(admin);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the admin port ended");
    }
}

async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, &'static str) {
    if admin.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n")
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    match TextEncoder::new().encode_to_string(&admin.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, EXPOSITION_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    async fn text(response: Response) -> String {
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn it_is_ready_when_told_and_shows_what_is_measured() {
        let admin = Arc::new(Admin::default());
        assert_eq!(
            ready(State(Arc::clone(&admin))).await.0,
            StatusCode::SERVICE_UNAVAILABLE
        );
        admin.set_ready(true);
        assert_eq!(ready(State(Arc::clone(&admin))).await.0, StatusCode::OK);
        let measured = Metrics::register(admin.registry()).unwrap();
        measured.condition("shop", "orders", "Ready", true);
        measured.leader.set(1);
        let shown = text(metrics(State(Arc::clone(&admin))).await).await;
        let condition = r#"partita_table_condition{condition="Ready",namespace="shop",table="orders"} 1"#;
        assert!(
            shown.contains(condition) && shown.contains("partita_operator_leader 1"),
            "{shown}"
        );
        measured.forget("shop", "orders", &["Ready", "Stalled"]);
        assert!(!text(metrics(State(admin)).await).await.contains("orders"));
    }
}
