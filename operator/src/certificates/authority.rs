//! The authority of a release, and how it is replaced without anybody noticing. Pure, but for the keys that are made.
//!
//! 1. The current authority signs, and is trusted.
//! 2. When it has used up two thirds of its life, or a person asks, the next one is made: it is trusted everywhere, and
//!    signs nothing yet.
//! 3. When that has reached every process (they have had a while for it), the next one is the current one: it signs
//!    everybody's new certificate. The previous one is still trusted.
//! 4. When those have reached every process, the previous one is forgotten.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::core::ObjectMeta;
use partita_crds::names::OPERATOR;
use partita_tls::authority::{Authority as Signer, Failed, Issued, Validity};

use super::{remaining, text};

/// The Secret with the authority, in the release namespace.
pub const SECRET: &str = "partita-authority";
/// Annotation on it: another value than last time asks for another authority.
pub const ROTATE: &str = "partita.dev/rotate";
/// Annotation on it: the value that was last answered.
const ROTATED: &str = "partita.dev/rotated";
/// Annotation on it: since when it is as it is, and everybody's certificates too as far as is known, in seconds since 1970.
const SINCE: &str = "partita.dev/since";
/// The life of an authority: long, for a replacement goes through every process twice.
const LIFE: Duration = Duration::from_secs(2 * 365 * 24 * 3600);
/// Clocks of other machines may be behind.
const SKEW: Duration = Duration::from_secs(3600);

/// An authority, and its successor or its predecessor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Who signs.
    pub current: Issued,
    /// Who will.
    pub next: Option<Issued>,
    /// The certificate of who did.
    pub previous: Option<String>,
    /// Since when it is as it is, in seconds since 1970.
    pub since_s: u64,
    /// What a person last asked for and got.
    pub rotated: Option<String>,
}

impl Authority {
    /// The first one.
    pub fn begin(now_s: u64) -> Result<Self, Failed> {
        Ok(Self {
            current: make(now_s)?,
            next: None,
            previous: None,
            since_s: now_s,
            rotated: None,
        })
    }

    /// What is written when the Secret is gone and this is still known: nobody is left without whom they trust. Whoever deletes
    /// it wants another authority, and the replacement begins, unless one is under way.
    pub fn put_back(&self, now_s: u64) -> Result<Self, Failed> {
        let mut then = Self {
            since_s: now_s,
            ..self.clone()
        };
        if then.next.is_none() && then.previous.is_none() {
            then.next = Some(make(now_s)?);
        }
        Ok(then)
    }

    /// One step further, if it is time for one. `asked`: what the annotation [`ROTATE`] says; `settle_s`: how long anything
    /// takes to reach every process, in seconds.
    pub fn advance(&self, asked: Option<&str>, now_s: u64, settle_s: u64) -> Result<Option<Self>, Failed> {
        let settled = now_s >= self.since_s.saturating_add(settle_s);
        let wanted = asked.is_some() && asked != self.rotated.as_deref();
        let mut then = Self {
            since_s: now_s,
            ..self.clone()
        };
        match (&self.next, &self.previous) {
            (Some(next), _) if settled => {
                then.previous = Some(self.current.certificate.clone());
                then.current = next.clone();
                then.next = None;
            }
            (None, Some(_)) if settled => then.previous = None,
            (None, None) if wanted || now_s >= self.expiring_s() => {
                then.next = Some(make(now_s)?);
                then.rotated = asked.map(str::to_owned);
            }
            _ => return Ok(None),
        }
        Ok(Some(then))
    }

    /// Whether it is on its way from one to the next: a step counts from when everybody's files are as it wants them.
    pub fn is_being_replaced(&self) -> bool {
        self.next.is_some() || self.previous.is_some()
    }

    /// When the next step is due, in seconds since 1970.
    pub fn due_s(&self, settle_s: u64) -> u64 {
        match (&self.next, &self.previous) {
            (None, None) => self.expiring_s(),
            _ => self.since_s.saturating_add(settle_s),
        }
    }

    /// When the current one should be replaced.
    fn expiring_s(&self) -> u64 {
        remaining(&self.current.certificate).map_or(0, |validity| validity.renew_at_s())
    }

    /// Whom everybody trusts, as PEM.
    pub fn trusted(&self) -> String {
        let others = [self.next.as_ref().map(|next| &next.certificate), self.previous.as_ref()];
        let all = std::iter::once(&self.current.certificate).chain(others.into_iter().flatten());
        all.map(String::as_str).collect()
    }

    /// Signs a certificate.
    pub fn issue(&self, names: &[String], now_s: u64, life: Duration) -> Result<Issued, Failed> {
        let signer = Signer::from_pem(&self.current.certificate, &self.current.key)?;
        signer.issue(names, validity(now_s, life))
    }

    /// As it is kept.
    pub fn to_secret(&self, namespace: &str) -> Secret {
        let mut data = BTreeMap::from([
            ("tls.crt", self.current.certificate.clone()),
            ("tls.key", self.current.key.clone()),
        ]);
        if let Some(next) = &self.next {
            data.insert("next.crt", next.certificate.clone());
            data.insert("next.key", next.key.clone());
        }
        if let Some(previous) = &self.previous {
            data.insert("previous.crt", previous.clone());
        }
        let mut annotations = BTreeMap::from([(SINCE.to_owned(), self.since_s.to_string())]);
        if let Some(rotated) = &self.rotated {
            annotations.insert(ROTATED.to_owned(), rotated.clone());
        }
        Secret {
            metadata: ObjectMeta {
                name: Some(SECRET.to_owned()),
                namespace: Some(namespace.to_owned()),
                labels: Some(BTreeMap::from([
                    ("app.kubernetes.io/name".to_owned(), "partita".to_owned()),
                    ("app.kubernetes.io/managed-by".to_owned(), OPERATOR.to_owned()),
                ])),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            data: Some(
                data.into_iter()
                    .map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes())))
                    .collect(),
            ),
            ..Secret::default()
        }
    }

    /// As it was kept; `None` if that is none.
    pub fn from_secret(secret: &Secret) -> Option<Self> {
        let pair = |certificate: &str, key: &str| {
            Some(Issued {
                certificate: text(secret, certificate)?,
                key: text(secret, key)?,
            })
        };
        let current = pair("tls.crt", "tls.key")?;
        // Also whether the key is one, and the certificate one of an authority.
        Signer::from_pem(&current.certificate, &current.key).ok()?;
        Some(Self {
            current,
            next: pair("next.crt", "next.key"),
            previous: text(secret, "previous.crt"),
            since_s: secret.annotations().get(SINCE)?.parse().ok()?,
            rotated: secret.annotations().get(ROTATED).cloned(),
        })
    }
}

/// The validity of what is made now.
fn validity(now_s: u64, life: Duration) -> Validity {
    let now: SystemTime = UNIX_EPOCH + Duration::from_secs(now_s);
    Validity {
        not_before: now - SKEW,
        not_after: now + life,
    }
}

fn make(now_s: u64) -> Result<Issued, Failed> {
    let signer = Signer::make(validity(now_s, LIFE))?;
    Ok(Issued {
        certificate: signer.certificate().to_owned(),
        key: signer.key(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_700_000_000;
    const SETTLE_S: u64 = 600;

    #[test]
    fn a_rotation_never_leaves_anybody_untrusted() {
        let first = Authority::begin(NOW_S).unwrap();
        assert_eq!(first.advance(None, NOW_S, SETTLE_S).unwrap(), None);
        let second = first.advance(Some("1"), NOW_S + 1, SETTLE_S).unwrap().unwrap();
        // Trusted, and signs nothing yet.
        let next = second.next.clone().unwrap();
        assert_eq!(second.current, first.current);
        assert!(second.trusted().contains(&next.certificate) && second.trusted().contains(&first.current.certificate));
        assert_eq!(second.due_s(SETTLE_S), NOW_S + 1 + SETTLE_S);
        assert_eq!(second.advance(Some("1"), NOW_S + SETTLE_S, SETTLE_S).unwrap(), None);
        // Signs, and the one before is still trusted.
        let third = second
            .advance(Some("1"), NOW_S + 1 + SETTLE_S, SETTLE_S)
            .unwrap()
            .unwrap();
        assert_eq!((&third.current, &third.next), (&next, &None));
        assert_eq!(third.previous.as_ref(), Some(&first.current.certificate));
        assert_eq!(third.advance(Some("2"), NOW_S + 2 + SETTLE_S, SETTLE_S).unwrap(), None);
        // Is alone.
        let fourth = third
            .advance(Some("1"), NOW_S + 1 + 2 * SETTLE_S, SETTLE_S)
            .unwrap()
            .unwrap();
        assert_eq!(fourth.trusted(), next.certificate);
        assert_eq!(
            fourth.advance(Some("1"), NOW_S + 10 * SETTLE_S, SETTLE_S).unwrap(),
            None
        );
        // What was asked meanwhile comes afterwards.
        assert!(
            fourth
                .advance(Some("2"), NOW_S + 10 * SETTLE_S, SETTLE_S)
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn one_that_is_lost_is_put_back_and_replaced() {
        let first = Authority::begin(NOW_S).unwrap();
        let back = first.put_back(NOW_S + 9).unwrap();
        assert_eq!((&back.current, back.since_s), (&first.current, NOW_S + 9));
        assert!(back.next.is_some());
        // In the middle of a replacement, that goes on: what has settled is not known for sure.
        assert_eq!(
            back.put_back(NOW_S + 10).unwrap(),
            Authority {
                since_s: NOW_S + 10,
                ..back
            }
        );
    }

    #[test]
    fn it_is_replaced_long_before_it_expires() {
        let authority = Authority::begin(NOW_S).unwrap();
        let due = authority.due_s(SETTLE_S);
        let (life, left) = (LIFE.as_secs(), NOW_S + LIFE.as_secs() - due);
        assert!(left > life / 4 && left < life / 2, "{left} of {life}");
        assert_eq!(authority.advance(None, due - 1, SETTLE_S).unwrap(), None);
        assert!(authority.advance(None, due, SETTLE_S).unwrap().unwrap().next.is_some());
    }

    #[test]
    fn it_is_kept_as_it_is() {
        let first = Authority::begin(NOW_S).unwrap();
        let second = first.advance(Some("now"), NOW_S + 1, SETTLE_S).unwrap().unwrap();
        let third = second.advance(None, NOW_S + 1 + SETTLE_S, SETTLE_S).unwrap().unwrap();
        for authority in [first, second, third] {
            assert_eq!(Authority::from_secret(&authority.to_secret("partita")), Some(authority));
        }
        assert_eq!(Authority::from_secret(&Secret::default()), None);
    }
}
