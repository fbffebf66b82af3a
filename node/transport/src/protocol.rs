//! The handshake: who speaks, and which version of the protocol both understand.
//!
//! 1. The client opens with [`MAGIC`] and a Hello: the range of versions it speaks, its software version, who it is.
//! 2. The server answers with [`MAGIC`] and either a Welcome, with the highest version both speak and its own limits, or
//!    a Reject with a reason for people, and closes.
//! 3. From there on both send frames of [`crate::frame`]; the header is the same in all versions.
//!
//! # How the protocol grows
//!
//! Postcard does not describe itself: adding a field to a type that crosses changes its encoding (`tests/golden.rs`
//! fails), and a peer of the older version would misread it. So:
//!
//! - A **new operation** is a new last variant of [`crate::Operation`] (and of [`crate::Answer`]), and
//!   [`VERSION_LAST`] goes up by one. [`crate::Operation::since`] names that version. A client that agreed on an older
//!   one does not send it ([`crate::Cause::Unsupported`]), and the caller does it the older way.
//! - A **new field** is a new operation with the larger type, in the same way. The older one stays until no supported
//!   release speaks only it; then [`VERSION_FIRST`] goes up, and peers from before are rejected with a sentence.
//! - A **new kind of frame** goes only to peers that agreed on its version: an unknown kind closes the connection.
//! - Hello and Welcome may get fields **at their ends**: a reader ignores what stands behind what it knows, and must
//!   do with what is missing.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use uuid::Uuid;

use crate::frame::{FrameError, HEADER_BYTES, Header, Kind};

/// What each side sends first: whoever speaks something else is told apart by its first bytes.
pub const MAGIC: [u8; 8] = *b"PARTITA\x01";
/// The oldest version of the protocol that this build speaks.
pub const VERSION_FIRST: u16 = 1;
/// The newest one.
///
/// 2: letters between stores, who leads a group, and what stands behind greetings ([`Particulars`]).
///
/// 3: what is said about tables' units.
///
/// 4: further parts of a page.
pub const VERSION_LAST: u16 = 4;
/// The first version with letters between stores.
pub const VERSION_LETTERS: u16 = 2;
/// The first version in which units of a table are shared between stores.
pub const VERSION_UNITS: u16 = 3;
/// The first version in which a page that goes on in another partition is told apart from a new one.
pub const VERSION_FURTHER: u16 = 4;

/// Bytes of a Hello, Welcome or Reject: versions, two numbers and three short strings.
const GREETING_BYTES_MAX: u32 = 2048;
/// Bytes of a name, a software version or a reason, so that a greeting always fits.
const TEXT_BYTES_MAX: usize = 512;
/// Bytes of a cluster's name.
pub const CLUSTER_BYTES_MAX: usize = 128;
/// Bytes of an address: a DNS name has at most 253, a port 5.
pub const ADDRESS_BYTES_MAX: usize = 300;

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Speaks the DynamoDB API and forwards.
    Router,
    /// Holds a store.
    Replica,
}

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What it is.
    pub role: Role,
    /// Its name, the pod's.
    pub name: String,
    /// Its release.
    pub software: String,
    /// The cluster it is of: nobody of another one is talked to. Empty: it does not say.
    pub cluster: String,
    /// Its store.
    pub store: Option<StoreIdentity>,
}

/// A store, as it introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreIdentity {
    /// Its UUID: made when its folder was first opened.
    pub uuid: Uuid,
    /// How often it has been opened: a copy of it, restored from a backup, has been opened less often than others know.
    pub starts: u64,
    /// Drawn at this start.
    pub incarnation: u64,
    /// Where it can be reached; empty when it does not say.
    pub address: String,
}

/// What stands behind a Hello and a Welcome from version 2 on. Postcard, with room for more behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Particulars {
    /// The cluster; empty when not said.
    pub cluster: String,
    /// The store, of a replica.
    pub store: Option<StoreIdentity>,
    /// The store that has to be here: somebody else may have its address by now.
    pub expects: Option<Uuid>,
}

impl Identity {
    /// This build, under a name.
    pub fn new(role: Role, name: impl Into<String>) -> Self {
        Self {
            role,
            name: name.into(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: String::new(),
            store: None,
        }
    }

    /// Of this cluster.
    #[must_use]
    pub fn of_cluster(self, cluster: impl Into<String>) -> Self {
        let cluster = cluster.into();
        Self { cluster, ..self }
    }

    /// With this store.
    #[must_use]
    pub fn with_store(self, store: StoreIdentity) -> Self {
        let store = Some(store);
        Self { store, ..self }
    }

    fn particulars(&self) -> Particulars {
        Particulars {
            cluster: clip(&self.cluster, CLUSTER_BYTES_MAX),
            store: self.store.clone().map(|store| StoreIdentity {
                address: clip(&store.address, ADDRESS_BYTES_MAX),
                ..store
            }),
            expects: None,
        }
    }

    /// Whether somebody who says this of himself is at the right place.
    fn check(&self, peer: &Particulars) -> Result<(), String> {
        let (ours, theirs) = (&self.cluster, &peer.cluster);
        if !ours.is_empty() && !theirs.is_empty() && ours != theirs {
            return Err(format!("this is cluster {ours:?}, the peer is of cluster {theirs:?}"));
        }
        let own = self.store.as_ref().map(|store| store.uuid);
        match (peer.expects, own) {
            (Some(expected), Some(own)) if expected != own => {
                return Err(format!("store {expected} is not here: this is store {own}"));
            }
            (Some(expected), None) => return Err(format!("store {expected} is not here: this process has no store")),
            _ => {}
        }
        match &peer.store {
            Some(store) if Some(store.uuid) == own => Err(format!(
                "store {} is this one: the peer runs on a copy of it",
                store.uuid
            )),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let role = match self.role {
            Role::Router => "router",
            Role::Replica => "replica",
        };
        write!(f, "{role} {} ({})", self.name, self.software)
    }
}

/// A range of versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest.
    pub first: u16,
    /// The newest.
    pub last: u16,
}

impl Versions {
    /// What this build speaks.
    pub const OURS: Self = Self {
        first: VERSION_FIRST,
        last: VERSION_LAST,
    };

    /// The highest version in both.
    pub fn common(self, other: Self) -> Option<u16> {
        let highest = self.last.min(other.last);
        (highest >= self.first.max(other.first)).then_some(highest)
    }
}

/// What a client says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What it speaks.
    pub versions: Versions,
    /// What it is. A number, so that a role from the future can still be welcomed.
    pub role: u8,
    /// Its name.
    pub name: String,
    /// Its release.
    pub software: String,
    /// What stands behind it.
    #[serde(skip)]
    pub particulars: Particulars,
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version to speak from now on.
    pub version: u16,
    /// Requests that the server works on at once for this connection; it reads no further ones meanwhile.
    pub requests_max: u32,
    /// Its name.
    pub name: String,
    /// Its release.
    pub software: String,
    /// What stands behind it.
    #[serde(skip)]
    pub particulars: Particulars,
}

/// Why there is no conversation.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The other side closed, or the connection broke.
    #[error("the connection broke during the handshake: {0}")]
    Io(#[from] std::io::Error),
    /// The first bytes are not ours.
    #[error("the peer does not speak this protocol (its first bytes are {0:02x?}{hint})", hint = hint(.0))]
    Magic([u8; MAGIC.len()]),
    /// A frame that is not what belongs here.
    #[error("a broken greeting: {0}")]
    Frame(#[from] FrameError),
    /// The bytes are not a greeting.
    #[error("an unreadable greeting: {0}")]
    Unreadable(#[from] postcard::Error),
    /// No version in common.
    #[error(
        "{peer} speaks versions {} to {} of the protocol, {us} speaks {} to {}: upgrade the older one first",
        theirs.first, theirs.last, ours.first, ours.last
    )]
    Versions {
        /// Who asked.
        peer: String,
        /// What it speaks.
        theirs: Versions,
        /// Who answers.
        us: String,
        /// What this side speaks.
        ours: Versions,
    },
    /// The server said no.
    #[error("rejected: {0}")]
    Rejected(String),
    /// This server says no.
    #[error("{peer} is not welcome: {reason}")]
    Unwelcome {
        /// Who asked.
        peer: String,
        /// What it was told.
        reason: String,
    },
    /// There is no place for it.
    #[error("{0}")]
    Full(String),
    /// It speaks this protocol, but no TLS.
    #[error("the peer does not speak TLS")]
    Plain,
    /// One of both does not take the other's certificate, or speaks no TLS.
    #[error(transparent)]
    Tls(#[from] partita_tls::HandshakeError),
    /// The peer belongs to somebody else.
    #[error(transparent)]
    Stranger(#[from] partita_tls::Stranger),
    /// It took too long.
    #[error("no greeting within {0:?}")]
    Timeout(std::time::Duration),
}

impl Hello {
    /// What this build says.
    pub fn of(identity: &Identity) -> Self {
        Self {
            versions: Versions::OURS,
            role: match identity.role {
                Role::Router => 1,
                Role::Replica => 2,
            },
            name: clipped(&identity.name),
            software: clipped(&identity.software),
            particulars: identity.particulars(),
        }
    }

    /// To the store with this UUID, and nobody else.
    #[must_use]
    pub fn to_store(mut self, store: Uuid) -> Self {
        self.particulars.expects = Some(store);
        self
    }

    /// For logs.
    fn peer(&self) -> String {
        let role = match self.role {
            1 => "router",
            2 => "replica",
            _ => "a peer",
        };
        format!("{role} {:?} ({:?})", self.name, self.software)
    }
}

/// The client's half: says who it is, hears what to speak.
pub async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    hello: &Hello,
) -> Result<Welcome, HandshakeError> {
    send(stream, Kind::Hello, &with_particulars(hello, &hello.particulars)?).await?;
    match receive(stream).await? {
        (Kind::Welcome, body) => {
            let (mut welcome, particulars): (Welcome, _) = and_particulars(&body)?;
            welcome.particulars = particulars;
            let theirs = Versions {
                first: welcome.version,
                last: welcome.version,
            };
            if hello.versions.common(theirs).is_none() {
                return Err(HandshakeError::Versions {
                    peer: format!("replica {:?} ({:?})", welcome.name, welcome.software),
                    theirs,
                    us: hello.peer(),
                    ours: hello.versions,
                });
            }
            Ok(welcome)
        }
        (Kind::Reject, body) => Err(HandshakeError::Rejected(postcard::from_bytes(&body)?)),
        (kind, _) => Err(FrameError::Unexpected(kind).into()),
    }
}

/// Who has been welcomed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcomed {
    /// The version to speak from now on.
    pub version: u16,
    /// Who it is, for logs.
    pub peer: String,
    /// Its store, if it is a replica that said so.
    pub store: Option<StoreIdentity>,
}

/// The server's half: hears who it is, chooses the version. A peer that is not welcome is told why; `full` says that
/// there is no place for it, `meet` whether its store may come.
pub async fn welcome<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    us: &Identity,
    ours: Versions,
    requests_max: u32,
    full: Option<&String>,
    meet: impl FnOnce(&StoreIdentity) -> Result<(), String>,
) -> Result<Welcomed, HandshakeError> {
    let (mut hello, particulars): (Hello, _) = match receive(stream).await? {
        (Kind::Hello, body) => and_particulars(&body)?,
        (kind, _) => return Err(FrameError::Unexpected(kind).into()),
    };
    hello.particulars = particulars;
    if let Some(reason) = full {
        reject(stream, reason).await?;
        return Err(HandshakeError::Full(reason.clone()));
    }
    let Some(version) = ours.common(hello.versions) else {
        let error = HandshakeError::Versions {
            peer: hello.peer(),
            theirs: hello.versions,
            us: us.to_string(),
            ours,
        };
        reject(stream, &error.to_string()).await?;
        return Err(error);
    };
    let met = us
        .check(&hello.particulars)
        .and_then(|()| hello.particulars.store.as_ref().map_or(Ok(()), meet));
    if let Err(reason) = met {
        reject(stream, &reason).await?;
        let peer = hello.peer();
        return Err(HandshakeError::Unwelcome { peer, reason });
    }
    let welcome = Welcome {
        version,
        requests_max,
        name: clipped(&us.name),
        software: clipped(&us.software),
        particulars: us.particulars(),
    };
    send(
        stream,
        Kind::Welcome,
        &with_particulars(&welcome, &welcome.particulars)?,
    )
    .await?;
    Ok(Welcomed {
        version,
        peer: hello.peer(),
        store: hello.particulars.store,
    })
}

fn with_particulars<T: Serialize>(greeting: &T, particulars: &Particulars) -> postcard::Result<Vec<u8>> {
    postcard::to_extend(particulars, postcard::to_stdvec(greeting)?)
}

/// A greeting, and what stands behind it. Version 1 has nothing there.
fn and_particulars<T: DeserializeOwned>(body: &[u8]) -> postcard::Result<(T, Particulars)> {
    let (greeting, rest) = postcard::take_from_bytes(body)?;
    let particulars = match rest {
        [] => Particulars::default(),
        rest => postcard::from_bytes(rest)?,
    };
    Ok((greeting, particulars))
}

/// Hears a client out, and says no to it, with a reason for people.
pub async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, reason: &str) -> Result<(), HandshakeError> {
    receive(stream).await?;
    reject(stream, reason).await
}

/// Says no, with a reason for people.
pub async fn reject<S: AsyncWrite + Unpin>(stream: &mut S, reason: &str) -> Result<(), HandshakeError> {
    send(stream, Kind::Reject, &postcard::to_stdvec(&clipped(reason))?).await?;
    Ok(stream.shutdown().await?)
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, kind: Kind, body: &[u8]) -> Result<(), HandshakeError> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&Header::of(kind, 0, false, body).encode());
    bytes.extend_from_slice(body);
    stream.write_all(&bytes).await?;
    Ok(stream.flush().await?)
}

async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(Kind, Vec<u8>), HandshakeError> {
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic).await?;
    if magic != MAGIC {
        return Err(HandshakeError::Magic(magic));
    }
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await?;
    let header = Header::decode(&header)?;
    if header.length > GREETING_BYTES_MAX {
        return Err(FrameError::Length(header.length).into());
    }
    let mut body = vec![0; header.length as usize];
    stream.read_exact(&mut body).await?;
    header.check(&body)?;
    Ok((header.kind, body))
}

/// What first bytes look like.
fn hint(first: &[u8; MAGIC.len()]) -> &'static str {
    match first {
        // A handshake or an alert of any version of TLS.
        [0x15 | 0x16, 0x03, ..] => ": it speaks TLS, and this process was started without --peer-tls",
        _ => "",
    }
}

/// At most so many bytes of a text as always fit.
fn clipped(text: &str) -> String {
    clip(text, TEXT_BYTES_MAX)
}

fn clip(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}
