//! Letters between stores: whole, in order, from whom they say; and nobody waits for anybody.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use parking_lot::Mutex;
use partita_partition::descriptor::GroupId;
use partita_transport::frame::Kind;
use partita_transport::protocol::{self, Hello, Versions};
use partita_transport::{
    AddressBook, Identity, KnownAddress, Letters, Limits, Operation, Reason, Refused, Reply, Role, Server, Service,
    StoreIdentity,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::common::{Raw, eventually, frame, within};

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn identity(cluster: &str, store: u128, starts: u64, address: &str) -> Identity {
    let store = StoreIdentity {
        uuid: uuid(store),
        starts,
        incarnation: starts + 10,
        address: address.to_owned(),
    };
    Identity::new(Role::Replica, "store")
        .of_cluster(cluster)
        .with_store(store)
}

/// A store's end: what comes goes into a channel.
struct Inbox {
    letters: Mutex<Sender<(Uuid, Vec<u8>)>>,
    book: Arc<AddressBook>,
}

impl Service for Inbox {
    async fn call(&self, _: GroupId, _: Operation) -> Reply {
        Err(Refused {
            reason: Reason::UnknownGroup,
            known: Vec::new(),
        })
    }

    fn meet(&self, store: &StoreIdentity) -> Result<(), String> {
        self.book.meet(store)
    }

    fn letters(&self, from: Uuid, letters: &[u8]) -> Result<(), String> {
        if letters == b"nonsense" {
            return Err("nobody can read this".to_owned());
        }
        self.letters
            .lock()
            .send((from, letters.to_vec()))
            .map_err(|error| error.to_string())
    }

    fn addresses(&self, known: Vec<KnownAddress>) {
        self.book.learn(known);
    }
}

/// A store that takes letters and sends some.
struct Store {
    address: String,
    server: Server,
    book: Arc<AddressBook>,
    letters: Letters,
    inbox: Receiver<(Uuid, Vec<u8>)>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Store {
    async fn start(cluster: &str, number: u128, starts: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let identity = identity(cluster, number, starts, &address);
        let own = identity.store.clone().unwrap();
        let book = Arc::new(AddressBook::new(own, [], Box::new(|_| Ok(()))));
        let (sender, inbox) = channel();
        let service = Inbox {
            letters: Mutex::new(sender),
            book: Arc::clone(&book),
        };
        let server = Server::new(identity.clone(), Limits::default());
        let serving = server.clone();
        let serving =
            tokio::spawn(async move { serving.serve(listener, Arc::new(service), std::future::pending()).await });
        Self {
            address,
            server,
            letters: Letters::new(identity, Arc::clone(&book), None),
            book,
            inbox,
            serving,
        }
    }

    /// Waits for a letter, and repeats it until it gets through: letters may be lost.
    async fn reaches(&self, other: &Store, what: &[u8]) -> Uuid {
        let mut from = None;
        eventually("a letter comes", || {
            self.letters.send(other.number(), Bytes::copy_from_slice(what));
            from = other.inbox.try_iter().find(|(_, letter)| letter == what);
            from.is_some()
        })
        .await;
        from.unwrap().0
    }

    fn number(&self) -> Uuid {
        self.book.all()[0].store
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_arrive_whole_and_in_order() {
    let (one, two) = (Store::start("c", 1, 1).await, Store::start("c", 2, 1).await);
    one.book.told(uuid(2), &two.address);
    assert_eq!(one.reaches(&two, b"hello").await, uuid(1));
    for number in 0..200_usize {
        let length = [10, 100_000, 3, 70_000][number % 4];
        let mut letter = vec![number as u8; length];
        letter[0] = number as u8;
        one.letters.send(uuid(2), letter.into());
        if number % 20 == 19 {
            // Not more than there is room for.
            eventually("they are sent", || one.letters.stats().batches > number as u64).await;
        }
    }
    let mut come: Vec<(u8, usize)> = Vec::new();
    eventually("all have come", || {
        let letters = two.inbox.try_iter().filter(|(_, letter)| letter != b"hello");
        come.extend(letters.map(|(_, letter)| (letter[0], letter.len())));
        come.len() == 200
    })
    .await;
    let sent = (0..200_usize).map(|number| (number as u8, [10, 100_000, 3, 70_000][number % 4]));
    assert_eq!(come, sent.collect::<Vec<_>>());
    // The other learned the way back by that, and whom else the first one knows.
    assert_eq!(two.reaches(&one, b"yes").await, uuid(2));
    one.book.told(uuid(3), "elsewhere:1");
    eventually("what is learned is told", || two.book.address(uuid(3)).is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_read_holds_up_nobody() {
    let (one, two) = (Store::start("c", 1, 1).await, Store::start("c", 2, 1).await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    one.book.told(uuid(2), &two.address);
    one.book.told(uuid(3), &listener.local_addr().unwrap().to_string());
    one.letters.send(uuid(3), Bytes::from_static(b"first"));
    let (mut deaf, _) = within(listener.accept()).await.unwrap();
    let us = identity("c", 3, 1, "");
    protocol::welcome(&mut deaf, &us, Versions::OURS, 1, None, |_| Ok(()))
        .await
        .unwrap();
    let letter = Bytes::from(vec![7; 1 << 20]);
    eventually("there is no more room", || {
        one.letters.send(uuid(3), letter.clone());
        one.letters.stats().dropped > 100
    })
    .await;
    one.reaches(&two, b"hello").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_moved_is_found_again() {
    let (one, two) = (Store::start("c", 1, 1).await, Store::start("c", 2, 1).await);
    one.book.told(uuid(2), &two.address);
    one.reaches(&two, b"hello").await;
    two.reaches(&one, b"hello").await;
    two.serving.abort();
    // It knows the other from before, and says itself where it is now.
    let again = Store::start("c", 2, 2).await;
    again.book.told(uuid(1), &one.address);
    again.reaches(&one, b"here I am").await;
    one.reaches(&again, b"hello again").await;
    // A copy of it from before its last start is nobody.
    let copy = Store::start("c", 2, 1).await;
    copy.book.told(uuid(1), &one.address);
    let refused = one.server.stats().connections_refused;
    eventually("it is refused", || {
        copy.letters.send(uuid(1), Bytes::from_static(b"vote for me"));
        one.server.stats().connections_refused > refused
    })
    .await;
    one.reaches(&again, b"still there").await;
    assert!(one.inbox.try_iter().all(|(_, letter)| letter != b"vote for me"));
}

/// What a server says to a Hello.
async fn refusal(address: &str, hello: &Hello) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    protocol::greet(&mut stream, hello).await.unwrap_err().to_string()
}

#[tokio::test]
async fn strangers_are_told_why() {
    let two = Store::start("c", 2, 1).await;
    let hello = |cluster, store| Hello::of(&identity(cluster, store, 1, ""));
    let other = refusal(&two.address, &hello("another", 1)).await;
    assert!(
        other.contains("this is cluster \"c\", the peer is of cluster \"another\""),
        "{other}"
    );
    let moved = refusal(&two.address, &hello("c", 1).to_store(uuid(9))).await;
    assert!(moved.contains(&format!("store {} is not here", uuid(9))), "{moved}");
    let twin = refusal(&two.address, &hello("c", 2)).await;
    assert!(twin.contains("the peer runs on a copy of it"), "{twin}");
    let mut future = hello("c", 1);
    future.versions = Versions { first: 7, last: 9 };
    let newer = refusal(&two.address, &future).await;
    assert!(newer.contains("upgrade the older one first"), "{newer}");
    // Routers of another cluster, too; those that do not say are welcome.
    let router = |cluster| Hello::of(&Identity::new(Role::Router, "r").of_cluster(cluster));
    assert!(refusal(&two.address, &router("another")).await.contains("another"));
    let mut stream = TcpStream::connect(&two.address).await.unwrap();
    protocol::greet(&mut stream, &router("")).await.unwrap();
}

#[tokio::test]
async fn broken_letters_close_their_connection() {
    let two = Store::start("c", 2, 1).await;
    let from_store = Hello::of(&identity("c", 1, 1, ""));
    let from_router = Hello::of(&Identity::new(Role::Router, "r"));
    let old = Hello {
        versions: Versions { first: 1, last: 1 },
        ..from_store.clone()
    };
    let cases: [(&Hello, Kind, &[u8]); 4] = [
        (&from_store, Kind::Letters, b"nonsense"),
        (&from_store, Kind::Addresses, &[0xFF; 9]),
        (&from_router, Kind::Letters, b"hello"),
        (&old, Kind::Letters, b"hello"),
    ];
    for ((hello, kind, payload), number) in cases.into_iter().zip(1..) {
        let mut stream = TcpStream::connect(&two.address).await.unwrap();
        protocol::greet(&mut stream, hello).await.unwrap();
        let mut raw = Raw(stream);
        raw.send(&frame(kind, 1, payload)).await;
        raw.closed().await;
        eventually("it is counted", || two.server.stats().connections_broken == number).await;
    }
    assert!(two.inbox.try_iter().next().is_none());
}
