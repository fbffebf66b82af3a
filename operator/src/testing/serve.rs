//! The API server over HTTP on loopback, for an operator in a process of its own. Beside what [`Cluster`] answers, it lists whole kinds and
//! tells of their changes, as watches ask; and its objects are as long as a real one's: they say who manages which field.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use http::{Method, StatusCode, Uri};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::cluster::Cluster;

/// Kinds that are watched: in the plural, in the singular, and their API.
const WATCHED: [(&str, &str, &str); 6] = [
    ("tables", "Table", "partita.dev/v1alpha1"),
    ("partitions", "Partition", "partita.dev/v1alpha1"),
    ("statefulsets", "StatefulSet", "apps/v1"),
    ("services", "Service", "v1"),
    ("poddisruptionbudgets", "PodDisruptionBudget", "policy/v1"),
    ("persistentvolumeclaims", "PersistentVolumeClaim", "v1"),
];

/// Changes that come together are told together, as a busy API server does.
const GATHER: Duration = Duration::from_millis(20);

/// A cluster that is served.
#[derive(Clone)]
pub struct Server {
    cluster: Cluster,
    changes: Arc<watch::Sender<u64>>,
    /// Where.
    pub url: String,
}

impl Server {
    /// Serves a cluster until the test ends.
    pub async fn start(cluster: Cluster) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            changes: Arc::new(watch::Sender::new(cluster.version())),
            cluster,
            url: format!("http://{}", listener.local_addr().unwrap()),
        };
        let router = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// What has changed since: tells after every write.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn list(&self, (plural, kind, api): (&str, &str, &str)) -> Value {
        let version = self.cluster.version().to_string();
        let items: Vec<Value> = self.cluster.all(plural).into_iter().map(managed).collect();
        json!({
            "kind": format!("{kind}List"), "apiVersion": api, "metadata": {"resourceVersion": version}, "items": items,
        })
    }

    /// What has changed of a kind since it was `known`, one JSON object to a line; notes it there.
    fn news(&self, plural: &str, since: u64, known: &mut BTreeMap<String, Value>) -> String {
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
        let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>();
        let now: BTreeMap<String, Value> = self
            .cluster
            .all(plural)
            .into_iter()
            .map(|one| (name(&one), one))
            .collect();
        let mut lines = String::new();
        let mut tell = |kind: &str, object: &Value| {
            lines.push_str(&json!({"type": kind, "object": managed(object.clone())}).to_string());
            lines.push('\n');
        };
        for (name, object) in &now {
            match known.get(name) {
                None if version(object).unwrap() > since => tell("ADDED", object),
                Some(before) if before != object => tell("MODIFIED", object),
                _ => {}
            }
        }
        for (name, object) in known.iter() {
            if !now.contains_key(name) {
                tell("DELETED", object);
            }
        }
        *known = now;
        lines
    }
}

/// With an entry that names every field: half of what an object has is that.
fn managed(mut object: Value) -> Value {
    let fields = json!({"f:spec": fields(&object["spec"]), "f:status": fields(&object["status"])});
    object["metadata"]["managedFields"] = json!([{
        "manager": "partita-operator", "operation": "Apply", "apiVersion": object["apiVersion"], "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": fields,
    }]);
    object
}

fn fields(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let named = members.iter().map(|(name, value)| (format!("f:{name}"), fields(value)));
            Value::Object(named.collect())
        }
        Value::Array(elements) => {
            let named = elements
                .iter()
                .enumerate()
                .map(|(place, value)| (format!("k:{place}"), fields(value)));
            Value::Object(named.collect())
        }
        _ => Value::Object(Map::new()),
    }
}

async fn answer(State(server): State<Server>, method: Method, uri: Uri, body: Bytes) -> Response {
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    let plural = path.rsplit('/').next().unwrap_or_default();
    let watched = WATCHED.into_iter().find(|(known, _, _)| *known == plural);
    if let Some(kind) = watched.filter(|_| method == Method::GET && !path.contains("/namespaces/")) {
        let asked = |key: &str| query.split('&').find_map(|part| part.strip_prefix(key));
        return match asked("watch=") {
            Some(_) => follow(
                server,
                kind.0,
                asked("resourceVersion=").unwrap_or("0").parse().unwrap(),
            ),
            None => respond(StatusCode::OK, Body::from(server.list(kind).to_string())),
        };
    }
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let (status, answer) = server.cluster.answer(&method, path, query, body);
    server.changes.send_replace(server.cluster.version());
    respond(status, Body::from(answer.to_string()))
}

fn respond(status: StatusCode, body: Body) -> Response {
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    response.body(body).unwrap()
}

/// A watch: it tells what changes for as long as somebody listens.
fn follow(server: Server, plural: &'static str, since: u64) -> Response {
    // What has come since the list is told at once; the rest is known.
    let mut known = server.cluster.all(plural);
    known.retain(|object| {
        object["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            <= since
    });
    let known: BTreeMap<String, Value> = known
        .into_iter()
        .map(|one| (one["metadata"]["name"].as_str().unwrap().to_owned(), one))
        .collect();
    let mut changes = server.changes();
    changes.mark_changed();
    let told = futures::stream::unfold(
        (server, changes, known),
        move |(server, mut changes, mut known)| async move {
            loop {
                changes.changed().await.ok()?;
                tokio::time::sleep(GATHER).await;
                changes.mark_unchanged();
                let lines = server.news(plural, since, &mut known);
                if !lines.is_empty() {
                    return Some((Ok::<_, Infallible>(lines), (server, changes, known)));
                }
            }
        },
    );
    respond(StatusCode::OK, Body::from_stream(told))
}
