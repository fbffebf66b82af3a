//! What stores say to each other: frames of our own, so that a peer's bytes never reach raft-rs's protobuf decoder.
//!
//! A batch is frames one behind the other, each `format u8 | length u32 | CRC-32 u32 | postcard`. [`Outbox`] gathers one
//! round's frames, one batch per store; [`frames`] reads a batch and stops at the first frame that does not check: the
//! network may lose anything, so nothing else is lost by that.
//!
//! Beside raft's own fields, what a leader sends carries the time at which it was *sent* (by the leader's clock), and
//! the answer echoes it: from that the leader knows since when a follower keeps its promise (see [`crate::lease`]).

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::members::ReplicaId;

/// The format written and the only one read.
const FORMAT: u8 = 1;
/// Format, length and checksum.
const HEADER_BYTES: usize = 9;
/// No frame is longer: an entry of a megabyte and one effect more, at most.
const FRAME_BYTES_MAX: usize = 32 << 20;
/// A batch takes no further frame when it holds this much: what carries it need not be made for more than this and one
/// frame.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// What raft-rs puts into the context of a forced vote request.
const TRANSFER: &[u8] = b"CampaignTransfer";

/// The way to the other stores.
///
/// Frames may be lost, repeated, delayed and reordered, but not altered without the checksum's noticing. Sending never
/// blocks: what there is no room for is dropped.
pub trait Peers: Send + Sync + 'static {
    /// Sends a batch of frames to the store with this identity, which gives it to its [`crate::Store::receive`].
    fn send(&self, to: Uuid, frames: Bytes);
}

/// Nobody to talk to.
pub(crate) struct NoPeers;

impl Peers for NoPeers {
    fn send(&self, _to: Uuid, _frames: Bytes) {}
}

/// One frame's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Payload<'a> {
    /// Between two replicas of a group.
    #[serde(borrow)]
    Replica(Letter<'a>),
    /// The store is alive, whatever its groups do.
    Alive {
        /// Drawn at each start: a store that forgot what it knew is told apart.
        incarnation: u64,
    },
}

/// From one replica of a group to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Letter<'a> {
    pub(crate) group: u64,
    pub(crate) from: ReplicaId,
    pub(crate) to: ReplicaId,
    /// The sender's term; never 0.
    pub(crate) term: u64,
    #[serde(borrow)]
    pub(crate) body: Body<'a>,
}

/// The kinds of letters. `sent` is the leader's clock when it was sent, `echo` that of what is answered, in
/// nanoseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Body<'a> {
    Append {
        index: u64,
        log_term: u64,
        commit: u64,
        sent: u64,
        #[serde(borrow)]
        entries: Vec<WireEntry<'a>>,
    },
    AppendReply {
        index: u64,
        commit: u64,
        echo: u64,
        /// The entry before those appended is not there; where to look instead: index and term.
        rejected: Option<(u64, u64)>,
    },
    Heartbeat {
        commit: u64,
        /// The leader's own, which may be ahead of what the follower has.
        committed: u64,
        sent: u64,
        round: Option<u64>,
    },
    HeartbeatReply {
        commit: u64,
        echo: u64,
        round: Option<u64>,
    },
    Vote {
        pre: bool,
        /// The leader has asked the candidate to take over.
        transfer: bool,
        index: u64,
        log_term: u64,
        commit: (u64, u64),
    },
    VoteReply {
        pre: bool,
        reject: bool,
        commit: (u64, u64),
    },
    /// Stand for election at once.
    TimeoutNow,
    /// Nothing is going on: whoever has committed this entry and none beyond stops its clock.
    Rest {
        commit: u64,
    },
    /// A leader that rested does so no more.
    Awake,
    /// A part of a snapshot.
    Chunk(#[serde(borrow)] Chunk<'a>),
    /// How far a snapshot has come.
    ChunkReply {
        /// Index and term of the snapshot.
        at: (u64, u64),
        /// The next part to send.
        next: u64,
    },
    /// The group has gone on without most of its voters, from this membership epoch on ([`crate::survivor`]). To nobody by
    /// number: whichever of its former replicas is there.
    Superseded {
        epoch: u64,
    },
}

/// A part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chunk<'a> {
    /// Index and term of the entry that the snapshot has applied.
    pub(crate) at: (u64, u64),
    /// Its place: 0 is the head.
    pub(crate) number: u64,
    pub(crate) last: bool,
    #[serde(with = "serde_bytes")]
    pub(crate) bytes: &'a [u8],
}

/// An entry on the wire; its index follows from its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WireEntry<'a> {
    term: u64,
    /// A change of membership, whose data is ours and not raft-rs's.
    change: bool,
    #[serde(with = "serde_bytes")]
    data: &'a [u8],
}

/// Why a batch, or the rest of it, was dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// It ends in the middle of a frame, or a length makes no sense.
    #[error("a frame ends early")]
    Short,
    /// Longer than any frame may be.
    #[error("a frame of {0} bytes")]
    Long(usize),
    /// Of another version.
    #[error("a frame of format {0}")]
    Format(u8),
    /// Altered on the way.
    #[error("a frame's checksum does not fit")]
    Checksum,
    /// What it holds cannot be read.
    #[error("a frame cannot be read: {0}")]
    Content(String),
}

/// Reads a batch.
pub(crate) fn frames(mut rest: &[u8]) -> impl Iterator<Item = Result<Payload<'_>, FrameFault>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let read = split(rest);
        rest = read.as_ref().map_or(&[], |(_, behind)| *behind);
        Some(read.and_then(|(content, _)| {
            postcard::from_bytes(content).map_err(|error| FrameFault::Content(error.to_string()))
        }))
    })
}

fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), FrameFault> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(FrameFault::Short)?;
    let [format, l0, l1, l2, l3, checksum @ ..] = *header;
    if format != FORMAT {
        return Err(FrameFault::Format(format));
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(FrameFault::Long(length));
    }
    let (content, behind) = rest.split_at_checked(length).ok_or(FrameFault::Short)?;
    if crc32fast::hash(content).to_le_bytes() != checksum {
        return Err(FrameFault::Checksum);
    }
    Ok((content, behind))
}

/// The frames of one round, a batch (or a few) for each store.
#[derive(Default)]
pub(crate) struct Outbox {
    batches: Vec<(Uuid, Vec<u8>)>,
}

impl Outbox {
    pub(crate) fn push(&mut self, to: Uuid, payload: &Payload<'_>) {
        let open = |batch: &(Uuid, Vec<u8>)| batch.0 == to && batch.1.len() < BATCH_BYTES_MAX;
        let batch = match self.batches.iter().rposition(open) {
            Some(at) => &mut self.batches[at].1,
            None => {
                self.batches.push((to, Vec::with_capacity(256)));
                let at = self.batches.len() - 1;
                &mut self.batches[at].1
            }
        };
        let start = batch.len();
        batch.extend_from_slice(&[FORMAT, 0, 0, 0, 0, 0, 0, 0, 0]);
        let whole = match postcard::to_extend(payload, std::mem::take(batch)) {
            Ok(whole) => whole,
            Err(error) => {
                // Only a type that postcard cannot encode at all comes here. The frame is lost, as any may be.
                tracing::error!(%error, "encoding a frame");
                return;
            }
        };
        *batch = whole;
        let content = start + HEADER_BYTES;
        let length = (batch.len() - content) as u32;
        let checksum = crc32fast::hash(&batch[content..]);
        batch[start + 1..start + 5].copy_from_slice(&length.to_le_bytes());
        batch[start + 5..content].copy_from_slice(&checksum.to_le_bytes());
    }

    /// A batch of this frame alone.
    pub(crate) fn only(payload: &Payload<'_>) -> Option<Bytes> {
        let mut outbox = Self::default();
        outbox.push(Uuid::nil(), payload);
        outbox.batches.pop().map(|(_, batch)| Bytes::from(batch))
    }

    /// Hands everything to the peers.
    pub(crate) fn send(&mut self, peers: &dyn Peers) {
        for (to, batch) in self.batches.drain(..) {
            peers.send(to, Bytes::from(batch));
        }
    }
}

/// A raft message as a letter's body, sent now by a replica that knows this much to be committed; `None` for what never
/// leaves a process.
pub(crate) fn body<'a>(message: &'a Message, sent: u64, committed: u64) -> Option<Body<'a>> {
    let commit = (message.commit, message.commit_term);
    let kind = message.get_msg_type();
    Some(match kind {
        MessageType::MsgAppend => Body::Append {
            index: message.index,
            log_term: message.log_term,
            commit: message.commit,
            sent,
            entries: message.entries.iter().map(WireEntry::of).collect(),
        },
        MessageType::MsgAppendResponse => Body::AppendReply {
            index: message.index,
            commit: message.commit,
            echo: message.commit_term,
            rejected: message.reject.then_some((message.reject_hint, message.log_term)),
        },
        MessageType::MsgHeartbeat => Body::Heartbeat {
            commit: message.commit,
            committed,
            sent,
            round: round(&message.context),
        },
        MessageType::MsgHeartbeatResponse => Body::HeartbeatReply {
            commit: message.commit,
            echo: message.commit_term,
            round: round(&message.context),
        },
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => Body::Vote {
            pre: kind == MessageType::MsgRequestPreVote,
            transfer: message.context == TRANSFER,
            index: message.index,
            log_term: message.log_term,
            commit,
        },
        MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse => Body::VoteReply {
            pre: kind == MessageType::MsgRequestPreVoteResponse,
            reject: message.reject,
            commit,
        },
        MessageType::MsgTimeoutNow => Body::TimeoutNow,
        // Proposals and questions for an index are never forwarded, snapshots travel in chunks.
        _ => return None,
    })
}

/// The number of a round of [`raft::RawNode::read_index`], in the context that it travels in.
pub(crate) fn round(context: &[u8]) -> Option<u64> {
    context.try_into().ok().map(u64::from_le_bytes)
}

fn context(round: Option<u64>) -> Vec<u8> {
    round.map_or(Vec::new(), |round| round.to_le_bytes().to_vec())
}

impl Letter<'_> {
    /// The raft message in it; `None` for a letter that raft-rs knows nothing of.
    pub(crate) fn message(&self) -> Option<Message> {
        let mut message = Message {
            from: self.from,
            to: self.to,
            term: self.term,
            ..Message::default()
        };
        let kind = match &self.body {
            Body::Append {
                index,
                log_term,
                commit,
                entries,
                ..
            } => {
                (message.index, message.log_term, message.commit) = (*index, *log_term, *commit);
                let numbered = entries.iter().zip(index.checked_add(1)?..);
                message.entries = numbered.map(|(entry, index)| entry.entry(index)).collect();
                MessageType::MsgAppend
            }
            Body::AppendReply {
                index,
                commit,
                rejected,
                ..
            } => {
                (message.index, message.commit) = (*index, *commit);
                if let Some((hint, term)) = rejected {
                    message.reject = true;
                    (message.reject_hint, message.log_term) = (*hint, *term);
                }
                MessageType::MsgAppendResponse
            }
            Body::Heartbeat { commit, round, .. } => {
                message.commit = *commit;
                message.context = context(*round).into();
                MessageType::MsgHeartbeat
            }
            Body::HeartbeatReply { commit, round, .. } => {
                message.commit = *commit;
                message.context = context(*round).into();
                MessageType::MsgHeartbeatResponse
            }
            Body::Vote {
                pre,
                transfer,
                index,
                log_term,
                commit,
            } => {
                (message.index, message.log_term) = (*index, *log_term);
                (message.commit, message.commit_term) = *commit;
                if *transfer {
                    message.context = TRANSFER.to_vec().into();
                }
                match pre {
                    true => MessageType::MsgRequestPreVote,
                    false => MessageType::MsgRequestVote,
                }
            }
            Body::VoteReply { pre, reject, commit } => {
                message.reject = *reject;
                (message.commit, message.commit_term) = *commit;
                match pre {
                    true => MessageType::MsgRequestPreVoteResponse,
                    false => MessageType::MsgRequestVoteResponse,
                }
            }
            Body::TimeoutNow => MessageType::MsgTimeoutNow,
            Body::Rest { .. } | Body::Awake | Body::Chunk(_) | Body::ChunkReply { .. } => return None,
            Body::Superseded { .. } => return None,
        };
        message.set_msg_type(kind);
        Some(message)
    }
}

impl<'a> WireEntry<'a> {
    fn of(entry: &'a Entry) -> Self {
        let change = entry.get_entry_type() != EntryType::EntryNormal;
        Self {
            term: entry.term,
            change,
            // What raft-rs wanted to see at the leader's proposal stays there.
            data: if change { &entry.context } else { &entry.data },
        }
    }

    fn entry(&self, index: u64) -> Entry {
        let mut entry = Entry {
            index,
            term: self.term,
            ..Entry::default()
        };
        if self.change {
            entry.set_entry_type(EntryType::EntryConfChangeV2);
            entry.context = self.data.to_vec().into();
        } else {
            entry.data = self.data.to_vec().into();
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(body: Body<'_>) -> Payload<'_> {
        Payload::Replica(Letter {
            group: 7,
            from: 1,
            to: 2,
            term: 3,
            body,
        })
    }

    fn append() -> Message {
        let mut change = Entry {
            index: 12,
            term: 3,
            data: b"protobuf".to_vec().into(),
            context: b"ours".to_vec().into(),
            ..Entry::default()
        };
        change.set_entry_type(EntryType::EntryConfChangeV2);
        let normal = Entry {
            index: 11,
            term: 2,
            data: b"effects".to_vec().into(),
            ..Entry::default()
        };
        let mut message = Message {
            index: 10,
            log_term: 2,
            commit: 9,
            entries: vec![normal, change].into(),
            ..Message::default()
        };
        message.set_msg_type(MessageType::MsgAppend);
        message
    }

    #[test]
    fn an_append_comes_back_without_what_is_raft_rs_own() {
        let message = append();
        let store = Uuid::from_u128(1);
        let mut outbox = Outbox::default();
        outbox.push(store, &letter(body(&message, 5, 9).unwrap()));
        outbox.push(store, &Payload::Alive { incarnation: 4 });
        let batch = &outbox.batches[0].1;
        let read: Vec<_> = frames(batch).map(Result::unwrap).collect();
        assert_eq!(read.len(), 2);
        let Payload::Replica(letter) = &read[0] else { panic!() };
        let back = letter.message().unwrap();
        assert_eq!(back.entries[0], message.entries[0]);
        assert_eq!(back.entries[1].index, 12);
        assert_eq!(&back.entries[1].context[..], b"ours");
        assert!(back.entries[1].data.is_empty());
        assert_eq!((back.index, back.log_term, back.commit, back.term), (10, 2, 9, 3));
    }

    #[test]
    fn every_kind_of_raft_message_comes_back() {
        use MessageType as T;
        let kinds = [
            T::MsgAppendResponse,
            T::MsgHeartbeat,
            T::MsgHeartbeatResponse,
            T::MsgRequestVote,
            T::MsgRequestVoteResponse,
            T::MsgRequestPreVote,
            T::MsgRequestPreVoteResponse,
            T::MsgTimeoutNow,
        ];
        for kind in kinds {
            let mut message = Message {
                from: 1,
                to: 2,
                term: 3,
                ..Message::default()
            };
            message.set_msg_type(kind);
            let Payload::Replica(letter) = letter(body(&message, 0, 0).unwrap()) else {
                panic!()
            };
            assert_eq!(letter.message().unwrap(), message);
        }
        for kind in [T::MsgPropose, T::MsgReadIndex, T::MsgSnapshot, T::MsgHup] {
            let mut message = Message::default();
            message.set_msg_type(kind);
            assert_eq!(body(&message, 0, 0), None);
        }
    }

    #[test]
    fn whatever_is_altered_is_noticed() {
        let message = append();
        let mut outbox = Outbox::default();
        outbox.push(Uuid::nil(), &letter(body(&message, 5, 9).unwrap()));
        let batch = outbox.batches.remove(0).1;
        for bit in 0..batch.len() * 8 {
            let mut altered = batch.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(frames(&altered).any(|frame| frame.is_err()), "bit {bit}");
        }
        for length in 1..batch.len() {
            assert!(frames(&batch[..length]).any(|frame| frame.is_err()), "{length} bytes");
        }
        let mut long = batch;
        long[4] = 0xFF;
        assert!(matches!(frames(&long).next(), Some(Err(FrameFault::Long(_)))));
    }
}
