//! A store behind routers.
//!
//! 1. Bind both addresses; the admin API answers from now on (not ready yet).
//! 2. Open the data folder: nobody else can, and what was written is recovered. Say who this store is, and find the others
//!    with which it shares groups ([`peers`]).
//! 3. Follow the directory ([`places`], [`units`]), share units with other stores ([`shares`]), deliver to global indexes, sweep what has expired ([`serving`]).
//! 4. Ready: serve routers and other replicas ([`service`]), and the operator ([`admin`]).
//! 5. Told to stop: not ready, give away what is led here ([`drain`]), tell callers to go elsewhere, finish what runs, flush,
//!    leave.
//!
//! Which groups live here is the operator's affair: it makes and destroys them through the admin API. Whatever is asked
//! of a group that is not here, or no longer as the caller thinks, is answered with what the store does have.

mod admin;
mod drain;
mod jobs;
mod node;
mod peers;
mod places;
mod service;
mod shares;
mod units;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use parking_lot::Mutex;
use partita_replication::{Clock, Peers};
use partita_tls::Role as Name;
use partita_transport::{Client, ClientOptions, Identity, Letters, Limits, Role, Server};

use crate::admin::{Addresses, Admin};
use crate::cli::Replica;
use crate::directory::{Directory, Location};
use crate::process;
use crate::serving::admission::{self, Admission};
use crate::serving::delivery::Deliveries;
use crate::serving::{Others, expiry, open_store};
use crate::tls;
use drain::Drain;
use jobs::Jobs;
use node::Node;
use service::Groups;
use shares::Shares;
use usage::Usage;

/// Where in the data folder the directory is kept for a restart without its source.
const DIRECTORY_FOLDER: &str = "directory";

/// Runs until the process is told to stop.
pub fn run(options: Replica) -> anyhow::Result<()> {
    if options.directory == Location::Kubernetes {
        bail!("--directory kubernetes: a replica follows a router (http://HOST:PORT) or a file (file:PATH)");
    }
    process::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run_in(options))
}

async fn run_in(options: Replica) -> anyhow::Result<()> {
    let mut stop = process::stop()?;
    let tls = tls::follow(&options.peers, Name::Replica)?;
    let (listener, listen) = process::bind("--listen", options.listen).await?;
    let addresses = Addresses::bind(options.admin_listen, &options.peers, tls.as_ref()).await?;
    let (admin_listen, admin_tls) = (addresses.admin, addresses.admin_tls);
    let admin = Arc::new(Admin::new());
    addresses.serve(&admin, admin::router(Arc::clone(&admin)), admin::CALLERS);

    let mail = Arc::new(peers::Mail::default());
    let others = Others {
        peers: Arc::clone(&mail) as Arc<dyn Peers>,
        copy_mib_per_second: options.copy_mib_per_second,
    };
    let store = open_store(&options.storage, Some(others)).await?;
    let own = peers::introduce(&options.storage.data, &store, listen, options.advertise.as_deref())?;
    let book = peers::address_book(&options.storage.data, own.clone())?;
    let cache = options.storage.data.join(DIRECTORY_FOLDER);
    let directory =
        Directory::follow_location(&options.directory, Some(&cache), tls.as_ref())?.context("--directory")?;
    let identity = Identity::new(Role::Replica, name(store.uuid()))
        .of_cluster(&options.cluster)
        .with_store(own);
    let letters = Letters::new(identity.clone(), Arc::clone(&book), tls.clone());
    mail.connect(letters.clone());
    let mut calling = ClientOptions::new(identity.clone());
    calling.tls = tls.clone();
    let client = Client::new(calling);
    let admission = Admission::start(
        admission::Options::from(&options.admission),
        &options.storage.data,
        &store,
    )?;
    let places = places::follow(directory.subscribe(), &store, &admission, &client, &book);
    let clock: Clock = Arc::new(process::now_ms);
    let deliveries = Deliveries::start(
        Arc::clone(&store),
        Arc::clone(&places),
        Arc::clone(&clock),
        Duration::from_secs(options.admission.index_lag_seconds),
    );
    deliveries.hold_back_in(&admission);
    let (taken, takeovers) = tokio::sync::mpsc::unbounded_channel();
    units::follow(&admission, &store, directory.subscribe(), Arc::clone(&clock), taken);
    let shares = Shares {
        admission: Arc::clone(&admission),
        store: Arc::clone(&store),
        places: Arc::clone(&places),
        client: client.clone(),
        book: Arc::clone(&book),
        running: shares::Running::default(),
    };
    shares.start(takeovers);
    let every = Duration::from_millis(options.storage.expiry_interval_ms);
    let expired_items = expiry::start(&store, clock, every);

    let usage = Arc::new(Usage::register(admin.registry())?);
    let limits = Limits {
        drain_time_max: Duration::from_secs(options.process.drain_seconds),
        ..Limits::default()
    };
    let server = Server::new(identity.clone(), limits).with_tls(tls.clone());
    admin.serves(Arc::new(Node {
        store: Arc::clone(&store),
        jobs: Jobs::new(Arc::clone(&deliveries)),
        admission: Arc::clone(&admission),
        deliveries,
        directory,
        expired_items,
        usage: Arc::clone(&usage),
        server: server.clone(),
        client,
        identity,
        letters: letters.clone(),
        drain: Drain::start(&store),
        tls,
        caught_up: Mutex::default(),
    }));
    tracing::info!(%listen, admin = %admin_listen, store = %store.uuid(), groups = store.groups().len(), "serving");
    if let Some(path) = &options.process.ready_file {
        process::announce(path, listen, admin_listen, admin_tls)?;
    }
    let groups = Arc::new(Groups {
        store: Arc::clone(&store),
        admission: Arc::clone(&admission),
        usage,
        book: Arc::clone(&book),
    });
    let mut copied = book.copied();
    let told = async {
        tokio::select! {
            signal = stop.recv() => {
                tracing::info!(signal, "stopping");
                admin.stops();
                drain::hand_over(&store).await;
            }
            Ok(_) = copied.wait_for(Option::is_some) => {}
        }
    };
    server.serve(listener, groups, told).await?;
    if let Some(reason) = &*book.copied().borrow() {
        bail!("{reason}");
    }
    tokio::task::spawn_blocking(move || {
        admission.close();
        store.shutdown();
    })
    .await?;
    tracing::info!("stopped");
    Ok(())
}

/// What this process calls itself in others' logs: the pod, where there is one.
fn name(store: impl std::fmt::Display) -> String {
    std::env::var("POD_NAME").unwrap_or_else(|_| store.to_string())
}
