//! Access keys from Secrets.
//!
//! 1. A Secret of the release namespace with the label `partita.dev/namespace` holds one key of the namespace it names:
//!    `accessKeyId`, `secretAccessKey`, and `permission` (`tables`, the default, or `data`). A Secret of a further namespace
//!    may do the same, but for its own namespace alone: whoever may write Secrets there has no say about others.
//! 2. [`follow`] keeps [`Keys`] as the Secrets are. A Secret that is wrong is named in the log with what is wrong, never
//!    with what is in it; and it gets an event, which whoever made it finds with `kubectl describe secret`.
//! 3. The last known keys are kept on disk, readable for this user alone: a router that restarts while the API server is
//!    away still has to know who may call. In Kubernetes the folder is an emptyDir, which goes with the pod.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::select_all;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use kube::runtime::WatchStreamExt;
use kube::runtime::events::{self, EventType, Recorder, Reporter};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::RwLock;
use partita_crds::names;
use partita_gateway::auth::{AccessKey, Credentials, Permission};
use partita_gateway::backend::Account;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::directory;

/// The file in the cache folder.
const FILE: &str = "credentials.json";

/// What a Secret says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Declared {
    /// The access key's id.
    id: String,
    secret: String,
    /// The namespace it opens.
    namespace: String,
    /// It opens items only.
    data_only: bool,
}

/// The keys that are known.
#[derive(Default)]
pub struct Keys {
    keys: RwLock<HashMap<String, (Declared, Arc<AccessKey>)>>,
    /// Whether they have been read, from the API server or from disk.
    loaded: watch::Sender<bool>,
}

impl Credentials for Keys {
    fn find(&self, id: &str) -> Option<Arc<AccessKey>> {
        self.keys.read().get(id).map(|(_, key)| Arc::clone(key))
    }
}

impl Keys {
    /// Waits until keys have been read.
    pub async fn loaded(&self) {
        // The sender is `self`'s: it does not go away meanwhile.
        let _ = self.loaded.subscribe().wait_for(|loaded| *loaded).await;
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.keys.read().len()
    }

    /// Takes these for those that were known. A key that has not changed keeps its derived signing key.
    fn set(&self, declared: Vec<Declared>) {
        let mut keys = self.keys.write();
        let mut before = std::mem::take(&mut *keys);
        for declared in declared {
            let known = before.remove(&declared.id).filter(|(known, _)| *known == declared);
            let (_, key) = known.unwrap_or_else(|| (declared.clone(), Arc::new(declared.key())));
            keys.insert(declared.id.clone(), (declared, key));
        }
        drop(keys);
        self.loaded.send_replace(true);
    }
}

impl Declared {
    fn key(&self) -> AccessKey {
        let account = Account::of_namespace(self.namespace.as_str(), names::account(&self.namespace));
        let permission = match self.data_only {
            true => Permission::Data,
            false => Permission::Tables,
        };
        AccessKey::new(self.secret.clone(), account, permission)
    }

    /// Reads a Secret.
    fn of(secret: &Secret) -> Result<Self, String> {
        let value = |name: &str| {
            let bytes = secret.data.as_ref().and_then(|data| data.get(name))?;
            Some(String::from_utf8(bytes.0.clone()).map_err(|_| format!("data.{name} is not text")))
        };
        let needed = |name: &str| {
            let value = value(name).ok_or_else(|| format!("data.{name} is missing"))??;
            match value.trim() {
                "" => Err(format!("data.{name} is empty")),
                trimmed if trimmed != value => Err(format!("data.{name} begins or ends with white space")),
                _ => Ok(value),
            }
        };
        let namespace = secret.labels().get(names::NAMESPACE).cloned().unwrap_or_default();
        if namespace.is_empty() {
            return Err(format!("the label {} is empty", names::NAMESPACE));
        }
        let data_only = match value("permission").transpose()?.as_deref() {
            None | Some("tables") => false,
            Some("data") => true,
            Some(_) => return Err("data.permission is neither tables nor data".to_owned()),
        };
        Ok(Self {
            id: needed("accessKeyId")?,
            secret: needed("secretAccessKey")?,
            namespace,
            data_only,
        })
    }
}

/// Reads what was kept, follows the Secrets of all `places`, keeps them: as long as the process lives.
pub async fn follow(client: Client, places: Places, cache: Option<PathBuf>, keys: Arc<Keys>) {
    let file = cache.map(|folder| folder.join(FILE));
    if let Some(kept) = file.as_deref().and_then(read) {
        tracing::info!(keys = kept.len(), "the credentials begin with what was kept on disk");
        keys.set(kept);
    }
    let watches = places.all().map(|namespace| {
        let secrets = Api::<Secret>::namespaced(client.clone(), &namespace);
        let events = watcher(secrets, directory::kubernetes::watched().labels(names::NAMESPACE)).default_backoff();
        events.map(move |event| (namespace.clone(), event)).boxed()
    });
    let mut events = select_all(watches);
    let recorder = Recorder::new(client, Reporter::from("partita-router"));
    let mut known = Secrets::new(places);
    while let Some((namespace, event)) = events.next().await {
        let changed = match event {
            Ok(event) => known.event(&namespace, event),
            Err(error) => {
                let what = format!("secrets of namespace {namespace}");
                directory::kubernetes::failed(&what, &error);
                is_refusal(&error) && known.refused(&namespace)
            }
        };
        if changed {
            let declared = known.declared();
            keep(file.as_deref(), &declared);
            keys.set(declared);
            for complaint in known.complaints.drain(..) {
                // Nobody's keys wait for it.
                tokio::spawn(tell(recorder.clone(), complaint));
            }
        }
    }
}

/// What is wrong with a Secret.
struct Complaint {
    about: ObjectReference,
    reason: String,
}

/// An event is worth a try, not a failure.
async fn tell(recorder: Recorder, complaint: Complaint) {
    let event = events::Event {
        type_: EventType::Warning,
        reason: "NotAKey".to_owned(),
        note: Some(format!("it opens nothing: {}", complaint.reason)),
        action: "Read".to_owned(),
        secondary: None,
    };
    if let Err(error) = recorder.publish(&event, &complaint.about).await {
        tracing::warn!(%error, "an event about a Secret could not be published");
    }
}

/// Whether the API server answered, and what it said was no.
fn is_refusal(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if matches!(status.code, 403 | 404))
}

/// The namespaces whose Secrets hold keys.
#[derive(Debug, Clone)]
pub struct Places {
    /// That of the release: its Secrets open any namespace.
    pub release: String,
    /// Others: their Secrets open their own.
    pub further: BTreeSet<String>,
}

impl Places {
    fn all(&self) -> impl Iterator<Item = String> {
        let further = self.further.iter().filter(|namespace| **namespace != self.release);
        std::iter::once(&self.release).chain(further).cloned()
    }
}

/// A Secret's namespace and name.
type Name = (String, String);

/// The Secrets as the watches tell them.
struct Secrets {
    places: Places,
    known: BTreeMap<Name, Secret>,
    listing: BTreeMap<Name, Secret>,
    /// Namespaces that nothing has been heard of: what is known is not all there is.
    unheard: BTreeSet<String>,
    /// What was said about a Secret: once for each of its versions is enough.
    said: BTreeSet<String>,
    /// What is to be told whoever made it.
    complaints: Vec<Complaint>,
}

impl Secrets {
    fn new(places: Places) -> Self {
        Self {
            unheard: places.all().collect(),
            places,
            known: BTreeMap::new(),
            listing: BTreeMap::new(),
            said: BTreeSet::new(),
            complaints: Vec::new(),
        }
    }

    /// Whether something has changed, and everything is known.
    fn event(&mut self, namespace: &str, event: Event<Secret>) -> bool {
        let name = |secret: &Secret| (namespace.to_owned(), secret.name_any());
        let elsewhere = |(place, _): &Name, _: &mut Secret| place != namespace;
        match event {
            Event::Init => {
                self.listing.retain(elsewhere);
                return false;
            }
            Event::InitApply(secret) => {
                self.listing.insert(name(&secret), secret);
                return false;
            }
            Event::InitDone => {
                self.known.retain(elsewhere);
                let listed = self.listing.extract_if(.., |(place, _), _| place == namespace);
                self.known.extend(listed);
                self.unheard.remove(namespace);
            }
            Event::Apply(secret) => {
                self.known.insert(name(&secret), secret);
            }
            Event::Delete(secret) => {
                self.known.remove(&name(&secret));
            }
        }
        self.unheard.is_empty()
    }

    /// The API server does not let us see a namespace's Secrets. A further one does not hold up the others. Whether everything
    /// else is known only now.
    fn refused(&mut self, namespace: &str) -> bool {
        namespace != self.places.release && self.unheard.remove(namespace) && self.unheard.is_empty()
    }

    /// Reads a Secret, and whether it may say so.
    fn read(&self, (place, _): &Name, secret: &Secret) -> Result<Declared, String> {
        let declared = Declared::of(secret)?;
        if *place != self.places.release && *place != declared.namespace {
            return Err(format!(
                "a Secret of the namespace {place} opens that namespace alone, not {}: only those of {} open others",
                declared.namespace, self.places.release
            ));
        }
        Ok(declared)
    }

    /// What those that are right say, each key and each account once: the release's before others, then the older Secret has it.
    fn declared(&mut self) -> Vec<Declared> {
        let mut by_rank: Vec<(&Name, &Secret)> = self.known.iter().collect();
        by_rank.sort_by_key(|(name, secret)| {
            let age = secret.creation_timestamp().map(|time| time.0);
            (name.0 != self.places.release, age, (*name).clone())
        });
        let mut ids: HashMap<String, String> = HashMap::new();
        let mut accounts: HashMap<String, String> = HashMap::new();
        let mut declared = Vec::new();
        let mut said = BTreeSet::new();
        for (name, secret) in by_rank {
            let called = format!("{}/{}", name.0, name.1);
            let accepted = self.read(name, secret).and_then(|one| {
                let account = names::account(&one.namespace);
                let namespace = accounts.entry(account.clone()).or_insert_with(|| one.namespace.clone());
                if *namespace != one.namespace {
                    let (mine, other) = (&one.namespace, namespace);
                    return Err(format!(
                        "the namespaces {mine} and {other} are both the account {account}: rename {mine}"
                    ));
                }
                match ids.get(&one.id) {
                    Some(other) => Err(format!("its accessKeyId is that of the Secret {other}, too")),
                    None => {
                        ids.insert(one.id.clone(), called.clone());
                        Ok(one)
                    }
                }
            });
            match accepted {
                Ok(one) => declared.push(one),
                Err(reason) => {
                    let version = secret.resource_version().unwrap_or_default();
                    let complaint = format!("{called} {version} {reason}");
                    if !self.said.contains(&complaint) {
                        tracing::error!(secret = called, reason, "not a key; it opens nothing");
                        self.complaints.push(Complaint {
                            about: secret.object_ref(&()),
                            reason,
                        });
                    }
                    said.insert(complaint);
                }
            }
        }
        self.said = said;
        declared
    }
}

fn read(file: &Path) -> Option<Vec<Declared>> {
    let text = std::fs::read(file).ok()?;
    serde_json::from_slice(&text)
        // Not the error: it may quote what is in the file.
        .inspect_err(|_| tracing::warn!(file = %file.display(), "the kept credentials are of no use"))
        .ok()
}

/// A few keys, seldom: written in place.
fn keep(file: Option<&Path>, declared: &[Declared]) {
    let Some(file) = file else { return };
    let content = serde_json::to_vec(declared).unwrap_or_default();
    if let Err(error) = directory::write_private(file, &content) {
        tracing::warn!(file = %file.display(), %error, "the credentials cannot be kept on disk");
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(name: &str, namespace: &str, data: &[(&str, &str)]) -> Secret {
        let mut secret = Secret {
            data: Some(
                data.iter()
                    .map(|(name, value)| ((*name).to_owned(), ByteString(value.as_bytes().to_vec())))
                    .collect(),
            ),
            ..Secret::default()
        };
        secret.metadata.name = Some(name.to_owned());
        secret
            .labels_mut()
            .insert(names::NAMESPACE.to_owned(), namespace.to_owned());
        secret
    }

    fn key(name: &str, namespace: &str, id: &str, secret_key: &str) -> Secret {
        secret(name, namespace, &[("accessKeyId", id), ("secretAccessKey", secret_key)])
    }

    fn places() -> Places {
        Places {
            release: "release".to_owned(),
            further: BTreeSet::from(["shop".to_owned()]),
        }
    }

    /// Secrets of two namespaces, neither of which has any yet.
    fn known() -> Secrets {
        let mut secrets = Secrets::new(places());
        assert!(
            !secrets.event("shop", Event::InitDone),
            "one of the two is not everything"
        );
        assert!(secrets.event("release", Event::InitDone));
        secrets
    }

    fn aged(mut secret: Secret, second: i64) -> Secret {
        let time = k8s_openapi::jiff::Timestamp::from_second(second).unwrap();
        secret.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
        secret
    }

    fn reason(secret: &Secret) -> String {
        Declared::of(secret).err().unwrap()
    }

    #[test]
    fn secrets_become_keys() {
        let keys = Keys::default();
        let mut reader = key("b", "shop", "AKIDB", "s2");
        let permission = ByteString(b"data".to_vec());
        reader
            .data
            .as_mut()
            .unwrap()
            .insert("permission".to_owned(), permission);
        let mut secrets = known();
        assert!(secrets.event("release", Event::Apply(key("a", "shop", "AKIDA", "s1"))));
        assert!(secrets.event("release", Event::Apply(reader)));
        keys.set(secrets.declared());
        let (a, b) = (keys.find("AKIDA").unwrap(), keys.find("AKIDB").unwrap());
        assert_eq!((a.permission, b.permission), (Permission::Tables, Permission::Data));
        assert_eq!(a.account, Account::of_namespace("shop", names::account("shop")));

        // What has not changed keeps what was derived from it; what has, does not.
        secrets.event("release", Event::Apply(key("b", "other", "AKIDB", "s2")));
        keys.set(secrets.declared());
        assert!(Arc::ptr_eq(&a, &keys.find("AKIDA").unwrap()));
        assert_eq!(keys.find("AKIDB").unwrap().account.namespace.as_deref(), Some("other"));
        secrets.event("release", Event::Delete(key("a", "shop", "AKIDA", "s1")));
        keys.set(secrets.declared());
        assert!(keys.find("AKIDA").is_none());
    }

    #[test]
    fn a_list_replaces_what_was_known() {
        let mut secrets = known();
        secrets.event("release", Event::Apply(key("a", "shop", "AKIDA", "s1")));
        assert!(!secrets.event("release", Event::Init));
        assert!(!secrets.event("release", Event::InitApply(key("b", "shop", "AKIDB", "s2"))));
        assert!(secrets.event("release", Event::InitDone));
        let ids: Vec<String> = secrets.declared().into_iter().map(|one| one.id).collect();
        assert_eq!(ids, ["AKIDB"]);
    }

    #[test]
    fn what_is_wrong_is_said_without_what_is_in_it() {
        assert_eq!(
            reason(&secret("a", "", &[])),
            "the label partita.dev/namespace is empty"
        );
        assert_eq!(reason(&secret("a", "shop", &[])), "data.accessKeyId is missing");
        assert_eq!(
            reason(&key("a", "shop", "AKID", "hidden\n")),
            "data.secretAccessKey begins or ends with white space"
        );
        let wrong = secret("a", "shop", &[("permission", "hidden")]);
        assert_eq!(reason(&wrong), "data.permission is neither tables nor data");
    }

    #[test]
    fn a_key_is_the_older_secrets() {
        let mut secrets = known();
        secrets.event("release", Event::Apply(aged(key("a", "younger", "AKID", "s1"), 2)));
        secrets.event("release", Event::Apply(aged(key("b", "older", "AKID", "s2"), 1)));
        let declared = secrets.declared();
        assert_eq!(declared.len(), 1);
        assert_eq!(declared[0].namespace, "older");
        assert_eq!(secrets.said.len(), 1);
        // Whoever made the other one finds out, once.
        secrets.declared();
        let [complaint] = &secrets.complaints[..] else {
            panic!("{} complaints", secrets.complaints.len())
        };
        assert_eq!(
            (complaint.about.kind.as_deref(), complaint.about.name.as_deref()),
            (Some("Secret"), Some("a"))
        );
        assert!(complaint.reason.contains("release/b"), "{}", complaint.reason);
    }

    #[test]
    fn a_further_namespaces_secrets_open_that_one_alone() {
        let mut secrets = known();
        secrets.event("shop", Event::Apply(key("own", "shop", "AKIDA", "s1")));
        secrets.event("shop", Event::Apply(key("others", "bank", "AKIDB", "s2")));
        let namespaces = |secrets: &mut Secrets| {
            secrets
                .declared()
                .into_iter()
                .map(|one| one.namespace)
                .collect::<Vec<_>>()
        };
        assert_eq!(namespaces(&mut secrets), ["shop"]);
        assert!(
            secrets
                .said
                .iter()
                .any(|said| said.starts_with("shop/others") && said.contains("not bank"))
        );
        // A list of one namespace says nothing of another.
        secrets.event("release", Event::Apply(key("own", "bank", "AKIDC", "s3")));
        secrets.event("shop", Event::Init);
        secrets.event("shop", Event::InitDone);
        assert_eq!(namespaces(&mut secrets), ["bank"]);
    }

    #[test]
    fn nobody_takes_a_key_of_the_release_away() {
        let mut secrets = known();
        secrets.event("shop", Event::Apply(aged(key("a", "shop", "AKID", "theirs"), 1)));
        secrets.event("release", Event::Apply(aged(key("b", "bank", "AKID", "ours"), 2)));
        let declared = secrets.declared();
        assert_eq!(declared.len(), 1);
        assert_eq!(declared[0].namespace, "bank");
    }

    #[test]
    fn a_further_namespace_without_rights_holds_nobody_up() {
        let mut secrets = Secrets::new(places());
        assert!(!secrets.refused("release"), "without the release's own nobody is known");
        assert!(!secrets.refused("shop"));
        assert!(secrets.event("release", Event::InitDone));
        let mut secrets = Secrets::new(places());
        assert!(!secrets.event("release", Event::InitDone));
        assert!(secrets.refused("shop"));
        assert!(!secrets.refused("shop"), "it is no news a second time");
    }

    #[test]
    fn what_is_kept_is_for_this_user_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        assert!(read(&file).is_none());
        let declared = vec![Declared::of(&key("a", "shop", "AKIDA", "s1")).unwrap()];
        keep(Some(&file), &declared);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(read(&file).unwrap() == declared);
    }
}
