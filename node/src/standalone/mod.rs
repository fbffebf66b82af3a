//! Gateway, tables and storage in one process.
//!
//! 1. Bind both addresses; the admin API answers from now on (not ready yet).
//! 2. Open the data folder: nobody else can, and what was written is recovered.
//! 3. Put the tables on the map ([`catalog`], [`tables`]), follow the manifests ([`manifests`]).
//! 4. Ready: say so ([`banner`]), serve the DynamoDB API; beside it run [`index_worker`]s and the [`expiry`] sweep.
//! 5. Told to stop: not ready, no new connections, let open requests finish, flush, leave.

mod admin;
mod banner;
mod catalog;
mod credentials;
mod expiry;
mod exposition;
mod index_worker;
mod manifests;
mod signals;
mod tables;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use partita_gateway::auth::Auth;
use partita_gateway::backend::Account;
use partita_gateway::http::{App, Limits, serve};
use partita_gateway::metrics::Metrics;
use partita_partition::storage::rocks::RocksSettings;
use partita_replication::{Store, StoreOptions};
use tokio::net::TcpListener;

use crate::cli::Standalone;
use admin::Admin;
use manifests::Manifests;
use tables::Tables;
use tables::backend::Local;

/// Runs until the process is told to stop.
pub fn run(options: Standalone) -> anyhow::Result<()> {
    let auth = auth(&options)?;
    signals::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run_in(options, auth))
}

/// Who may call; without credentials only this machine, unless that is waived.
fn auth(options: &Standalone) -> anyhow::Result<Auth> {
    if let Some(path) = &options.credentials {
        return Ok(Auth::Keys(Arc::new(credentials::read(path)?)));
    }
    if !options.listen.ip().is_loopback() && !options.allow_non_loopback_without_credentials {
        bail!(
            "--listen {} can be reached from other machines, and without --credentials everybody there could read, \
             change and delete everything: give --credentials FILE, listen on 127.0.0.1, or say \
             --allow-non-loopback-without-credentials",
            options.listen
        );
    }
    Ok(Auth::Open(Account {
        id: manifests::ACCOUNT.into(),
    }))
}

async fn run_in(options: Standalone, auth: Auth) -> anyhow::Result<()> {
    let mut stop = signals::stop()?;
    let (listener, listen) = bind("--listen", options.listen).await?;
    let (admin_listener, admin_listen) = bind("--admin-listen", options.admin_listen).await?;
    let admin = Arc::new(Admin::new());
    tokio::spawn(admin::serve(admin_listener, Arc::clone(&admin)));

    let store = open_store(&options).await?;
    let metrics = Arc::new(Metrics::register(admin.registry())?);
    let clock = Arc::new(now_ms);
    let tables = Tables::open(&options.data, Arc::clone(&store), Arc::clone(&metrics), clock)?;
    tokio::spawn(expiry::sweep(
        Arc::clone(&tables),
        Duration::from_millis(options.expiry_interval_ms),
    ));
    let manifests = follow_manifests(&options, &tables).await?;
    admin.serves(Arc::clone(&tables), manifests);

    let limits = Limits {
        drain_time_max: Duration::from_secs(options.drain_seconds),
        ..Limits::default()
    };
    let app = App::new(
        Arc::new(Local(Arc::clone(&tables))),
        &options.region,
        auth,
        metrics,
        limits,
    );
    banner::print(&options, listen, admin_listen, &tables);
    if let Some(path) = &options.ready_file {
        announce(path, listen, admin_listen).with_context(|| path.display().to_string())?;
    }
    serve(listener, Arc::new(app), async {
        let signal = stop.recv().await;
        tracing::info!(signal, "stopping");
        admin.stops();
    })
    .await?;
    tokio::task::spawn_blocking(move || store.shutdown()).await?;
    tracing::info!("stopped");
    Ok(())
}

async fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("{flag} {address}"))?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// Epoch milliseconds.
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

async fn open_store(options: &Standalone) -> anyhow::Result<Arc<Store>> {
    let path = options.data.clone();
    let settings = StoreOptions {
        state: RocksSettings {
            block_cache_bytes: options.block_cache_mib << 20,
            ..RocksSettings::default()
        },
        reserve_bytes: options.free_space_reserve_mib << 20,
        ..StoreOptions::default()
    };
    Ok(tokio::task::spawn_blocking(move || Store::open(&path, settings)).await??)
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

/// Writes the bound addresses for whoever started this process; the file is there as a whole or not at all.
fn announce(path: &Path, listen: SocketAddr, admin: SocketAddr) -> std::io::Result<()> {
    let ready = serde_json::json!({"listen": listen, "admin": admin, "pid": std::process::id()});
    let unfinished = path.with_extension("new");
    std::fs::write(&unfinished, format!("{ready}\n"))?;
    std::fs::rename(&unfinished, path)
}
