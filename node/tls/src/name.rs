//! What a certificate says its holder is: a DNS name `<role>.<scope>` among its subject alternative names, whose scope is
//! `partita.internal` or ends in it.
//!
//! Two processes belong together when the scope of one is the other's or lies within it: `router.partita.internal` talks to
//! `replica.shop.partita.internal`, which does not talk to `replica.bank.partita.internal`.

use std::fmt;

/// The widest scope. `.internal` is nobody's in the public DNS.
pub const DOMAIN: &str = "partita.internal";

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Speaks the DynamoDB API, forwards, and tells the directory.
    Router,
    /// Holds a store.
    Replica,
    /// Tells replicas what to do.
    Operator,
    /// A person, or a tool of theirs.
    Admin,
}

impl Role {
    const ALL: [Self; 4] = [Self::Router, Self::Replica, Self::Operator, Self::Admin];

    fn label(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Replica => "replica",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A role, and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// What it does.
    pub role: Role,
    /// Where: [`DOMAIN`], or a domain within it.
    scope: String,
}

impl Name {
    /// A role of the whole cluster.
    pub fn of_cluster(role: Role) -> Self {
        Self {
            role,
            scope: DOMAIN.to_owned(),
        }
    }

    /// A role of one namespace of it.
    pub fn of_namespace(role: Role, namespace: &str) -> Self {
        Self {
            role,
            scope: format!("{namespace}.{DOMAIN}"),
        }
    }

    /// A DNS name of a certificate, if it is one of ours.
    pub fn parse(dns: &str) -> Option<Self> {
        let dns = dns.to_ascii_lowercase();
        let (label, scope) = dns.split_once('.')?;
        let role = Role::ALL.into_iter().find(|role| role.label() == label)?;
        within(scope, DOMAIN).then(|| Self {
            role,
            scope: scope.to_owned(),
        })
    }

    /// Whether both belong together.
    pub fn is_related(&self, other: &Self) -> bool {
        within(&self.scope, &other.scope) || within(&other.scope, &self.scope)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.role, self.scope)
    }
}

/// Whether a domain is another one, or lies within it.
fn within(domain: &str, outer: &str) -> bool {
    domain
        .strip_suffix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.') && rest.len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_roles_in_our_domain() {
        let parse = |dns| Name::parse(dns).map(|name| name.to_string());
        for ours in [
            "router.partita.internal",
            "replica.shop.partita.internal",
            "operator.a.b.partita.internal",
            "admin.partita.internal",
        ] {
            assert_eq!(parse(ours).as_deref(), Some(ours));
        }
        assert_eq!(
            parse("Router.PARTITA.internal").as_deref(),
            Some("router.partita.internal")
        );
        for other in [
            "",
            "router",
            "router.",
            "router.example.com",
            "router.xpartita.internal",
            "router..partita.internal",
            "gateway.partita.internal",
            "*.partita.internal",
            "partita.internal",
            "router.partita.internal.example.com",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn scopes_that_contain_each_other_belong_together() {
        let name = |dns| Name::parse(dns).unwrap();
        let router = name("router.partita.internal");
        let (shop, bank) = (
            name("replica.shop.partita.internal"),
            name("replica.bank.partita.internal"),
        );
        assert!(router.is_related(&shop) && shop.is_related(&router) && shop.is_related(&shop));
        assert!(!shop.is_related(&bank) && !bank.is_related(&shop));
        assert!(!shop.is_related(&name("replica.workshop.partita.internal")));
        assert_eq!(Name::of_namespace(Role::Replica, "shop"), shop);
        assert_eq!(Name::of_cluster(Role::Router), router);
    }
}
