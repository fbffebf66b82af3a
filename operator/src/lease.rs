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

/// How long a holder that says nothing is waited for.
const LEASE_FOR: Duration = Duration::from_secs(15);
/// How often the holder renews: it may fail to twice.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// When the holder gives up, with a request's time to spare before anybody else may take the Lease.
const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// How often a candidate looks, and how soon a failed renewal is tried again.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(2);

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
    held: Lease,
}

/// Why leadership ended.
#[derive(Debug, thiserror::Error)]
#[error("the Lease {OPERATOR} is no longer ours: {0}")]
pub struct Lost(String);

/// Waits until this process is the active one. `looked` is called once the Lease could be read (or be missing).
pub async fn acquire(client: Client, namespace: &str, identity: &str, looked: impl Fn()) -> Leadership {
    let leases: Api<Lease> = Api::namespaced(client, namespace);
    let mut seen = Seen::default();
    loop {
        match bounded(try_acquire(&leases, identity, &mut seen)).await {
            Ok(held) => {
                looked();
                if let Some(held) = held {
                    tracing::info!(identity, "this operator is the active one");
                    return Leadership {
                        leases,
                        identity: identity.to_owned(),
                        held,
                    };
                }
            }
            Err(problem) => tracing::warn!(problem, "the Lease cannot be read or taken: trying again"),
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn try_acquire(leases: &Api<Lease>, identity: &str, seen: &mut Seen) -> Result<Option<Lease>, kube::Error> {
    let Some(lease) = leases.get_opt(OPERATOR).await? else {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(OPERATOR.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(held_by(identity, 0, None)),
        };
        return taken(leases.create(&PostParams::default(), &lease).await);
    };
    match seen.look(&lease, identity, Instant::now()) {
        Decision::Wait => Ok(None),
        Decision::Take(transitions) => {
            let lease = Lease {
                spec: Some(held_by(identity, transitions, None)),
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

fn held_by(identity: &str, transitions: i32, since: Option<MicroTime>) -> LeaseSpec {
    let now = MicroTime(Timestamp::now());
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(LEASE_FOR.as_secs() as i32),
        lease_transitions: Some(transitions),
        acquire_time: Some(since.unwrap_or_else(|| now.clone())),
        renew_time: Some(now),
        ..LeaseSpec::default()
    }
}

async fn bounded<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    match timeout(REQUEST_MAX, request).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {REQUEST_MAX:?}")),
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
        let mut pause = RENEW_EVERY;
        loop {
            sleep(pause).await;
            match self.renew().await {
                Ok(()) => {
                    renewed = Instant::now();
                    pause = RENEW_EVERY;
                }
                Err(Unrenewed::TakenBy(other)) => return Lost(format!("{other} holds it")),
                Err(Unrenewed::Failed(problem)) if renewed.elapsed() + LOOK_EVERY >= RENEW_WITHIN => {
                    return Lost(problem);
                }
                Err(Unrenewed::Failed(problem)) => {
                    tracing::warn!(problem, "the Lease could not be renewed: trying again");
                    pause = LOOK_EVERY;
                }
            }
        }
    }

    async fn renew(&mut self) -> Result<(), Unrenewed> {
        let spec = self.held.spec.clone().unwrap_or_default();
        let transitions = spec.lease_transitions.unwrap_or(0);
        let spec = held_by(&self.identity, transitions, spec.acquire_time);
        if let Some(held) = bounded(self.write(spec)).await.map_err(Unrenewed::Failed)? {
            self.held = held;
            return Ok(());
        }
        // An earlier renewal may have arrived without its answer, or somebody changed a label.
        let found = bounded(self.leases.get(OPERATOR)).await.map_err(Unrenewed::Failed)?;
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
        taken(self.leases.replace(OPERATOR, &PostParams::default(), &lease).await)
    }

    /// Gives the Lease up: another operator takes over as soon as it looks.
    pub async fn release(&mut self) {
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            ..self.held.spec.clone().unwrap_or_default()
        };
        match bounded(self.write(spec)).await {
            Ok(_) => tracing::info!("gave up the Lease"),
            Err(problem) => tracing::warn!(problem, "could not give up the Lease: it ends by itself"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(version: &str, holder: &str) -> Lease {
        Lease {
            metadata: ObjectMeta {
                resource_version: Some(version.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(held_by(holder, 4, None)),
        }
    }

    #[test]
    fn a_silent_holder_is_replaced_by_our_own_clock() {
        let mut seen = Seen::default();
        let start = Instant::now();
        assert_eq!(seen.look(&lease("1", "other"), "me", start), Decision::Wait);
        let later = start + LEASE_FOR - Duration::from_millis(1);
        assert_eq!(seen.look(&lease("1", "other"), "me", later), Decision::Wait);
        assert_eq!(seen.look(&lease("2", "other"), "me", later), Decision::Wait);
        let silent = later + LEASE_FOR;
        assert_eq!(seen.look(&lease("2", "other"), "me", silent), Decision::Take(5));
    }

    #[test]
    fn what_is_ours_or_given_up_is_taken_at_once() {
        let now = Instant::now();
        assert_eq!(Seen::default().look(&lease("1", "me"), "me", now), Decision::Take(4));
        assert_eq!(Seen::default().look(&lease("1", ""), "me", now), Decision::Take(5));
    }
}
