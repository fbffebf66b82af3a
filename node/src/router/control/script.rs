//! An API server for tests: it keeps Table resources, answers as the real one does, and notes what it was asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body;
use parking_lot::Mutex;
use partita_crds::Table;
use serde_json::{Value, json};

/// What somebody else does to the resources.
type Change = Box<dyn FnOnce(&mut BTreeMap<String, Value>) + Send>;

/// The resources by name, and what was asked.
#[derive(Default)]
pub struct Script {
    pub tables: Mutex<BTreeMap<String, Value>>,
    pub asked: Mutex<Vec<String>>,
    /// Answered to the next requests, before anything else.
    pub failures: Mutex<Vec<(StatusCode, Value)>>,
    /// Done by somebody else between the next look and the write that follows it.
    pub meanwhile: Mutex<Option<Change>>,
    version: Mutex<u64>,
}

impl Script {
    /// A client of it.
    pub fn client(self: &Arc<Self>) -> kube::Client {
        let script = Arc::clone(self);
        let service = tower::service_fn(move |request: Request<Body>| {
            let script = Arc::clone(&script);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                let (status, answer) = script.answer(&head, &body);
                let answer = Body::from(answer.to_string().into_bytes());
                Ok::<_, Infallible>(Response::builder().status(status).body(answer).unwrap())
            }
        });
        kube::Client::new(service, "default")
    }

    /// Puts a resource there.
    pub fn put(&self, table: &Table) {
        let mut table = serde_json::to_value(table).unwrap();
        self.stamp(&mut table);
        let name = table["metadata"]["name"].as_str().unwrap().to_owned();
        self.tables.lock().insert(name, table);
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock())
    }

    fn stamp(&self, table: &mut Value) {
        let mut version = self.version.lock();
        *version += 1;
        table["metadata"]["resourceVersion"] = json!(version.to_string());
    }

    fn answer(&self, head: &http::request::Parts, body: &Value) -> (StatusCode, Value) {
        let path = head.uri.path();
        let query = head.uri.query().unwrap_or_default();
        let name = path.rsplit_once("/tables/").map(|(_, name)| name.to_owned());
        self.asked
            .lock()
            .push(format!("{} {}", head.method, name.as_deref().unwrap_or("-")));
        if !self.failures.lock().is_empty() {
            return self.failures.lock().remove(0);
        }
        match (&head.method, name) {
            (&Method::GET, None) => self.list(query),
            (&Method::GET, Some(name)) => self.get(&name),
            (&Method::POST, None) => self.create(query, body),
            (&Method::PATCH, Some(name)) => self.patch(query, &name, body),
            (&Method::DELETE, Some(name)) => self.delete(&name, body),
            (method, name) => panic!("{method} {name:?}"),
        }
    }

    fn list(&self, query: &str) -> (StatusCode, Value) {
        let wanted = query
            .split('&')
            .find_map(|part| part.strip_prefix("fieldSelector=spec.tableName%3D"));
        let tables = self.tables.lock();
        let found = tables
            .values()
            .filter(|table| table["spec"]["tableName"].as_str() == wanted);
        let items: Vec<Value> = found.cloned().collect();
        let list = json!({"apiVersion": "partita.dev/v1alpha1", "kind": "TableList", "metadata": {}, "items": items});
        (StatusCode::OK, list)
    }

    fn get(&self, name: &str) -> (StatusCode, Value) {
        match self.tables.lock().get(name) {
            Some(table) => (StatusCode::OK, table.clone()),
            None => failure(StatusCode::NOT_FOUND, "NotFound"),
        }
    }

    fn create(&self, query: &str, body: &Value) -> (StatusCode, Value) {
        assert!(query.contains("fieldManager=partita-router"), "{query}");
        let name = body["metadata"]["name"].as_str().unwrap().to_owned();
        self.somebody_else();
        if self.tables.lock().contains_key(&name) {
            return failure(StatusCode::CONFLICT, "AlreadyExists");
        }
        let mut table = body.clone();
        table["metadata"]["namespace"] = json!("shop");
        table["metadata"]["uid"] = json!(format!("uid of {name}"));
        table["metadata"]["generation"] = json!(1);
        table["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        self.stamp(&mut table);
        self.tables.lock().insert(name, table.clone());
        (StatusCode::CREATED, table)
    }

    fn patch(&self, query: &str, name: &str, body: &Value) -> (StatusCode, Value) {
        assert!(query.contains("fieldManager=partita-router"), "{query}");
        self.somebody_else();
        let mut tables = self.tables.lock();
        let Some(table) = tables.get_mut(name) else {
            return failure(StatusCode::NOT_FOUND, "NotFound");
        };
        if table["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] {
            return failure(StatusCode::CONFLICT, "Conflict");
        }
        merge(&mut table["spec"], &body["spec"]);
        table["metadata"]["generation"] = json!(table["metadata"]["generation"].as_i64().unwrap() + 1);
        self.stamp(table);
        (StatusCode::OK, table.clone())
    }

    fn delete(&self, name: &str, body: &Value) -> (StatusCode, Value) {
        self.somebody_else();
        let mut tables = self.tables.lock();
        let Some(table) = tables.get_mut(name) else {
            return failure(StatusCode::NOT_FOUND, "NotFound");
        };
        let precondition = &body["preconditions"];
        for field in ["resourceVersion", "uid"] {
            if table["metadata"][field] != precondition[field] {
                return failure(StatusCode::CONFLICT, "Conflict");
            }
        }
        table["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:01:00Z");
        self.stamp(table);
        (StatusCode::OK, table.clone())
    }

    fn somebody_else(&self) {
        if let Some(change) = self.meanwhile.lock().take() {
            let mut tables = self.tables.lock();
            change(&mut tables);
            for table in tables.values_mut() {
                let generation = table["metadata"]["generation"].as_i64().unwrap_or_default();
                table["metadata"]["generation"] = json!(generation + 1);
                self.stamp(table);
            }
        }
    }
}

/// A failure as the API server says it.
pub fn failure(status: StatusCode, reason: &str) -> (StatusCode, Value) {
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": status.as_u16(), "reason": reason,
        "message": format!("the server says {reason}"),
    });
    (status, body)
}

/// RFC 7396, section 2.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.as_object_mut().unwrap().remove(name);
            }
            value => merge(&mut target[name.as_str()], value),
        }
    }
}
