//! A server that stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use partita_partition::descriptor::GroupId;
use partita_transport::frame::Kind;
use partita_transport::protocol::Versions;
use partita_transport::{CallError, Limits, Operation};

use crate::common::{Node, Raw, Scripted, client, eventually, frame, lost, request, within};
use crate::concurrency::Parked;
use crate::samples::{get, get_reply, put, write_reply};

#[tokio::test]
async fn what_runs_is_finished_and_answered() {
    let parked = Parked::default();
    let mut node = Node::start(parked.service()).await;
    let client = client();
    let peer = client.peer(&node.address);
    let call = tokio::spawn({
        let peer = peer.clone();
        async move { peer.get(GroupId(1), get(1)).await }
    });
    eventually("it has arrived", || parked.len() == 1).await;
    node.tell_to_stop();
    // Nothing listens any more; the call still waits for its answer.
    eventually("the door is closed", || {
        std::net::TcpStream::connect(&node.address).is_err()
    })
    .await;
    assert!(!call.is_finished());
    parked.release(1);
    within(call).await.unwrap().unwrap();
    node.stop().await;
    assert_eq!(client.stats().connections_lost, 0);
}

#[tokio::test]
async fn what_was_sent_before_the_peer_heard_of_it_is_answered_too() {
    let mut node = Node::start(Scripted::new(|_, _| async { get_reply(1) })).await;
    let mut raw = Raw::connect(&node.address).await;
    node.tell_to_stop();
    raw.message(Kind::GoAway).await;
    raw.send(&request(1, &Operation::Get(get(1)))).await;
    assert_eq!(raw.message(Kind::Answer).await.0, 1);
    raw.send(&request(2, &Operation::Get(get(1)))).await;
    raw.send(&frame(Kind::GoAway, 0, &[])).await;
    assert_eq!(raw.message(Kind::Answer).await.0, 2);
    raw.closed().await;
    node.stop().await;
}

/// Writers go on through several changes of the server; nobody gets an error and every write is done exactly once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_and_no_write_is_done_twice_when_servers_change() {
    let done = Arc::new(AtomicU64::new(0));
    let service = || {
        let done = Arc::clone(&done);
        Scripted::new(move |group, _| {
            done.fetch_add(1, Ordering::Relaxed);
            async move {
                if group.0 % 2 == 0 {
                    tokio::task::yield_now().await;
                }
                write_reply()
            }
        })
    };
    let mut node = Node::start(service()).await;
    let address = node.address.clone();
    let client = client();
    let over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let (peer, over) = (client.peer(&address), Arc::clone(&over));
            tokio::spawn(async move {
                let mut written = 0;
                while !over.load(Ordering::Relaxed) {
                    peer.write(GroupId(writer), put(200)).await?;
                    written += 1;
                }
                Ok::<u64, CallError>(written)
            })
        })
        .collect();
    for _ in 0..5 {
        let before = done.load(Ordering::Relaxed);
        eventually("writes go on", || done.load(Ordering::Relaxed) > before + 200).await;
        node.stop().await;
        node = Node::at(&address, service(), Limits::default(), Versions::OURS).await;
    }
    over.store(true, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        written += within(writer).await.unwrap().unwrap();
    }
    assert_eq!(written, done.load(Ordering::Relaxed));
    assert_eq!(client.stats().connections_opened, 6);
    node.stop().await;
}

#[tokio::test]
async fn a_write_cut_off_by_the_drain_is_lost() {
    let limits = Limits {
        drain_time_max: Duration::from_millis(20),
        ..Limits::default()
    };
    let arrived = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&arrived);
    let node = Node::with(
        Scripted::new(move |_, _| {
            seen.store(true, Ordering::Relaxed);
            std::future::pending()
        }),
        limits,
    )
    .await;
    let peer = client().peer(&node.address);
    let call = tokio::spawn(async move { peer.write(GroupId(1), put(1)).await });
    eventually("it has arrived", || arrived.load(Ordering::Relaxed)).await;
    node.stop().await;
    lost(within(call).await.unwrap());
}
