//! Gateway, tables and storage in one process.
//!
//! 1. Bind both addresses; the admin API answers from now on (not ready yet).
//! 2. Open the data folder: nobody else can, and what was written is recovered.
//! 3. Put the tables on the map ([`catalog`], [`tables`]), follow the manifests ([`manifests`]).
//! 4. Ready: say so ([`banner`]), serve the DynamoDB API; beside it run deliveries and the expiry sweep ([`serving`]).
//! 5. Told to stop: not ready, no new connections, let open requests finish, flush, leave.

mod admin;
mod banner;
mod catalog;
mod exposition;
pub mod manifests;
mod tables;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use partita_gateway::auth::Auth;
use partita_gateway::backend::Account;
use partita_gateway::http::{App, Limits, serve};
use partita_gateway::metrics::Metrics;
use partita_replication::Clock;

use crate::admin::Admin;
use crate::cli::Standalone;
use crate::credentials;
use crate::serving::admission::{self, Admission};
use crate::serving::expiry;
use crate::{process, serving, tls};
use admin::Shown;
use manifests::Manifests;
use tables::Tables;
use tables::backend::Local;

/// Runs until the process is told to stop.
pub fn run(options: Standalone) -> anyhow::Result<()> {
    let auth = auth(&options)?;
    process::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run_in(options, auth))
}

/// Who may call; without credentials only this machine, unless that is waived.
fn auth(options: &Standalone) -> anyhow::Result<Auth> {
    let account = Account::new(manifests::ACCOUNT);
    if let Some(path) = &options.credentials {
        return Ok(Auth::Keys(Arc::new(credentials::read(path, &account)?)));
    }
    options.endpoint.check_reachability(false)?;
    Ok(Auth::Open(account))
}

async fn run_in(options: Standalone, auth: Auth) -> anyhow::Result<()> {
    let mut stop = process::stop()?;
    let https = tls::https(&options.endpoint)?;
    let (listener, listen) = process::bind("--listen", options.endpoint.listen).await?;
    let (admin_listener, admin_listen) = process::bind("--admin-listen", options.endpoint.admin_listen).await?;
    let admin = Arc::new(Admin::new());
    tokio::spawn(crate::admin::serve(admin_listener, admin::router(Arc::clone(&admin))));

    let store = serving::open_store(&options.storage, None).await?;
    let metrics = Arc::new(Metrics::register(admin.registry())?);
    let clock: Clock = Arc::new(process::now_ms);
    let units = admission::Options::from(&options.admission);
    let admission = Admission::start(units, &options.storage.data, &store)?;
    let tables = Tables::open(
        &options.storage.data,
        Arc::clone(&store),
        Arc::clone(&admission),
        Arc::clone(&metrics),
        Arc::clone(&clock),
        Duration::from_secs(options.admission.index_lag_seconds),
    )?;
    let expired_items = expiry::start(&store, clock, Duration::from_millis(options.storage.expiry_interval_ms));
    let manifests = follow_manifests(&options, &tables).await?;
    admin.serves(Arc::new(Shown {
        tables: Arc::clone(&tables),
        manifests,
        expired_items,
        https: https.clone(),
    }));

    let limits = Limits {
        drain_time_max: Duration::from_secs(options.process.drain_seconds),
        ..Limits::default()
    };
    let app = App::new(
        Arc::new(Local(Arc::clone(&tables))),
        &options.endpoint.region,
        auth,
        metrics,
        limits,
    )
    .secured(tls::secure(https));
    banner::print(&options, listen, admin_listen, &tables);
    if let Some(path) = &options.process.ready_file {
        process::announce(path, listen, admin_listen, None)?;
    }
    serve(listener, Arc::new(app), async {
        let signal = stop.recv().await;
        tracing::info!(signal, "stopping");
        admin.stops();
    })
    .await?;
    tokio::task::spawn_blocking(move || {
        admission.close();
        store.shutdown();
    })
    .await?;
    tracing::info!("stopped");
    Ok(())
}

/// Makes the tables of the manifests, and follows the folder from then on.
async fn follow_manifests(options: &Standalone, tables: &Arc<Tables>) -> anyhow::Result<Option<Arc<Manifests>>> {
    let Some(folder) = &options.manifests else {
        return Ok(None);
    };
    if !folder.is_dir() {
        bail!("--manifests {}: there is no such folder", folder.display());
    }
    let manifests = Arc::new(Manifests::new(folder.clone()));
    manifests::watch(Arc::clone(tables), Arc::clone(&manifests))
        .with_context(|| format!("--manifests {}", folder.display()))?;
    manifests.followed().await;
    Ok(Some(manifests))
}
