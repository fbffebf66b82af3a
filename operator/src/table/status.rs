//! A Table's status after a pass: conditions, counts, the record; and what of it is news. Pure.
//!
//! Conditions follow kstatus: `Reconciling` while something is under way, `Stalled` when a person has to do something (then not
//! `Reconciling`, which kstatus would find first), `Ready` when every partition of the table (and of its complete indexes)
//! serves, be it without some of its replicas; `QuorumLost` when one cannot for lack of them; `CapacitySatisfied` when there are the
//! partitions that the units ask for ([`super::capacity`]). Their messages do not count or tell the time: an operator at rest writes nothing, and a busy one no more than it must.

use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use partita_crds::status::{DECISIONS_MAX, Decision, EffectiveIndexThroughput, EffectiveThroughput};
use partita_crds::{PartitionPhase, Table, TableStatus, names};
use partita_model::table::record::{Record, Step};
use partita_model::table::{BillingMode, Status};
use partita_planning::repartition::Limits;
use serde_json::Value;

use super::apply::Outcome;
use super::capacity;
use super::children::growth;
use super::observe::{Kept, Observed};
use super::patience::Patience;
use super::plan::{Mirror, Note, Plan, Problem, two_digits};

/// The conditions that a Table has.
pub const CONDITIONS: [&str; 5] = ["Ready", "Reconciling", "Stalled", "QuorumLost", "CapacitySatisfied"];
/// The reason of a Table for which the operator lacks a right.
const FORBIDDEN: &str = "Forbidden";
/// What a decision's reason may have, as the definition has it.
const REASON_CHARS_MAX: usize = 1024;
/// Reasons of `Reconciling` that people should hear of when they begin.
const BESIDE: [&str; 4] = ["RollingUpdate", "GrowingVolumes", "VolumeLost", "ChangingReplicas"];
/// Reasons of `Stalled` that only a pass that has looked at everything takes back.
const LASTING: [&str; 2] = ["StoreLost", "ProgressDeadlineExceeded"];
/// A decision that is made again within so many seconds is the same one: what came of it was not certain.
const SAME_SECONDS: i64 = 60;
/// Partitions that are named in a message; the others are counted.
const NAMED_MAX: usize = 3;

/// A status and what of it is new.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The status.
    pub status: TableStatus,
    /// Events.
    pub news: Vec<News>,
}

/// Something that people should hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Something is wrong.
    pub warning: bool,
    /// One word.
    pub reason: String,
    /// In words.
    pub note: String,
}

/// Whether something holds, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Judgement {
    holds: bool,
    reason: &'static str,
    message: String,
}

fn judgement(holds: bool, reason: &'static str, message: impl Into<String>) -> Judgement {
    Judgement {
        holds,
        reason,
        message: message.into(),
    }
}

/// A record as it was read back; what cannot be read is itself.
pub fn parsed(state: Value) -> Result<Record, Value> {
    serde_json::from_value(state.clone()).map_err(|_| state)
}

/// The status after a pass.
pub fn status(
    observed: &Observed,
    plan: &Plan,
    outcome: &Outcome,
    patience: &Patience,
    limits: &Limits,
    now_ms: u64,
) -> Judged {
    let before = observed.table.status.clone().unwrap_or_default();
    let note = plan.note.as_ref().filter(|_| outcome.complete());
    let mut record = plan.record.clone();
    if let (Some(record), Some(note)) = (&mut record, note) {
        note.take(record);
    }
    let problem = plan.problem.clone().or_else(|| {
        let message = outcome.refused_by_api.clone()?;
        Some(Problem::stalled(
            "RefusedByCluster",
            format!("the API server refused: {message}"),
        ))
    });
    let problem = problem.or_else(|| growth_refused(observed, outcome));
    let waiting = plan
        .waiting
        .as_ref()
        .or(outcome.refused_by_node.as_ref())
        .or(outcome.busy.as_ref());

    let mut reconciling = reconciling(observed, record.as_ref(), plan, outcome, problem.as_ref(), waiting);
    // Who waits for others to be through is not stuck.
    let waits = reconciling.holds && outcome.turn.is_none();
    let waits = waits.then(|| (reconciling.reason, progress(observed, plan, outcome)));
    let uid = observed.table.metadata.uid.as_deref().unwrap_or_default();
    let overdue = patience.is_at_an_end(uid, waits, now_ms);
    let problem = problem.or_else(|| {
        let message = format!(
            "nothing has come of it within {}: {}. It goes on by itself once that is out of the way",
            patience.words(),
            reconciling.message
        );
        overdue.then(|| Problem::held("ProgressDeadlineExceeded", message))
    });
    let lasts = plan.partial && problem.is_none();
    let lasting = before
        .conditions
        .iter()
        .find(|condition| lasts && lasts_through(condition));
    reconciling.holds &= problem.is_none() && lasting.is_none();
    let judged = [
        ready(observed, record.as_ref(), &plan.mirrors, problem.as_ref()),
        reconciling,
        stalled(problem.as_ref()),
        quorum_lost(observed, &plan.mirrors),
        capacity_satisfied(observed, record.as_ref(), &plan.mirrors, limits),
    ];
    let generation = observed.table.metadata.generation;
    let conditions = CONDITIONS.iter().zip(judged).map(|(kind, judgement)| {
        let known = before.conditions.iter().find(|condition| condition.type_ == *kind);
        match lasting.filter(|lasting| lasting.type_ == *kind) {
            Some(lasting) => lasting.clone(),
            None => condition(kind, judgement, known, generation, now_ms),
        }
    });
    let sizes = sizes(&plan.mirrors);
    let effective_throughput = record.as_ref().map_or(before.effective_throughput.clone(), effective);
    let counts = (!plan.mirrors.is_empty()).then_some(&plan.mirrors);
    let status = TableStatus {
        observed_generation: generation,
        conditions: conditions.collect(),
        table_status: record.as_ref().map(|record| table_status(record).to_owned()),
        table_id: record
            .as_ref()
            .map(|record| names::id_label(record.id))
            .or(before.table_id.clone()),
        partitions: counts.map(|all| count(all.len())).or(before.partitions),
        ready_partitions: counts
            .map(|all| count(all.iter().filter(|mirror| mirror.is_ready()).count()))
            .or(before.ready_partitions),
        item_count: sizes.map(|(items, _)| items).or(before.item_count),
        table_size_bytes: sizes.map(|(_, bytes)| bytes).or(before.table_size_bytes),
        state: match (record, &observed.kept) {
            (Some(record), _) => Some(state(record)),
            (None, Kept::Nothing) => None,
            (None, Kept::Unreadable(_) | Kept::Record(_)) => before.state.clone(),
        },
        effective_throughput,
        decisions: decisions(&before, plan, now_ms),
    };
    let news = news(&before, &status, plan, note);
    Judged { status, news }
}

/// Whether a pass that has not looked at everything changes nothing about a condition: it says nothing of what a person has to do.
fn lasts_through(condition: &Condition) -> bool {
    condition.type_ == "Stalled" && condition.status == "True" && LASTING.contains(&condition.reason.as_str())
}

/// Stands for how far everything is that takes its time: copying, restarts, changes of members, moves.
fn progress(observed: &Observed, plan: &Plan, outcome: &Outcome) -> u64 {
    let mut hasher = DefaultHasher::new();
    outcome.rows.hash(&mut hasher);
    for (name, set) in &observed.stateful_sets {
        let status = set.status.as_ref();
        (name, status.and_then(|status| status.updated_replicas)).hash(&mut hasher);
    }
    for (name, partition) in &observed.partitions {
        let spec = &partition.spec;
        (name, &spec.host, &spec.moving_to, &spec.merging_into).hash(&mut hasher);
    }
    for mirror in &plan.mirrors {
        (&mirror.name, &mirror.status.stores, &mirror.status.pods).hash(&mut hasher);
    }
    hasher.finish()
}

/// The units that a provisioned table has.
fn effective(record: &Record) -> Option<EffectiveThroughput> {
    let number = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
    let indexes = record.spec.global.iter().map(|index| EffectiveIndexThroughput {
        index_name: index.name.clone(),
        read_capacity_units: number(index.throughput.read),
        write_capacity_units: number(index.throughput.write),
    });
    (record.spec.billing == BillingMode::Provisioned).then(|| EffectiveThroughput {
        read_capacity_units: number(record.spec.throughput.read),
        write_capacity_units: number(record.spec.throughput.write),
        global_secondary_indexes: indexes.collect(),
    })
}

/// The newest first.
fn decisions(before: &TableStatus, plan: &Plan, now_ms: u64) -> Vec<Decision> {
    let now = seconds(now_ms);
    let new = plan.decisions.iter().map(|(action, reason)| Decision {
        time: now.clone(),
        action: (*action).to_owned(),
        reason: reason.chars().take(REASON_CHARS_MAX).collect(),
    });
    let known = |new: &Decision| {
        let mut same = before
            .decisions
            .iter()
            .filter(|known| (&known.action, &known.reason) == (&new.action, &new.reason));
        same.any(|known| now.0.as_second() - known.time.0.as_second() < SAME_SECONDS)
    };
    let new = new.filter(|new| !known(new));
    new.chain(before.decisions.iter().cloned())
        .take(DECISIONS_MAX)
        .collect()
}

/// Each condition and whether it holds.
pub fn holding(judged: &Judged) -> impl Iterator<Item = (&str, bool)> {
    let conditions = judged.status.conditions.iter();
    conditions.map(|condition| (condition.type_.as_str(), condition.status == "True"))
}

/// Why a Table needs a person, as its status says: reason and message.
pub fn stalled_by(table: &Table) -> Option<(&str, &str)> {
    let conditions = &table.status.as_ref()?.conditions;
    let stalled = conditions.iter().find(|condition| condition.type_ == "Stalled")?;
    (stalled.status == "True").then_some((stalled.reason.as_str(), stalled.message.as_str()))
}

/// The status of a Table that the operator may not look at, or not see to; `None` when it says so already. The rest is as it was.
pub fn forbidden(table: &Table, refusal: &str, now_ms: u64) -> Option<TableStatus> {
    let before = table.status.clone().unwrap_or_default();
    let message = format!(
        "the API server refuses what the operator asks of it: {refusal}. Give it the rights that the chart gives (`helm upgrade`, or \
         `helm template` for what is missing), or take away what forbids this"
    );
    let judged = [
        ("Reconciling", judgement(false, FORBIDDEN, "nothing is under way")),
        ("Stalled", judgement(true, FORBIDDEN, message)),
    ];
    let mut status = before.clone();
    for (kind, judgement) in judged {
        let known = before.conditions.iter().find(|condition| condition.type_ == kind);
        let now = condition(kind, judgement, known, table.metadata.generation, now_ms);
        match status.conditions.iter_mut().find(|condition| condition.type_ == kind) {
            Some(there) => *there = now,
            None => status.conditions.push(now),
        }
    }
    (status != before).then_some(status)
}

fn growth_refused(observed: &Observed, outcome: &Outcome) -> Option<Problem> {
    let words = outcome.cannot_grow.as_ref()?;
    let (field, instead) = match growth::max_size(observed) {
        None => ("size", "put the former size back"),
        Some(_) => (
            "maxSize",
            "remove it, and put the former size back if that was raised: volumes stay as they are then",
        ),
    };
    let message = format!(
        "spec.storage.{field}: the cluster does not let the volumes grow: {words}. Set allowVolumeExpansion on their storage class if its \
         driver can, or {instead}"
    );
    Some(Problem::held("VolumeCannotGrow", message))
}

fn ready(observed: &Observed, record: Option<&Record>, mirrors: &[Mirror], problem: Option<&Problem>) -> Judgement {
    if let Some(problem) = problem.filter(|problem| !problem.serves) {
        return judgement(false, problem.reason, problem.message.clone());
    }
    if observed.deleting() && problem.is_none() {
        return judgement(false, "Deleting", "the table is being deleted");
    }
    let needed: Vec<&Mirror> = mirrors.iter().filter(|mirror| mirror.needed).collect();
    let ready = needed.iter().filter(|mirror| mirror.is_ready()).count();
    let of = format!("{ready} of {} partitions are ready", needed.len());
    match record {
        None => judgement(false, "Creating", "the table is not there yet"),
        Some(record) if record.status == Status::Creating => {
            judgement(false, "Creating", "the partitions are being made")
        }
        Some(_) if needed.is_empty() => judgement(false, "PartitionsUnavailable", "the partitions are not known yet"),
        Some(_) if ready < needed.len() => {
            judgement(false, "PartitionsUnavailable", format!("{of}: {}", unready(&needed)))
        }
        Some(_) => judgement(true, "Ready", of),
    }
}

/// Names some partitions that are not ready, and why.
fn unready(mirrors: &[&Mirror]) -> String {
    let unready: Vec<&&Mirror> = mirrors.iter().filter(|mirror| !mirror.is_ready()).collect();
    let words = |mirror: &&&Mirror| {
        let message = mirror.status.message.as_deref().unwrap_or("being made");
        format!("{}: {message}", mirror.name)
    };
    let named: Vec<String> = unready.iter().take(NAMED_MAX).map(words).collect();
    match unready.len().saturating_sub(NAMED_MAX) {
        0 => named.join("; "),
        more => format!("{}; and {more} more", named.join("; ")),
    }
}

fn reconciling(
    observed: &Observed,
    record: Option<&Record>,
    plan: &Plan,
    outcome: &Outcome,
    problem: Option<&Problem>,
    waiting: Option<&String>,
) -> Judgement {
    let because = |fallback: &str| waiting.cloned().unwrap_or_else(|| fallback.to_owned());
    if problem.is_some_and(|problem| problem.serves) {
        return judgement(false, "Held", "nothing is under way");
    }
    if observed.deleting() {
        return judgement(true, "Deleting", because("the table is being removed"));
    }
    match record.and_then(Step::next) {
        Some(Step::Create) => judgement(true, "Creating", because("making the partitions")),
        Some(Step::Apply) => judgement(true, "Updating", because("telling the partitions of the change")),
        Some(Step::BuildIndex(name)) => {
            let message = format!("building the index {name}: {}", because("copying items"));
            judgement(true, "BuildingIndex", message)
        }
        Some(Step::RemoveIndex(name)) => {
            let message = format!("removing the index {name}: {}", because("removing its partitions"));
            judgement(true, "RemovingIndex", message)
        }
        Some(Step::SwitchTimeToLive) => judgement(true, "SwitchingTimeToLive", because("walking over the items")),
        Some(Step::Delete) => judgement(true, "Deleting", because("the table is being removed")),
        None if waiting.is_some() => judgement(true, "Updating", because("")),
        None if plan.beside.is_some() => beside(plan, outcome),
        None if plan.mirrors.iter().any(coming_back) => {
            let needed: Vec<&Mirror> = plan.mirrors.iter().collect();
            judgement(
                true,
                "PartitionsUnavailable",
                format!("waiting for storage nodes: {}", unready(&needed)),
            )
        }
        None => match incomplete(&plan.mirrors) {
            Some(words) => judgement(true, "ReplicasMissing", words),
            None => judgement(false, "Settled", "nothing is under way"),
        },
    }
}

/// What goes on beside the steps.
fn beside(plan: &Plan, outcome: &Outcome) -> Judgement {
    let (reason, words) = plan.beside.clone().unwrap_or_default();
    let turn = outcome.turn.as_ref().map(|other| format!("; waiting for {other}"));
    judgement(true, reason, format!("{words}{}", turn.unwrap_or_default()))
}

fn coming_back(mirror: &Mirror) -> bool {
    matches!(
        mirror.status.phase,
        PartitionPhase::Pending | PartitionPhase::Unavailable | PartitionPhase::QuorumLost
    )
}

/// Partitions that serve and lack a replica.
fn incomplete(mirrors: &[Mirror]) -> Option<String> {
    let incomplete: Vec<&Mirror> = mirrors
        .iter()
        .filter(|mirror| mirror.is_ready() && !mirror.is_whole())
        .collect();
    let words = |mirror: &&Mirror| {
        let count = mirror.status.replicas.as_deref().unwrap_or_default();
        let why = mirror.status.message.as_ref().map(|message| format!(" ({message})"));
        format!("{} has {count}{}", mirror.name, why.unwrap_or_default())
    };
    let named: Vec<String> = incomplete.iter().take(NAMED_MAX).map(words).collect();
    let more = match incomplete.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    (!incomplete.is_empty()).then(|| format!("waiting for replicas: {}{more}", named.join("; ")))
}

fn stalled(problem: Option<&Problem>) -> Judgement {
    match problem {
        Some(problem) => judgement(true, problem.reason, problem.message.clone()),
        None => judgement(false, "NotStalled", "nobody has to do anything"),
    }
}

/// Groups without a quorum neither read nor write, and nothing is done to them: it may come back.
fn quorum_lost(observed: &Observed, mirrors: &[Mirror]) -> Judgement {
    let of = |phase: PartitionPhase| mirrors.iter().filter(move |mirror| mirror.status.phase == phase);
    let lost: Vec<&Mirror> = of(PartitionPhase::QuorumLost).collect();
    if lost.is_empty() {
        return judgement(
            false,
            "QuorumKept",
            "no partition lacks so many replicas that the others cannot go on",
        );
    }
    let message = format!(
        "{} partition(s) lack so many replicas that the others cannot go on: {}. Bring their pods back: `kubectl -n {} get pods,pvc -l \
         {}={} -o wide` shows which are missing. Claims must not be deleted: the data is on their volumes, and nothing is replaced before \
         most replicas are back. If most volumes are gone for good, `partita admin recover` makes a replica that is left the partition, and \
         says what may be missing",
        lost.len(),
        unready(&lost),
        observed.namespace,
        names::TABLE_ID,
        names::id_label(observed.id()),
    );
    judgement(true, "ReplicasAway", message)
}

fn capacity_satisfied(observed: &Observed, record: Option<&Record>, mirrors: &[Mirror], limits: &Limits) -> Judgement {
    let Some(record) = record else {
        return judgement(false, "Creating", "the table is not there yet");
    };
    if observed.uncovered.is_some() {
        return judgement(false, "PartitionsUnknown", "Partition resources are missing");
    }
    let before = observed
        .table
        .status
        .as_ref()
        .and_then(|status| status.table_size_bytes);
    let bytes = sizes(mirrors).map(|(_, bytes)| bytes).or(before);
    let capacity = capacity::of(record, bytes.and_then(|bytes| u64::try_from(bytes).ok()), limits);
    judgement(capacity.satisfied, capacity.reason, capacity.message)
}

fn condition(
    kind: &str,
    judgement: Judgement,
    known: Option<&Condition>,
    observed_generation: Option<i64>,
    now_ms: u64,
) -> Condition {
    let status = if judgement.holds { "True" } else { "False" };
    let since = known
        .filter(|known| known.status == status)
        .map(|known| known.last_transition_time.clone());
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: judgement.reason.to_owned(),
        message: judgement.message,
        observed_generation,
        last_transition_time: since.unwrap_or_else(|| seconds(now_ms)),
    }
}

/// Whole seconds, as the API server keeps them.
fn seconds(now_ms: u64) -> Time {
    let seconds = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    Time(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
}

/// Items and bytes of the table, once all partitions have told them.
fn sizes(mirrors: &[Mirror]) -> Option<(i64, i64)> {
    let of_table: Vec<&Mirror> = mirrors.iter().filter(|mirror| mirror.of_table).collect();
    if of_table.is_empty() {
        return None;
    }
    let mut sum = (0_u64, 0_u64);
    for mirror in of_table {
        sum.0 = sum
            .0
            .saturating_add(u64::try_from(mirror.status.item_count?).unwrap_or(0));
        sum.1 = sum
            .1
            .saturating_add(u64::try_from(mirror.status.size_bytes?).unwrap_or(0));
    }
    Some((two_digits(sum.0), two_digits(sum.1)))
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn table_status(record: &Record) -> &'static str {
    match record.table_status() {
        Status::Creating => "CREATING",
        Status::Updating => "UPDATING",
        Status::Deleting => "DELETING",
        Status::Active => "ACTIVE",
    }
}

/// A record as it is kept: its partitions are resources of their own, and what is null is left out, as the API server would.
fn state(mut record: Record) -> Value {
    record.partitions.clear();
    for index in &mut record.global {
        index.partitions.clear();
    }
    // A record becomes JSON without fail: its maps have text for keys.
    let mut state = serde_json::to_value(record).unwrap_or_default();
    drop_nulls(&mut state);
    state
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Transitions only.
fn news(before: &TableStatus, after: &TableStatus, plan: &Plan, note: Option<&Note>) -> Vec<News> {
    let mut news = Vec::new();
    let mut tell = |warning, reason: &str, note: &str| {
        news.push(News {
            warning,
            reason: reason.to_owned(),
            note: note.to_owned(),
        });
    };
    if let Some((reason, words)) = &plan.news {
        tell(false, reason, words);
    }
    match note {
        Some(Note::IndexBuilt(name)) => tell(false, "IndexBuilt", &format!("the index {name} can be queried")),
        Some(Note::IndexRemoved(name)) => tell(false, "IndexRemoved", &format!("the index {name} is gone")),
        Some(Note::Created | Note::Applied | Note::TimeToLiveSwitched(_)) | None => {}
    }
    let find = |status: &TableStatus, kind: &str| status.conditions.iter().find(|c| c.type_ == kind).cloned();
    let holds = |condition: &Option<Condition>| condition.as_ref().is_some_and(|c| c.status == "True");
    let of = |status: &TableStatus| find(status, "Reconciling").filter(|now| now.status == "True");
    if let (was, Some(now)) = (of(before), of(after))
        && BESIDE.contains(&now.reason.as_str())
        && was.is_none_or(|was| was.reason != now.reason)
    {
        tell(false, &now.reason, &now.message);
    }
    let (was, is) = (find(before, "Ready"), find(after, "Ready"));
    let stalled = (find(before, "Stalled"), find(after, "Stalled"));
    if let Some(now) = &is {
        if holds(&is) && !holds(&was) {
            tell(false, "Ready", &now.message);
        } else if holds(&was) && !holds(&is) && !holds(&stalled.1) && now.reason != "Deleting" {
            tell(true, &now.reason, &now.message);
        }
    }
    let quorum = (find(before, "QuorumLost"), find(after, "QuorumLost"));
    if let Some(now) = quorum.1.as_ref().filter(|_| holds(&quorum.1) && !holds(&quorum.0)) {
        tell(true, "QuorumLost", &now.message);
    }
    let capacity = (find(before, "CapacitySatisfied"), find(after, "CapacitySatisfied"));
    let bound = |condition: &Option<Condition>| condition.as_ref().is_some_and(|c| c.reason == "PartitionsAtMost");
    if let Some(now) = capacity
        .1
        .as_ref()
        .filter(|_| bound(&capacity.1) && !bound(&capacity.0))
    {
        tell(true, &now.reason, &now.message);
    }
    let reason = |condition: &Option<Condition>| condition.as_ref().map(|c| c.reason.clone());
    if let Some(now) = stalled.1.as_ref().filter(|_| holds(&stalled.1))
        && (!holds(&stalled.0) || reason(&stalled.0) != reason(&stalled.1))
    {
        tell(true, &now.reason, &now.message);
    }
    news
}
