//! The plan before the change: a validating webhook that answers with warnings what a Table that somebody writes will do to the
//! cluster. It forbids only to take room away from what is stored.
//!
//! 1. [`crate::certificates`]: the active operator keeps a certificate in a Secret, and tells the API server whom to trust;
//! 2. [`identity`]: every operator serves with what is in the Secret, as soon as it changes;
//! 3. [`serve`]: HTTPS, with bounds on everything;
//! 4. [`review`]: the warnings, and the refusal.
//!
//! Whatever goes wrong here delays nobody for more than two seconds and forbids nothing (`failurePolicy: Ignore`): what cannot be looked up is allowed.

pub mod identity;
pub mod review;
pub mod serve;

use std::sync::Arc;

use anyhow::Context;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::net::TcpListener;

use crate::cli::Options;
use crate::metrics::Metrics;
use crate::settings::Settings;
use identity::Identity;
use serve::Reviewer;

/// Serves from now on, if there is to be a webhook.
pub async fn start(options: &Options, client: &Client, metrics: &Metrics) -> anyhow::Result<()> {
    let Some(name) = &options.webhook else {
        return Ok(());
    };
    let listener = TcpListener::bind(options.webhook_listen)
        .await
        .with_context(|| format!("--webhook-listen {}", options.webhook_listen))?;
    let identity = Arc::new(Identity::default());
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &options.namespace);
    tokio::spawn(Arc::clone(&identity).follow(secrets, name.clone(), metrics.clone()));
    let reviewer = Reviewer {
        client: client.clone(),
        settings: Arc::new(Settings::from(options).planning),
        metrics: metrics.clone(),
    };
    tokio::spawn(serve::serve(listener, identity, reviewer));
    Ok(())
}
