//! What the operator asks of a store: the API of [`partita_model::admin`].
//!
//! 1. Ids and bodies are parsed; what cannot be is answered 400, with the reason.
//! 2. What is asked for is compared with what is there: done already, to be done, or not possible (409).
//! 3. It is done, and the state that results is answered.

mod digest;
mod members;
mod merge;
mod problem;
mod recover;
mod split;
mod state;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use partita_model::admin::ProblemCode;
use partita_model::hexadecimal;
use partita_model::partition::{GroupId, PartitionDescriptor, PartitionKind};
use partita_model::request::Refusal;
use partita_model::schema::{IndexId, TableSchema};
use partita_partition::command::Command;
use partita_replication::{Group, Store};
use partita_tls::Role;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::problem::Problem;
use super::node::Node;
use crate::admin::{self, Admin};
use crate::serving::walk::Purpose;

/// Bytes of a body: a schema with the most indexes there can be is a small part of it.
const BODY_BYTES_MAX: usize = 1 << 20;

type Shared = State<Arc<Admin<Node>>>;
type Body = Result<Bytes, BytesRejection>;

/// Who may make these calls, where there is mutual TLS.
pub const CALLERS: &[Role] = &[Role::Operator, Role::Admin];

/// All routes.
pub fn router(admin: Arc<Admin<Node>>) -> axum::Router {
    admin::router()
        .route("/store", get(store))
        .route("/hot-keys", get(hot_keys))
        .route("/groups/{id}", get(get_group).put(put_group).delete(delete_group))
        .route("/groups/{id}/voters", put(members::put_voters))
        .route("/groups/{id}/replica", put(members::put_replica))
        .route("/groups/{id}/changes/{change}", put(members::put_change))
        .route("/groups/{id}/leader", put(members::put_leader))
        .route("/groups/{id}/split-point", get(split::split_point))
        .route("/groups/{id}/splits/{split}", put(split::put_split))
        .route("/groups/{id}/freezes/{merge}", put(merge::put_freeze))
        .route("/groups/{id}/merges/{merge}", put(merge::put_merge))
        .route("/groups/{id}/refusals/{merge}", put(merge::put_refusal))
        .route("/groups/{id}/thaws/{merge}", put(merge::put_thaw))
        .route("/groups/{id}/survivor", get(recover::get_survivor))
        .route("/groups/{id}/recoveries/{order}", put(recover::put_recovery))
        .route("/groups/{id}/digest", post(digest::post_digest))
        .route("/peers", put(members::put_peers))
        .route("/drain", put(members::put_drain).delete(members::delete_drain))
        .route("/groups/{id}/schema", put(put_schema))
        .route("/groups/{id}/backfill/{index}", put(put_backfill))
        .route("/groups/{id}/expiry/{switch}", put(put_expiry))
        .fallback(async || Problem::not_found("there is no such page"))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(admin)
}

async fn store(State(admin): Shared) -> Result<Response, Problem> {
    let node = serving_node(&admin)?;
    json(&state::store(&node))
}

async fn get_group(State(admin): Shared, Path(id): Path<String>) -> Result<Response, Problem> {
    let node = serving_node(&admin)?;
    let group = group(&node, &id)?;
    json(&state::group(&node, &group))
}

async fn hot_keys(State(admin): Shared) -> Result<Response, Problem> {
    json(&serving_node(&admin)?.admission.hot_keys())
}

async fn put_group(State(admin): Shared, Path(id): Path<String>, body: Body) -> Result<Response, Problem> {
    let node = serving_node(&admin)?;
    let id = group_id(&id)?;
    let wanted: PartitionDescriptor = parse(body)?;
    check(id, &wanted)?;
    let group = match node.store.group(id) {
        Some(group) => group,
        None => {
            let born = wanted.clone();
            make(&node.store, &wanted, move |store| store.bootstrap(born)).await?
        }
    };
    check_same(&group, &wanted)?;
    json(&state::group(&node, &group))
}

/// Whether a group that is here is the wanted one.
fn check_same(group: &Group, wanted: &PartitionDescriptor) -> Result<(), Problem> {
    let found = group.descriptor();
    match same(&found, wanted) {
        true => Ok(()),
        false => Err(Problem::conflict(format!(
            "the group exists as another partition: of table {:016x}, from {} to {}",
            found.table.0,
            bound(Some(&found.start)),
            bound(found.end.as_ref()),
        ))),
    }
}

/// Makes a group, unless its rows would mingle with another's.
async fn make(
    store: &Arc<Store>,
    wanted: &PartitionDescriptor,
    birth: impl FnOnce(&Store) -> Result<Arc<Group>, Refusal> + Send + 'static,
) -> Result<Arc<Group>, Problem> {
    let id = wanted.group;
    let overlapping = store
        .groups()
        .into_iter()
        .map(|group| group.descriptor())
        .find(|other| {
            let below = |start: &PartitionDescriptor, end: &PartitionDescriptor| {
                end.end.as_ref().is_none_or(|end| start.start < *end)
            };
            other.group != id && other.table == wanted.table && below(other, wanted) && below(wanted, other)
        });
    if let Some(other) = overlapping {
        return Err(Problem::conflict(format!(
            "group {:016x} holds a part of the same range of table {:016x} here",
            other.group.0, other.table.0
        ))
        .with(ProblemCode::Overlaps));
    }
    let store = Arc::clone(store);
    let made = blocking(move || birth(&store)).await;
    let group = made.map_err(|refusal| match refusal {
        Refusal::WrongRange => {
            let reason =
                "the group (or a later replica of it) was here and has been destroyed: an id is never used again";
            Problem::conflict(reason.to_owned()).with(ProblemCode::Destroyed)
        }
        refusal => refusal.into(),
    })?;
    tracing::info!(group = format!("{:016x}", id.0), "a group is here");
    Ok(group)
}

async fn delete_group(
    State(admin): Shared,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let node = serving_node(&admin)?;
    let id = group_id(&id)?;
    let meant = query.as_deref().map(replica_of).transpose()?;
    let here = node.store.group(id).map(|group| group.stats().replica);
    if let Some(here) = here.filter(|here| meant.is_none_or(|meant| meant == *here)) {
        node.jobs.forget(id);
        let store = Arc::clone(&node.store);
        blocking(move || store.destroy_replica(id, here)).await?;
        tracing::info!(group = format!("{:016x}", id.0), replica = here, "a group is gone");
        node.jobs.forget(id);
    }
    json(&serde_json::json!({}))
}

/// The replica that is to go, in a query.
fn replica_of(query: &str) -> Result<u64, Problem> {
    let number = query.strip_prefix("replica=").and_then(|number| number.parse().ok());
    number.ok_or_else(|| Problem::bad("the query is `replica=` and the number of the replica that is to go, or none"))
}

async fn put_schema(State(admin): Shared, Path(id): Path<String>, body: Body) -> Result<Response, Problem> {
    let node = serving_node(&admin)?;
    let group = group(&node, &id)?;
    let wanted: Arc<TableSchema> = Arc::new(parse(body)?);
    check_leads(&node, &group)?;
    let known = schema_of(&group)?;
    if known.id != wanted.id {
        return Err(Problem::conflict(format!("the group is of table {:016x}", known.id.0)));
    }
    if known.version < wanted.version {
        let told = group.command(Command::SetSchema(Arc::clone(&wanted))).await;
        // Somebody else may have told the same, or something newer, at the same time.
        let known = schema_of(&group)?;
        match told {
            Ok(_) => {}
            Err(Refusal::StaleSchema) if known.version >= wanted.version => {}
            Err(Refusal::StaleSchema) => {
                let fixed = "the schema differs in what cannot change: seed, name, keys or local indexes";
                return Err(Problem::conflict(fixed.to_owned()));
            }
            Err(refusal) => return Err(refusal.into()),
        }
    }
    json(&state::group(&node, &group))
}

async fn put_backfill(State(admin): Shared, Path((id, index)): Path<(String, String)>) -> Result<Response, Problem> {
    let number = index.parse().map_err(|_| Problem::bad("an index's id is its number"))?;
    begin(&admin, &id, Purpose::Backfill(IndexId(number)))
}

async fn put_expiry(State(admin): Shared, Path((id, switch)): Path<(String, String)>) -> Result<Response, Problem> {
    let purpose = match switch.as_str() {
        "on" => Purpose::IndexExpiry,
        "off" => Purpose::DropExpiry,
        _ => return Err(Problem::not_found("expiry is on or off")),
    };
    begin(&admin, &id, purpose)
}

/// Begins a walk, or says how far it is.
fn begin(admin: &Admin<Node>, id: &str, purpose: Purpose) -> Result<Response, Problem> {
    let node = serving_node(admin)?;
    let group = group(&node, id)?;
    check_leads(&node, &group)?;
    let schema = schema_of(&group)?;
    if !purpose.fits(&schema) {
        let version = schema.version.0;
        return Err(Problem::conflict(match purpose {
            Purpose::Backfill(index) => format!("version {version} of the schema has no global index {}", index.0),
            Purpose::IndexExpiry => format!("version {version} of the schema has no time to live"),
            Purpose::DropExpiry => format!("version {version} of the schema has time to live"),
        }));
    }
    json(&node.jobs.begin(&group, purpose, schema.version))
}

fn serving_node(admin: &Admin<Node>) -> Result<Arc<Node>, Problem> {
    let unavailable = || Problem::unavailable("the process is starting or stopping".to_owned());
    admin.serving().ok_or_else(unavailable)
}

fn group_id(text: &str) -> Result<GroupId, Problem> {
    let id = hexadecimal::parse_id(text).filter(|id| *id != 0);
    id.map(GroupId)
        .ok_or_else(|| Problem::bad("a group's id has 16 hexadecimal digits that are not all 0"))
}

fn group(node: &Node, id: &str) -> Result<Arc<Group>, Problem> {
    let group = node.store.group(group_id(id)?);
    group.ok_or_else(|| Problem::not_found("the store has no such group"))
}

/// What the group's log or data is to change by has to go to its leader.
fn check_leads(node: &Node, group: &Group) -> Result<(), Problem> {
    match group.leadership().borrow().serving {
        0 => Err(Problem::not_leader(state::leader(node, group))),
        _ => Ok(()),
    }
}

fn schema_of(group: &Group) -> Result<Arc<TableSchema>, Problem> {
    let schema = group.descriptor().schema().cloned();
    schema.ok_or_else(|| Problem::conflict("the group is of a global index: only a table's has a schema".to_owned()))
}

fn parse<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let body = body.map_err(|rejection| Problem::body(&rejection))?;
    serde_json::from_slice(&body).map_err(Problem::bad)
}

/// Whether a descriptor makes sense, and is the named group's.
fn check(id: GroupId, descriptor: &PartitionDescriptor) -> Result<(), Problem> {
    let own = match &descriptor.kind {
        PartitionKind::Table(schema) => schema.id,
        PartitionKind::Index { index, .. } => index.table,
    };
    let empty = descriptor.end.as_ref().is_some_and(|end| *end <= descriptor.start);
    match () {
        () if descriptor.group != id => Err(Problem::bad("the descriptor is another group's")),
        () if descriptor.table != own => Err(Problem::bad("table is not the id of what the partition holds")),
        () if empty => Err(Problem::bad("the range is empty")),
        () => Ok(()),
    }
}

/// Whether two descriptors are the same partition's, whatever has happened to its schema since it was made.
fn same(a: &PartitionDescriptor, b: &PartitionDescriptor) -> bool {
    let contents = match (&a.kind, &b.kind) {
        (PartitionKind::Table(a), PartitionKind::Table(b)) => a.id == b.id && a.seed == b.seed && a.keys == b.keys,
        (
            PartitionKind::Index { base, base_keys, index },
            PartitionKind::Index {
                base: other_base,
                base_keys: other_keys,
                index: other,
            },
        ) => {
            base == other_base
                && base_keys == other_keys
                && index.id == other.id
                && index.seed == other.seed
                && index.keys == other.keys
        }
        _ => false,
    };
    contents && (a.group, a.table) == (b.group, b.table) && (&a.start, &a.end) == (&b.start, &b.end)
}

fn bound(key: Option<&partita_model::key::KeyBytes>) -> String {
    match key {
        Some(key) if key.0.is_empty() => "its beginning".to_owned(),
        Some(key) => hex::encode(&key.0),
        None => "its end".to_owned(),
    }
}

fn json<T: Serialize>(body: &T) -> Result<Response, Problem> {
    let text = serde_json::to_string(body).map_err(Problem::internal)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// Runs what waits for the disk off this thread, to its end also when the caller goes away. A panic in it ends the
/// process, so it always answers.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(Refusal::Stopping))
}
