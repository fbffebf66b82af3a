//! A cluster on one machine, to try: three replicas and a router as processes, with the tables of a folder of manifests.
//!
//! 1. Start the replicas; wait until they serve ([`child`]).
//! 2. Make the groups of every table, one replica of each on every store; leaders take turns ([`tables`]).
//! 3. Write the directory and start the router, which follows it.
//! 4. Say what runs where, and how to kill it.
//! 5. Wait: a process that ends is said to have, with the line that starts it again; nothing is started by itself. Partitions
//!    that were split meanwhile are noted in the directory ([`follow`]). Ctrl-C (or SIGTERM) ends all that are left, the
//!    router first.

mod child;
mod tables;

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use futures::future::join_all;
use partita_model::admin::{StoreAddress, StoreState};
use tokio::time::sleep;

use crate::admin::client::AdminClient;
use crate::cli::ClusterLocal;
use crate::process;
use child::Child;

/// Replicas: what survives the loss of one.
pub const REPLICAS: usize = 3;
/// The name of the cluster: no other process is taken for one of it.
const CLUSTER: &str = "local";
/// The replicas' admin APIs are on ports so far behind their own.
const ADMIN_PORTS: u16 = 10;
/// Between two looks at whether a process has ended.
const LOOK: Duration = Duration::from_millis(100);
/// Between two looks at which partitions there are. Routers find out by themselves: it is for their next start.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// A replica that serves.
struct Replica {
    child: Child,
    admin: AdminClient,
    store: StoreAddress,
}

/// Runs until it is told to stop.
pub fn run(options: ClusterLocal) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_in(options))
}

async fn run_in(options: ClusterLocal) -> anyhow::Result<()> {
    let mut stop = process::stop()?;
    let data = &options.data;
    std::fs::create_dir_all(data).with_context(|| format!("--data {}", data.display()))?;
    let data = &std::path::absolute(data)?;
    let directory = data.join(tables::DIRECTORY_FILE);
    let mut tables = tables::Tables::read(&options.manifests, &directory)?;
    // The replicas follow it from their start.
    tables.write(&directory)?;

    let mut replicas = Vec::new();
    for number in 1..=REPLICAS {
        replicas.push(start_replica(&options, data, &directory, number)?);
    }
    let started = async {
        let mut serving = Vec::new();
        for child in replicas.drain(..) {
            serving.push(serve(child).await?);
        }
        tables.make(&serving).await?;
        // They may have been split while nobody noted it.
        tables.learn(&states(&admins(&serving)).await);
        tables.write(&directory)?;
        let router = start_router(&options, data, &directory)?;
        let router = router.ready().await?;
        anyhow::Ok((serving, router))
    };
    let (serving, router) = tokio::select! {
        started = started => started?,
        _ = stop.recv() => return Ok(()),
    };
    announce(data, &serving, &router, &tables);
    let admins = admins(&serving);
    let mut children: Vec<Child> = vec![router];
    children.extend(serving.into_iter().map(|replica| replica.child));
    if let Some(path) = &options.ready_file {
        let pids: Vec<_> = children.iter().map(Child::shown).collect();
        std::fs::write(path, serde_json::to_vec(&pids)?).with_context(|| path.display().to_string())?;
    }
    let signal = tokio::select! {
        signal = stop.recv() => signal.unwrap_or("a signal"),
        () = watch(&mut children) => "the end of all processes",
        never = follow(&mut tables, &admins, &directory) => match never {},
    };
    println!("stopping ({signal})");
    for child in children {
        child.stop().await;
    }
    println!("stopped; what was written is in {}", data.display());
    Ok(())
}

fn start_replica(options: &ClusterLocal, data: &Path, directory: &Path, number: usize) -> anyhow::Result<Child> {
    let place = number as u16;
    let port = |behind: u16| match options.replica_ports {
        0 => 0,
        first => first + behind,
    };
    let folder = data.join(format!("replica-{number}"));
    let mut arguments = vec!["replica".to_owned()];
    let mut flag = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
    flag("data", folder.display().to_string());
    flag("listen", format!("127.0.0.1:{}", port(place)));
    flag("admin-listen", format!("127.0.0.1:{}", port(place + ADMIN_PORTS)));
    flag("directory", format!("file:{}", directory.display()));
    flag("cluster", CLUSTER.to_owned());
    flag("block-cache-mib", "64".to_owned());
    Child::start("replica", &format!("replica-{number}"), data, arguments)
}

fn start_router(options: &ClusterLocal, data: &Path, directory: &Path) -> anyhow::Result<Child> {
    let mut arguments = vec!["router".to_owned()];
    let mut flag = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
    flag("listen", options.listen.to_string());
    flag("admin-listen", options.admin_listen.to_string());
    flag("directory", format!("file:{}", directory.display()));
    flag("namespace", tables::NAMESPACE.to_owned());
    flag("cluster", CLUSTER.to_owned());
    Child::start("router", "router", data, arguments)
}

/// Waits until a replica serves, and asks which store it has.
async fn serve(child: Child) -> anyhow::Result<Replica> {
    let child = child.ready().await?;
    let admin = AdminClient::new(child.admin());
    let state: StoreState = admin.get("/store").await?;
    Ok(Replica {
        store: StoreAddress {
            store: state.uuid,
            address: child.listen().to_owned(),
        },
        admin,
        child,
    })
}

/// Says once of every process that it has ended; returns when none is left.
async fn watch(children: &mut Vec<Child>) {
    while !children.is_empty() {
        sleep(LOOK).await;
        children.retain_mut(|child| match child.ended() {
            None => true,
            Some(how) => {
                println!(
                    "{} (pid {}) has ended: {how}. To start it again, in another terminal:",
                    child.name(),
                    child.pid()
                );
                println!("  {}", child.command_line());
                false
            }
        });
    }
}

fn admins(replicas: &[Replica]) -> Vec<AdminClient> {
    replicas.iter().map(|replica| replica.admin.clone()).collect()
}

/// What those replicas say that answer.
async fn states(replicas: &[AdminClient]) -> Vec<StoreState> {
    let asked = replicas.iter().map(|replica| replica.get::<StoreState>("/store"));
    join_all(asked).await.into_iter().flatten().collect()
}

/// Keeps the directory's file up with the partitions that there are.
async fn follow(tables: &mut tables::Tables, replicas: &[AdminClient], directory: &Path) -> Infallible {
    loop {
        sleep(FOLLOW_EVERY).await;
        let news = tables.learn(&states(replicas).await);
        if news.is_empty() {
            continue;
        }
        match tables.write(directory) {
            Ok(()) => news.iter().for_each(|news| println!("{news}")),
            Err(error) => println!("the directory cannot be written: {error:#}"),
        }
    }
}

fn announce(data: &Path, replicas: &[Replica], router: &Child, tables: &tables::Tables) {
    println!("Partita {}: a cluster on this machine", env!("CARGO_PKG_VERSION"));
    println!();
    println!("  {:<10} {:>7}  {:<21} {:<21} log", "process", "pid", "port", "admin");
    let children = std::iter::once(router).chain(replicas.iter().map(|replica| &replica.child));
    for child in children {
        println!(
            "  {:<10} {:>7}  {:<21} {:<21} {}",
            child.name(),
            child.pid(),
            child.listen(),
            child.admin(),
            child.log().display()
        );
    }
    println!();
    println!(
        "  endpoint  http://{}  (region us-east-1, any signature is accepted)",
        router.listen()
    );
    println!("  data      {}", data.display());
    println!("  tables    {}", tables.listed());
    for problem in tables.problems() {
        println!("  refused   {problem}");
    }
    println!();
    let admin: Vec<&str> = replicas.iter().map(|replica| replica.child.admin()).collect();
    let keys = "AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local";
    println!(
        "{keys} aws dynamodb list-tables --endpoint-url http://{} --region us-east-1",
        router.listen()
    );
    let nodes = format!("{} admin --nodes {}", process::program(), admin.join(","));
    println!("{nodes} groups");
    println!("{nodes} split GROUP   # one of those");
    if let Some(replica) = replicas.first() {
        println!("kill -9 {}   # {}", replica.child.pid(), replica.child.name());
    }
    println!();
    println!("Ctrl-C stops all of them.");
}
