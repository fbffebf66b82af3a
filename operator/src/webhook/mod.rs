//! The plan before the change: a validating webhook that forbids nothing and answers with warnings what a Table that somebody
//! writes will do to the cluster.
//!
//! 1. [`certificates`]: the active operator makes an authority and a certificate, keeps both in a Secret, tells the API server
//!    whom to trust, and renews them in time;
//! 2. [`identity`]: every operator serves with what is in the Secret, as soon as it changes;
//! 3. [`serve`]: HTTPS, with bounds on everything;
//! 4. [`review`]: the warnings.
//!
//! Whatever goes wrong here delays nobody for more than two seconds and forbids nothing (`failurePolicy: Ignore`).

pub mod certificates;
pub mod identity;
pub mod review;
pub mod serve;

use std::sync::Arc;

use anyhow::Context;
use kube::Client;
use tokio::net::TcpListener;

use crate::cli::Options;
use crate::metrics::Metrics;
use crate::settings::Settings;
use certificates::Place;
use identity::Identity;
use serve::Reviewer;

/// Serves from now on, if there is to be a webhook; says where it is.
pub async fn start(options: &Options, client: &Client, metrics: &Metrics) -> anyhow::Result<Option<Place>> {
    let Some(name) = &options.webhook else {
        return Ok(None);
    };
    let place = Place {
        namespace: options.namespace.clone(),
        name: name.clone(),
    };
    let listener = TcpListener::bind(options.webhook_listen)
        .await
        .with_context(|| format!("--webhook-listen {}", options.webhook_listen))?;
    let identity = Arc::new(Identity::default());
    tokio::spawn(Arc::clone(&identity).follow(client.clone(), place.clone(), metrics.clone()));
    let reviewer = Reviewer {
        client: client.clone(),
        settings: Arc::new(Settings::from(options).planning),
        metrics: metrics.clone(),
    };
    tokio::spawn(serve::serve(listener, identity, reviewer));
    Ok(Some(place))
}
