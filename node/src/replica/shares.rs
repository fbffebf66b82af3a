//! Carries what stores say to each other about the units of tables that they share
//! ([`crate::serving::admission::exchange`]).
//!
//! 1. Sleeps until something is used here.
//! 2. Then, ten times a second and as long as there is anything to report: to each table's grantor (whoever leads its first
//!    partition) what was used, and back what may be.
//!    Where a refusal has to name one of two limits of an on-demand table, the grantor is asked which, now and then.
//! 3. Once a second: where the buckets of the tables stand that are granted here, to the followers of their first partitions; now
//!    and then while nothing is used, until they are full.
//! 4. A new leader of a first partition asks the others where the buckets stood. Where all of them answer, and none has ever heard
//!    of any, nobody has used anything: they are full, as a new table's.
//!
//! A call that fails is made again in the next round; one that takes longer than a round holds up no other table's. While nobody
//! answers, each store has its even part.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use parking_lot::Mutex;
use partita_admission::pool::TELL_EVERY_MS;
use partita_admission::share::REPORT_EVERY_MS;
use partita_model::capacity::{UnitsAnswer, UnitsCall, UnitsLevel};
use partita_model::partition::GroupId;
use partita_model::schema::TableId;
use partita_replication::Store;
use partita_transport::{AddressBook, Client, Peer};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::places::Place;
use crate::routing::Directory;
use crate::serving::admission::Admission;
use crate::serving::admission::exchange::Reports;

/// Rounds between two times of saying where buckets stand: a second, which is what a crash of the grantor may forget.
const ROUNDS_PER_NEWS: u32 = (1000 / REPORT_EVERY_MS) as u32;
/// Between two times of saying it while nothing is used.
const TELL_EVERY: Duration = Duration::from_millis(TELL_EVERY_MS);
/// How long a store may take to answer: it does so from memory. Short beside what a grant holds, long beside a round trip.
const ANSWER_MAX: Duration = Duration::from_millis(400);
/// Calls at the same time.
const CALLS_MAX: usize = 32;
/// How often those who may know where the buckets stood are asked, before a new leader does without.
const QUESTIONS: u32 = 5;

/// A table's first partition is led here from now on.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// The table.
    pub table: TableId,
    /// Its first partition.
    pub first: GroupId,
}

/// See the module's header.
pub struct Shares {
    /// What there is to say.
    pub admission: Arc<Admission>,
    /// This store.
    pub store: Arc<Store>,
    /// Where first partitions are.
    pub places: Arc<Directory<Place>>,
    /// The way to other stores.
    pub client: Client,
    /// Where those are.
    pub book: Arc<AddressBook>,
    /// What is being said.
    pub running: Running,
}

/// Calls that have not been answered.
#[derive(Default)]
pub struct Running {
    /// Reports, by table.
    reports: Mutex<HashSet<TableId>>,
    /// Where buckets stand.
    news: AtomicBool,
}

impl Shares {
    /// From now on, until the process stops.
    pub fn start(self, mut taken: mpsc::UnboundedReceiver<Taken>) {
        let shares = Arc::new(self);
        tokio::spawn(Arc::clone(&shares).exchange());
        tokio::spawn(async move {
            while let Some(taken) = taken.recv().await {
                tokio::spawn(Arc::clone(&shares).ask(taken));
            }
        });
    }

    async fn exchange(self: Arc<Self>) {
        loop {
            self.wait().await;
            // After the last report comes one round of news at least.
            let mut quiet = 0;
            let mut round = 0_u32;
            while quiet <= ROUNDS_PER_NEWS {
                quiet += 1;
                if self.report() {
                    quiet = 0;
                }
                if round % ROUNDS_PER_NEWS == ROUNDS_PER_NEWS - 1 && !self.running.news.swap(true, Ordering::AcqRel) {
                    let shares = Arc::clone(&self);
                    tokio::spawn(async move {
                        shares.tell().await;
                        shares.running.news.store(false, Ordering::Release);
                    });
                }
                round = round.wrapping_add(1);
                tokio::time::sleep(Duration::from_millis(REPORT_EVERY_MS)).await;
            }
        }
    }

    /// Until something is used. Says meanwhile what comes in again of what was used before.
    async fn wait(&self) {
        while self.admission.is_filling() {
            if timeout(TELL_EVERY, self.admission.used()).await.is_ok() {
                return;
            }
            self.tell().await;
        }
        self.admission.used().await;
    }

    /// Reports to all grantors that have answered the last time; whether there was anything.
    fn report(self: &Arc<Self>) -> bool {
        let all = self.admission.reports();
        let any = !all.is_empty();
        for reports in all {
            if self.running.reports.lock().insert(reports.table) {
                let shares = Arc::clone(self);
                tokio::spawn(async move {
                    shares.report_one(&reports).await;
                    shares.running.reports.lock().remove(&reports.table);
                });
            }
        }
        for table in self.admission.unsure() {
            tokio::spawn(Arc::clone(self).ask_grantor(table));
        }
        any
    }

    /// What an on-demand table is ready for: where its maximum is not the limit that requests meet, its growth is.
    async fn ask_grantor(self: Arc<Self>, table: TableId) {
        let route = self.places.route(table);
        let Some(first) = route.as_ref().and_then(|route| route.table.leaders().next()) else {
            return;
        };
        if let Ok(UnitsAnswer::Levels(known)) = first.units(table, UnitsCall::Ask, ANSWER_MAX).await {
            self.admission.learn(table, known);
        }
    }

    async fn report_one(&self, reports: &Reports) {
        let Some(route) = self.places.route(reports.table) else {
            return;
        };
        let Some(first) = route.table.leaders().next() else {
            return;
        };
        let call = self.admission.call(reports);
        match first.units(reports.table, call, ANSWER_MAX).await {
            Ok(UnitsAnswer::Grants(grants)) => self.admission.granted(reports, &grants),
            Ok(UnitsAnswer::Heard | UnitsAnswer::Levels(_)) => {}
            Err(error) => tracing::debug!(table = reports.table.0, %error, "no units were granted"),
        }
    }

    /// Says where buckets stand.
    async fn tell(&self) {
        let calls = stream::iter(self.admission.news()).map(|(table, levels)| self.tell_of(table, levels));
        calls.buffer_unordered(CALLS_MAX).collect::<()>().await;
    }

    async fn tell_of(&self, table: TableId, levels: Vec<UnitsLevel>) {
        let Some(route) = self.places.route(table) else { return };
        let Some(first) = route.table.leaders().next().map(Place::group) else {
            return;
        };
        let call = UnitsCall::Levels(levels.clone());
        let answers = self.others(first).into_iter().map(|peer| {
            let call = call.clone();
            async move { peer.units(first, table, call, ANSWER_MAX).await }
        });
        let heard = futures::future::join_all(answers).await;
        if heard.iter().any(Result::is_err) {
            self.admission.unheard(table, &levels);
        }
    }

    /// Asks where the buckets stood.
    async fn ask(self: Arc<Self>, Taken { table, first }: Taken) {
        for _ in 0..QUESTIONS {
            let answers = self
                .others(first)
                .into_iter()
                .map(|peer| async move { peer.units(first, table, UnitsCall::Ask, ANSWER_MAX).await });
            let answers = futures::future::join_all(answers).await;
            let away = answers.iter().filter(|answer| answer.is_err()).count();
            let known = answers.into_iter().filter_map(|answer| match answer {
                Ok(UnitsAnswer::Levels(levels)) => Some(levels),
                _ => None,
            });
            let known: Vec<UnitsLevel> = known.flatten().collect();
            if known.is_empty() && away == 0 {
                self.admission.fill(table);
            }
            if !known.is_empty() || away == 0 {
                return self.admission.resume(table, known);
            }
            tokio::time::sleep(ANSWER_MAX).await;
        }
    }

    /// The other stores that have replicas of a group.
    fn others(&self, group: GroupId) -> Vec<Peer> {
        let Some(group) = self.store.group(group) else {
            return Vec::new();
        };
        let (own, members) = (self.store.uuid(), group.members());
        let others: Vec<_> = members.members.iter().map(|member| member.store).collect();
        let known = self.book.all().into_iter();
        known
            .filter(|one| one.store != own && others.contains(&one.store) && !one.address.is_empty())
            .map(|one| self.client.peer(&one.address))
            .collect()
    }
}
