//! What standalone adds to the admin API: `/tables`, `/hot-keys`, and what store and tables measure.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use partita_model::table::record::{Owner, PartitionRecord};
use partita_model::table::{Status, TimeToLiveStatus};
use partita_tls::{Current, Https};
use serde_json::{Value, json};

use super::catalog::Table;
use super::exposition;
use super::manifests::Manifests;
use super::tables::Tables;
use crate::admin::{self, Admin, Measured};
use crate::serving::expiry::ExpiredItems;
use crate::{serving, tls};

/// What the admin API shows.
pub struct Shown {
    /// Every table.
    pub tables: Arc<Tables>,
    /// The manifests' folder, if one is followed.
    pub manifests: Option<Arc<Manifests>>,
    /// Items removed because their time to live had run out.
    pub expired_items: Arc<ExpiredItems>,
    /// The certificate for clients.
    pub https: Option<Current<Https>>,
}

impl Measured for Shown {
    fn expose(&self, text: &mut String) {
        serving::exposition::store(text, &self.tables.store.stats());
        self.expired_items.expose(text, &self.tables.store);
        exposition::write(text, &self.tables);
        if let Some(https) = &self.https {
            tls::expose(text, &[("https", https.status())]);
        }
        let there = |group| self.tables.store.group(group).is_some();
        self.tables.admission.expose(text, there);
    }
}

/// All routes.
pub fn router(admin: Arc<Admin<Shown>>) -> Router {
    admin::router()
        .route("/tables", get(tables))
        .route("/hot-keys", get(hot_keys))
        .with_state(admin)
}

async fn hot_keys(State(admin): State<Arc<Admin<Shown>>>) -> Response {
    let Some(shown) = admin.serving() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the process is starting or stopping\n").into_response();
    };
    let body = shown.tables.admission.hot_keys();
    ([(header::CONTENT_TYPE, "application/json")], format!("{body:#}\n")).into_response()
}

async fn tables(State(admin): State<Arc<Admin<Shown>>>) -> Response {
    let Some(shown) = admin.serving() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the process is starting or stopping\n").into_response();
    };
    let tables = &shown.tables;
    let described: Vec<Value> = tables
        .catalog
        .all()
        .iter()
        .map(|table| describe(tables, table))
        .collect();
    let folder = shown.manifests.as_ref().map(|manifests| manifests.folder.clone());
    let problems = shown
        .manifests
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
