//! Which of several operators is the active one: the holder of a Lease.
//!
//! 1. A candidate looks at the Lease. It takes it when there is none, when its holder gave it up, or when it was not renewed
//!    for the time that its holder promised, by the candidate's own clock: clocks of different machines are never compared.
//! 2. The holder renews it. Every write names the version that it follows, so that of two writers one loses.
//! 3. A holder that could not renew for a while, or sees another holder, has lost: the process must end, for it cannot know
//!    what it is in the middle of.
//! 4. A holder that stops gives the Lease up, and the next one need not wait.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use partita_crds::names::OPERATOR;
use tokio::time::{Instant, sleep, timeout};

/// How long everything takes.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long a holder that says nothing is waited for.
    lease_for: Duration,
    /// How often the holder renews: it may fail to twice.
    renew_every: Duration,
    /// When the holder gives up, with a request's time to spare before anybody else may take the Lease.
    renew_within: Duration,
    /// How often a candidate looks, and how soon a failed renewal is tried again.
    look_every: Duration,
    /// How long one request may take.
    request_max: Duration,
}

/// As other controllers do: a lost node is replaced within half a minute, and a busy API server is no reason to stop.
pub const TIMING: Timing = Timing {
    lease_for: Duration::from_secs(15),
    renew_every: Duration::from_secs(5),
    renew_within: Duration::from_secs(10),
    look_every: Duration::from_secs(2),
    request_max: Duration::from_secs(2),
};

/// What a candidate knows of the Lease.
#[derive(Debug, Default)]
struct Seen {
    /// Its version, and when this process first saw that version.
    version: Option<(String, Instant)>,
}

/// What a candidate does about what it sees.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Take it, as number so many of its holders.
    Take(i32),
    /// Somebody else has it.
    Wait,
}

impl Seen {
    /// Notes the Lease as it is and says what to do.
    fn look(&mut self, lease: &Lease, identity: &str, now: Instant) -> Decision {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let since = match &self.version {
            Some((known, since)) if *known == version => *since,
            Some(_) | None => now,
        };
        self.version = Some((version, since));
        let Some(spec) = &lease.spec else {
            return Decision::Take(0);
        };
        let transitions = spec.lease_transitions.unwrap_or(0);
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let promised = Duration::from_secs(u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0));
        if holder == identity {
            // Left by this pod's process before a restart.
            Decision::Take(transitions)
        } else if holder.is_empty() || now.duration_since(since) >= promised {
            Decision::Take(transitions.saturating_add(1))
        } else {
            Decision::Wait
        }
    }
}

/// The Lease, as one process sees it.
pub struct Leadership {
    leases: Api<Lease>,
    identity: String,
    timing: Timing,
    held: Lease,
}

/// Why leadership ended.
#[derive(Debug, thiserror::Error)]
#[error("the Lease {OPERATOR} is no longer ours: {0}")]
pub struct Lost(String);

/// Waits until this process is the active one. `looked` is called once the Lease could be read (or be missing).
pub async fn acquire(client: Client, namespace: &str, identity: &str, timing: Timing, looked: impl Fn()) -> Leadership {
    let leases: Api<Lease> = Api::namespaced(client, namespace);
    let mut seen = Seen::default();
    loop {
        match bounded(timing, try_acquire(&leases, identity, timing, &mut seen)).await {
            Ok(held) => {
                looked();
                if let Some(held) = held {
                    tracing::info!(identity, "this operator is the active one");
                    return Leadership {
                        leases,
                        identity: identity.to_owned(),
                        timing,
                        held,
                    };
                }
            }
            Err(problem) => tracing::warn!(problem, "the Lease cannot be read or taken: trying again"),
        }
        sleep(timing.look_every).await;
    }
}

async fn try_acquire(
    leases: &Api<Lease>,
    identity: &str,
    timing: Timing,
    seen: &mut Seen,
) -> Result<Option<Lease>, kube::Error> {
    let Some(lease) = leases.get_opt(OPERATOR).await? else {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(OPERATOR.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(held_by(identity, timing, 0, None)),
        };
        return taken(leases.create(&PostParams::default(), &lease).await);
    };
    match seen.look(&lease, identity, Instant::now()) {
        Decision::Wait => Ok(None),
        Decision::Take(transitions) => {
            let lease = Lease {
                spec: Some(held_by(identity, timing, transitions, None)),
                ..lease
            };
            taken(leases.replace(OPERATOR, &PostParams::default(), &lease).await)
        }
    }
}

/// Somebody else was faster: that is no failure.
fn taken(result: Result<Lease, kube::Error>) -> Result<Option<Lease>, kube::Error> {
    match result {
        Ok(lease) => Ok(Some(lease)),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(error),
    }
}

fn held_by(identity: &str, timing: Timing, transitions: i32, since: Option<MicroTime>) -> LeaseSpec {
    let now = MicroTime(Timestamp::now());
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(i32::try_from(timing.lease_for.as_secs()).unwrap_or(i32::MAX)),
        lease_transitions: Some(transitions),
        acquire_time: Some(since.unwrap_or_else(|| now.clone())),
        renew_time: Some(now),
        ..LeaseSpec::default()
    }
}

async fn bounded<T>(timing: Timing, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    match timeout(timing.request_max, request).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {:?}", timing.request_max)),
    }
}

/// Why a renewal did not happen.
enum Unrenewed {
    /// Somebody else holds the Lease.
    TakenBy(String),
    /// It may be tried again.
    Failed(String),
}

impl Leadership {
    /// Renews until that fails.
    pub async fn keep(&mut self) -> Lost {
        let mut renewed = Instant::now();
        let Timing {
            renew_every,
            renew_within,
            look_every,
            ..
        } = self.timing;
        let mut pause = renew_every;
        loop {
            sleep(pause).await;
            match self.renew().await {
                Ok(()) => {
                    renewed = Instant::now();
                    pause = renew_every;
                }
                Err(Unrenewed::TakenBy(other)) => return Lost(format!("{other} holds it")),
                Err(Unrenewed::Failed(problem)) if renewed.elapsed() + look_every >= renew_within => {
                    return Lost(problem);
                }
                Err(Unrenewed::Failed(problem)) => {
                    tracing::warn!(problem, "the Lease could not be renewed: trying again");
                    pause = look_every;
                }
            }
        }
    }

    async fn renew(&mut self) -> Result<(), Unrenewed> {
        let spec = self.held.spec.clone().unwrap_or_default();
        let transitions = spec.lease_transitions.unwrap_or(0);
        let spec = held_by(&self.identity, self.timing, transitions, spec.acquire_time);
        if let Some(held) = bounded(self.timing, self.write(spec))
            .await
            .map_err(Unrenewed::Failed)?
        {
            self.held = held;
            return Ok(());
        }
        // An earlier renewal may have arrived without its answer, or somebody changed a label.
        let found = bounded(self.timing, self.leases.get_opt(OPERATOR))
            .await
            .map_err(Unrenewed::Failed)?;
        let Some(found) = found else {
            // Whoever looks next makes another one, without waiting for us.
            return Err(Unrenewed::TakenBy("nobody (it was deleted)".to_owned()));
        };
        let holder = found.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        match holder {
            Some(holder) if holder == self.identity => {
                self.held = found;
                Err(Unrenewed::Failed("it was changed meanwhile".to_owned()))
            }
            other => Err(Unrenewed::TakenBy(other.unwrap_or_else(|| "nobody".to_owned()))),
        }
    }

    /// `None` when the Lease is no longer the one we know.
    async fn write(&self, spec: LeaseSpec) -> Result<Option<Lease>, kube::Error> {
        let lease = Lease {
            metadata: self.held.metadata.clone(),
            spec: Some(spec),
        };
        match self.leases.replace(OPERATOR, &PostParams::default(), &lease).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            replaced => taken(replaced),
        }
    }

    /// Gives the Lease up: another operator takes over as soon as it looks.
    pub async fn release(&mut self) {
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            ..self.held.spec.clone().unwrap_or_default()
        };
        match bounded(self.timing, self.write(spec)).await {
            Ok(_) => tracing::info!("gave up the Lease"),
            Err(problem) => tracing::warn!(problem, "could not give up the Lease: it ends by itself"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use http::{Request, Response, StatusCode};
    use http_body_util::BodyExt;
    use kube::client::Body;
    use parking_lot::Mutex;
    use serde_json::{Value, json};

    fn lease(version: &str, holder: &str) -> Lease {
        Lease {
            metadata: ObjectMeta {
                resource_version: Some(version.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(held_by(holder, TIMING, 4, None)),
        }
    }

    #[test]
    fn a_silent_holder_is_replaced_by_our_own_clock() {
        let mut seen = Seen::default();
        let start = Instant::now();
        assert_eq!(seen.look(&lease("1", "other"), "me", start), Decision::Wait);
        let later = start + TIMING.lease_for - Duration::from_millis(1);
        assert_eq!(seen.look(&lease("1", "other"), "me", later), Decision::Wait);
        assert_eq!(seen.look(&lease("2", "other"), "me", later), Decision::Wait);
        let silent = later + TIMING.lease_for;
        assert_eq!(seen.look(&lease("2", "other"), "me", silent), Decision::Take(5));
    }

    #[test]
    fn what_is_ours_or_given_up_is_taken_at_once() {
        let now = Instant::now();
        assert_eq!(Seen::default().look(&lease("1", "me"), "me", now), Decision::Take(4));
        assert_eq!(Seen::default().look(&lease("1", ""), "me", now), Decision::Take(5));
    }

    /// An API server that knows nothing but one Lease.
    #[derive(Clone, Default)]
    struct Server {
        lease: Arc<Mutex<Option<Value>>>,
        away: Arc<AtomicBool>,
    }

    impl Server {
        fn client(&self) -> Client {
            let server = self.clone();
            let service = tower::service_fn(move |request: Request<Body>| {
                let server = server.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    let body = serde_json::from_slice(&body).unwrap_or_default();
                    let (status, answer) = server.answer(head.method.as_str(), body);
                    let answer = Body::from(answer.to_string().into_bytes());
                    Ok::<_, kube::Error>(Response::builder().status(status).body(answer).unwrap())
                }
            });
            Client::new(service, "default")
        }

        fn answer(&self, method: &str, mut body: Value) -> (StatusCode, Value) {
            let problem = |code: StatusCode| {
                let reason = code.canonical_reason().unwrap_or_default().replace(' ', "");
                (
                    code,
                    json!({"kind": "Status", "status": "Failure", "code": code.as_u16(), "reason": reason}),
                )
            };
            if self.away.load(Ordering::Relaxed) {
                return problem(StatusCode::SERVICE_UNAVAILABLE);
            }
            let mut lease = self.lease.lock();
            let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
            let next = match (method, lease.as_ref()) {
                ("GET", Some(lease)) => return (StatusCode::OK, lease.clone()),
                ("GET", None) => return problem(StatusCode::NOT_FOUND),
                ("POST", Some(_)) => return problem(StatusCode::CONFLICT),
                ("POST", None) => 1,
                ("PUT", None) => return problem(StatusCode::NOT_FOUND),
                ("PUT", Some(there)) if version(there) != version(&body) => return problem(StatusCode::CONFLICT),
                ("PUT", Some(there)) => version(there).as_str().unwrap().parse::<u64>().unwrap() + 1,
                other => panic!("{other:?}"),
            };
            body["metadata"]["resourceVersion"] = json!(next.to_string());
            *lease = Some(body.clone());
            (StatusCode::OK, body)
        }

        fn holder(&self) -> String {
            let lease = self.lease.lock();
            let spec = lease.as_ref().map(|lease| lease["spec"].clone()).unwrap_or_default();
            spec["holderIdentity"].as_str().unwrap_or_default().to_owned()
        }
    }

    /// As fast as it goes; nobody is replaced for being slow.
    const FAST: Timing = Timing {
        lease_for: Duration::from_secs(3600),
        renew_every: Duration::from_millis(1),
        renew_within: Duration::from_millis(2),
        look_every: Duration::from_millis(1),
        request_max: Duration::from_secs(60),
    };

    #[tokio::test]
    async fn who_gives_it_up_is_followed_at_once() {
        let server = Server::default();
        let mut first = acquire(server.client(), "ns", "first", FAST, || {}).await;
        assert_eq!(server.holder(), "first");
        let looked = Arc::new(tokio::sync::Notify::new());
        let (tell, client) = (Arc::clone(&looked), server.client());
        let second = tokio::spawn(async move { acquire(client, "ns", "second", FAST, || tell.notify_one()).await });
        looked.notified().await;
        assert_eq!(server.holder(), "first");
        first.release().await;
        second.await.unwrap();
        assert_eq!(server.holder(), "second");
    }

    #[tokio::test]
    async fn a_holder_renews_until_another_one_has_it() {
        let server = Server::default();
        let mut first = acquire(server.client(), "ns", "first", FAST, || {}).await;
        let watched = server.clone();
        let robber = async move {
            let created = |lease: &Value| lease["metadata"]["resourceVersion"] == "1";
            while watched.lease.lock().as_ref().is_some_and(created) {
                tokio::task::yield_now().await;
            }
            let mut lease = watched.lease.lock();
            let lease = lease.as_mut().unwrap();
            lease["spec"]["holderIdentity"] = json!("robber");
            lease["metadata"]["resourceVersion"] = json!("100");
        };
        let (lost, ()) = tokio::join!(first.keep(), robber);
        assert!(lost.to_string().ends_with("robber holds it"), "{lost}");
    }

    #[tokio::test]
    async fn a_holder_whose_lease_was_deleted_has_lost_at_once() {
        let server = Server::default();
        let patient = Timing {
            renew_within: Duration::from_secs(3600),
            ..FAST
        };
        let mut first = acquire(server.client(), "ns", "first", patient, || {}).await;
        *server.lease.lock() = None;
        let lost = first.keep().await;
        assert!(lost.to_string().contains("it was deleted"), "{lost}");
    }

    #[tokio::test]
    async fn a_holder_without_an_api_server_has_lost() {
        let server = Server::default();
        let mut first = acquire(server.client(), "ns", "first", FAST, || {}).await;
        server.away.store(true, Ordering::Relaxed);
        first.keep().await;
        assert_eq!(server.holder(), "first", "it is not given up, but waited for");
    }
}
