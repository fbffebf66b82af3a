//! The gateway in front of partitions in other processes. No disk, but for a cache.
//!
//! 1. Bind both addresses; follow the directory and the credentials; the admin API answers from now on (not ready yet).
//! 2. Wait until both are known, from their source or from what was kept on disk.
//! 3. Ready: serve the DynamoDB API. [`map`] finds partitions, [`remote`] calls their leaders, [`backend`] has patience;
//!    [`control`] makes, changes and removes tables, [`secrets`] knows who may call.
//! 4. Told to stop: not ready, no new connections, let open requests finish, leave.
//!
//! No request waits for the API server but those that make, change or remove tables, and DescribeTable of an unknown one.

mod admin;
mod backend;
mod control;
mod map;
mod remote;
mod secrets;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use partita_crds::convert::Deployment;
use partita_crds::names;
use partita_crds::table::Storage;
use partita_gateway::auth::Auth;
use partita_gateway::backend::Account;
use partita_gateway::http::{App, Limits, serve};
use partita_gateway::metrics::Metrics;
use partita_tls::{Current, Mutual, Role as Name};
use partita_transport::{Client, ClientOptions, Identity, Role};

use crate::admin::{Addresses, Admin};
use crate::cli::{CredentialsSource, Router};
use crate::directory::kubernetes::Kubernetes;
use crate::directory::{Directory, Location};
use crate::{credentials, process, tls};
use admin::Shown;
use backend::Routed;
use control::{Control, Tables};
use map::Map;
use secrets::{Keys, Places};

/// How long the API server may take to accept a connection.
const API_CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long it may say nothing, to a request or on a watch: a connection that has gone dead without a word is not waited for.
const API_SILENCE_MAX: Duration = Duration::from_secs(45);

/// Runs until the process is told to stop.
pub fn run(options: Router) -> anyhow::Result<()> {
    options.endpoint.check_reachability(options.credentials.is_some())?;
    // One TLS provider for the whole process, chosen before anybody needs one.
    let provider = rustls::crypto::aws_lc_rs::default_provider().install_default();
    provider.map_err(|_| anyhow!("a TLS provider is installed already"))?;
    process::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run_in(options))
}

async fn run_in(options: Router) -> anyhow::Result<()> {
    let mut stop = process::stop()?;
    let tls = tls::follow(&options.peers, Name::Router)?;
    let https = tls::https(&options.endpoint)?;
    let (listener, listen) = process::bind("--listen", options.endpoint.listen).await?;
    let addresses = Addresses::bind(options.endpoint.admin_listen, &options.peers, tls.as_ref()).await?;
    let (admin_listen, admin_tls) = (addresses.admin, addresses.admin_tls);
    let kubernetes = api_server(&options).await?;
    let namespace = release_namespace(&options, kubernetes.as_ref());
    let identity = Identity::new(Role::Router, name()).of_cluster(&options.cluster);
    let mut calling = ClientOptions::new(identity);
    calling.tls = tls.clone();
    let client = Client::new(calling);

    let (directory, tables) = follow(&options, kubernetes.as_ref(), tls.as_ref())?;
    let admin = Arc::new(Admin::new());
    let routes = admin::router(Arc::clone(&admin), Arc::clone(&directory));
    addresses.serve(&admin, routes, admin::CALLERS);
    let metrics = Arc::new(Metrics::register(admin.registry())?);
    let map = Map::new(client.clone(), Arc::clone(&metrics));
    let auth = Authority::new(&options, kubernetes, &namespace)?;

    directory.loaded().await;
    auth.loaded().await;
    map.take(&directory.current());
    tokio::spawn(Arc::clone(&map).follow(directory.subscribe()));
    tokio::spawn(Arc::clone(&map).refresh());
    let pauses = Arc::default();
    admin.serves(Arc::new(Shown {
        pauses: Arc::clone(&pauses),
        directory: Arc::clone(&directory),
        client: client.clone(),
        keys: auth.counted(),
        tls,
        https: https.clone(),
    }));

    let limits = Limits {
        drain_time_max: Duration::from_secs(options.process.drain_seconds),
        ..Limits::default()
    };
    let control = Control {
        directory,
        tables,
        client,
    };
    let backend = Arc::new(Routed { map, control, pauses });
    let app =
        App::new(backend, &options.endpoint.region, auth.into_auth(), metrics, limits).secured(tls::secure(https));
    tracing::info!(%listen, admin = %admin_listen, "ready");
    if let Some(path) = &options.process.ready_file {
        process::announce(path, listen, admin_listen, admin_tls)?;
    }
    serve(listener, Arc::new(app), async {
        let signal = stop.recv().await;
        tracing::info!(signal, "stopping");
        admin.stops();
    })
    .await?;
    tracing::info!("stopped");
    Ok(())
}

/// The name that nodes see in their logs: the pod's.
fn name() -> String {
    std::env::var("POD_NAME")
        .or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_else(|_| "router".to_owned())
}

/// The API server, if something is to come from there.
async fn api_server(options: &Router) -> anyhow::Result<Option<kube::Client>> {
    let credentials = options.credentials == Some(CredentialsSource::Kubernetes);
    if options.directory != Location::Kubernetes && !credentials {
        return Ok(None);
    }
    let mut config = kube::Config::infer().await.context("the Kubernetes API server")?;
    config.connect_timeout = Some(API_CONNECT_MAX);
    config.read_timeout = Some(API_SILENCE_MAX);
    // From the request on, and not since a connection that is kept was last used.
    config.reset_reader_on_write = true;
    Ok(Some(
        kube::Client::try_from(config).context("the Kubernetes API server")?,
    ))
}

fn release_namespace(options: &Router, kubernetes: Option<&kube::Client>) -> String {
    let own = kubernetes.map_or("default", |client| client.default_namespace());
    options.namespace.clone().unwrap_or_else(|| own.to_owned())
}

/// Follows the directory; with the API server, also the way to change what is there.
fn follow(
    options: &Router,
    kubernetes: Option<&kube::Client>,
    tls: Option<&Current<Mutual>>,
) -> anyhow::Result<(Arc<Directory>, Option<Tables>)> {
    let cache = options.directory_cache.as_deref();
    if let Some(directory) = Directory::follow_location(&options.directory, cache, tls)? {
        return Ok((directory, None));
    }
    let Some(client) = kubernetes else {
        bail!("--directory kubernetes: there is no API server");
    };
    let source = Kubernetes::new(client.clone());
    let deployment = Deployment {
        replicas: options.table_replicas,
        storage: Some(Storage::new(
            options
                .table_storage_size
                .clone()
                .map(k8s_openapi::apimachinery::pkg::api::resource::Quantity),
            options.table_storage_class.clone(),
        )),
    };
    let tables = Tables::new(client.clone(), source.resources(), deployment);
    Ok((Directory::follow(source, cache), Some(tables)))
}

/// Who may call.
enum Authority {
    /// Whom these Secrets say.
    Secrets(Arc<Keys>),
    /// Whom a file says, or everybody.
    Fixed(Auth),
}

impl Authority {
    fn new(options: &Router, kubernetes: Option<kube::Client>, namespace: &str) -> anyhow::Result<Self> {
        let own = Account::of_namespace(namespace, names::account(namespace));
        match (&options.credentials, kubernetes) {
            (Some(CredentialsSource::File(path)), _) => {
                let keys = credentials::read(path, &own)?;
                Ok(Self::Fixed(Auth::Keys(Arc::new(keys))))
            }
            (Some(CredentialsSource::Kubernetes), Some(client)) => {
                let keys = Arc::new(Keys::default());
                let cache: Option<PathBuf> = options.directory_cache.clone();
                let places = Places {
                    release: namespace.to_owned(),
                    further: options.credentials_namespaces.iter().cloned().collect(),
                };
                tokio::spawn(secrets::follow(client, places, cache, Arc::clone(&keys)));
                Ok(Self::Secrets(keys))
            }
            (Some(CredentialsSource::Kubernetes), None) => bail!("--credentials kubernetes: there is no API server"),
            (None, _) => Ok(Self::Fixed(Auth::Open(own))),
        }
    }

    /// Waits until it is known who may call.
    async fn loaded(&self) {
        match self {
            Self::Secrets(keys) => keys.loaded().await,
            Self::Fixed(_) => {}
        }
    }

    fn counted(&self) -> Option<Box<dyn Fn() -> usize + Send + Sync>> {
        match self {
            Self::Secrets(keys) => {
                let keys = Arc::clone(keys);
                Some(Box::new(move || keys.count()))
            }
            Self::Fixed(_) => None,
        }
    }

    fn into_auth(self) -> Auth {
        match self {
            Self::Secrets(keys) => Auth::Keys(keys),
            Self::Fixed(auth) => auth,
        }
    }
}
