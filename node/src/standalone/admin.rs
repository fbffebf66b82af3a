//! The admin API: `/metrics`, `/healthz`, `/readyz`, `/tables`.
//!
//! It is there from the first moment: `/healthz` says that the process is alive, `/readyz` that tables can be used.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parking_lot::RwLock;
use partita_model::table::record::{Owner, PartitionRecord};
use partita_model::table::{Status, TimeToLiveStatus};
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::catalog::Table;
use super::exposition;
use super::manifests::Manifests;
use super::tables::Tables;

/// The format of Prometheus' text exposition.
const EXPOSITION_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the admin API shows.
pub struct Admin {
    registry: Registry,
    phase: RwLock<Phase>,
}

/// How far the process is.
enum Phase {
    Starting,
    Serving {
        tables: Arc<Tables>,
        manifests: Option<Arc<Manifests>>,
    },
    Stopping,
}

impl Admin {
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

    /// Tables can be used from now on.
    pub fn serves(&self, tables: Arc<Tables>, manifests: Option<Arc<Manifests>>) {
        *self.phase.write() = Phase::Serving { tables, manifests };
    }

    /// The process is about to leave.
    pub fn stops(&self) {
        *self.phase.write() = Phase::Stopping;
    }
}

/// Answers until the process ends.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/tables", get(tables))
        .with_state(admin);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the admin API ended");
    }
}

async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, &'static str) {
    match *admin.phase.read() {
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Phase::Serving { .. } => (StatusCode::OK, "ready\n"),
        Phase::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let mut text = match prometheus::TextEncoder::new().encode_to_string(&admin.registry.gather()) {
        Ok(text) => text,
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    };
    if let Phase::Serving { tables, .. } = &*admin.phase.read() {
        exposition::write(&mut text, tables);
    }
    ([(header::CONTENT_TYPE, EXPOSITION_TYPE)], text).into_response()
}

async fn tables(State(admin): State<Arc<Admin>>) -> Response {
    let Phase::Serving { tables, manifests } = &*admin.phase.read() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the process is starting or stopping\n").into_response();
    };
    let described: Vec<Value> = tables
        .catalog
        .all()
        .iter()
        .map(|table| describe(tables, table))
        .collect();
    let folder = manifests.as_ref().map(|manifests| manifests.folder.clone());
    let problems = manifests
        .as_ref()
        .map(|manifests| manifests.problems())
        .unwrap_or_default();
    let body = json!({"tables": described, "manifests": {"folder": folder, "problems": problems}});
    ([(header::CONTENT_TYPE, "application/json")], format!("{body:#}\n")).into_response()
}

fn describe(tables: &Tables, table: &Table) -> Value {
    let record = table.record();
    let description = tables.describe(&record);
    let indexes = record.global.iter().zip(&description.global).map(|(index, state)| {
        json!({
            "name": index.name,
            "status": status(state.status),
            "backfilling": state.backfilling.unwrap_or(false),
            "items": state.items,
            "bytes": state.bytes,
            "partitions": partitions(&index.partitions),
        })
    });
    let owner = match &record.owner {
        Owner::Api => json!({"kind": "api"}),
        Owner::Manifest(by) => json!({"kind": "manifest", "file": by.file, "resource": by.resource}),
        Owner::Retained(by) => json!({"kind": "retained", "file": by.file, "resource": by.resource}),
    };
    json!({
        "name": record.spec.name,
        "account": record.account,
        "id": format!("{:016x}", record.id.0),
        "status": status(description.status),
        "owner": owner,
        "items": description.items,
        "bytes": description.bytes,
        "partitions": partitions(&record.partitions),
        "globalSecondaryIndexes": indexes.collect::<Vec<_>>(),
        "timeToLive": {
            "attribute": record.spec.time_to_live,
            "status": match description.time_to_live {
                TimeToLiveStatus::Enabled => "ENABLED",
                TimeToLiveStatus::Disabled => "DISABLED",
                TimeToLiveStatus::Enabling => "ENABLING",
                TimeToLiveStatus::Disabling => "DISABLING",
            },
        },
    })
}

fn partitions(partitions: &[PartitionRecord]) -> Vec<Value> {
    let show = |partition: &PartitionRecord| json!({"group": format!("{:016x}", partition.group.0), "start": hex::encode(&partition.start.0)});
    partitions.iter().map(show).collect()
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Creating => "CREATING",
        Status::Updating => "UPDATING",
        Status::Deleting => "DELETING",
        Status::Active => "ACTIVE",
    }
}
