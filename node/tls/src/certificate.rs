//! What is read out of a certificate that somebody else checks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::name::Name;

/// A certificate's validity and names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Valid from, in seconds since 1970.
    pub not_before: i64,
    /// Valid to, in seconds since 1970.
    pub not_after: i64,
    /// Its DNS names.
    pub dns: Vec<String>,
}

impl Certificate {
    /// Reads one; `None` if it is none.
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let names = parsed.subject_alternative_name().ok()?;
        let names = names.iter().flat_map(|names| &names.value.general_names);
        let dns = names.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        Some(Self {
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            dns: dns.collect(),
        })
    }

    /// What it says that its holder is; more than one thing if it likes.
    pub fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.dns.iter().filter_map(|dns| Name::parse(dns))
    }

    /// For how long it is still valid; zero when it has expired.
    pub fn valid_for(&self, now: SystemTime) -> Duration {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_secs(u64::try_from(self.not_after).unwrap_or(0)).saturating_sub(now)
    }
}
