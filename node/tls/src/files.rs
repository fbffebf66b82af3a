//! A certificate, its key and the authorities, as PEM files.

use std::io::Read;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificate::Certificate;

/// Bytes of a file: a chain or a bundle of authorities is a few kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate, and intermediate ones behind it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Who is trusted to sign the peers' certificates; any number of them.
    pub authorities: Option<PathBuf>,
}

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It cannot be read.
    #[error("{path}: {error}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is too long to be one.
    #[error("{path}: longer than {FILE_BYTES_MAX} bytes", path = .0.display())]
    Long(PathBuf),
    /// There is nothing of the kind in it, or it is broken.
    #[error("{path}: no {what} in PEM format", path = path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What should be there.
        what: &'static str,
    },
    /// The key is not the certificate's.
    #[error("{key} is not the key of {certificate}", key = key.display(), certificate = certificate.display())]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// Nobody would know who this is.
    #[error(
        "{path}: among its DNS names is none like replica.{domain} (router, replica, operator or admin, and a domain \
         that ends in {domain})",
        path = .0.display(),
        domain = crate::name::DOMAIN
    )]
    Nameless(PathBuf),
    /// Peers that trust the same authorities would refuse it.
    #[error("{path}: not to be used between peers: {reason}", path = path.display())]
    Unsigned {
        /// The certificate's file.
        path: PathBuf,
        /// The verifier's words.
        reason: String,
    },
    /// Something that rustls does not take.
    #[error("{path}: {reason}", path = path.display())]
    Refused {
        /// The certificate's file.
        path: PathBuf,
        /// Its words.
        reason: String,
    },
}

/// What is in them.
#[derive(Debug)]
pub struct Pem {
    /// Where it came from.
    pub files: Files,
    /// The certificate and intermediate ones.
    pub chain: Vec<CertificateDer<'static>>,
    /// What the certificate says.
    pub certificate: Certificate,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// The authorities.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The bytes of all files: the same bytes are the same certificates.
    bytes: Vec<Vec<u8>>,
}

impl PartialEq for Pem {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Files {
    /// In the layout of a Kubernetes Secret: `tls.crt`, `tls.key`, `ca.crt`.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            certificate: folder.join("tls.crt"),
            key: folder.join("tls.key"),
            authorities: Some(folder.join("ca.crt")),
        }
    }

    /// A certificate for clients, who show none.
    pub fn pair(certificate: &Path, key: &Path) -> Self {
        Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            authorities: None,
        }
    }

    /// Folders in which files may be replaced.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        let files = [Some(&self.certificate), Some(&self.key), self.authorities.as_ref()];
        let mut folders: Vec<PathBuf> = files
            .into_iter()
            .flatten()
            .map(|file| match file.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
                _ => PathBuf::from("."),
            })
            .collect();
        folders.sort();
        folders.dedup();
        folders
    }

    /// Reads them.
    pub fn read(&self) -> Result<Pem, Unusable> {
        let authorities = self.authorities.as_deref().map(bytes).transpose()?;
        self.parse(bytes(&self.certificate)?, bytes(&self.key)?, authorities)
    }

    fn parse(&self, chain: Vec<u8>, key: Vec<u8>, authorities: Option<Vec<u8>>) -> Result<Pem, Unusable> {
        let parsed = certificates(&self.certificate, &chain)?;
        let certificate = parsed.first().and_then(Certificate::read);
        let trusted = match (&self.authorities, &authorities) {
            (Some(path), Some(bytes)) => certificates(path, bytes)?,
            _ => Vec::new(),
        };
        Ok(Pem {
            files: self.clone(),
            certificate: certificate.ok_or_else(|| content(&self.certificate, "certificate"))?,
            key: PrivateKeyDer::from_pem_slice(&key).map_err(|_| content(&self.key, "private key"))?,
            chain: parsed,
            authorities: trusted,
            bytes: [Some(chain), Some(key), authorities].into_iter().flatten().collect(),
        })
    }
}

impl Pem {
    /// What is in no file: a Secret's content.
    pub fn in_memory(certificate: &str, key: &str, authorities: &str) -> Result<Self, Unusable> {
        let owned = |text: &str| text.as_bytes().to_vec();
        let files = Files::in_folder(Path::new(""));
        files.parse(owned(certificate), owned(key), Some(owned(authorities)))
    }

    /// What the certificate's file is refused for.
    pub(crate) fn refused(&self, error: &rustls::Error) -> Unusable {
        let path = self.files.certificate.clone();
        match error {
            rustls::Error::InconsistentKeys(_) => Unusable::Mismatch {
                key: self.files.key.clone(),
                certificate: path,
            },
            error => Unusable::Refused {
                path,
                reason: error.to_string(),
            },
        }
    }
}

fn content(path: &Path, what: &'static str) -> Unusable {
    Unusable::Content {
        path: path.to_owned(),
        what,
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, Unusable> {
    let failed = |error| Unusable::Read {
        path: path.to_owned(),
        error,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Unusable::Long(path.to_owned()));
    }
    Ok(bytes)
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(content(path, "certificate")),
    }
}
