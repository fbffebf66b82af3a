//! The replicas of a group in other processes, and which of them leads.
//!
//! 1. [`Replicas::leader`] is who led last, [`Replicas::any`] each of them in turn.
//! 2. When the leader refuses, or cannot be reached, [`Replicas::find`] asks all of them who leads; one search at a time, whoever
//!    else wants to know waits for it. Of two that claim to lead, the later term counts.
//! 3. What is asked of a leader that does not answer is watched by [`Replicas::ask`]: once another leads, there is nothing to
//!    wait for. A process that is stopped, or cut off, costs its callers no more than that.
//!
//! Where the replicas are comes from the directory, from nodes that are asked by mistake, and from the replicas themselves, who
//! know their group's members: it works without any directory once one of them is known. Where none of them answers any more
//! (all have moved since), other nodes that this process knows are asked ([`Neighbours`]).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use partita_model::partition::GroupId;
use partita_transport::{CallError, Client, GroupLeader, Peer, Reason, Refused};
use rand::seq::IteratorRandom as _;
use tokio::time::{Instant, sleep};

/// How long a replica may take to say who leads: it does so from memory.
const ASK_MAX: Duration = Duration::from_millis(300);
/// After so long without an answer the other replicas are asked whether the leader is still the one. Longer than nearly every
/// call takes, shorter than an election.
const WATCH_EVERY: Duration = Duration::from_millis(400);
/// A call that waits for a connection is likely to have the wrong address: that is looked into sooner.
const WATCH_UNSENT: Duration = Duration::from_millis(50);
/// A search that ended this recently answers those who come now: hundreds of calls fail together.
const SEARCH_FRESH: Duration = Duration::from_millis(15);
/// Addresses that are remembered of one group: its members, and some that were.
const PEERS_MAX: usize = 16;

/// Between two rounds of questions to nodes that need not have anything to do with the group.
const NEIGHBOURS_EVERY: Duration = Duration::from_millis(500);
/// So many of them are asked in a round, drawn at random: a small cluster's are all of them, and a large one's network is not
/// flooded when many groups are away.
const NEIGHBOURS_ASKED: usize = 32;
/// Addresses that are remembered in all: far more than any cluster has.
const NEIGHBOURS_MAX: usize = 10_000;

/// Addresses of nodes, whatever groups they have replicas of.
#[derive(Default)]
pub struct Neighbours(Mutex<BTreeSet<String>>);

impl Neighbours {
    /// Somebody says that there is a node.
    pub fn add(&self, address: &str) {
        let mut known = self.0.lock();
        if known.len() < NEIGHBOURS_MAX && !known.contains(address) {
            known.insert(address.to_owned());
        }
    }

    /// Some of them, but for these.
    fn some_but(&self, known: &[Peer]) -> Vec<String> {
        let all = self.0.lock();
        let others = all.iter().filter(|one| known.iter().all(|peer| peer.address() != *one));
        others.cloned().choose_multiple(&mut rand::rng(), NEIGHBOURS_ASKED)
    }
}

/// See the module's header.
pub struct Replicas {
    group: GroupId,
    client: Client,
    neighbours: Arc<Neighbours>,
    known: Mutex<Known>,
    /// The next one's turn.
    turn: AtomicUsize,
    /// Held while somebody searches.
    searched: tokio::sync::Mutex<Searched>,
}

/// When the last search of each kind ended.
#[derive(Default)]
struct Searched {
    replicas: Option<Instant>,
    neighbours: Option<Instant>,
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
    Deposed {
        /// It may have left, and be carried out.
        sent: bool,
    },
}

impl Replicas {
    /// Of a group, at these addresses; the first one is asked first.
    pub fn new(
        group: GroupId,
        client: &Client,
        neighbours: &Arc<Neighbours>,
        first: &str,
        addresses: &[String],
    ) -> Self {
        let leader = client.peer(first);
        let known = Known {
            leader: leader.clone(),
            term: 0,
            peers: vec![leader],
        };
        let new = Self {
            group,
            client: client.clone(),
            neighbours: Arc::clone(neighbours),
            known: Mutex::new(known),
            turn: AtomicUsize::new(0),
            searched: tokio::sync::Mutex::default(),
        };
        neighbours.add(first);
        addresses.iter().for_each(|address| new.add(address));
        new
    }

    /// The directory says that this one leads: it is asked first from now on, though what the replicas said last counts when
    /// the next search ends.
    pub fn prefer(&self, address: &str) {
        self.add(address);
        let mut known = self.known.lock();
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
        self.neighbours.add(address);
        self.known.lock().add(&self.client, address);
    }

    /// Looks for the leader, after this one has failed; whether another one leads, as far as is known on return.
    pub async fn find(&self, failed: &Peer) -> bool {
        let mut searched = self.searched.lock().await;
        let moved = || self.leader().address() != failed.address();
        let past = |at: Option<Instant>, pause| at.is_none_or(|at| at.elapsed() > pause);
        if !moved() && past(searched.replicas, SEARCH_FRESH) {
            let answered = self.search(self.all()).await;
            if answered == 0 && past(searched.neighbours, NEIGHBOURS_EVERY) {
                self.search_elsewhere().await;
                searched.neighbours = Some(Instant::now());
            }
            searched.replicas = Some(Instant::now());
        }
        moved()
    }

    /// Asks who leads, and who the members are, though the one that is known to lead has not failed: addresses that are of
    /// use when it does.
    pub async fn refresh(&self) {
        if let Ok(answer) = self.leader().leader(self.group, ASK_MAX).await {
            answer.members.iter().for_each(|address| self.add(address));
        }
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

    /// Asks nodes that are not known to have a replica.
    async fn search_elsewhere(&self) {
        let others = self.neighbours.some_but(&self.all());
        let others = others.iter().map(|address| self.client.peer(address));
        self.search(others.collect()).await;
    }

    /// Asks these who leads, until most have answered and one of them says that it does; how many have answered.
    async fn search(&self, peers: Vec<Peer>) -> usize {
        let most = peers.len() / 2 + 1;
        let before = self.known.lock().term;
        let ask = |peer: Peer| async move {
            let answer = peer.leader(self.group, ASK_MAX).await;
            (peer, answer)
        };
        let mut asked: FuturesUnordered<_> = peers.into_iter().map(ask).collect();
        let (mut best, mut answered) = (None, 0);
        while let Some((peer, answer)) = asked.next().await {
            let Ok(answer) = answer else { continue };
            answered += 1;
            self.add(peer.address());
            answer.members.iter().for_each(|address| self.add(address));
            best = better(best, &peer, &answer);
            // A later term than the last one's is as good as the leader's own word: it may have been elected a moment ago.
            let enough = |best: &Claim| best.sure || best.term > before;
            if answered >= most && best.as_ref().is_some_and(enough) {
                break;
            }
        }
        self.take(best);
        answered
    }

    /// Takes over who leads, unless it is known better.
    fn take(&self, best: Option<Claim>) {
        let mut known = self.known.lock();
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

    /// Calls the leader, and waits as long as nobody else is known to lead.
    pub async fn ask<T, F>(&self, leader: &Peer, call: impl FnOnce(Peer) -> F) -> Watched<T>
    where
        F: Future<Output = T>,
    {
        let (peer, left) = leader.watched();
        let mut call = std::pin::pin!(call(peer));
        let mut waited = Duration::ZERO;
        loop {
            tokio::select! {
                biased;
                ended = &mut call => return Watched::Ended(ended),
                () = sleep(WATCH_UNSENT) => waited += WATCH_UNSENT,
            }
            let alone = self.known.lock().peers.len() == 1;
            if alone || left.load(Ordering::Acquire) && waited < WATCH_EVERY {
                continue;
            }
            waited = Duration::ZERO;
            tokio::select! {
                biased;
                ended = &mut call => return Watched::Ended(ended),
                moved = self.find(leader) => if moved {
                    return Watched::Deposed { sent: left.load(Ordering::Acquire) };
                },
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
