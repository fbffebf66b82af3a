//! Certificates of one test, and HTTP over mutual TLS as a person's tool speaks it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use partita_tls::authority::{Authority, Validity};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::shared::PATIENCE;

/// An authority, and folders of certificates that it signed.
pub struct Certificates {
    authority: Authority,
    root: tempfile::TempDir,
}

impl Certificates {
    pub fn new() -> Self {
        Self {
            authority: Authority::make(lasting(30)).unwrap(),
            root: tempfile::tempdir().unwrap(),
        }
    }

    /// A folder with a certificate of that name, as `--peer-tls` takes it, that is valid for so many days.
    pub fn folder(&self, dns: &str, days: u64) -> PathBuf {
        let folder = self.root.path().join(dns);
        std::fs::create_dir_all(&folder).unwrap();
        let issued = self.authority.issue(&[dns.to_owned()], lasting(days)).unwrap();
        issued.write(&folder, self.authority.certificate()).unwrap();
        folder
    }

    /// Sends a request over TLS, with the certificate of that name or without any; status and body, or what went wrong.
    pub fn exchange(
        &self,
        address: &str,
        host: &str,
        dns: Option<&str>,
        request: &str,
    ) -> Result<(u16, String), String> {
        let pem = |text: &str| CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(pem(self.authority.certificate())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match dns {
            None => builder.with_no_client_auth(),
            Some(dns) => {
                let issued = self.authority.issue(&[dns.to_owned()], lasting(1)).unwrap();
                let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
                builder
                    .with_client_auth_cert(vec![pem(&issued.certificate)], key)
                    .unwrap()
            }
        };
        let connection =
            ClientConnection::new(Arc::new(config), ServerName::try_from(host.to_owned()).unwrap()).unwrap();
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = StreamOwned::new(connection, tcp);
        stream
            .write_all(request.as_bytes())
            .map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        // A connection that is closed without a goodbye has still said all there is.
        if let Err(error) = stream.read_to_end(&mut answer)
            && answer.is_empty()
        {
            return Err(error.to_string());
        }
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("closed without an answer")?;
        Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
    }
}

fn lasting(days: u64) -> Validity {
    let day = Duration::from_secs(24 * 3600);
    Validity {
        not_before: SystemTime::now() - day,
        not_after: SystemTime::now() + day * u32::try_from(days).unwrap(),
    }
}

/// When the certificate in use expires, as metrics have it.
pub fn expiry(metrics: &str, purpose: &str) -> String {
    assert!(
        metrics.contains(&format!("partita_certificate_files_failed{{use=\"{purpose}\"}} 0\n")),
        "{metrics}"
    );
    let name = format!("partita_certificate_expiry_timestamp_seconds{{use=\"{purpose}\"}} ");
    let line = metrics.lines().find(|line| line.starts_with(&name));
    line.unwrap_or_else(|| panic!("{metrics}")).to_owned()
}
