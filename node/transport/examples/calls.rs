//! Point reads over loopback, both ends on one core: `cargo run --release -p partita-transport --example calls --
//! [seconds] [attributes] [bytes of each]`. The time of a call is the CPU time of both ends together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use partita_model::capacity::{HalfUnits, ReadCost};
use partita_model::item::Item;
use partita_model::key::KeyBytes;
use partita_model::request::{GetReply, GetRequest};
use partita_model::schema::{SchemaVersion, TableId};
use partita_model::value::Value;
use partita_partition::descriptor::GroupId;
use partita_transport::{
    Answer, Client, ClientOptions, Identity, Limits, Operation, Peer, Reply, Role, Server, Service,
};
use tokio::net::TcpListener;

/// Answers every operation with the same item, at once.
struct SameItem(Item);

impl Service for SameItem {
    async fn call(&self, _: GroupId, _: Operation) -> Reply {
        Ok(Answer::Get(GetReply {
            item: Some(self.0.clone()),
            cost: ReadCost(HalfUnits(1)),
        }))
    }
}

/// Nanoseconds that this thread has had a core for.
fn cpu_ns() -> Result<u64, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}

async fn reads(peer: Peer, until: Instant) -> Result<u64, partita_transport::CallError> {
    let request = GetRequest {
        table: TableId(1),
        schema_version: SchemaVersion(1),
        key: KeyBytes(vec![7; 24]),
        consistent: true,
        projection: None,
    };
    let mut calls = 0;
    while Instant::now() < until {
        peer.get(GroupId(1), request.clone()).await?;
        calls += 1;
    }
    Ok(calls)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(Ok(3), |n| n.parse())?;
    let attributes: usize = arguments.next().map_or(Ok(10), |n| n.parse())?;
    let bytes: usize = arguments.next().map_or(Ok(100), |n| n.parse())?;
    let names: Vec<String> = (0..attributes).map(|n| format!("attribute{n}")).collect();
    let value = Value::string(&"x".repeat(bytes));
    let item = Item::from_attributes(names.iter().map(|name| (name.as_str(), value.as_ref())));
    println!("an item of {} bytes", item.as_bytes().len());

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let server = Server::new(Identity::new(Role::Replica, "server"), Limits::default());
    tokio::spawn(async move {
        server
            .serve(listener, Arc::new(SameItem(item)), std::future::pending())
            .await
    });
    let mut options = ClientOptions::new(Identity::new(Role::Router, "client"));
    options.connections_max = 1;
    let client = Client::new(options);
    let peer = client.peer(&address);

    for in_flight in [1, 16, 256] {
        let (start, cpu, before) = (Instant::now(), cpu_ns()?, client.stats());
        let until = start + Duration::from_secs(seconds);
        let tasks = (0..in_flight).map(|_| tokio::spawn(reads(peer.clone(), until)));
        let mut calls = 0;
        for task in join_all(tasks).await {
            calls += task??;
        }
        let wall = start.elapsed().as_secs_f64();
        let cpu = cpu_ns()? - cpu;
        let sent = client.stats().bytes_out - before.bytes_out;
        println!(
            "{in_flight:4} in flight: {:7.0} calls/s, {:5.1} us of CPU a call on both ends together ({} bytes sent each)",
            calls as f64 / wall,
            cpu as f64 / 1000.0 / calls as f64,
            sent / calls,
        );
    }
    Ok(())
}
