//! The replicas of a group in other processes, and which of them leads.
//!
//! 1. [`Replicas::leader`] is who led last, [`Replicas::any`] each of them in turn.
//! 2. When the leader refuses, or cannot be reached, [`Replicas::find`] asks all of them who leads; one search at a time, whoever
//!    else wants to know waits for it. Of two that claim to lead, the later term counts.
//! 3. What is asked of a leader that does not answer is watched by [`Replicas::ask`]: once another leads, there is nothing to
//!    wait for. A process that is stopped, or cut off, costs its callers no more than that.
//!
//! Where the replicas are comes from the directory, from nodes that are asked by mistake, and from the replicas themselves, who
//! know their group's members: it works without any directory once one of them is known.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use partita_model::partition::GroupId;
use partita_transport::{CallError, Client, GroupLeader, Peer, Reason, Refused};
use tokio::time::{Instant, sleep};

/// How long a replica may take to say who leads: it does so from memory.
const ASK_MAX: Duration = Duration::from_millis(300);
/// After so long without an answer the other replicas are asked whether the leader is still the one. Longer than nearly every
/// call takes, shorter than an election.
const WATCH_EVERY: Duration = Duration::from_millis(400);
/// A search that ended this recently answers those who come now: hundreds of calls fail together.
const SEARCH_FRESH: Duration = Duration::from_millis(15);
/// Addresses that are remembered of one group: its members, and some that were.
const PEERS_MAX: usize = 16;

/// See the module's header.
pub struct Replicas {
    group: GroupId,
    client: Client,
    known: Mutex<Known>,
    /// The next one's turn.
    turn: AtomicUsize,
    /// Held while somebody searches; when the last search ended.
    searched: tokio::sync::Mutex<Option<Instant>>,
}

struct Known {
    /// Never empty. The one that leads, as far as is known.
    leader: Peer,
    /// The term in which it does; 0 for what nobody of the group has said.
    term: u64,
    /// All, the leader among them.
    peers: Vec<Peer>,
}

/// How a call that was watched ended.
pub enum Watched<T> {
    /// With this.
    Ended(T),
    /// Another replica leads meanwhile; the call was given up.
    Deposed,
}

impl Replicas {
    /// Of a group, at these addresses; the first one is asked first.
    pub fn new(group: GroupId, client: &Client, first: &str, addresses: &[String]) -> Self {
        let leader = client.peer(first);
        let mut known = Known {
            leader: leader.clone(),
            term: 0,
            peers: vec![leader],
        };
        addresses.iter().for_each(|address| known.add(client, address));
        Self {
            group,
            client: client.clone(),
            known: Mutex::new(known),
            turn: AtomicUsize::new(0),
            searched: tokio::sync::Mutex::default(),
        }
    }

    /// The directory says that this one leads: it is asked first from now on, though what the replicas said last counts when
    /// the next search ends.
    pub fn prefer(&self, address: &str) {
        let mut known = self.known.lock();
        known.add(&self.client, address);
        known.leader = self.client.peer(address);
    }

    /// The group.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// Who led last.
    pub fn leader(&self) -> Peer {
        self.known.lock().leader.clone()
    }

    /// Each replica in turn; `None` when there is only the leader.
    pub fn any(&self) -> Option<Peer> {
        let known = self.known.lock();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        (known.peers.len() > 1).then(|| known.peers[turn % known.peers.len()].clone())
    }

    /// All replicas.
    pub fn all(&self) -> Vec<Peer> {
        self.known.lock().peers.clone()
    }

    /// Somebody has a replica there.
    pub fn add(&self, address: &str) {
        self.known.lock().add(&self.client, address);
    }

    /// Looks for the leader, after this one has failed; whether another one leads, as far as is known on return.
    pub async fn find(&self, failed: &Peer) -> bool {
        let mut searched = self.searched.lock().await;
        let moved = || self.leader().address() != failed.address();
        if !moved() && searched.is_none_or(|at| at.elapsed() > SEARCH_FRESH) {
            self.search().await;
            *searched = Some(Instant::now());
        }
        moved()
    }

    /// The one that was asked has no such replica, and nobody says who leads: another one's turn to be asked.
    pub fn pass_on(&self, failed: &Peer) {
        let mut known = self.known.lock();
        if known.leader.address() == failed.address() && known.peers.len() > 1 {
            let place = known.peers.iter().position(|peer| peer.address() == failed.address());
            let next = place.map_or(0, |place| (place + 1) % known.peers.len());
            known.leader = known.peers[next].clone();
        }
    }

    /// Asks all who leads, until most have answered and one of them says that it does.
    async fn search(&self) {
        let peers = self.all();
        let most = peers.len() / 2 + 1;
        let ask = |peer: Peer| async move {
            let answer = peer.leader(self.group, ASK_MAX).await;
            (peer, answer)
        };
        let mut asked: FuturesUnordered<_> = peers.into_iter().map(ask).collect();
        let (mut best, mut answered, mut members) = (None, 0, Vec::new());
        while let Some((peer, answer)) = asked.next().await {
            let Ok(answer) = answer else { continue };
            answered += 1;
            members.extend(answer.members.iter().cloned());
            best = better(best, &peer, &answer);
            if answered >= most && best.as_ref().is_some_and(|best| best.sure) {
                break;
            }
        }
        let mut known = self.known.lock();
        for address in members {
            known.add(&self.client, &address);
        }
        if let Some(Claim { term, address, .. }) = best.filter(|best| best.term >= known.term) {
            if known.leader.address() != address {
                let group = format!("{:016x}", self.group.0);
                tracing::info!(group, term, address, "another replica leads");
            }
            known.term = term;
            known.leader = self.client.peer(&address);
            known.add(&self.client, &address);
        }
    }

    /// Waits for a call to the leader, as long as nobody else is known to lead.
    pub async fn ask<T>(&self, leader: &Peer, call: impl Future<Output = T>) -> Watched<T> {
        let mut call = std::pin::pin!(call);
        loop {
            tokio::select! {
                biased;
                ended = &mut call => return Watched::Ended(ended),
                () = sleep(WATCH_EVERY) => {}
            }
            let alone = self.known.lock().peers.len() == 1;
            tokio::select! {
                biased;
                ended = &mut call => return Watched::Ended(ended),
                moved = self.find(leader), if !alone => if moved {
                    return Watched::Deposed;
                },
                else => {}
            }
        }
    }
}

impl Known {
    fn add(&mut self, client: &Client, address: &str) {
        if self.peers.iter().any(|peer| peer.address() == address) {
            return;
        }
        if self.peers.len() >= PEERS_MAX {
            let leader = self.leader.address().to_owned();
            let oldest = self.peers.iter().position(|peer| peer.address() != leader);
            oldest.map(|oldest| self.peers.remove(oldest));
        }
        self.peers.push(client.peer(address));
    }
}

/// Who is said to lead.
struct Claim {
    term: u64,
    address: String,
    /// The leader says so itself.
    sure: bool,
}

fn better(best: Option<Claim>, peer: &Peer, answer: &GroupLeader) -> Option<Claim> {
    let claim = match (answer.leads, &answer.leader) {
        (true, _) => Claim {
            term: answer.term,
            address: peer.address().to_owned(),
            sure: true,
        },
        (false, Some(leader)) => Claim {
            term: answer.term,
            address: leader.clone(),
            sure: false,
        },
        (false, None) => return best,
    };
    match best {
        Some(best) if (best.term, best.sure) >= (claim.term, claim.sure) => Some(best),
        _ => Some(claim),
    }
}

/// Whether a node says that it has no such replica.
pub fn is_unknown_there(error: &CallError) -> bool {
    matches!(
        error,
        CallError::Refused(Refused {
            reason: Reason::UnknownGroup,
            ..
        })
    )
}
