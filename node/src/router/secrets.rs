//! Access keys from Secrets.
//!
//! 1. A Secret of the release namespace with the label `partita.dev/namespace` holds one key of the namespace it names:
//!    `accessKeyId`, `secretAccessKey`, and `permission` (`tables`, the default, or `data`).
//! 2. [`follow`] keeps [`Keys`] as the Secrets are. A Secret that is wrong is named in the log with what is wrong, never
//!    with what is in it.
//! 3. The last known keys are kept on disk, readable for this user alone: a router that restarts while the API server is
//!    away still has to know who may call. In Kubernetes the folder is an emptyDir, which goes with the pod.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
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

/// Reads what was kept, follows the Secrets, keeps them: as long as the process lives.
pub async fn follow(client: Client, namespace: String, cache: Option<PathBuf>, keys: Arc<Keys>) {
    let file = cache.map(|folder| folder.join(FILE));
    if let Some(kept) = file.as_deref().and_then(read) {
        tracing::info!(keys = kept.len(), "the credentials begin with what was kept on disk");
        keys.set(kept);
    }
    let secrets = Api::<Secret>::namespaced(client, &namespace);
    let events = watcher(secrets, watcher::Config::default().labels(names::NAMESPACE)).default_backoff();
    pin_mut!(events);
    let mut known = Secrets::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if known.event(event) {
                    let declared = known.declared();
                    keep(file.as_deref(), &declared);
                    keys.set(declared);
                }
            }
            Err(error) => directory::kubernetes::failed("secrets", &error),
        }
    }
}

/// The Secrets as the watch tells them.
#[derive(Default)]
struct Secrets {
    known: BTreeMap<String, Secret>,
    listing: BTreeMap<String, Secret>,
    /// What was said about a Secret: once for each of its versions is enough.
    said: BTreeSet<String>,
}

impl Secrets {
    /// Whether something has changed.
    fn event(&mut self, event: Event<Secret>) -> bool {
        match event {
            Event::Init => {
                self.listing.clear();
                return false;
            }
            Event::InitApply(secret) => {
                self.listing.insert(secret.name_any(), secret);
                return false;
            }
            Event::InitDone => self.known = std::mem::take(&mut self.listing),
            Event::Apply(secret) => {
                self.known.insert(secret.name_any(), secret);
            }
            Event::Delete(secret) => {
                self.known.remove(&secret.name_any());
            }
        }
        true
    }

    /// What those that are right say, each key and each account once: the older Secret has it.
    fn declared(&mut self) -> Vec<Declared> {
        let mut by_age: Vec<&Secret> = self.known.values().collect();
        by_age.sort_by_key(|secret| (secret.creation_timestamp().map(|time| time.0), secret.name_any()));
        let mut ids: HashMap<String, String> = HashMap::new();
        let mut accounts: HashMap<String, String> = HashMap::new();
        let mut declared = Vec::new();
        let mut said = BTreeSet::new();
        for secret in by_age {
            let name = secret.name_any();
            let accepted = Declared::of(secret).and_then(|one| {
                let account = names::account(&one.namespace);
                let namespace = accounts.entry(account.clone()).or_insert_with(|| one.namespace.clone());
                if *namespace != one.namespace {
                    let (mine, other) = (&one.namespace, namespace);
                    return Err(format!(
                        "the namespaces {mine} and {other} are both the account {account}: rename {mine}"
                    ));
                }
                match ids.insert(one.id.clone(), name.clone()) {
                    Some(other) => {
                        let reason = format!("its accessKeyId is that of the Secret {other}, too");
                        ids.insert(one.id, other);
                        Err(reason)
                    }
                    None => Ok(one),
                }
            });
            match accepted {
                Ok(one) => declared.push(one),
                Err(reason) => {
                    let version = secret.resource_version().unwrap_or_default();
                    let complaint = format!("{name} {version} {reason}");
                    if !self.said.contains(&complaint) {
                        tracing::error!(secret = name, reason, "not a key; it opens nothing");
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
        let mut secrets = Secrets::default();
        assert!(secrets.event(Event::Apply(key("a", "shop", "AKIDA", "s1"))));
        assert!(secrets.event(Event::Apply(reader)));
        keys.set(secrets.declared());
        let (a, b) = (keys.find("AKIDA").unwrap(), keys.find("AKIDB").unwrap());
        assert_eq!((a.permission, b.permission), (Permission::Tables, Permission::Data));
        assert_eq!(a.account, Account::of_namespace("shop", names::account("shop")));

        // What has not changed keeps what was derived from it; what has, does not.
        secrets.event(Event::Apply(key("b", "other", "AKIDB", "s2")));
        keys.set(secrets.declared());
        assert!(Arc::ptr_eq(&a, &keys.find("AKIDA").unwrap()));
        assert_eq!(keys.find("AKIDB").unwrap().account.namespace.as_deref(), Some("other"));
        secrets.event(Event::Delete(key("a", "shop", "AKIDA", "s1")));
        keys.set(secrets.declared());
        assert!(keys.find("AKIDA").is_none());
    }

    #[test]
    fn a_list_replaces_what_was_known() {
        let mut secrets = Secrets::default();
        secrets.event(Event::Apply(key("a", "shop", "AKIDA", "s1")));
        assert!(!secrets.event(Event::Init));
        assert!(!secrets.event(Event::InitApply(key("b", "shop", "AKIDB", "s2"))));
        assert!(secrets.event(Event::InitDone));
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
        let aged = |mut secret: Secret, second: i64| {
            let time = k8s_openapi::jiff::Timestamp::from_second(second).unwrap();
            secret.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
            secret
        };
        let mut secrets = Secrets::default();
        secrets.event(Event::Apply(aged(key("a", "younger", "AKID", "s1"), 2)));
        secrets.event(Event::Apply(aged(key("b", "older", "AKID", "s2"), 1)));
        let declared = secrets.declared();
        assert_eq!(declared.len(), 1);
        assert_eq!(declared[0].namespace, "older");
        assert_eq!(secrets.said.len(), 1);
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
