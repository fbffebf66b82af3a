//! An authority of our own: for the operator, which makes and rotates one, and for tests.
//!
//! Keys are ECDSA on P-256: small, quick to make, and known to every client. An authority's name follows from its key:
//! no two have the same, and who finds a certificate can see by whom it was signed.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::certificate::Certificate;
use crate::files::Pem;

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From.
    pub not_before: SystemTime,
    /// To.
    pub not_after: SystemTime,
}

/// Bytes of a key's identifier in the authority's name.
const IDENTIFIED_BY_BYTES: usize = 6;

/// Something that cannot be made into, or with, an authority.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// Making or signing.
    #[error(transparent)]
    Making(#[from] rcgen::Error),
    /// The certificate is not one of ours, or of another key.
    #[error("the certificate is not one of an authority with this key: {0}")]
    Mismatch(String),
}

/// Signs certificates.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl std::fmt::Debug for Issued {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one, that signs for nobody's but end entities' certificates.
    pub fn make(validity: Validity) -> Result<Self, Failed> {
        let key = KeyPair::generate()?;
        let params = of_authority(&key, validity)?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self {
            certificate,
            issuer: Issuer::new(params, key),
        })
    }

    /// One that was made before: what it signs is checked once.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, Failed> {
        let mismatch = |reason: &dyn std::fmt::Display| Failed::Mismatch(reason.to_string());
        let read = Certificate::from_pem(certificate).ok_or_else(|| mismatch(&"it cannot be read"))?;
        let at = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let validity = Validity {
            not_before: at(read.not_before),
            not_after: at(read.not_after),
        };
        let key = KeyPair::from_pem(key)?;
        let authority = Self {
            certificate: certificate.to_owned(),
            issuer: Issuer::new(of_authority(&key, validity)?, key),
        };
        let probe = authority.issue(&["probe".to_owned()], validity)?;
        let probe = Pem::in_memory(&probe.certificate, &probe.key, certificate);
        probe
            .and_then(|probe| probe.check())
            .map_err(|error| mismatch(&error))?;
        Ok(authority)
    }

    /// Its own certificate, as PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Its private key, as PEM.
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate for these DNS names (or IP addresses), for a server, a client or both in one.
    pub fn issue(&self, names: &[String], validity: Validity) -> Result<Issued, Failed> {
        let common_name = names.first().map_or("partita", String::as_str);
        let mut params = params(common_name, names.to_vec(), validity)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        Ok(Issued {
            certificate: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl Issued {
    /// Writes it into a folder, with these authorities to trust, as [`crate::Files::in_folder`] expects them. The key can
    /// be read by its owner only.
    pub fn write(&self, folder: &Path, authorities: &str) -> std::io::Result<()> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::write(folder.join("ca.crt"), authorities)?;
        std::fs::write(folder.join("tls.crt"), &self.certificate)?;
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(folder.join("tls.key"))?.write_all(self.key.as_bytes())
    }
}

fn of_authority(key: &KeyPair, validity: Validity) -> Result<CertificateParams, Failed> {
    let identifier = CertificateParams::default().key_identifier(key);
    let hexadecimal = identifier
        .iter()
        .take(IDENTIFIED_BY_BYTES)
        .map(|byte| format!("{byte:02x}"));
    let mut params = params(
        &format!("partita {}", hexadecimal.collect::<String>()),
        Vec::new(),
        validity,
    )?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn params(common_name: &str, names: Vec<String>, validity: Validity) -> Result<CertificateParams, Failed> {
    let mut params = CertificateParams::new(names)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    let begin = rcgen::date_time_ymd(1970, 1, 1);
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
    // Certificates know seconds only.
    params.not_before = begin + Duration::from_secs(since(validity.not_before).as_secs());
    params.not_after = begin + Duration::from_secs(since(validity.not_after).as_secs());
    Ok(params)
}
