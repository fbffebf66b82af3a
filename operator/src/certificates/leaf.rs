//! A certificate in a Secret: of a role in a namespace, whose pods mount it, or of the webhook. Pure, but for the keys that are
//! made.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::core::ObjectMeta;
use partita_crds::names::{OPERATOR, REPLICA_SECRET, ROUTER_SECRET};
use partita_tls::authority::{Failed, Issued};
use partita_tls::{Name, Pem, Role};

use super::authority::Authority;
use super::{issued, remaining, text};

/// The life of a certificate. It is renewed when two thirds are over: that leaves a month for an operator that is away.
pub const LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

/// A certificate to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leaf {
    /// Where.
    pub namespace: String,
    /// The Secret's name.
    pub secret: String,
    /// What it says that its holder is: DNS names.
    pub names: Vec<String>,
}

/// What is to be done about one.
#[derive(Debug)]
pub enum Verdict {
    /// Nothing until then, in seconds since 1970.
    Good(u64),
    /// This is to be written.
    Write(Box<Secret>),
}

impl Leaf {
    /// Of the routers of the release.
    pub fn of_routers(release: &str) -> Self {
        Self {
            namespace: release.to_owned(),
            secret: ROUTER_SECRET.to_owned(),
            names: vec![Name::of_cluster(Role::Router).to_string()],
        }
    }

    /// Of the webhook behind a Service of the release. None of its names is a role's: nobody takes it for a peer.
    pub fn of_webhook(release: &str, service: &str) -> Self {
        let host = format!("{service}.{release}.svc");
        Self {
            namespace: release.to_owned(),
            secret: service.to_owned(),
            names: vec![host.clone(), format!("{host}.cluster.local")],
        }
    }

    /// Of what runs in a namespace with Tables: its storage nodes, and routers beside applications.
    pub fn of_namespace(namespace: &str, release: &str) -> Vec<Self> {
        let leaf = |secret: &str, role| Self {
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            names: vec![Name::of_namespace(role, namespace).to_string()],
        };
        let mut leaves = vec![leaf(REPLICA_SECRET, Role::Replica)];
        if namespace != release {
            leaves.push(leaf(ROUTER_SECRET, Role::Router));
        }
        leaves
    }

    /// Compares with what is there.
    pub fn judge(&self, found: Option<&Secret>, authority: &Authority, now_s: u64) -> Result<Verdict, Failed> {
        let trusted = authority.trusted();
        let kept = found.and_then(|secret| self.usable(secret, authority, now_s));
        let issued = match kept {
            Some(kept) => {
                if found.and_then(|secret| text(secret, "ca.crt")).as_ref() == Some(&trusted) {
                    let until = remaining(&kept.certificate).map_or(0, |validity| validity.renew_at_s());
                    return Ok(Verdict::Good(until));
                }
                kept
            }
            None => authority.issue(&self.names, now_s, LIFE)?,
        };
        Ok(Verdict::Write(Box::new(self.to_secret(issued, trusted))))
    }

    /// The certificate that is there, if it is this one, of the current authority, and not about to expire.
    fn usable(&self, secret: &Secret, authority: &Authority, now_s: u64) -> Option<Issued> {
        let issued = issued(secret)?;
        let pem = Pem::in_memory(&issued.certificate, &issued.key, &authority.current.certificate).ok()?;
        pem.check().ok()?;
        let fresh = now_s < remaining(&issued.certificate)?.renew_at_s();
        (fresh && pem.certificate.dns == self.names).then_some(issued)
    }

    fn to_secret(&self, issued: Issued, trusted: String) -> Secret {
        let bytes = |text: String| ByteString(text.into_bytes());
        Secret {
            metadata: ObjectMeta {
                name: Some(self.secret.clone()),
                namespace: Some(self.namespace.clone()),
                labels: Some(BTreeMap::from([
                    ("app.kubernetes.io/name".to_owned(), "partita".to_owned()),
                    ("app.kubernetes.io/managed-by".to_owned(), OPERATOR.to_owned()),
                ])),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".to_owned()),
            data: Some(BTreeMap::from([
                ("tls.crt".to_owned(), bytes(issued.certificate)),
                ("tls.key".to_owned(), bytes(issued.key)),
                ("ca.crt".to_owned(), bytes(trusted)),
            ])),
            ..Secret::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use partita_tls::{Loaded, Mutual, Unusable};

    const NOW_S: u64 = 1_700_000_000;

    fn written(verdict: Verdict) -> Secret {
        match verdict {
            Verdict::Write(secret) => *secret,
            Verdict::Good(_) => panic!("nothing was to be written"),
        }
    }

    fn of_shop() -> Leaf {
        Leaf::of_namespace("shop", "partita").remove(0)
    }

    #[test]
    fn a_certificate_is_renewed_for_each_reason_and_for_no_other() {
        let authority = Authority::begin(NOW_S).unwrap();
        let leaf = of_shop();
        let made = written(leaf.judge(None, &authority, NOW_S).unwrap());
        let Verdict::Good(until) = leaf.judge(Some(&made), &authority, NOW_S).unwrap() else {
            panic!("it was just made")
        };
        let left = NOW_S + LIFE.as_secs() - until;
        assert!(left > LIFE.as_secs() / 4 && left < LIFE.as_secs() / 2, "{left}");

        let expiring = written(leaf.judge(Some(&made), &authority, until).unwrap());
        assert_ne!(text(&expiring, "tls.crt"), text(&made, "tls.crt"));
        for key in ["tls.crt", "tls.key"] {
            let mut broken = made.clone();
            broken
                .data
                .as_mut()
                .unwrap()
                .insert(key.to_owned(), ByteString(b"broken".to_vec()));
            let mended = written(leaf.judge(Some(&broken), &authority, NOW_S).unwrap());
            assert!(matches!(
                leaf.judge(Some(&mended), &authority, NOW_S).unwrap(),
                Verdict::Good(_)
            ));
        }
        let bank = Leaf::of_namespace("bank", "partita").remove(0);
        assert_ne!(
            text(&written(bank.judge(Some(&made), &authority, NOW_S).unwrap()), "tls.crt"),
            text(&made, "tls.crt")
        );
    }

    #[test]
    fn trust_comes_before_the_certificate_and_goes_after_it() {
        let first = Authority::begin(NOW_S).unwrap();
        let leaf = of_shop();
        let made = written(leaf.judge(None, &first, NOW_S).unwrap());
        let trusting = first.advance(Some("x"), NOW_S + 1, 10).unwrap().unwrap();
        let second = written(leaf.judge(Some(&made), &trusting, NOW_S + 1).unwrap());
        assert_eq!(text(&second, "tls.crt"), text(&made, "tls.crt"));
        assert_eq!(text(&second, "ca.crt"), Some(trusting.trusted()));
        let signing = trusting.advance(Some("x"), NOW_S + 11, 10).unwrap().unwrap();
        let third = written(leaf.judge(Some(&second), &signing, NOW_S + 11).unwrap());
        assert_ne!(text(&third, "tls.crt"), text(&made, "tls.crt"));
        // Both ends of every pair that can meet trust each other, at each step.
        for (old, new) in [(&made, &second), (&second, &third)] {
            for (shown, trusting) in [(old, new), (new, old)] {
                let [certificate, key] = ["tls.crt", "tls.key"].map(|name| text(shown, name).unwrap());
                let pem = Pem::in_memory(&certificate, &key, &text(trusting, "ca.crt").unwrap()).unwrap();
                pem.check().unwrap();
            }
        }
        let alone = signing.advance(Some("x"), NOW_S + 21, 10).unwrap().unwrap();
        let fourth = written(leaf.judge(Some(&third), &alone, NOW_S + 21).unwrap());
        assert_eq!(text(&fourth, "tls.crt"), text(&third, "tls.crt"));
        assert_eq!(text(&fourth, "ca.crt"), Some(alone.current.certificate.clone()));
    }

    #[test]
    fn routers_of_the_release_belong_everywhere_and_others_to_their_namespace() {
        assert_eq!(Leaf::of_routers("partita").names, ["router.partita.internal"]);
        let dns = |namespace| -> Vec<String> {
            let leaves = Leaf::of_namespace(namespace, "partita");
            leaves.into_iter().flat_map(|leaf| leaf.names).collect()
        };
        assert_eq!(
            dns("shop"),
            ["replica.shop.partita.internal", "router.shop.partita.internal"]
        );
        // There it is the routers' own.
        assert_eq!(dns("partita"), ["replica.partita.partita.internal"]);
    }

    #[test]
    fn the_webhook_is_nobodys_peer() {
        let authority = Authority::begin(NOW_S).unwrap();
        let leaf = Leaf::of_webhook("partita", "partita-operator-webhook");
        let made = written(leaf.judge(None, &authority, NOW_S).unwrap());
        assert!(matches!(
            leaf.judge(Some(&made), &authority, NOW_S).unwrap(),
            Verdict::Good(_)
        ));
        let [certificate, key, trusted] = ["tls.crt", "tls.key", "ca.crt"].map(|name| text(&made, name).unwrap());
        let pem = Pem::in_memory(&certificate, &key, &trusted).unwrap();
        assert_eq!(pem.certificate.dns[0], "partita-operator-webhook.partita.svc");
        assert!(matches!(Mutual::load(&pem), Err(Unusable::Nameless(_))));
    }
}
