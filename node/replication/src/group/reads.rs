//! Reads: straight from the storage, and then the question whether they may be answered.
//!
//! 1. A strong read at a leader that holds the lease: the rows first, then the lease and the term. Whoever was elected
//!    before the rows were read would have ended the lease.
//! 2. Without a lease: first a round of questions to all voters, shared by all who wait, then the rows.
//! 3. While a split is on its way, a strong read about keys behind the cut waits for it: the child may be born (and write)
//!    elsewhere before the cut is applied here. So does any read while the partition is about to be frozen for a merge; from
//!    then on nothing is read from it at all. A read under which the range changed is made again.
//! 4. Where nobody leads for a moment, who may not be answered waits for the next leader to be known (`crate::replica`'s hold).
//! 5. An eventual read: also at a follower that heard a live leader lately and has applied what that had committed.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use partita_model::item::Item;
use partita_model::key::KeyBytes;
use partita_model::request::{GetReply, GetRequest, PageReply, PageRequest, Refusal};
use partita_partition::change::ChangeRecord;
use partita_partition::command::Delivered;
use partita_partition::descriptor::{GroupId, ItemTime};
use partita_partition::digest::{self, Asked, Digest};
use partita_partition::error::PartitionError;
use partita_partition::reader::PartitionReader;
use partita_partition::split::Lineage;
use partita_partition::storage::{Storage, Tier};

use super::Group;
use crate::planted::{self, Bug};
use crate::time::EVENTUAL_NS;

impl<S: Storage> Group<S> {
    /// One item: on the calling thread when memory is enough.
    pub async fn get(&self, request: GetRequest) -> Result<GetReply, Refusal> {
        loop {
            match self.get_once(&request).await {
                Err(refusal) => self.between_leaders(refusal).await?,
                reply => return reply,
            }
        }
    }

    async fn get_once(&self, request: &GetRequest) -> Result<GetReply, Refusal> {
        let strong = request.consistent;
        let Ok(term) = self.serving_term() else {
            return self.eventually(strong, self.get_here(request.clone())).await;
        };
        let confirmed = strong && !self.holds(term);
        if confirmed {
            // A round of questions comes before the read: what is read after it is new enough.
            Box::pin(self.confirm(term)).await?;
        }
        loop {
            let epoch = self.range_epoch();
            let reply = self.get_here(request.clone()).await;
            if !strong || self.stays(epoch, |from| request.key >= *from).await {
                return self.checked(strong && !confirmed, term, reply);
            }
        }
    }

    fn range_epoch(&self) -> u64 {
        self.reader.descriptor().range_epoch
    }

    /// Whether what was read may be answered: not if a split (or a freeze) was on its way that takes the keys away (then it has been
    /// decided on return), nor if the range has changed since the epoch that was looked at before. The order of the two looks
    /// matters: the cut is shown before the split is over.
    async fn stays(&self, epoch: u64, concerns: impl FnOnce(&KeyBytes) -> bool) -> bool {
        if self.turning.load(Ordering::Acquire)
            && let Some(waiting) = self.held(concerns)
        {
            drop(waiting.await);
            return false;
        }
        self.range_epoch() == epoch || planted::has(Bug::DepartingNotHeld)
    }

    async fn get_here(&self, request: GetRequest) -> Result<GetReply, Refusal> {
        match self.reader.get(&request, Tier::BlockCacheOnly) {
            Err(PartitionError::NotCached) => Box::pin(self.pooled(move |r| r.get(&request, Tier::All))).await,
            answer => answer.map_err(PartitionError::into_refusal),
        }
    }

    /// One page of items or index rows: on the calling thread when memory is enough.
    pub async fn page(&self, request: PageRequest) -> Result<PageReply, Refusal> {
        loop {
            match self.page_once(&request).await {
                Err(refusal) => self.between_leaders(refusal).await?,
                reply => return reply,
            }
        }
    }

    async fn page_once(&self, request: &PageRequest) -> Result<PageReply, Refusal> {
        let strong = request.consistent;
        let Ok(term) = self.serving_term() else {
            return self.eventually(strong, self.page_here(request.clone())).await;
        };
        let confirmed = strong && !self.holds(term);
        if confirmed {
            Box::pin(self.confirm(term)).await?;
        }
        loop {
            let epoch = self.range_epoch();
            let reply = self.page_here(request.clone()).await;
            let leaves = |from: &KeyBytes| match &request.range.1 {
                Bound::Included(to) => to >= from,
                Bound::Excluded(to) => to > from,
                Bound::Unbounded => true,
            };
            if !strong || self.stays(epoch, leaves).await {
                return self.checked(strong && !confirmed, term, reply);
            }
        }
    }

    async fn page_here(&self, request: PageRequest) -> Result<PageReply, Refusal> {
        match self.reader.page(&request, Tier::BlockCacheOnly) {
            Err(PartitionError::NotCached) => Box::pin(self.pooled(move |r| r.page(&request, Tier::All))).await,
            answer => answer.map_err(PartitionError::into_refusal),
        }
    }

    /// A reply that was read while this replica served, if it did all the while (and held the lease, if it has to).
    fn checked<T>(&self, leased: bool, term: u64, reply: Result<T, Refusal>) -> Result<T, Refusal> {
        if leased && !self.holds(term) {
            return Err(Refusal::NotLeader);
        }
        self.still_serving(term)?;
        reply
    }

    /// An eventual read at a replica that does not lead: it heard a live leader lately and has applied what that had
    /// committed, before the read and after it.
    async fn eventually<T>(&self, strong: bool, read: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
        let refusal = || self.replica.lock().refusal().unwrap_or(Refusal::NotLeader);
        if strong || !self.is_fresh() {
            return Err(refusal());
        }
        let reply = read.await;
        if !self.is_fresh() {
            return Err(refusal());
        }
        reply
    }

    /// Whether this replica, which does not lead, heard a live leader lately and has applied what that had committed.
    pub fn is_fresh(&self) -> bool {
        if !self.has_peers() {
            return false;
        }
        let now = (self.core.elapsed)();
        if now < self.fresh_until.load(Ordering::Acquire) {
            return true;
        }
        // A group that rests hears nothing, but for its stores.
        let replica = self.replica.lock();
        let heard = replica.rests_with().map(|store| self.core.liveness.heard(store));
        heard.is_some_and(|heard| now.saturating_sub(heard) < EVENTUAL_NS) && replica.fresh_until() > 0
    }

    /// The change log behind `after`, in order of time: at most so many records, and no further one once so many bytes
    /// have been read.
    pub async fn changes(
        &self,
        after: ItemTime,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<ChangeRecord>, Refusal> {
        self.served(move |reader| reader.changes(after, records_max, bytes_max))
            .await
    }

    /// How far this source has been delivered here (on a global index's partition).
    pub async fn position(&self, source: GroupId) -> Result<Option<Delivered>, Refusal> {
        self.served(move |reader| reader.position(source)).await
    }

    /// Where the partition comes from, and the last splits.
    pub async fn lineage(&self) -> Result<Lineage, Refusal> {
        self.served(|reader| reader.lineage()).await
    }

    /// The same as this replica has applied it, whoever leads.
    pub fn lineage_here(&self) -> Result<Lineage, PartitionError> {
        self.reader.lineage()
    }

    /// Digests of rows as this replica has applied them, whoever leads. Reads them all.
    pub async fn digest(&self, asked: Asked) -> Result<Digest, Refusal> {
        self.pooled(move |reader| digest::digest(&reader.storage().pin(), &reader.descriptor(), &asked))
            .await
    }

    /// Items whose time to live has run out, with their key attributes.
    pub async fn expired(&self, now_s: u64, max: usize) -> Result<Vec<(KeyBytes, Item)>, Refusal> {
        self.served(move |reader| reader.expired(now_s, max)).await
    }

    /// A read on the pool, at a serving leader.
    async fn served<T: Send + 'static>(
        &self,
        read: impl FnOnce(&PartitionReader<S>) -> Result<T, PartitionError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let term = self.serving_term()?;
        let confirmed = !self.holds(term);
        if confirmed {
            Box::pin(self.confirm(term)).await?;
        }
        let reply = self.pooled(read).await;
        self.checked(!confirmed, term, reply)
    }

    async fn pooled<T: Send + 'static>(
        &self,
        read: impl FnOnce(&PartitionReader<S>) -> Result<T, PartitionError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let reader = Arc::clone(&self.reader);
        self.core
            .pool
            .run(move || read(&reader))
            .await?
            .map_err(PartitionError::into_refusal)
    }

    fn serving_term(&self) -> Result<u64, Refusal> {
        match self.serving.load(Ordering::Acquire) {
            0 => Err(self.replica.lock().refusal().unwrap_or(Refusal::NotLeader)),
            term => Ok(term),
        }
    }

    fn still_serving(&self, term: u64) -> Result<(), Refusal> {
        if self.serving_term()? == term {
            Ok(())
        } else {
            Err(Refusal::NotLeader)
        }
    }

    /// Whether nobody else can have been elected: asked *after* what is to be answered was read. The lease is loaded
    /// before the term, so that it never is a later term's.
    pub(super) fn holds(&self, term: u64) -> bool {
        let until = self.lease_until.load(Ordering::Acquire);
        let held = until == u64::MAX || (self.core.elapsed)() < until || planted::has(Bug::ReadWithoutLease);
        held && self.serving.load(Ordering::Acquire) == term
    }

    /// Makes sure that this replica led, in this term, at some time after this call, and has applied everything that was
    /// committed before it.
    pub(super) async fn confirm(&self, term: u64) -> Result<(), Refusal> {
        let waiting = self.with_turn(|replica| replica.confirm(term))?;
        waiting.await
    }
}
