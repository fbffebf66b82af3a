//! All certificates that the operator makes: one authority, and what it signs. Mutual TLS between operator, routers and storage
//! nodes has a certificate for each role and namespace, the webhook has one for the API server.
//!
//! 1. [`Certificates::start`] reads the [`authority`] (a Secret in the release namespace) or makes one, and sees to the
//!    routers' certificate and to the operator's own, which is nowhere but in memory.
//! 2. [`Certificates::ensure`] sees to the certificates ([`leaf`]) of a namespace, before its first storage node is made.
//! 3. [`Certificates::keep`] looks again when something is due, or when somebody touched one of the Secrets: it renews what is
//!    about to expire, puts back what was changed or deleted, tells the API server whom to [`trust`], and advances the rotation of
//!    the authority, once all certificates have been as its last step wants them for a while. In between it does nothing.
//!
//! Pods see a changed Secret without a restart: the kubelet swaps the files, the process reads them again. Operators see the
//! webhook's by watching it.

pub mod authority;
pub mod leaf;
pub mod trust;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt, select_all};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use partita_crds::names::{OPERATOR, REPLICA_SECRET, ROUTER_SECRET};
use partita_tls::authority::{Failed, Issued};
use partita_tls::{Certificate, Current, Loaded, Mutual, Name, Pem, Role, Unusable};
use prometheus::IntGauge;
use tokio::sync::Mutex;

use authority::Authority;
use leaf::{Leaf, Verdict};

use crate::server;

/// The wait after a failure.
const RETRY: Duration = Duration::from_secs(5);
/// Touched Secrets come in bursts: our own writes are seen, too.
const BURST: Duration = Duration::from_millis(500);
/// The longest sleep: the clock may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(24 * 3600);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// The authority's Secret is broken.
    #[error(
        "the Secret {}/{} holds no authority: put back what was in it, or delete it to have another one made",
        .0,
        authority::SECRET
    )]
    Unreadable(String),
    /// Keys and certificates.
    #[error("a certificate cannot be made: {0}")]
    Failed(#[from] Failed),
    /// What was made is of no use.
    #[error("a certificate cannot be used: {0}")]
    Unusable(#[from] Unusable),
}

impl Error {
    /// Whether trying again is of no use for now: the namespace is gone, or about to be.
    fn is_final(&self) -> bool {
        matches!(self, Self::Kube(kube::Error::Api(status)) if matches!(status.code, 403 | 404))
    }
}

/// Whose certificates there are to be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The release namespace.
    pub release: String,
    /// How long anything takes to reach every process, in seconds.
    pub settle_s: u64,
    /// Operator, routers and storage nodes have some.
    pub peers: bool,
    /// The name of the webhook's Service, Secret and configuration, if there is a webhook.
    pub webhook: Option<String>,
}

/// Everybody's certificates.
pub struct Certificates {
    client: Client,
    wanted: Wanted,
    now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
    own: Current<Mutual>,
    state: Mutex<State>,
    behind: AtomicBool,
}

struct State {
    authority: Authority,
    /// What was seen to, and when it is to be renewed, in seconds since 1970.
    leaves: BTreeMap<Leaf, u64>,
    /// When our own certificate is to be renewed.
    own_due_s: u64,
}

/// What came of looking at one certificate.
struct Renewed {
    /// Good until then, in seconds since 1970.
    until_s: u64,
    /// It was not what it should be.
    written: bool,
}

/// What came of looking at all of them.
struct Round {
    /// When the first is to be looked at again, in seconds since 1970.
    due_s: u64,
    /// All are what they should be.
    complete: bool,
    /// Some were not before.
    written: bool,
}

impl Certificates {
    /// Reads or makes the authority, the routers' certificate and our own. The webhook's may wait for [`Self::look`].
    pub async fn start(
        client: Client,
        wanted: Wanted,
        now_ms: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<Arc<Self>, Error> {
        let now_s = now_ms() / 1000;
        let (authority, _) = find_or_make(&client, &wanted.release, now_s, None).await?;
        let (own, own_due_s) = own(&authority, now_s)?;
        let certificates = Self {
            client,
            wanted,
            now_ms: Box::new(now_ms),
            own: Current::fixed(own),
            state: Mutex::new(State {
                authority,
                leaves: BTreeMap::new(),
                own_due_s,
            }),
            behind: AtomicBool::new(false),
        };
        if certificates.wanted.peers {
            let routers = Leaf::of_routers(&certificates.wanted.release);
            certificates.see_to(vec![routers]).await?;
        }
        Ok(Arc::new(certificates))
    }

    /// Our own.
    pub fn own(&self) -> Current<Mutual> {
        self.own.clone()
    }

    /// Sees to the certificates of a namespace, unless that has been done.
    pub async fn ensure(&self, namespace: &str) -> Result<(), Error> {
        self.see_to(Leaf::of_namespace(namespace, &self.wanted.release)).await
    }

    async fn see_to(&self, leaves: Vec<Leaf>) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        for leaf in leaves {
            if !state.leaves.contains_key(&leaf) {
                let renewed = self.renew(&leaf, &state.authority).await?;
                state.leaves.insert(leaf, renewed.until_s);
            }
        }
        Ok(())
    }

    /// Makes a certificate what it should be.
    async fn renew(&self, leaf: &Leaf, authority: &Authority) -> Result<Renewed, Error> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &leaf.namespace);
        let mut found = api.get_opt(&leaf.secret).await?;
        let mut written = false;
        // What was just written is good, or something is wrong with it.
        for _ in 0..2 {
            match leaf.judge(found.as_ref(), authority, self.now_s())? {
                Verdict::Good(until_s) => return Ok(Renewed { until_s, written }),
                Verdict::Write(secret) => {
                    let (namespace, secret_name, names) = (&leaf.namespace, &leaf.secret, &leaf.names);
                    tracing::info!(namespace, secret = secret_name, ?names, "a certificate is written");
                    let apply = PatchParams::apply(OPERATOR).force();
                    found = Some(api.patch(secret_name, &apply, &Patch::Apply(&*secret)).await?);
                    written = true;
                }
            }
        }
        let until_s = self.now_s() + RETRY.as_secs();
        Ok(Renewed { until_s, written })
    }

    /// Looks at everything again: what is due is done. When to come back, in seconds since 1970.
    pub async fn look(&self) -> Result<u64, Error> {
        self.behind.store(true, Ordering::Relaxed);
        let mut state = self.state.lock().await;
        let (mut authority, mut secret) =
            find_or_make(&self.client, &self.wanted.release, self.now_s(), Some(&state.authority)).await?;
        if authority.is_being_replaced() {
            // Also those of namespaces in which this process has not reconciled a Table yet.
            for leaf in self.mounted().await? {
                state.leaves.entry(leaf).or_default();
            }
        }
        self.hold(&mut state, authority.clone())?;
        let mut round = self.renew_all(&mut state).await;
        if authority.is_being_replaced() && (round.written || !round.complete) {
            // Time runs from the moment at which everybody's files were as this step wants them.
            if round.written {
                authority.since_s = self.now_s();
                self.write(&authority, &secret).await?;
                state.authority = authority;
            }
        } else {
            let asked = secret.annotations().get(authority::ROTATE).cloned();
            if let Some(next) = authority.advance(asked.as_deref(), self.now_s(), self.wanted.settle_s)? {
                secret = self.write(&next, &secret).await?;
                tracing::info!(
                    version = secret.resource_version(),
                    next = next.next.is_some(),
                    previous = next.previous.is_some(),
                    "the authority's rotation is a step further"
                );
                self.hold(&mut state, next)?;
                round = self.renew_all(&mut state).await;
            }
        }
        self.behind.store(!round.complete, Ordering::Relaxed);
        let step_s = match round.complete {
            true => state.authority.due_s(self.wanted.settle_s),
            false => self.now_s() + RETRY.as_secs(),
        };
        Ok(step_s.min(state.own_due_s).min(round.due_s))
    }

    /// From now on this authority signs; our own certificate follows it.
    fn hold(&self, state: &mut State, authority: Authority) -> Result<(), Error> {
        let same = authority.current == state.authority.current && authority.trusted() == state.authority.trusted();
        if !same || self.now_s() >= state.own_due_s {
            let (own, due_s) = own(&authority, self.now_s())?;
            self.own.replace(own);
            state.own_due_s = due_s;
        }
        state.authority = authority;
        Ok(())
    }

    /// Makes everybody's certificates what they should be. One that cannot be looked at holds up no other.
    async fn renew_all(&self, state: &mut State) -> Round {
        if let Some(webhook) = &self.wanted.webhook {
            // Each time: one that could not be written before is written now.
            let leaf = Leaf::of_webhook(&self.wanted.release, webhook);
            state.leaves.entry(leaf).or_default();
        }
        let mut round = Round {
            due_s: u64::MAX,
            complete: true,
            written: false,
        };
        let leaves: Vec<Leaf> = state.leaves.keys().cloned().collect();
        for leaf in leaves {
            let until_s = match self.renew(&leaf, &state.authority).await {
                Ok(renewed) => {
                    round.written |= renewed.written;
                    renewed.until_s
                }
                Err(error) => {
                    let namespace = &leaf.namespace;
                    tracing::warn!(namespace, secret = leaf.secret, %error, "a certificate could not be looked at");
                    if error.is_final() && *namespace != self.wanted.release && self.is_absent(&leaf).await {
                        // Whoever reconciles a Table there has it seen to again.
                        state.leaves.remove(&leaf);
                        continue;
                    }
                    round.complete = false;
                    self.now_s() + RETRY.as_secs()
                }
            };
            round.due_s = round.due_s.min(until_s);
            state.leaves.insert(leaf, until_s);
        }
        if let Some(webhook) = &self.wanted.webhook
            && let Err(error) = trust::trust(&self.client, webhook, &state.authority.trusted()).await
        {
            tracing::warn!(configuration = webhook, %error, "the API server cannot be told whom to trust");
            round.complete = false;
            round.due_s = round.due_s.min(self.now_s() + RETRY.as_secs());
        }
        round
    }

    /// Whether it is certain that there is no such Secret: nobody starts with it.
    async fn is_absent(&self, leaf: &Leaf) -> bool {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &leaf.namespace);
        matches!(api.get_opt(&leaf.secret).await, Ok(None))
    }

    /// All certificates of ours that pods mount.
    async fn mounted(&self) -> Result<Vec<Leaf>, Error> {
        let mut leaves = Vec::new();
        if !self.wanted.peers {
            return Ok(leaves);
        }
        let api: Api<Secret> = Api::all(self.client.clone());
        for name in [REPLICA_SECRET, ROUTER_SECRET] {
            let ours = ListParams::default()
                .fields(&format!("metadata.name={name}"))
                .labels(&format!("app.kubernetes.io/managed-by={OPERATOR}"));
            for found in api.list_metadata(&ours).await?.items {
                let namespace = found.namespace().unwrap_or_default();
                let there = Leaf::of_namespace(&namespace, &self.wanted.release);
                leaves.extend(there.into_iter().filter(|leaf| leaf.secret == name));
            }
        }
        Ok(leaves)
    }

    /// Keeps the authority as it is now, if it is still as this Secret has it.
    async fn write(&self, authority: &Authority, kept: &Secret) -> Result<Secret, Error> {
        let release = &self.wanted.release;
        let mut written = authority.to_secret(release);
        written.metadata.resource_version = kept.resource_version();
        let api: Api<Secret> = Api::namespaced(self.client.clone(), release);
        let apply = PatchParams::apply(OPERATOR).force();
        Ok(api.patch(authority::SECRET, &apply, &Patch::Apply(&written)).await?)
    }

    /// Whether somebody's certificate, or the authority itself, is not as it should be.
    pub fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    /// Looks again whenever that is called for, for ever.
    pub async fn keep(self: Arc<Self>, behind: IntGauge) {
        let mut touched = self.touched();
        loop {
            let looked = self.look().await;
            behind.set(i64::from(self.is_behind()));
            let sleep = match looked {
                Ok(due_s) => Duration::from_secs(due_s.saturating_sub(self.now_s())).clamp(RETRY, SLEEP_MAX),
                Err(error) => {
                    tracing::warn!(%error, "certificates will be looked at again");
                    RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                _ = touched.next() => {
                    while let Ok(Some(())) = tokio::time::timeout(BURST, touched.next()).await {}
                }
            }
        }
    }

    /// An event for everything of ours that somebody touches. Rights are by name, so each name is watched by itself, and only its
    /// metadata.
    fn touched(&self) -> BoxStream<'static, ()> {
        let (client, release) = (&self.client, &self.wanted.release);
        let in_release = || Api::<PartialObjectMeta<Secret>>::namespaced(client.clone(), release);
        let everywhere = || Api::<PartialObjectMeta<Secret>>::all(client.clone());
        let mut watches = vec![touched(in_release(), authority::SECRET)];
        if self.wanted.peers {
            watches.push(touched(everywhere(), REPLICA_SECRET));
            watches.push(touched(everywhere(), ROUTER_SECRET));
        }
        if let Some(webhook) = &self.wanted.webhook {
            let configurations = Api::<PartialObjectMeta<ValidatingWebhookConfiguration>>::all(client.clone());
            watches.push(touched(in_release(), webhook));
            watches.push(touched(configurations, webhook));
        }
        select_all(watches).boxed()
    }

    fn now_s(&self) -> u64 {
        (self.now_ms)() / 1000
    }
}

/// An event whenever somebody touches what has this name.
fn touched<K>(api: Api<PartialObjectMeta<K>>, name: &str) -> BoxStream<'static, ()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    let named = server::watched().fields(&format!("metadata.name={name}"));
    let events = watcher(api, named).default_backoff().touched_objects();
    events.filter_map(async |event| event.ok().map(drop)).boxed()
}

/// The authority as it is kept. If there is none: the one that is known, or the first one.
async fn find_or_make(
    client: &Client,
    release: &str,
    now_s: u64,
    known: Option<&Authority>,
) -> Result<(Authority, Secret), Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), release);
    let secret = match api.get_opt(authority::SECRET).await? {
        Some(secret) => secret,
        None => {
            let (namespace, secret) = (release, authority::SECRET);
            let begun = match known {
                Some(known) => {
                    tracing::warn!(namespace, secret, "the authority is gone: it is put back and replaced");
                    known.put_back(now_s)?
                }
                None => {
                    tracing::info!(namespace, secret, "a new authority is made");
                    Authority::begin(now_s)?
                }
            };
            api.create(&PostParams::default(), &begun.to_secret(release)).await?
        }
    };
    let authority = Authority::from_secret(&secret).ok_or_else(|| Error::Unreadable(release.to_owned()))?;
    Ok((authority, secret))
}

/// The operator's certificate, and when it is to be renewed.
fn own(authority: &Authority, now_s: u64) -> Result<(Mutual, u64), Error> {
    let name = Name::of_cluster(Role::Operator).to_string();
    let issued = authority.issue(&[name], now_s, leaf::LIFE)?;
    let pem = Pem::in_memory(&issued.certificate, &issued.key, &authority.trusted())?;
    let due_s = remaining(&issued.certificate).map_or(0, |validity| validity.renew_at_s());
    Ok((Mutual::load(&pem)?, due_s))
}

/// The validity of a certificate in PEM format.
fn remaining(certificate: &str) -> Option<Validity> {
    let certificate = Certificate::from_pem(certificate)?;
    let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
    Some(Validity {
        from_s: seconds(certificate.not_before),
        to_s: seconds(certificate.not_after),
    })
}

/// A certificate's time.
struct Validity {
    from_s: u64,
    to_s: u64,
}

impl Validity {
    /// When two thirds of it are over.
    fn renew_at_s(&self) -> u64 {
        self.to_s - self.to_s.saturating_sub(self.from_s) / 3
    }
}

/// The certificate in a Secret.
pub fn issued(secret: &Secret) -> Option<Issued> {
    Some(Issued {
        certificate: text(secret, "tls.crt")?,
        key: text(secret, "tls.key")?,
    })
}

/// A text in a Secret.
fn text(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.0.clone()).ok()
}
