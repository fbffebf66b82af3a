//! The certificate that this process serves with: what the Secret holds, as soon as it changes.

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use parking_lot::RwLock;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificates::{Kept, Place, not_after};
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
    pub fn take(&self, kept: &Kept) -> Result<(), String> {
        let chain = CertificateDer::pem_slice_iter(kept.certificate.as_bytes());
        let chain = chain
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("tls.crt: {error}"))?;
        let key = PrivateKeyDer::from_pem_slice(kept.key.as_bytes()).map_err(|error| format!("tls.key: {error}"))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| error.to_string())?;
        *self.0.write() = Some(Arc::new(certified));
        Ok(())
    }

    /// Follows the Secret for as long as the process lives.
    pub async fn follow(self: Arc<Self>, client: Client, place: Place, metrics: Metrics) {
        let secrets: Api<Secret> = Api::namespaced(client, &place.namespace);
        let mut told = watcher::watch_object(secrets, &place.name).default_backoff().boxed();
        while let Some(secret) = told.next().await {
            let kept = match &secret {
                Ok(secret) => secret.as_ref().and_then(Kept::read),
                Err(error) => {
                    tracing::debug!(%error, "the webhook's Secret cannot be watched");
                    continue;
                }
            };
            // A Secret that is gone is made again soon: what is in use goes on.
            let Some(kept) = kept else { continue };
            match self.take(&kept) {
                Ok(()) => metrics.webhook_certificate_expiry.set(not_after(&kept).unwrap_or(0)),
                Err(problem) => {
                    tracing::warn!(problem, secret = place.name, "the webhook's certificate cannot be used")
                }
            }
        }
    }
}
