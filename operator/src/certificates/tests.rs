//! Certificates with an API server in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use k8s_openapi::api::core::v1::Secret;
use partita_crds::names::{REPLICA_SECRET, ROUTER_SECRET};
use partita_tls::Pem;
use serde_json::{Value, json};

use super::authority::{Authority, ROTATE, SECRET};
use super::trust::WEBHOOK;
use super::{Certificates, Error, Wanted, text};
use crate::testing::cluster::Cluster;
use crate::testing::world::World;
use crate::testing::{NOW_MS, table};

const RELEASE: &str = "partita";
/// The webhook.
const SERVICE: &str = "partita-operator-webhook";
const SETTLE_S: u64 = 600;
/// Turns of the runtime within which everything in memory ends, if it ends.
const TURNS_MAX: usize = 2000;

struct Place {
    cluster: Cluster,
    clock_ms: Arc<AtomicU64>,
}

impl Place {
    fn new() -> Self {
        Self {
            cluster: Cluster::default(),
            clock_ms: Arc::new(AtomicU64::new(NOW_MS)),
        }
    }

    fn later(&self, seconds: u64) {
        self.clock_ms.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    async fn start(&self) -> Result<Arc<Certificates>, Error> {
        self.start_for(true, None).await
    }

    async fn start_for(&self, peers: bool, webhook: Option<&str>) -> Result<Arc<Certificates>, Error> {
        let clock = Arc::clone(&self.clock_ms);
        let now_ms = move || clock.load(Ordering::Relaxed);
        let wanted = Wanted {
            release: RELEASE.to_owned(),
            settle_s: SETTLE_S,
            peers,
            webhook: webhook.map(str::to_owned),
        };
        Certificates::start(self.cluster.client(), wanted, now_ms).await
    }

    /// The chart's configuration of the webhook, without anybody to trust.
    fn configure(&self) {
        self.cluster.put(
            "validatingwebhookconfigurations",
            json!({"metadata": {"name": SERVICE, "namespace": ""}, "webhooks": [{
                "name": WEBHOOK, "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "clientConfig": {"service": {"name": SERVICE, "namespace": RELEASE}},
            }]}),
        );
    }

    /// Whom the API server trusts.
    fn bundle(&self) -> Value {
        let configuration = self.cluster.get("validatingwebhookconfigurations", "", SERVICE);
        configuration.unwrap()["webhooks"][0]["clientConfig"]["caBundle"].clone()
    }

    fn secret(&self, namespace: &str, name: &str) -> Secret {
        let found = self.cluster.get("secrets", namespace, name);
        serde_json::from_value(found.unwrap_or_else(|| panic!("no {namespace}/{name}"))).unwrap()
    }

    fn authority(&self) -> Authority {
        Authority::from_secret(&self.secret(RELEASE, SECRET)).unwrap()
    }

    fn rotate(&self, value: &str) {
        self.cluster.edit("secrets", RELEASE, SECRET, |secret| {
            secret["metadata"]["annotations"][ROTATE] = json!(value);
        });
    }

    /// All that pods mount.
    fn mounted(&self) -> Vec<Secret> {
        let all = [
            (RELEASE, ROUTER_SECRET),
            ("shop", REPLICA_SECRET),
            ("shop", ROUTER_SECRET),
        ];
        all.map(|(namespace, name)| self.secret(namespace, name)).to_vec()
    }
}

/// Whether whoever has mounted the second accepts whoever has mounted the first.
fn accepted(shown: &Secret, by: &Secret) -> bool {
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| text(shown, name).unwrap());
    let pem = Pem::in_memory(&certificate, &key, &text(by, "ca.crt").unwrap()).unwrap();
    pem.check().is_ok()
}

/// Lets it run until it ends, or waits for ever: the operator was killed.
async fn unless_killed<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    for _ in 0..TURNS_MAX {
        if let Poll::Ready(done) = futures::poll!(work.as_mut()) {
            return Some(done);
        }
        tokio::task::yield_now().await;
    }
    None
}

#[tokio::test]
async fn everybody_gets_a_certificate_once() {
    let place = Place::new();
    let certificates = place.start().await.unwrap();
    certificates.ensure("shop").await.unwrap();
    for secret in place.mounted() {
        assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
        assert!(accepted(&secret, &secret));
    }
    assert_eq!(
        certificates.own().latest().name().to_string(),
        "operator.partita.internal"
    );
    let version = place.cluster.version();
    place.cluster.take_requests();
    certificates.ensure("shop").await.unwrap();
    assert_eq!(place.cluster.take_requests(), Vec::<String>::new());
    // At rest, and after a restart, everything is looked at and nothing is written.
    certificates.look().await.unwrap();
    let again = place.start().await.unwrap();
    again.ensure("shop").await.unwrap();
    let due_s = again.look().await.unwrap();
    assert_eq!(place.cluster.version(), version);
    assert!(due_s > NOW_MS / 1000 + 30 * 24 * 3600, "nothing is due for a month");
}

#[tokio::test]
async fn a_rotation_goes_through_steps_in_which_all_accept_all() {
    let place = Place::new();
    let certificates = place.start().await.unwrap();
    certificates.ensure("shop").await.unwrap();
    let first = place.authority();
    place.rotate("1");
    let mut before = place.mounted();
    for step in 0..3 {
        let generation = certificates.own().generation();
        certificates.look().await.unwrap();
        assert!(certificates.own().generation() > generation, "our own follows");
        let after = place.mounted();
        // Some pods have the new files already, and others do not.
        for one in before.iter().chain(&after) {
            for other in before.iter().chain(&after) {
                assert!(accepted(one, other), "step {step}");
            }
        }
        // Before that has reached everybody, nothing further happens.
        place.later(SETTLE_S - 1);
        let version = place.cluster.version();
        certificates.look().await.unwrap();
        assert_eq!(place.cluster.version(), version);
        place.later(1);
        before = after;
    }
    let last = place.authority();
    assert_ne!(last.current, first.current);
    assert_eq!(last.trusted(), last.current.certificate);
    for secret in place.mounted() {
        assert_eq!(text(&secret, "ca.crt").as_ref(), Some(&last.current.certificate));
    }
    // It was asked for once.
    let version = place.cluster.version();
    place.later(10 * SETTLE_S);
    certificates.look().await.unwrap();
    assert_eq!(place.cluster.version(), version);
}

#[tokio::test]
async fn an_operator_killed_at_any_write_goes_on() {
    for killed_after in 0..16 {
        let place = Place::new();
        place.cluster.set_budget(Some(killed_after));
        let life = async {
            let certificates = place.start().await.unwrap();
            certificates.ensure("shop").await.unwrap();
            place.rotate("1");
            for _ in 0..3 {
                certificates.look().await.unwrap();
                place.later(SETTLE_S);
            }
        };
        let lived = unless_killed(life).await.is_some();
        place.cluster.set_budget(None);
        let certificates = place.start().await.unwrap();
        certificates.ensure("shop").await.unwrap();
        certificates.look().await.unwrap();
        let mounted = place.mounted();
        for one in &mounted {
            for other in &mounted {
                assert!(accepted(one, other), "killed after {killed_after}");
            }
        }
        assert!(lived || place.authority().trusted().contains("CERTIFICATE"));
        if killed_after == 0 {
            assert!(!lived);
        }
    }
}

#[tokio::test]
async fn certificates_are_renewed_in_time_and_put_back() {
    let place = Place::new();
    let certificates = place.start().await.unwrap();
    certificates.ensure("shop").await.unwrap();
    let (before, own) = (place.mounted(), certificates.own().generation());
    let due_s = certificates.look().await.unwrap();
    place.later(due_s - NOW_MS / 1000);
    certificates.look().await.unwrap();
    for (old, new) in before.iter().zip(place.mounted()) {
        assert_ne!(text(old, "tls.crt"), text(&new, "tls.crt"));
        assert_eq!(text(old, "ca.crt"), text(&new, "ca.crt"));
    }
    assert_eq!(certificates.own().generation(), own + 1);

    place.cluster.delete("secrets", "shop", REPLICA_SECRET);
    place.cluster.edit("secrets", "shop", ROUTER_SECRET, |secret| {
        secret["data"]["tls.key"] = json!("");
    });
    certificates.look().await.unwrap();
    for secret in place.mounted() {
        assert!(accepted(&secret, &secret));
    }
}

#[tokio::test]
async fn a_broken_authority_is_not_overwritten() {
    let place = Place::new();
    let certificates = place.start().await.unwrap();
    place.cluster.edit("secrets", RELEASE, SECRET, |secret| {
        secret["data"]["tls.key"] = json!("");
    });
    let version = place.cluster.version();
    for error in [
        certificates.look().await.unwrap_err(),
        place.start().await.err().unwrap(),
    ] {
        let reason = error.to_string();
        assert!(
            reason.contains("partita/partita-authority holds no authority: put back"),
            "{reason}"
        );
    }
    assert_eq!(place.cluster.version(), version);
}

#[tokio::test]
async fn a_namespace_that_goes_away_holds_up_nobody() {
    let place = Place::new();
    let certificates = place.start().await.unwrap();
    certificates.ensure("shop").await.unwrap();
    certificates.ensure("bank").await.unwrap();
    place
        .cluster
        .refuse("secrets of bank", "the namespace is being terminated");
    for name in [REPLICA_SECRET, ROUTER_SECRET] {
        place.cluster.delete("secrets", "bank", name);
        place.cluster.delete("secrets", "shop", name);
    }
    certificates.look().await.unwrap();
    assert!(accepted(
        &place.secret("shop", REPLICA_SECRET),
        &place.secret("shop", ROUTER_SECRET)
    ));
    assert!(matches!(certificates.ensure("bank").await, Err(Error::Kube(_))));
}

#[tokio::test]
async fn a_rotation_waits_until_everybody_has_heard_of_it() {
    let place = Place::new();
    let certificates = place.start().await.unwrap();
    certificates.ensure("shop").await.unwrap();
    let first = place.authority().current;
    place.rotate("1");
    place.cluster.refuse("secrets of shop", "a policy says no");
    for _ in 0..3 {
        certificates.look().await.unwrap();
        assert!(certificates.is_behind());
        assert_eq!(
            place.authority().current,
            first,
            "storage nodes of shop trust nobody else"
        );
        place.later(SETTLE_S);
    }
    place.cluster.refuse("", "");
    certificates.look().await.unwrap();
    assert!(!certificates.is_behind());
    // From now on the kubelets bring it into the pods.
    assert_eq!(place.authority().current, first);
    place.later(SETTLE_S - 1);
    certificates.look().await.unwrap();
    assert_eq!(place.authority().current, first);
    place.later(1);
    certificates.look().await.unwrap();
    assert_ne!(place.authority().current, first);
}

#[tokio::test]
async fn nobody_is_forgotten_by_an_operator_that_was_away() {
    let place = Place::new();
    let certificates = place.start().await.unwrap();
    certificates.ensure("shop").await.unwrap();
    let (first, mut before) = (place.authority().current, place.mounted());
    place.rotate("1");
    // Its last act was to make the next authority.
    place.cluster.set_budget(Some(1));
    assert!(unless_killed(certificates.look()).await.is_none());
    place.cluster.set_budget(None);
    assert!(place.authority().next.is_some());
    place.later(10 * SETTLE_S);
    // The next one has not seen a Table of shop yet.
    let certificates = place.start().await.unwrap();
    for step in 0..4 {
        certificates.look().await.unwrap();
        let after = place.mounted();
        for one in before.iter().chain(&after) {
            for other in before.iter().chain(&after) {
                assert!(accepted(one, other), "step {step}");
            }
        }
        before = after;
        place.later(SETTLE_S);
    }
    assert_ne!(place.authority().current, first);
    assert!(!place.authority().is_being_replaced());
}

#[tokio::test]
async fn a_storage_node_is_made_behind_its_certificate() {
    let mut world = World::with(table(100, 100));
    let place = Place {
        cluster: world.cluster.clone(),
        clock_ms: Arc::new(AtomicU64::new(NOW_MS)),
    };
    world.certificates = Some(place.start().await.unwrap());
    world.cluster.refuse("secrets of shop", "forbidden");
    assert!(world.pass_of("orders").await.is_err());
    assert_eq!(world.cluster.names("statefulsets"), Vec::<String>::new());
    world.cluster.refuse("", "");
    world.settle().await;
    assert!(accepted(
        &place.secret("shop", REPLICA_SECRET),
        &place.secret(RELEASE, ROUTER_SECRET)
    ));
    let sets = world.cluster.all("statefulsets");
    let pod = &sets[0]["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], REPLICA_SECRET);
    let arguments = pod["containers"][0]["args"].to_string();
    assert!(arguments.contains("--peer-tls=/etc/partita/tls"), "{arguments}");
    let ports = world.cluster.all("services")[0]["spec"]["ports"].to_string();
    assert!(ports.contains("8002"), "{ports}");
}

#[tokio::test]
async fn the_webhook_is_trusted_through_every_step_also_without_peers() {
    for peers in [false, true] {
        let place = Place::new();
        let certificates = place.start_for(peers, Some(SERVICE)).await.unwrap();
        // Nobody calls a webhook that is not configured.
        certificates.look().await.unwrap();
        place.configure();
        certificates.look().await.unwrap();
        assert_eq!(
            place.cluster.get("secrets", RELEASE, ROUTER_SECRET).is_some(),
            peers,
            "nobody else has one"
        );
        let served = || place.secret(RELEASE, SERVICE);
        let trusted = || place.bundle() == json!(served().data.unwrap()["ca.crt"]);
        assert!(accepted(&served(), &served()) && trusted());
        let version = place.cluster.version();
        certificates.look().await.unwrap();
        assert_eq!(place.cluster.version(), version, "at rest nothing is written");
        // Somebody (an upgrade) took the trust away.
        place.configure();
        certificates.look().await.unwrap();
        assert!(trusted());
        place.rotate("1");
        for _ in 0..3 {
            let before = served();
            certificates.look().await.unwrap();
            assert!(accepted(&before, &served()) && accepted(&served(), &before) && trusted());
            place.later(SETTLE_S);
        }
    }
}

#[tokio::test]
async fn an_authority_that_is_lost_is_put_back_and_replaced() {
    let place = Place::new();
    let certificates = place.start().await.unwrap();
    certificates.ensure("shop").await.unwrap();
    let (first, before) = (place.authority(), place.mounted());
    place.cluster.delete("secrets", RELEASE, SECRET);
    certificates.look().await.unwrap();
    assert_eq!(place.authority().current, first.current);
    for (old, new) in before.iter().zip(place.mounted()) {
        assert_eq!(text(old, "tls.crt"), text(&new, "tls.crt"));
        assert!(accepted(old, &new));
    }
    for _ in 0..2 {
        place.later(SETTLE_S);
        certificates.look().await.unwrap();
    }
    assert_ne!(place.authority().current, first.current);
    assert!(!place.authority().trusted().contains(&first.current.certificate));
}
