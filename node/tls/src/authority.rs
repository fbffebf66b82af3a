//! An authority of our own: for the operator, which makes and rotates one, and for tests.
//!
//! Keys are ECDSA on P-256: small, quick to make, and known to every client.

use std::path::Path;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From.
    pub not_before: SystemTime,
    /// To.
    pub not_after: SystemTime,
}

/// Something that cannot be made into, or with, an authority.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(#[from] rcgen::Error);

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
        f.debug_struct("Issued").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one, that signs for nobody's but end entities' certificates.
    pub fn make(common_name: &str, validity: Validity) -> Result<Self, Failed> {
        let mut params = params(common_name, Vec::new(), validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self {
            certificate,
            issuer: Issuer::new(params, key),
        })
    }

    /// One that was made before.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, Failed> {
        Ok(Self {
            certificate: certificate.to_owned(),
            issuer: Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key)?)?,
        })
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

fn params(common_name: &str, names: Vec<String>, validity: Validity) -> Result<CertificateParams, Failed> {
    let mut params = CertificateParams::new(names)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params.not_before = validity.not_before.into();
    params.not_after = validity.not_after.into();
    Ok(params)
}
