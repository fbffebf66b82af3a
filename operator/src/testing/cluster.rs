//! An API server in memory, as far as the operator needs one: it answers exactly the requests that the operator may make and
//! panics at any other. It also plays the controllers that matter: StatefulSets get a claim and a pod, what has lost its owner
//! goes with it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// Kind (in the plural), namespace, name.
type Key = (String, String, String);

/// The API server.
#[derive(Clone, Default)]
pub struct Cluster(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    objects: BTreeMap<Key, Value>,
    version: u64,
    requests: Vec<String>,
    /// What else may be written before the operator is killed.
    budget: Option<usize>,
    /// Refuse to apply these kinds, with this message.
    refusal: Option<(String, String)>,
    events: Vec<(String, String)>,
}

/// A request's path, taken apart.
struct Path {
    plural: String,
    namespace: String,
    name: Option<String>,
    status: bool,
}

impl Path {
    fn parse(path: &str) -> Self {
        let (namespace, rest) = match path.split_once("/namespaces/") {
            Some((_, rest)) => rest.split_once('/').unwrap(),
            None => {
                let rest = ["/api/v1/", "/apis/admissionregistration.k8s.io/v1/"];
                let rest = rest.iter().find_map(|prefix| path.strip_prefix(prefix));
                ("", rest.unwrap_or_else(|| panic!("{path}")))
            }
        };
        let namespace = namespace.to_owned();
        let mut parts = rest.split('/').map(str::to_owned);
        let plural = parts.next().unwrap();
        let name = parts.next();
        let status = match parts.next().as_deref() {
            None => false,
            Some("status") => true,
            Some(other) => panic!("subresource {other}"),
        };
        Self {
            plural,
            namespace,
            name,
            status,
        }
    }

    fn key(&self) -> Key {
        (
            self.plural.clone(),
            self.namespace.clone(),
            self.name.clone().unwrap_or_default(),
        )
    }
}

impl Cluster {
    /// A client of it.
    pub fn client(&self) -> Client {
        let cluster = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let cluster = cluster.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                let query = head.uri.query().unwrap_or_default().to_owned();
                if !cluster.survives(&head.method) {
                    return std::future::pending().await;
                }
                let (status, answer) = cluster.answer(&head.method, head.uri.path(), &query, body);
                Ok::<_, Infallible>(
                    Response::builder()
                        .status(status)
                        .body(Body::from(serde_json::to_vec(&answer).unwrap()))
                        .unwrap(),
                )
            }
        });
        Client::new(service, "default")
    }

    /// Whether the operator lives to see this request answered.
    fn survives(&self, method: &Method) -> bool {
        *method == Method::GET || self.spend()
    }

    /// Counts a write. `false` when it is one too many.
    pub fn spend(&self) -> bool {
        let mut inner = self.0.lock();
        match &mut inner.budget {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    /// How many more writes the operator may make.
    pub fn set_budget(&self, writes: Option<usize>) {
        self.0.lock().budget = writes;
    }

    /// Whether its last write killed it.
    pub fn is_spent(&self) -> bool {
        self.0.lock().budget == Some(0)
    }

    /// Counts what was written.
    pub fn version(&self) -> u64 {
        self.0.lock().version
    }

    /// Requests since the last call.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().requests)
    }

    /// Events since the last call: reason and note.
    pub fn take_events(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.0.lock().events)
    }

    /// Refuse to apply resources of this kind.
    pub fn refuse(&self, plural: &str, message: &str) {
        self.0.lock().refusal = Some((plural.to_owned(), message.to_owned()));
    }

    /// A person makes or changes a resource.
    pub fn put(&self, plural: &str, object: Value) {
        let mut inner = self.0.lock();
        let key = (
            plural.to_owned(),
            object["metadata"]["namespace"].as_str().unwrap().to_owned(),
            object["metadata"]["name"].as_str().unwrap().to_owned(),
        );
        let before = inner.objects.get(&key).cloned();
        let mut object = object;
        if let Some(before) = before {
            let metadata = before["metadata"].clone();
            let changed = object["spec"] != before["spec"];
            merge(&mut object["metadata"], metadata);
            if let Some(status) = before.get("status") {
                object["status"] = status.clone();
            }
            if changed {
                object["metadata"]["generation"] = json!(before["metadata"]["generation"].as_i64().unwrap() + 1);
            }
        }
        inner.store(key, object);
    }

    /// A person changes a resource's specification.
    pub fn edit(&self, plural: &str, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.get(plural, namespace, name).unwrap();
        change(&mut object);
        self.put(plural, object);
    }

    /// A resource as it is.
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.0.lock().objects.get(&key).cloned()
    }

    /// All resources of a kind.
    pub fn all(&self, plural: &str) -> Vec<Value> {
        let inner = self.0.lock();
        let found = inner.objects.iter().filter(|((kind, _, _), _)| kind == plural);
        found.map(|(_, object)| object.clone()).collect()
    }

    /// Names of all resources of a kind.
    pub fn names(&self, plural: &str) -> Vec<String> {
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
        self.all(plural).iter().map(name).collect()
    }

    /// The volume of a claim is a disk of this host.
    pub fn set_volume(&self, namespace: &str, claim: &str, host: &str) {
        let volume = format!("volume-{claim}");
        self.put(
            "persistentvolumes",
            json!({
                "metadata": {"name": volume, "namespace": ""},
                "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]}]}}},
            }),
        );
        self.edit("persistentvolumeclaims", namespace, claim, |claim| {
            claim["spec"]["volumeName"] = json!(volume);
        });
    }

    /// A node of this name joins.
    pub fn add_node(&self, name: &str) {
        let labels = json!({"kubernetes.io/hostname": name});
        self.put(
            "nodes",
            json!({"metadata": {"name": name, "namespace": "", "labels": labels}}),
        );
    }

    /// A person deletes a resource.
    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.0.lock().delete(&key);
    }

    /// The kubelet says whether a pod serves, and why it does not.
    pub fn set_pod(&self, namespace: &str, name: &str, status: Value) {
        let mut inner = self.0.lock();
        let pod = ("pods".to_owned(), namespace.to_owned(), name.to_owned());
        let mut object = inner.objects[&pod].clone();
        object["status"] = status;
        inner.store(pod.clone(), object);
        inner.run(&set_of(&pod));
    }

    /// Somebody (a backup of yesterday) changes or takes away what is kept of a table.
    pub fn set_state(&self, namespace: &str, name: &str, state: Value) {
        let key = ("tables".to_owned(), namespace.to_owned(), name.to_owned());
        let mut inner = self.0.lock();
        let mut object = inner.objects[&key].clone();
        object["status"]["state"] = state;
        inner.store(key, object);
    }

    /// Answers a request.
    pub fn answer(&self, method: &Method, path: &str, query: &str, body: Value) -> (StatusCode, Value) {
        let at = Path::parse(path);
        let mut inner = self.0.lock();
        inner.requests.push(format!("{method} {path}"));
        match (method.as_str(), at.plural.as_str()) {
            ("PATCH", "persistentvolumeclaims") if !at.status => inner.grow(&at, &body),
            ("GET", plural) if at.name.is_none() && inner.forbids(&format!("list {plural}")).is_some() => {
                inner.forbids(&format!("list {plural}")).unwrap_or_default()
            }
            ("GET", "persistentvolumeclaims" | "pods" | "partitions") if at.name.is_none() => {
                (StatusCode::OK, inner.list(&at, query))
            }
            ("GET", "nodes") => (StatusCode::OK, inner.list(&at, "labelSelector=kubernetes.io/hostname")),
            ("GET", "persistentvolumeclaims" | "persistentvolumes") => match inner.objects.get(&at.key()) {
                Some(object) => (StatusCode::OK, object.clone()),
                None => problem(StatusCode::NOT_FOUND, "not found"),
            },
            ("GET", "secrets") if at.name.is_none() => (StatusCode::OK, inner.list_everywhere(&at, query)),
            ("GET", "secrets" | "validatingwebhookconfigurations") => match inner.objects.get(&at.key()) {
                Some(secret) => (StatusCode::OK, secret.clone()),
                None => problem(StatusCode::NOT_FOUND, "not found"),
            },
            ("PATCH", "validatingwebhookconfigurations") => {
                let mut object = inner.objects[&at.key()].clone();
                assert_eq!(body["webhooks"][0]["name"], object["webhooks"][0]["name"]);
                object["webhooks"][0]["clientConfig"]["caBundle"] =
                    body["webhooks"][0]["clientConfig"]["caBundle"].clone();
                inner.store(at.key(), object.clone());
                (StatusCode::OK, object)
            }
            ("POST", "secrets") => inner.create(&at, body),
            ("PATCH", "secrets") => {
                assert!(
                    query.contains("fieldManager=partita-operator") && query.contains("force=true"),
                    "{query}"
                );
                inner.apply_secret(&at, body)
            }
            // One that is like an earlier one comes as that, with the earlier one's words.
            ("POST" | "PATCH", "events") => {
                let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
                inner.events.push((text("reason"), text("note")));
                (StatusCode::CREATED, body)
            }
            ("PATCH", "tables") if !at.status => inner.set_finalizers(&at, &body),
            ("PATCH", "tables" | "partitions") if at.status => {
                assert!(query.contains("fieldManager=partita-operator"), "{query}");
                inner.set_status(&at, body)
            }
            ("PATCH", "partitions" | "statefulsets" | "services" | "poddisruptionbudgets") => {
                assert!(
                    query.contains("fieldManager=partita-operator") && query.contains("force=true"),
                    "{query}"
                );
                inner.apply(&at, body)
            }
            (
                "DELETE",
                "partitions" | "statefulsets" | "services" | "poddisruptionbudgets" | "persistentvolumeclaims" | "pods",
            ) => inner.delete_as_told(&at, &body),
            _ => panic!("the operator must not {method} {path}"),
        }
    }
}

/// The StatefulSet of a pod.
fn set_of(pod: &Key) -> Key {
    let set = pod.2.rsplit_once('-').map_or("", |(set, _)| set);
    ("statefulsets".to_owned(), pod.1.clone(), set.to_owned())
}

/// Which of its StatefulSet's pods.
fn ordinal(pod: &str) -> usize {
    pod.rsplit_once('-').unwrap().1.parse().unwrap()
}

fn problem(code: StatusCode, message: &str) -> (StatusCode, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
        "message": message, "reason": code.canonical_reason().unwrap_or_default().replace(' ', ""),
    });
    (code, status)
}

/// Puts members of `other` into `object` that it does not have.
fn merge(object: &mut Value, other: Value) {
    if let (Value::Object(object), Value::Object(other)) = (object, other) {
        for (key, value) in other {
            object.entry(key).or_insert(value);
        }
    }
}

/// Leaves out what a pod's fields leave out when they are empty.
fn drop_empty(pod: &mut Value) {
    let empty = |value: &Value| value.as_str().is_some_and(str::is_empty);
    if empty(&pod["priorityClassName"]) {
        pod.as_object_mut().unwrap().remove("priorityClassName");
    }
    for toleration in pod["tolerations"].as_array_mut().into_iter().flatten() {
        toleration.as_object_mut().unwrap().retain(|_, value| !empty(value));
    }
}

impl Inner {
    fn store(&mut self, key: Key, mut object: Value) {
        self.version += 1;
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(self.version.to_string());
        metadata["namespace"] = json!(key.1);
        merge(
            metadata,
            json!({
                "uid": format!("uid-{}", self.version),
                "generation": 1,
                "creationTimestamp": format!("2026-01-01T00:00:{:02}Z", self.version % 60),
            }),
        );
        self.objects.insert(key, object);
    }

    fn forbids(&self, what: &str) -> Option<(StatusCode, Value)> {
        let (refused, message) = self.refusal.as_ref()?;
        (refused == what).then(|| problem(StatusCode::FORBIDDEN, message))
    }

    fn list(&self, at: &Path, query: &str) -> Value {
        let selector = query.split('&').find_map(|part| part.strip_prefix("labelSelector="));
        let selector = selector
            .expect("lists are by label")
            .replace("%2F", "/")
            .replace("%3D", "=");
        let selected = |object: &Value| match selector.split_once('=') {
            Some((key, value)) => object["metadata"]["labels"][key] == value,
            None => !object["metadata"]["labels"][&selector].is_null(),
        };
        let here = |key: &Key| key.0 == at.plural && key.1 == at.namespace;
        let items = self
            .objects
            .iter()
            .filter(|(key, object)| here(key) && selected(object));
        let items: Vec<Value> = items
            .map(|(_, object)| json!({"metadata": object["metadata"], "spec": object["spec"], "status": object["status"]}))
            .collect();
        json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": items})
    }

    /// Those of one name and one label in all namespaces: rights are by name.
    fn list_everywhere(&self, at: &Path, query: &str) -> Value {
        let query = query.replace("%2F", "/").replace("%3D", "=");
        let asked = |key: &str| {
            query
                .split('&')
                .find_map(|part| part.strip_prefix(key))
                .unwrap()
                .to_owned()
        };
        let (name, label) = (asked("fieldSelector=metadata.name="), asked("labelSelector="));
        let (label, value) = label.split_once('=').unwrap();
        let found = self.objects.iter().filter(|((kind, _, named), object)| {
            *kind == at.plural && *named == name && object["metadata"]["labels"][label] == value
        });
        let items: Vec<Value> = found
            .map(|(_, object)| json!({"metadata": object["metadata"]}))
            .collect();
        json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": items})
    }

    /// The object, unless the patch follows another version of it.
    fn current(&self, at: &Path, patch: &Value) -> Result<Value, (StatusCode, Value)> {
        let Some(object) = self.objects.get(&at.key()) else {
            return Err(problem(StatusCode::NOT_FOUND, "not found"));
        };
        let version = &patch["metadata"]["resourceVersion"];
        assert!(!version.is_null(), "a decision must name the version that it follows");
        if *version != object["metadata"]["resourceVersion"] {
            return Err(problem(StatusCode::CONFLICT, "the object has been modified"));
        }
        Ok(object.clone())
    }

    fn set_finalizers(&mut self, at: &Path, patch: &Value) -> (StatusCode, Value) {
        assert!(patch.get("spec").is_none(), "a specification is a person's");
        let mut object = match self.current(at, patch) {
            Ok(object) => object,
            Err(refused) => return refused,
        };
        object["metadata"]["finalizers"] = patch["metadata"]["finalizers"].clone();
        self.store(at.key(), object.clone());
        let gone = object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        if gone && !object["metadata"]["deletionTimestamp"].is_null() {
            self.remove(&at.key());
        }
        (StatusCode::OK, object)
    }

    fn set_status(&mut self, at: &Path, patch: Value) -> (StatusCode, Value) {
        let mut object = match self.current(at, &patch) {
            Ok(object) => object,
            Err(refused) => return refused,
        };
        object["status"] = patch["status"].clone();
        self.store(at.key(), object);
        (StatusCode::OK, self.objects[&at.key()].clone())
    }

    fn apply(&mut self, at: &Path, desired: Value) -> (StatusCode, Value) {
        if let Some((plural, message)) = &self.refusal
            && *plural == at.plural
        {
            return problem(StatusCode::FORBIDDEN, message);
        }
        let mut object = desired;
        drop_empty(&mut object["spec"]["template"]["spec"]);
        if let Some(before) = self.objects.get(&at.key()) {
            let templates = |set: &Value| set["spec"]["volumeClaimTemplates"].clone();
            if at.plural == "statefulsets" && templates(before) != templates(&object) {
                return problem(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "volumeClaimTemplates cannot be changed",
                );
            }
            merge(&mut object["metadata"], before["metadata"].clone());
            if let Some(status) = before.get("status") {
                object["status"] = status.clone();
            }
        }
        self.store(at.key(), object);
        if at.plural == "statefulsets" {
            self.run(&at.key());
        }
        (StatusCode::OK, self.objects[&at.key()].clone())
    }

    /// Plays a storage driver that lets volumes grow.
    fn grow(&mut self, at: &Path, patch: &Value) -> (StatusCode, Value) {
        if let Some((plural, message)) = &self.refusal
            && *plural == at.plural
        {
            return problem(StatusCode::FORBIDDEN, message);
        }
        let mut claim = self.objects[&at.key()].clone();
        let size = patch["spec"]["resources"]["requests"]["storage"].clone();
        claim["spec"]["resources"]["requests"]["storage"] = size.clone();
        claim["status"]["capacity"]["storage"] = size;
        self.store(at.key(), claim);
        (StatusCode::OK, self.objects[&at.key()].clone())
    }

    fn create(&mut self, at: &Path, object: Value) -> (StatusCode, Value) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let key = (at.plural.clone(), at.namespace.clone(), name);
        if self.objects.contains_key(&key) {
            return problem(StatusCode::CONFLICT, "already exists");
        }
        self.store(key.clone(), object);
        (StatusCode::CREATED, self.objects[&key].clone())
    }

    /// Others' annotations stay; who names a version follows it.
    fn apply_secret(&mut self, at: &Path, mut desired: Value) -> (StatusCode, Value) {
        if let Some((plural, message)) = &self.refusal
            && *plural == format!("secrets of {}", at.namespace)
        {
            return problem(StatusCode::FORBIDDEN, message);
        }
        if let Some(before) = self.objects.get(&at.key()) {
            let followed = &desired["metadata"]["resourceVersion"];
            if !followed.is_null() && *followed != before["metadata"]["resourceVersion"] {
                return problem(StatusCode::CONFLICT, "the object has been modified");
            }
            if !before["metadata"]["annotations"].is_null() {
                merge(&mut desired["metadata"], json!({"annotations": {}}));
                merge(
                    &mut desired["metadata"]["annotations"],
                    before["metadata"]["annotations"].clone(),
                );
            }
            merge(&mut desired["metadata"], before["metadata"].clone());
        }
        self.store(at.key(), desired);
        (StatusCode::OK, self.objects[&at.key()].clone())
    }

    /// Plays the StatefulSet controller and the kubelet.
    fn run(&mut self, key: &Key) {
        let Some(set) = self.objects.get(key).cloned() else {
            return;
        };
        let wanted = usize::try_from(set["spec"]["replicas"].as_u64().unwrap()).unwrap();
        for pod in self.pods_of(key) {
            if ordinal(&pod.2) >= wanted {
                self.objects.remove(&pod);
                self.version += 1;
            }
        }
        let (mut ready, mut current) = (0, 0);
        for ordinal in 0..wanted {
            let pod = self.run_pod(key, &set, ordinal);
            let made_from = |object: &Value| object["metadata"]["annotations"]["partita.dev/made-from"].clone();
            current += i32::from(made_from(&set["spec"]["template"]) == made_from(&pod));
            ready += i32::from(pod["status"]["conditions"][0]["status"] == "True");
        }
        self.objects.get_mut(key).unwrap()["status"] = json!({
            "observedGeneration": set["metadata"]["generation"], "replicas": wanted,
            "readyReplicas": ready, "updatedReplicas": current,
        });
    }

    /// A pod with its claim: those that there are stay.
    fn run_pod(&mut self, set: &Key, object: &Value, ordinal: usize) -> Value {
        let name = format!("{}-{ordinal}", set.2);
        let template = object["spec"]["volumeClaimTemplates"][0].clone();
        let claim_name = format!("{}-{name}", template["metadata"]["name"].as_str().unwrap());
        let claim = ("persistentvolumeclaims".to_owned(), set.1.clone(), claim_name);
        if !self.objects.contains_key(&claim) {
            let mut object = template;
            object["metadata"]["name"] = json!(claim.2);
            object["status"] = json!({"capacity": object["spec"]["resources"]["requests"]});
            self.store(claim, object);
        }
        let key = ("pods".to_owned(), set.1.clone(), name);
        if !self.objects.contains_key(&key) {
            let mut pod = object["spec"]["template"].clone();
            pod["metadata"]["name"] = json!(key.2);
            pod["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
            self.store(key.clone(), pod);
        }
        self.objects[&key].clone()
    }

    fn pods_of(&self, set: &Key) -> Vec<Key> {
        let pods = self.objects.keys().filter(|key| key.0 == "pods" && set_of(key) == *set);
        pods.cloned().collect()
    }

    /// Deletes what the request means: this very object, with or without what belongs to it.
    fn delete_as_told(&mut self, at: &Path, options: &Value) -> (StatusCode, Value) {
        let key = at.key();
        let Some(object) = self.objects.get(&key) else {
            return problem(StatusCode::NOT_FOUND, "not found");
        };
        let uid = &options["preconditions"]["uid"];
        if !uid.is_null() && *uid != object["metadata"]["uid"] {
            return problem(StatusCode::CONFLICT, "the UID in the precondition is another one's");
        }
        if options["propagationPolicy"] == "Orphan" {
            self.version += 1;
            return (StatusCode::OK, self.objects.remove(&key).unwrap());
        }
        let deleted = self.delete(&key).unwrap();
        (StatusCode::OK, deleted)
    }

    fn delete(&mut self, key: &Key) -> Option<Value> {
        let object = self.objects.get_mut(key)?;
        let held = object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|held| !held.is_empty());
        if held {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
            let object = object.clone();
            self.store(key.clone(), object.clone());
            return Some(object);
        }
        self.remove(key)
    }

    /// Plays the garbage collector.
    fn remove(&mut self, key: &Key) -> Option<Value> {
        let object = self.objects.remove(key)?;
        self.version += 1;
        if key.0 == "statefulsets" {
            for pod in self.pods_of(key) {
                self.objects.remove(&pod);
            }
        }
        if key.0 == "pods" {
            self.run(&set_of(key));
        }
        let uid = object["metadata"]["uid"].clone();
        let owned = |child: &Value| {
            let owners = child["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == uid))
        };
        let children: Vec<Key> = self
            .objects
            .iter()
            .filter(|(_, child)| owned(child))
            .map(|(key, _)| key.clone())
            .collect();
        for child in children {
            self.remove(&child);
        }
        Some(object)
    }
}
