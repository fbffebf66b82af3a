//! The certificate that this process serves with: what the Secret holds, as soon as it changes.

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use parking_lot::RwLock;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use partita_tls::Certificate;
use partita_tls::authority::Issued;

use crate::certificates::issued;
use crate::metrics::Metrics;

/// The certificate in use; none before the first was made.
#[derive(Debug, Default)]
pub struct Identity(RwLock<Option<Arc<CertifiedKey>>>);

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().clone()
    }
}

impl Identity {
    /// Serves with this from now on.
    pub fn take(&self, issued: &Issued) -> Result<(), String> {
        let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes());
        let chain = chain
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("tls.crt: {error}"))?;
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).map_err(|error| format!("tls.key: {error}"))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| error.to_string())?;
        *self.0.write() = Some(Arc::new(certified));
        Ok(())
    }

    /// Follows the Secret for as long as the process lives.
    pub async fn follow(self: Arc<Self>, secrets: Api<Secret>, name: String, metrics: Metrics) {
        let mut told = watcher::watch_object(secrets, &name).default_backoff().boxed();
        while let Some(secret) = told.next().await {
            let found = match &secret {
                Ok(secret) => secret.as_ref().and_then(issued),
                Err(error) => {
                    tracing::debug!(%error, "the webhook's Secret cannot be watched");
                    continue;
                }
            };
            // A Secret that is gone is made again soon: what is in use goes on.
            let Some(found) = found else { continue };
            match self.take(&found) {
                Ok(()) => {
                    let certificate = Certificate::from_pem(&found.certificate);
                    let expiry = certificate.map_or(0, |certificate| certificate.not_after);
                    metrics.webhook_certificate_expiry.set(expiry);
                }
                Err(problem) => {
                    tracing::warn!(problem, secret = name, "the webhook's certificate cannot be used")
                }
            }
        }
    }
}
