//! Connections that end, peers that are silent, callers that have no time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use partita_partition::descriptor::GroupId;
use partita_transport::frame::Kind;
use partita_transport::protocol::Versions;
use partita_transport::{Answer, CallError, Cause, Client, Limits, Operation, Peer};
use tokio::net::TcpListener;

use crate::common::{Node, Raw, Scripted, answer, client, eventually, lost, not_sent, options, within};
use crate::concurrency::Parked;
use crate::samples::{get, get_reply, put, write_reply};

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn call(peer: &Peer, operation: Operation) -> tokio::task::JoinHandle<Result<Answer, CallError>> {
    let peer = peer.clone();
    tokio::spawn(async move { peer.call(GroupId(1), operation).await })
}

#[tokio::test]
async fn a_write_that_was_sent_is_lost_with_its_connection() {
    let (listener, address) = listen().await;
    let client = client();
    let peer = client.peer(&address);
    let call = call(&peer, Operation::Write(put(100)));
    let mut raw = Raw::accept(&listener).await;
    raw.message(Kind::Request).await;
    drop(raw);
    let cause = lost(within(call).await.unwrap());
    assert!(matches!(cause, Cause::Closed(_)), "{cause:?}");
    let stats = client.stats();
    assert_eq!((stats.lost, stats.requests, stats.repeated), (1, 1, 0));
    assert_eq!((stats.connections, stats.connections_lost), (0, 1));
}

#[tokio::test]
async fn a_read_that_was_sent_is_repeated_once() {
    let (listener, address) = listen().await;
    let client = client();
    let peer = client.peer(&address);
    let first = call(&peer, Operation::Get(get(1)));
    let mut raw = Raw::accept(&listener).await;
    let asked = raw.message(Kind::Request).await.1;
    drop(raw);
    let mut raw = Raw::accept(&listener).await;
    let (id, again) = raw.message(Kind::Request).await;
    assert_eq!(asked, again);
    raw.send(&answer(id, &get_reply(5))).await;
    assert_eq!(within(first).await.unwrap(), get_reply(5).map_err(CallError::Refused));
    // Where the repetition is lost as well, there is no third attempt.
    let second = call(&peer, Operation::Get(get(1)));
    raw.message(Kind::Request).await;
    drop(raw);
    let mut raw = Raw::accept(&listener).await;
    raw.message(Kind::Request).await;
    drop(raw);
    lost(within(second).await.unwrap());
    let stats = client.stats();
    assert_eq!((stats.requests, stats.repeated, stats.lost), (4, 2, 1));
}

#[tokio::test]
async fn a_write_that_has_not_left_as_a_whole_is_repeated() {
    let (listener, address) = listen().await;
    let client = client();
    // More than the system's buffers of both ends hold.
    let request = put(48 << 20);
    let call = call(&client.peer(&address), Operation::Write(request.clone()));
    let raw = Raw::accept(&listener).await;
    within(raw.0.peek(&mut [0])).await.unwrap();
    drop(raw);
    let mut raw = Raw::accept(&listener).await;
    let (id, bytes) = raw.message(Kind::Request).await;
    let (_, operation): (GroupId, Operation) = postcard::from_bytes(&bytes).unwrap();
    assert!(operation == Operation::Write(request));
    raw.send(&answer(id, &write_reply())).await;
    assert_eq!(within(call).await.unwrap(), write_reply().map_err(CallError::Refused));
    assert_eq!(client.stats().repeated, 1);
}

#[tokio::test]
async fn a_peer_that_closes_every_connection_does_not_keep_a_call_for_ever() {
    let (listener, address) = listen().await;
    let client = client();
    let call = call(&client.peer(&address), Operation::Write(put(48 << 20)));
    for _ in 0..3 {
        let raw = Raw::accept(&listener).await;
        within(raw.0.peek(&mut [0])).await.unwrap();
    }
    let outcome = within(call).await.unwrap();
    assert!(outcome.as_ref().is_err_and(CallError::may_be_repeated));
    assert!(matches!(not_sent(outcome), Cause::Closed(_)));
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_waited_for() {
    let (listener, address) = listen().await;
    drop(listener);
    let client = client();
    let call = call(&client.peer(&address), Operation::Get(get(1)));
    eventually("two attempts have failed", || client.stats().connections_failed >= 2).await;
    let service = Scripted::new(|_, _| async { get_reply(1) });
    let node = Node::at(&address, service, Limits::default(), Versions::OURS).await;
    within(call).await.unwrap().unwrap();
    node.stop().await;
}

#[tokio::test]
async fn a_call_gives_up_when_no_connection_is_opened_in_its_time() {
    let (listener, address) = listen().await;
    let mut options = options();
    options.connect_wait = Duration::from_millis(30);
    let client = Client::new(options);
    // Accepted by the system, greeted by nobody.
    let peer = client.peer(&address);
    assert!(matches!(
        not_sent(peer.call(GroupId(1), Operation::Stats).await),
        Cause::Connect(_)
    ));
    drop(listener);
    let (listener, address) = listen().await;
    drop(listener);
    let peer = client.peer(&address);
    // On a busy machine the time may be over before the first attempt is.
    let mut calls = 1;
    loop {
        calls += 1;
        let cause = not_sent(peer.call(GroupId(1), Operation::Write(put(1))).await).to_string();
        if cause.contains("refused") {
            break;
        }
        assert!(cause.contains("none was opened in time"), "{cause}");
    }
    assert_eq!(client.stats().not_sent, calls);
}

#[tokio::test]
async fn a_server_that_starts_anew_at_its_address_is_found() {
    let service = || Scripted::new(|_, _| async { get_reply(1) });
    let mut node = Node::start(service()).await;
    let address = node.address.clone();
    let client = client();
    let peer = client.peer(&address);
    for round in 1..=3 {
        peer.get(GroupId(1), get(1)).await.unwrap();
        assert_eq!(client.stats().connections_opened, round);
        node.stop().await;
        node = Node::at(&address, service(), Limits::default(), Versions::OURS).await;
    }
    peer.get(GroupId(1), get(1)).await.unwrap();
    assert_eq!((client.stats().lost, client.stats().not_sent), (0, 0));
    node.stop().await;
}

#[tokio::test]
async fn the_callers_time_runs_out() {
    let parked = Parked::default();
    let node = Node::start(parked.service()).await;
    let client = client();
    let peer = client.peer(&node.address);
    let outcome = peer
        .call_within(GroupId(1), Operation::Get(get(1)), Duration::from_millis(20))
        .await;
    // Whether the request had arrived by then or was still waiting for the connection is the machine's affair.
    match outcome {
        Err(CallError::Lost(Cause::Deadline) | CallError::NotSent(Cause::Deadline)) => {}
        other => panic!("{other:?}"),
    }
    // A connection that is open: the request has left, and the server hears that nobody waits.
    let call = call(&peer, Operation::Get(get(2)));
    eventually("it has arrived", || parked.keys().contains(&2)).await;
    let before = node.server.stats().cancelled;
    let brief = Duration::from_millis(20);
    let outcome = loop {
        match peer.call_within(GroupId(1), Operation::Get(get(3)), brief).await {
            Err(CallError::NotSent(Cause::Deadline)) => {}
            outcome => break outcome,
        }
    };
    assert_eq!(lost(outcome), Cause::Deadline);
    eventually("it is cancelled", || node.server.stats().cancelled > before).await;
    parked.release(2);
    within(call).await.unwrap().unwrap();
    node.stop().await;
}

#[tokio::test]
async fn a_peer_without_a_sign_of_life_is_left() {
    let (listener, address) = listen().await;
    let mut options = options();
    options.ping_every = Duration::from_millis(10);
    options.silent_periods_max = 2;
    let client = Client::new(options);
    let call = call(&client.peer(&address), Operation::Write(put(1)));
    let mut raw = Raw::accept(&listener).await;
    raw.message(Kind::Request).await;
    raw.message(Kind::Ping).await;
    let cause = lost(within(call).await.unwrap()).to_string();
    assert!(cause.contains("no sign of life"), "{cause}");
    raw.closed().await;
}

#[tokio::test]
async fn a_peer_that_works_for_long_is_not_taken_for_dead() {
    let parked = Parked::default();
    let node = Node::start(parked.service()).await;
    let mut options = options();
    options.ping_every = Duration::from_millis(5);
    let client = Client::new(options);
    let call = call(&client.peer(&node.address), Operation::Get(get(1)));
    eventually("it has arrived", || parked.len() == 1).await;
    // Every pong is a frame of twenty bytes.
    let before = client.stats().bytes_in;
    eventually("twenty pongs", || client.stats().bytes_in >= before + 20 * 20).await;
    parked.release(1);
    within(call).await.unwrap().unwrap();
    assert_eq!(client.stats().connections_lost, 0);
    node.stop().await;
}

#[tokio::test]
async fn a_server_closes_a_connection_of_a_silent_peer() {
    let limits = Limits {
        silence_max: Duration::from_millis(20),
        ..Limits::default()
    };
    let node = Node::with(Scripted::new(|_, _| async { get_reply(1) }), limits).await;
    Raw::connect(&node.address).await.closed().await;
    eventually("its place is free", || node.server.stats().connections == 0).await;
    node.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_opened_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let node = Node::start(Scripted::new(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        async { get_reply(1) }
    }))
    .await;
    let mut options = options();
    options.ping_every = Duration::from_millis(5);
    options.idle_time_max = Duration::from_millis(10);
    let client = Client::new(options);
    let peer = client.peer(&node.address);
    for _ in 0..3 {
        peer.get(GroupId(1), get(1)).await.unwrap();
        eventually("the connection is closed", || client.stats().connections == 0).await;
    }
    assert_eq!(client.stats().connections_lost, 0);
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    node.stop().await;
}

#[tokio::test]
async fn connections_go_with_the_last_peer_of_their_address() {
    let node = Node::start(Scripted::new(|_, _| async { get_reply(1) })).await;
    let client = client();
    let (first, second) = (client.peer(&node.address), client.peer(&node.address));
    first.get(GroupId(1), get(1)).await.unwrap();
    second.get(GroupId(1), get(1)).await.unwrap();
    assert_eq!(client.stats().connections_opened, 1);
    drop(first);
    second.get(GroupId(1), get(1)).await.unwrap();
    drop(second);
    eventually("nothing is left", || {
        client.stats().connections == 0 && node.server.stats().connections == 0
    })
    .await;
    assert_eq!(client.stats().connections_lost, 0);
    node.stop().await;
}
