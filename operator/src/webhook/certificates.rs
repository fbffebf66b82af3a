//! The webhook's certificates: made and renewed by the active operator, kept in a Secret, trusted through the configuration of
//! the webhook.
//!
//! 1. The Secret and the ValidatingWebhookConfiguration are watched; nothing is asked again while nothing changes.
//! 2. [`renewed`] (pure) says whether what is kept will do: an authority of ten years, a certificate of 90 days that is replaced
//!    a month before its end. A new authority is trusted beside the old one.
//! 3. What is new is written into the Secret first: every operator serves with it at once. Then the configuration trusts it.
//!    In between the API server may find the certificate strange and goes on without the webhook.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use partita_crds::names::OPERATOR;
use partita_tls::Certificate;
use partita_tls::authority::{Authority, Failed, Validity};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use tokio::time::sleep;

/// The name of the only webhook in the configuration.
pub const WEBHOOK: &str = "tables.partita.dev";
/// How long an authority is good for: nobody but the API server trusts it, and its key never leaves the Secret.
const AUTHORITY_FOR: Duration = days(3650);
/// How long a certificate is good for.
const CERTIFICATE_FOR: Duration = days(90);
/// A certificate is replaced so long before its end: an operator that is away for weeks is no reason for it to expire.
const RENEW_BEFORE: Duration = days(30);
/// An authority is replaced while its last certificate still ends before it does.
const AUTHORITY_RENEW_BEFORE: Duration = days(180);
/// Clocks of other machines may be behind.
const SKEW: Duration = Duration::from_secs(3600);
/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// How often what is kept is looked at, if nothing happens: no timer of weeks is needed for that.
const LOOK_EVERY: Duration = Duration::from_secs(6 * 3600);

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 3600)
}

/// What the Secret holds, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Kept {
    /// Who is trusted, the newest authority first.
    pub authorities: String,
    /// The newest authority's key.
    pub authority_key: String,
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl std::fmt::Debug for Kept {
    /// Without the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept")
            .field("authorities", &self.authorities)
            .finish_non_exhaustive()
    }
}

const AUTHORITIES: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

impl Kept {
    /// Reads a Secret; `None` if anything is missing.
    pub fn read(secret: &Secret) -> Option<Self> {
        let data = secret.data.as_ref()?;
        let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
        Some(Self {
            authorities: text(AUTHORITIES)?,
            authority_key: text(AUTHORITY_KEY)?,
            certificate: text(CERTIFICATE)?,
            key: text(KEY)?,
        })
    }

    fn data(&self) -> BTreeMap<String, ByteString> {
        let entry = |key: &str, text: &str| (key.to_owned(), ByteString(text.as_bytes().to_vec()));
        BTreeMap::from([
            entry(AUTHORITIES, &self.authorities),
            entry(AUTHORITY_KEY, &self.authority_key),
            entry(CERTIFICATE, &self.certificate),
            entry(KEY, &self.key),
        ])
    }
}

/// Certificates of a PEM text, with when they end.
fn certificates(pem: &str) -> Vec<(CertificateDer<'static>, Certificate)> {
    let all = CertificateDer::pem_slice_iter(pem.as_bytes());
    all.filter_map(Result::ok)
        .filter_map(|der| Some((der.clone(), Certificate::read(&der)?)))
        .collect()
}

/// Seconds since 1970 at which the certificate that is kept ends.
pub fn not_after(kept: &Kept) -> Option<i64> {
    certificates(&kept.certificate)
        .first()
        .map(|(_, certificate)| certificate.not_after)
}

/// What is to be kept instead of what is, if that will not do any more for a server of these names.
pub fn renewed(kept: Option<&Kept>, names: &[String], now: SystemTime) -> Result<Option<Kept>, Failed> {
    let authority = kept.and_then(|kept| {
        let (_, newest) = certificates(&kept.authorities).into_iter().next()?;
        let lasts = newest.valid_for(now) > AUTHORITY_RENEW_BEFORE;
        let first = first_pem(&kept.authorities)?;
        Authority::from_pem(&first, &kept.authority_key).ok().filter(|_| lasts)
    });
    if let (Some(kept), Some(_)) = (kept, &authority)
        && will_do(kept, names, now)
    {
        return Ok(None);
    }
    let (authority, authorities) = match (authority, kept) {
        (Some(authority), Some(kept)) => (authority, kept.authorities.clone()),
        (None, kept) | (Some(_), kept @ None) => {
            let authority = Authority::make(validity(now, AUTHORITY_FOR))?;
            // Until every operator serves with the new certificate, the old ones are good, too.
            let former = kept.and_then(|kept| first_pem(&kept.authorities)).unwrap_or_default();
            let authorities = format!("{}{former}", authority.certificate());
            (authority, authorities)
        }
    };
    let issued = authority.issue(names, validity(now, CERTIFICATE_FOR))?;
    Ok(Some(Kept {
        authorities,
        authority_key: authority.key(),
        certificate: issued.certificate,
        key: issued.key,
    }))
}

fn validity(now: SystemTime, lasting: Duration) -> Validity {
    Validity {
        not_before: now - SKEW,
        not_after: now + lasting,
    }
}

/// Whether the certificate is good for these names for a while.
fn will_do(kept: &Kept, names: &[String], now: SystemTime) -> bool {
    let certificate = certificates(&kept.certificate).into_iter().next();
    let good = certificate.is_some_and(|(_, certificate)| {
        certificate.valid_for(now) > RENEW_BEFORE && names.iter().all(|name| certificate.dns.contains(name))
    });
    good && rustls::pki_types::PrivateKeyDer::from_pem_slice(kept.key.as_bytes()).is_ok()
}

/// The first certificate of a PEM text, as PEM.
fn first_pem(pem: &str) -> Option<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let end = pem.find(END)? + END.len();
    certificates(&pem[..end]).first()?;
    Some(format!("{}\n", pem[..end].trim_start()))
}

/// Where the webhook is.
#[derive(Debug, Clone)]
pub struct Place {
    /// The namespace of Service and Secret.
    pub namespace: String,
    /// The name of Service, Secret and configuration.
    pub name: String,
}

impl Place {
    /// The names by which the API server calls it.
    pub fn names(&self) -> Vec<String> {
        let service = format!("{}.{}", self.name, self.namespace);
        vec![format!("{service}.svc"), format!("{service}.svc.cluster.local")]
    }
}

/// The API server's part of it.
pub struct Keeper {
    secrets: Api<Secret>,
    configurations: Api<ValidatingWebhookConfiguration>,
    place: Place,
}

impl Keeper {
    /// Of a webhook.
    pub fn new(client: &Client, place: Place) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), &place.namespace),
            configurations: Api::all(client.clone()),
            place,
        }
    }

    /// Keeps the certificates for as long as this operator is the active one.
    pub async fn keep(self) {
        let name = &self.place.name;
        let mut secrets = watcher::watch_object(self.secrets.clone(), name)
            .default_backoff()
            .boxed();
        let mut configurations = watcher::watch_object(self.configurations.clone(), name)
            .default_backoff()
            .boxed();
        // Each is known once its watch has told.
        let (mut secret, mut configuration) = (None, None);
        let mut wait = LOOK_EVERY;
        loop {
            tokio::select! {
                Some(told) = secrets.next() => match told {
                    Ok(now) => secret = Some(now),
                    Err(error) => { tracing::debug!(%error, "the webhook's Secret cannot be watched"); continue; }
                },
                Some(told) = configurations.next() => match told {
                    Ok(now) => configuration = Some(now),
                    Err(error) => { tracing::debug!(%error, "the webhook's configuration cannot be watched"); continue; }
                },
                () = sleep(wait) => {}
            }
            let (Some(secret), Some(configuration)) = (&secret, &configuration) else {
                continue;
            };
            wait = match self
                .step(secret.as_ref(), configuration.as_ref(), SystemTime::now())
                .await
            {
                Ok(()) => LOOK_EVERY,
                Err(problem) => {
                    tracing::warn!(
                        problem,
                        "the webhook's certificates are not as they should be: trying again"
                    );
                    RETRY
                }
            };
        }
    }

    /// Brings both to what they should be; nothing is written when they are.
    async fn step(
        &self,
        secret: Option<&Secret>,
        configuration: Option<&ValidatingWebhookConfiguration>,
        now: SystemTime,
    ) -> Result<(), String> {
        // Without a configuration nobody calls: the release is on its way in or out.
        let Some(configuration) = configuration else {
            return Ok(());
        };
        let kept = secret.and_then(Kept::read);
        let new = renewed(kept.as_ref(), &self.place.names(), now).map_err(|error| error.to_string())?;
        let kept = match (new, kept) {
            (Some(new), _) => {
                self.write(secret, &new)
                    .await
                    .map_err(|error| format!("the Secret: {error}"))?;
                tracing::info!(secret = self.place.name, "the webhook has a new certificate");
                new
            }
            (None, Some(kept)) => kept,
            (None, None) => return Ok(()),
        };
        self.trust(configuration, &kept)
            .await
            .map_err(|error| format!("the configuration: {error}"))
    }

    async fn write(&self, known: Option<&Secret>, kept: &Kept) -> kube::Result<()> {
        let by = PostParams {
            field_manager: Some(OPERATOR.to_owned()),
            ..PostParams::default()
        };
        // A Secret that has changed meanwhile is not replaced: the watch tells what it is.
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(self.place.name.clone()),
                namespace: Some(self.place.namespace.clone()),
                labels: Some(BTreeMap::from([(
                    "app.kubernetes.io/managed-by".to_owned(),
                    OPERATOR.to_owned(),
                )])),
                resource_version: known.and_then(|known| known.metadata.resource_version.clone()),
                ..ObjectMeta::default()
            },
            data: Some(kept.data()),
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        };
        match known {
            None => self.secrets.create(&by, &secret).await.map(drop),
            Some(known) => {
                let secret = Secret {
                    type_: known.type_.clone(),
                    ..secret
                };
                self.secrets.replace(&self.place.name, &by, &secret).await.map(drop)
            }
        }
    }

    async fn trust(&self, configuration: &ValidatingWebhookConfiguration, kept: &Kept) -> kube::Result<()> {
        let bundle = ByteString(kept.authorities.as_bytes().to_vec());
        let webhooks = configuration.webhooks.iter().flatten();
        let ours = webhooks.into_iter().find(|webhook| webhook.name == WEBHOOK);
        if ours.is_none_or(|webhook| webhook.client_config.ca_bundle.as_ref() == Some(&bundle)) {
            return Ok(());
        }
        let patch = json!({"webhooks": [{"name": WEBHOOK, "clientConfig": {"caBundle": bundle}}]});
        let by = PatchParams {
            field_manager: Some(OPERATOR.to_owned()),
            ..PatchParams::default()
        };
        let patched = self
            .configurations
            .patch(&self.place.name, &by, &Patch::Strategic(patch))
            .await;
        patched.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::time::UNIX_EPOCH;

    use http::{Request, Response};
    use http_body_util::BodyExt;
    use kube::client::Body;
    use parking_lot::Mutex;
    use serde_json::Value;

    fn now() -> SystemTime {
        UNIX_EPOCH + days(20_000)
    }

    fn place() -> Place {
        Place {
            namespace: "partita".to_owned(),
            name: "partita-operator-webhook".to_owned(),
        }
    }

    fn begun() -> Kept {
        renewed(None, &place().names(), now()).unwrap().unwrap()
    }

    #[test]
    fn what_will_do_is_kept_and_the_rest_is_renewed() {
        let names = place().names();
        let kept = begun();
        let later = |days_later: u64| renewed(Some(&kept), &names, now() + days(days_later)).unwrap();
        assert_eq!(later(0), None);
        assert_eq!(later(59), None);
        let renewed_in_time = later(61).unwrap();
        assert_eq!(renewed_in_time.authorities, kept.authorities, "the authority stays");
        assert_ne!(renewed_in_time.certificate, kept.certificate);
        assert!(not_after(&renewed_in_time) > not_after(&kept));
    }

    #[test]
    fn a_new_authority_is_trusted_beside_the_old_one() {
        let kept = begun();
        let next = renewed(Some(&kept), &place().names(), now() + days(3650 - 100))
            .unwrap()
            .unwrap();
        assert!(next.authorities.ends_with(&kept.authorities));
        assert_eq!(certificates(&next.authorities).len(), 2);
        let third = renewed(Some(&next), &place().names(), now() + days(2 * 3500))
            .unwrap()
            .unwrap();
        assert_eq!(certificates(&third.authorities).len(), 2, "the first one is forgotten");
    }

    #[test]
    fn what_is_damaged_or_for_other_names_is_made_anew() {
        let kept = begun();
        let names = place().names();
        let others = vec!["other.partita.svc".to_owned()];
        let found = renewed(Some(&kept), &others, now()).unwrap().unwrap();
        assert_eq!(found.authorities, kept.authorities);
        for (place, damaged) in [
            Kept {
                key: "x".into(),
                ..kept.clone()
            },
            Kept {
                certificate: String::new(),
                ..kept.clone()
            },
            Kept {
                authority_key: "x".into(),
                ..kept.clone()
            },
            Kept {
                authorities: "-----BEGIN CERTIFICATE-----".into(),
                ..kept.clone()
            },
        ]
        .iter()
        .enumerate()
        {
            let again = renewed(Some(damaged), &names, now()).unwrap().unwrap();
            assert_eq!(renewed(Some(&again), &names, now()).unwrap(), None, "{place}");
        }
        assert_eq!(Kept::read(&Secret::default()), None);
        assert!(!format!("{kept:?}").contains("PRIVATE"));
    }

    /// An API server with a Secret and a configuration: it keeps what it is sent.
    #[derive(Clone, Default)]
    struct Server(Arc<Mutex<Vec<(String, Value)>>>);

    impl Server {
        fn client(&self) -> Client {
            let server = self.clone();
            let service = tower::service_fn(move |request: Request<Body>| {
                let server = server.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let body: Value = serde_json::from_slice(&body).unwrap();
                    server
                        .0
                        .lock()
                        .push((format!("{} {}", head.method, head.uri.path()), body.clone()));
                    let answer = Response::new(Body::from(serde_json::to_vec(&body).unwrap()));
                    Ok::<_, Infallible>(answer)
                }
            });
            Client::new(service, "default")
        }

        fn take(&self) -> Vec<(String, Value)> {
            std::mem::take(&mut self.0.lock())
        }
    }

    fn configuration(bundle: Option<&Kept>) -> ValidatingWebhookConfiguration {
        let mut configuration = json!({"metadata": {"name": "c"}, "webhooks": [{
            "name": WEBHOOK, "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"service": {"name": "s", "namespace": "n"}},
        }]});
        if let Some(kept) = bundle {
            configuration["webhooks"][0]["clientConfig"]["caBundle"] =
                json!(ByteString(kept.authorities.as_bytes().to_vec()));
        }
        serde_json::from_value(configuration).unwrap()
    }

    #[tokio::test]
    async fn both_are_written_once_and_then_nothing() {
        let server = Server::default();
        let keeper = Keeper::new(&server.client(), place());
        keeper.step(None, Some(&configuration(None)), now()).await.unwrap();
        let written = server.take();
        let paths: Vec<&str> = written.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "POST /api/v1/namespaces/partita/secrets",
                "PATCH /apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/partita-operator-webhook",
            ]
        );
        let mut secret: Secret = serde_json::from_value(written[0].1.clone()).unwrap();
        let kept = Kept::read(&secret).unwrap();
        let bundle = json!(ByteString(kept.authorities.as_bytes().to_vec()));
        assert_eq!(written[1].1["webhooks"][0]["clientConfig"]["caBundle"], bundle);

        keeper
            .step(Some(&secret), Some(&configuration(Some(&kept))), now())
            .await
            .unwrap();
        assert_eq!(server.take(), [], "at rest nothing is written");

        // Somebody (an upgrade) took the trust away.
        keeper
            .step(Some(&secret), Some(&configuration(None)), now())
            .await
            .unwrap();
        assert_eq!(server.take().len(), 1);

        secret.metadata.resource_version = Some("7".to_owned());
        keeper
            .step(Some(&secret), Some(&configuration(Some(&kept))), now() + days(61))
            .await
            .unwrap();
        let written = server.take();
        assert_eq!(written.len(), 1, "the same authority: the configuration stays");
        assert_eq!(
            written[0].0,
            "PUT /api/v1/namespaces/partita/secrets/partita-operator-webhook"
        );
        assert_eq!(written[0].1["metadata"]["resourceVersion"], "7");

        keeper.step(None, None, now()).await.unwrap();
        assert_eq!(server.take(), [], "nobody calls a webhook that is not configured");
    }
}
