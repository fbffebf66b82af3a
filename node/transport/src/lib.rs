//! Requests between processes: from routers, and from replicas that deliver to global indexes, to replicas; and letters
//! between the replicas of a group.
//!
//! The life of a call:
//!
//! 1. [`Peer::call`] takes an [`Operation`] for a group; the peer's pool (`client/pool.rs`) picks the least loaded of its
//!    few connections, or opens one: name looked up anew, [`handshake`](protocol) with the range of versions.
//! 2. The operation is encoded once (postcard), straight into the connection's outbox (`outbox.rs`), which cuts what is
//!    long into chunks, so that it does not hold up what is short ([`frame`]).
//! 3. The connection's task (`client/connection.rs`) writes the frames of all callers with one system call.
//! 4. On the other side the inbox (`inbox.rs`) checks each frame and puts chunks together; the connection's task
//!    (`server/connection.rs`) decodes the operation and polls the [`Service`] in place: a quick answer needs no task.
//! 5. Answers leave in the order in which they are ready, by the same outbox. The caller decodes its own.
//! 6. A connection that ends tells each of its calls apart: [`CallError::NotSent`] never left as a whole, so it can be
//!    repeated; [`CallError::Lost`] did, and nobody knows.
//!
//! Stores write to each other by connections of their own, one way: [`letters`].
//!
//! Both ends bound everything: frames, messages, requests in flight, bytes waiting to be written, connections, the
//! time of a handshake. Whatever a peer sends, the worst is a closed connection with the reason in the log.

mod client;
pub mod frame;
mod inbox;
pub mod letters;
mod operation;
mod outbox;
pub mod protocol;
mod server;
mod stats;

pub use client::{CallError, Cause, Client, ClientOptions, Peer};
pub use letters::{AddressBook, KnownAddress, LetterStats, Letters};
pub use operation::{Answer, GroupLeader, GroupStats, Operation, Reason, Refused, Reply};
pub use protocol::{Identity, Role, StoreIdentity};
pub use server::{Limits, Server, Service};
pub use stats::{ClientStats, ServerStats};
