//! The controller: Table resources become partitions on storage nodes.
//!
//! 1. [`cli`] reads flags and environment; [`admin`] answers from then on;
//! 2. [`lease`]: of several operators one is active, the others wait, ready to take over;
//! 3. [`controller`] watches Tables and what belongs to them, and reconciles each ([`table`]), also with the storage nodes'
//!    admin API ([`nodes`]);
//! 4. [`certificates`] makes and renews what operator, routers and storage nodes need for mutual TLS with each other, and the
//!    webhook for the API server;
//! 5. [`webhook`]: every operator answers what a change of a Table would do;
//! 6. [`server`]: the API server is waited for within bounds;
//! 7. told to stop, it finishes what it is in the middle of and gives the Lease up. If it loses the Lease, it ends at once.

mod admin;
mod certificates;
mod cli;
mod controller;
mod lease;
mod metrics;
mod nodes;
mod rolling;
mod server;
mod settings;
mod table;
mod webhook;

#[cfg(test)]
mod testing;

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use clap::Parser;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use parking_lot::Mutex;
use partita_crds::names::OPERATOR;
use prometheus::IntGauge;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use admin::Admin;
use certificates::{Certificates, Wanted};
use cli::Options;
use lease::{Leadership, TIMING};
use metrics::Metrics;
use nodes::HttpNodes;
use rolling::Turns;
use settings::Settings;
use table::patience::Patience;
use table::{Context, Known};

/// How long what was begun may take once the process is told to stop: a pass is short, only its calls to nodes may hang.
const STOP_MAX: Duration = Duration::from_secs(15);

/// The wait between attempts to read or make the authority.
const CERTIFICATES_RETRY: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let options = Options::parse();
    cli::log_to_stderr(options.log_format, &options.log);
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(options: &Options) -> anyhow::Result<()> {
    // One provider of cryptography for all of the process.
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .install_default()
        .map_err(|_| anyhow!("TLS was set up twice"))?;
    let stop = stop()?;
    let admin = Arc::new(Admin::default());
    let metrics = Metrics::register(admin.registry())?;
    let listener = TcpListener::bind(options.admin_listen)
        .await
        .with_context(|| format!("--admin-listen {}", options.admin_listen))?;
    tokio::spawn(admin::serve(listener, Arc::clone(&admin)));

    let client = server::client().await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        identity = options.identity,
        "started"
    );
    webhook::start(options, &client, &metrics).await?;
    let leadership = tokio::select! {
        leadership = lease::acquire(client.clone(), &options.namespace, &options.identity, TIMING, || admin.set_ready(true)) => leadership,
        () = told(stop.clone()) => return Ok(()),
    };
    metrics.leader.set(1);
    lead(options, client, metrics, leadership, stop, &admin).await
}

/// Reconciles as long as the Lease is ours and nobody says stop.
async fn lead(
    options: &Options,
    client: Client,
    metrics: Metrics,
    mut leadership: Leadership,
    stop: watch::Receiver<bool>,
    admin: &Admin,
) -> anyhow::Result<()> {
    let reporter = Reporter {
        controller: OPERATOR.to_owned(),
        instance: Some(options.identity.clone()),
    };
    let settings = Settings::from(options);
    let made = keep_certificates(options, &client, metrics.certificates_behind.clone());
    let certificates = match options.peer_tls {
        true => tokio::select! {
            made = made => Some(made),
            lost = leadership.keep() => return Err(lost.into()),
            () = told(stop.clone()) => {
                leadership.release().await;
                return Ok(());
            }
        },
        false => {
            // The webhook's are nobody's reason to wait.
            if options.webhook.is_some() {
                tokio::spawn(made);
            }
            None
        }
    };
    let own = client.clone();
    let context = move |known: Known| Context {
        recorder: Recorder::new(own.clone(), reporter),
        client: own,
        nodes: Arc::new(HttpNodes::new(certificates.as_ref().map(|known| known.own()))),
        certificates,
        known,
        turns: Arc::new(Turns::new(settings.rolling_groups_max)),
        absences: Arc::default(),
        patience: Arc::new(Patience::of(settings.progress_deadline)),
        settings,
        metrics,
        now_ms: Box::new(now_ms),
        measured: Mutex::new(HashMap::new()),
        doubts: Mutex::new(HashMap::new()),
        uses: Mutex::new(HashMap::new()),
        growths: Mutex::new(HashMap::new()),
    };
    let mut work = tokio::spawn(controller::run(client, context, told(stop.clone())));
    tokio::select! {
        lost = leadership.keep() => return Err(lost.into()),
        ended = &mut work => {
            ended.context("the controller")?;
        }
        () = told(stop) => {
            admin.set_ready(false);
            let finished = tokio::time::timeout(STOP_MAX, &mut work);
            tokio::select! {
                lost = leadership.keep() => return Err(lost.into()),
                finished = finished => match finished {
                    Ok(ended) => ended.context("the controller")?,
                    Err(_) => return Err(anyhow!("what was begun did not end within {STOP_MAX:?}")),
                }
            }
        }
    }
    leadership.release().await;
    tracing::info!("stopped");
    Ok(())
}

/// The certificates, which are kept as they should be from then on: until the process ends, whichever way that is.
fn keep_certificates(
    options: &Options,
    client: &Client,
    behind: IntGauge,
) -> impl Future<Output = Arc<Certificates>> + Send + 'static {
    let client = client.clone();
    let wanted = Wanted {
        release: options.namespace.clone(),
        settle_s: options.certificate_settle_seconds,
        peers: options.peer_tls,
        webhook: options.webhook.clone(),
    };
    async move {
        loop {
            match Certificates::start(client.clone(), wanted.clone(), now_ms).await {
                Ok(certificates) => {
                    tokio::spawn(Arc::clone(&certificates).keep(behind));
                    return certificates;
                }
                Err(error) => {
                    behind.set(1);
                    tracing::error!(%error, "no certificates yet: whoever needs one waits");
                    tokio::time::sleep(CERTIFICATES_RETRY).await;
                }
            }
        }
    }
}

/// Becomes true when the process is told to stop.
fn stop() -> anyhow::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (tell, told) = watch::channel(false);
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
        // Nobody listens any more: then it is stopping already.
        let _ = tell.send(true);
        std::future::pending::<()>().await;
    });
    Ok(told)
}

async fn told(mut stop: watch::Receiver<bool>) {
    // The sender stays for as long as the process.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Epoch milliseconds.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
