//! Two partitions become one again, on both engines.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{Engine, Memory, Rocks, full_schema, put_numbered};
use partita_model::key::KeyBytes;
use partita_model::request::{Refusal, WriteRequest};
use partita_model::schema::{IndexProjection, TableSchema};
use partita_partition::Partition;
use partita_partition::change::ChangeRecord;
use partita_partition::command::{Command, CommandReply, Delivered, IndexBatch, IndexRow, RowChange, Session};
use partita_partition::descriptor::{GroupId, ItemTime, LogPosition, PartitionDescriptor};
use partita_partition::effect::{merge_step_of, operations};
use partita_partition::error::PartitionError;
use partita_partition::merge::{self, MergeFault, MergeOutcome, MergeRecord, MergeStep, Verdict};
use partita_partition::storage::Storage;
use partita_partition::verify::verify;

const LEFT: GroupId = GroupId(3);
const RIGHT: GroupId = GroupId(77);
const ID: u128 = 9;

/// A table with rows in every family.
/// Where the two halves meet.
fn border() -> KeyBytes {
    let mut starts: Vec<KeyBytes> = (0..7).map(|number| put_numbered(number).key).collect();
    starts.sort();
    let collection = partita_model::key::collection_of(&full_schema().keys, starts[3].as_bytes()).unwrap();
    KeyBytes(collection.to_vec())
}

fn halves(whole: PartitionDescriptor) -> [PartitionDescriptor; 2] {
    let right = PartitionDescriptor {
        group: RIGHT,
        start: border(),
        range_epoch: 4,
        ..whole.clone()
    };
    let left = PartitionDescriptor {
        end: Some(border()),
        ..whole
    };
    [left, right]
}

/// Two partitions of one store.
struct Pair<E: Engine> {
    engine: E,
    sides: [Partition<E::Storage>; 2],
}

impl<E: Engine> Pair<E> {
    fn new(descriptors: &[PartitionDescriptor; 2]) -> Self {
        let engine = E::new();
        let storage = engine.storage();
        let mut batch = storage.batch();
        for descriptor in descriptors {
            Partition::<E::Storage>::create(&mut batch, descriptor).unwrap();
        }
        storage.write(batch).unwrap();
        storage.flush().unwrap();
        let open = |descriptor: &PartitionDescriptor| {
            let opened = Partition::open(engine.storage(), descriptor.table, descriptor.group);
            opened.unwrap().unwrap()
        };
        let sides = [open(&descriptors[0]), open(&descriptors[1])];
        Self { engine, sides }
    }

    fn apply(&mut self, side: usize, effects: &[bytes::Bytes]) {
        let storage = self.engine.storage();
        let mut batch = storage.batch();
        let at = self.next(side);
        let applier = &mut self.sides[side].applier;
        for effect in effects {
            match merge_step_of(effect).unwrap() {
                Some(step) => applier.step(&mut batch, &step, at).unwrap(),
                None => applier.apply(&mut batch, effect).unwrap(),
            }
        }
        applier.finish(&mut batch, at);
        storage.write(batch).unwrap();
        applier.publish();
        self.sides[side].evaluator.reset();
    }

    fn next(&self, side: usize) -> LogPosition {
        let index = self.sides[side].applier.at().index + 1;
        LogPosition { index, term: 1 }
    }

    /// The item goes where it belongs, at this time.
    fn write(&mut self, request: &WriteRequest, now_ms: u64) {
        let right = usize::from(self.sides[1].reader.descriptor().contains(&request.key));
        let evaluated = self.sides[right]
            .evaluator
            .evaluate(request, now_ms, Default::default());
        let partita_partition::evaluator::Evaluated::Changed { effect, .. } = evaluated.unwrap() else {
            panic!("nothing changed")
        };
        self.apply(right, &[effect.bytes]);
    }

    fn command(&mut self, side: usize, command: &Command) -> CommandReply {
        let evaluator = &mut self.sides[side].evaluator;
        let (effect, reply) = evaluator.command(command, common::NOW_MS, Default::default()).unwrap();
        self.apply(side, &effect.into_iter().map(|effect| effect.bytes).collect::<Vec<_>>());
        reply
    }

    fn step(&mut self, side: usize, step: &MergeStep) {
        let effect = self.sides[side].evaluator.merge_step(step).unwrap();
        self.apply(side, &[effect.bytes]);
    }

    fn freeze(&mut self, source: usize) {
        let absorber = self.sides[1 - source].reader.descriptor().group;
        self.step(source, &MergeStep::Freeze { id: ID, absorber });
    }

    fn record(&self, source: usize) -> MergeRecord {
        let applied = self.sides[source].reader.applied();
        MergeRecord {
            id: ID,
            source: (*applied.descriptor).clone(),
            freeze: applied.frozen.unwrap().at,
            membership_epoch: 1,
        }
    }

    fn verdict(&self, absorber: usize, epochs: (u64, u64)) -> Verdict {
        let record = self.record(1 - absorber);
        let verdict = self.sides[absorber].applier.verdict(&record, epochs.0, epochs.1);
        verdict.unwrap()
    }

    /// The other one is absorbed by this one.
    fn absorb(&mut self, absorber: usize) {
        let record = self.record(1 - absorber);
        let epoch = self.sides[absorber].reader.descriptor().range_epoch;
        assert_eq!(self.verdict(absorber, (epoch, 1)), Verdict::Merged);
        let (storage, at) = (self.engine.storage(), self.next(absorber));
        let mut batch = storage.batch();
        let source = Arc::clone(&self.sides[1 - absorber].reader);
        let applier = &mut self.sides[absorber].applier;
        applier.absorb(&mut batch, &record, &source).unwrap();
        applier.finish(&mut batch, at);
        storage.write(batch).unwrap();
        applier.publish();
        self.sides[absorber].evaluator.reset();
    }

    fn changes(&self, side: usize) -> Vec<ChangeRecord> {
        self.sides[side].reader.changes(ItemTime(0), 1000, usize::MAX).unwrap()
    }

    fn groups(&self) -> Vec<GroupId> {
        let all = Partition::list(&*self.engine.storage()).unwrap();
        all.into_iter().map(|descriptor| descriptor.group).collect()
    }
}

/// The same but for the times.
fn without_times(records: &[ChangeRecord]) -> Vec<ChangeRecord> {
    let untimed = |record: &ChangeRecord| ChangeRecord {
        time: ItemTime(0),
        ..record.clone()
    };
    records.iter().map(untimed).collect()
}

fn joined<E: Engine>(absorber: usize) {
    let mut pair = Pair::<E>::new(&halves(common::descriptor(full_schema())));
    // The clock of the source is ahead.
    for number in 0..40 {
        let right = pair.sides[1].reader.descriptor().contains(&put_numbered(number).key);
        let ahead = u64::from(usize::from(right) != absorber);
        pair.write(&put_numbered(number), common::NOW_MS + ahead * 5000);
    }
    let through = pair.changes(absorber)[2].time;
    pair.command(absorber, &Command::TrimChanges { through });
    pair.engine.storage().flush().unwrap();
    let before = [pair.sides[0].reader.applied(), pair.sides[1].reader.applied()];
    let (own, other) = (pair.changes(absorber), pair.changes(1 - absorber));
    pair.freeze(1 - absorber);
    pair.absorb(absorber);

    let merged = pair.sides[absorber].reader.applied();
    let whole = common::descriptor(full_schema());
    assert_eq!(
        (&merged.descriptor.start, &merged.descriptor.end),
        (&whole.start, &whole.end)
    );
    assert_eq!(merged.descriptor.range_epoch, 5);
    assert_eq!(merged.counters.items, 40);
    assert_eq!(
        merged.counters.bytes,
        before[0].counters.bytes + before[1].counters.bytes
    );
    let found = verify(&pair.sides[absorber].reader).unwrap();
    assert_eq!(found.differences, Vec::<String>::new());
    assert_eq!(pair.groups(), [merged.descriptor.group]);
    assert_eq!(
        pair.sides[absorber].reader.expired(1_750_001_000, 1000).unwrap().len(),
        40
    );

    // The source's records come behind the absorber's, and behind every time that either has issued.
    let changes = pair.changes(absorber);
    let highest = before[0].counters.clock.max(before[1].counters.clock);
    assert_eq!(changes[..own.len()], own);
    assert_eq!(without_times(&changes[own.len()..]), without_times(&other));
    assert!(changes.windows(2).all(|pair| pair[0].time < pair[1].time));
    assert!(changes[own.len()].time > highest);
    assert_eq!(merged.counters.clock, changes.last().unwrap().time);
    assert_eq!(pair.changes(1 - absorber), []);
    pair.write(&put_numbered(500), common::NOW_MS);
    assert!(pair.changes(absorber).last().unwrap().time > merged.counters.clock);

    // What came of it is known, and that the source's messages are old.
    let lineage = pair.sides[absorber].reader.lineage().unwrap();
    let source = before[1 - absorber].descriptor.group;
    assert_eq!(lineage.ancestors, [(source, 5)]);
    let outcome = lineage.merge(ID).unwrap().outcome;
    let MergeOutcome::Merged { freeze, range_epoch } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((range_epoch, lineage.absorbed()), (5, vec![(source, freeze)]));

    // A crash forgets all of it, or nothing.
    let engine = pair.engine.crash();
    let all = Partition::list(&*engine.storage()).unwrap();
    assert_eq!(all.len(), 2);
    let open = |descriptor: &PartitionDescriptor| {
        let opened = Partition::open(engine.storage(), descriptor.table, descriptor.group);
        opened.unwrap().unwrap().reader.applied().counters
    };
    for applied in before {
        assert_eq!(open(&applied.descriptor), applied.counters);
    }
}

#[test]
fn memory() {
    joined::<Memory>(0);
    joined::<Memory>(1);
}

#[test]
fn rocks() {
    joined::<Rocks>(0);
    joined::<Rocks>(1);
}

#[test]
fn a_freeze_is_for_one_merge_and_is_undone_by_its_id_alone() {
    let mut pair = Pair::<Memory>::new(&halves(common::descriptor(full_schema())));
    let at = pair.next(1);
    pair.freeze(1);
    let frozen = |pair: &Pair<Memory>| pair.sides[1].reader.applied().frozen;
    let first = frozen(&pair).unwrap();
    assert_eq!(
        (first.id, first.absorber, first.at, first.everywhere),
        (ID, LEFT, at, false)
    );
    // Another one's steps change nothing.
    pair.step(
        1,
        &MergeStep::Freeze {
            id: 10,
            absorber: GroupId(5),
        },
    );
    pair.step(1, &MergeStep::Everywhere { id: 10 });
    pair.step(1, &MergeStep::Thaw { id: 10 });
    assert_eq!(frozen(&pair).as_ref(), Some(&first));
    pair.step(1, &MergeStep::Everywhere { id: ID });
    assert!(frozen(&pair).unwrap().everywhere);
    // It is stored.
    let reopened = Partition::open(pair.engine.storage(), full_schema().id, RIGHT)
        .unwrap()
        .unwrap();
    assert_eq!(reopened.reader.applied().frozen, frozen(&pair));
    assert!(reopened.evaluator.is_frozen());

    pair.step(1, &MergeStep::Thaw { id: ID });
    assert_eq!(frozen(&pair), None);
    assert_eq!(pair.sides[1].reader.lineage().unwrap().thawed, [ID]);
    // That id is over.
    pair.freeze(1);
    assert_eq!(frozen(&pair), None);
    let reopened = Partition::open(pair.engine.storage(), full_schema().id, RIGHT)
        .unwrap()
        .unwrap();
    assert_eq!(reopened.reader.applied().frozen, None);
}

#[test]
fn the_first_entry_decides_and_other_epochs_are_refused() {
    let mut pair = Pair::<Memory>::new(&halves(common::descriptor(full_schema())));
    pair.freeze(1);
    assert_eq!(pair.verdict(0, (1, 1)), Verdict::Merged);
    assert_eq!(pair.verdict(0, (2, 1)), Verdict::Refused);
    assert_eq!(pair.verdict(0, (1, 2)), Verdict::Refused);
    pair.step(0, &MergeStep::Refuse { id: ID, source: RIGHT });
    assert_eq!(pair.verdict(0, (1, 1)), Verdict::Decided);
    let lineage = pair.sides[0].reader.lineage().unwrap();
    assert_eq!(lineage.merge(ID).unwrap().outcome, MergeOutcome::Refused);
    // Refused once.
    pair.step(0, &MergeStep::Refuse { id: ID, source: RIGHT });
    assert_eq!(pair.sides[0].reader.lineage().unwrap(), lineage);

    // One that stands still itself absorbs nobody.
    let mut pair = Pair::<Memory>::new(&halves(common::descriptor(full_schema())));
    pair.freeze(1);
    pair.freeze(0);
    assert_eq!(pair.verdict(0, (1, 1)), Verdict::Refused);
}

#[test]
fn a_refused_merge_stays_refused_by_who_absorbs_the_absorber() {
    let mut pair = Pair::<Memory>::new(&halves(common::descriptor(full_schema())));
    let elsewhere = GroupId(500);
    pair.step(
        1,
        &MergeStep::Refuse {
            id: 20,
            source: elsewhere,
        },
    );
    pair.freeze(1);
    pair.absorb(0);
    let lineage = pair.sides[0].reader.lineage().unwrap();
    assert_eq!(lineage.merge(20).map(|done| done.outcome), Some(MergeOutcome::Refused));
}

#[test]
fn what_does_not_fit_says_why() {
    let [left, right] = halves(common::descriptor(full_schema()));
    assert_eq!(merge::check(&left, &right), Ok(()));
    assert_eq!(merge::check(&right, &left), Ok(()));
    assert_eq!(merge::check(&left, &left), Err(MergeFault::Same(LEFT)));
    let later = PartitionDescriptor {
        start: right.start.clone().successor(),
        ..right.clone()
    };
    assert_eq!(merge::check(&left, &later), Err(MergeFault::NotNeighbours(LEFT, RIGHT)));
    let other = PartitionDescriptor {
        table: partita_model::schema::TableId(8),
        ..right.clone()
    };
    assert_eq!(merge::check(&left, &other), Err(MergeFault::OtherTable(LEFT, RIGHT)));
    let with = |change: fn(&mut TableSchema)| {
        let mut changed = full_schema();
        change(&mut changed);
        halves(common::descriptor(changed))
    };
    let [_, newer] = with(|schema| schema.version.0 += 1);
    assert_eq!(merge::check(&left, &newer), Err(MergeFault::OtherSchema));
    let [left, right] = with(|schema| schema.global[0].readable = false);
    assert_eq!(
        merge::check(&left, &right),
        Err(MergeFault::Building("global-g".to_owned()))
    );
    let [left, right] = with(|schema| schema.stream = Some(partita_model::schema::StreamView::KeysOnly));
    assert_eq!(merge::check(&left, &right), Err(MergeFault::Stream));
}

/// An index's partitions: what either has refused is refused, what both have is not delivered again.
#[test]
fn positions_of_an_index_are_joined() {
    let index = common::global(2, "g", IndexProjection::All);
    let whole = PartitionDescriptor::whole_index(LEFT, &full_schema(), index.clone());
    let key = |text: &str| {
        let row = common::item(&[("g", text), ("p", text), ("s", text)]);
        (full_schema().global_row(&index, row.as_ref()).unwrap().0, row)
    };
    let [low, high] = {
        let mut keys = [key("one"), key("two")];
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        keys
    };
    let right = PartitionDescriptor {
        group: RIGHT,
        start: high.0.clone(),
        ..whole.clone()
    };
    let left = PartitionDescriptor {
        end: Some(high.0.clone()),
        ..whole
    };
    let mut pair = Pair::<Memory>::new(&[left, right]);
    let source = GroupId(50);
    let session = |term| Session { range_epoch: 1, term };
    let batch = |term, row: &(KeyBytes, partita_model::item::Item), time| {
        let row = IndexRow {
            time: ItemTime(time),
            key: row.0.clone(),
            change: RowChange::Put(row.1.clone()),
        };
        Command::Deliver(IndexBatch {
            source,
            session: session(term),
            rows: vec![row],
            through: ItemTime(time),
        })
    };
    pair.command(0, &batch(1, &low, 10));
    pair.command(1, &batch(2, &high, 20));
    // One that only the one knows.
    pair.command(1, &Command::Close(vec![(GroupId(51), 7)]));
    pair.freeze(1);
    pair.absorb(0);
    assert_eq!(verify(&pair.sides[0].reader).unwrap().differences, Vec::<String>::new());
    assert_eq!(pair.sides[0].reader.applied().counters.items, 2);
    let joined = Delivered {
        session: session(2),
        through: ItemTime(10),
    };
    assert_eq!(pair.sides[0].reader.position(source).unwrap(), Some(joined));
    let closed = pair.sides[0].reader.position(GroupId(51)).unwrap().unwrap();
    assert_eq!((closed.session.range_epoch, closed.through), (7, ItemTime(0)));
    assert_eq!(pair.command(0, &batch(1, &high, 30)), CommandReply::OldSession(joined));
    // Delivered again, and counted once.
    pair.command(0, &batch(2, &high, 20));
    assert_eq!(pair.sides[0].reader.applied().counters.items, 2);
}

/// The formats are contracts between versions: these bytes never change, and an older build does not know the operation.
#[test]
fn the_formats_are_frozen() {
    let mut pair = Pair::<Memory>::new(&halves(common::descriptor(full_schema())));
    let step = MergeStep::Freeze { id: 9, absorber: LEFT };
    let effect = pair.sides[1].evaluator.merge_step(&step).unwrap();
    assert_eq!(effect.bytes[..], [1, 0xa0, 4, 1, 0, 9, 3]);
    assert_eq!(merge_step_of(&effect.bytes).unwrap(), Some(step));
    let refuse = MergeStep::Refuse { id: 9, source: LEFT };
    let effect = pair.sides[1].evaluator.merge_step(&refuse).unwrap();
    assert_eq!(effect.bytes[..], [1, 0xa0, 4, 1, 3, 9, 3]);
    // Among other effects it is an error, as is an unknown step.
    let mut batch = pair.engine.storage().batch();
    let among = pair.sides[1].applier.apply(&mut batch, &effect.bytes);
    assert!(matches!(among, Err(PartitionError::UnknownFormat(_))), "{among:?}");
    assert!(operations(&[1, 0xa0, 2, 1, 99]).unwrap().next().unwrap().is_err());
}

/// Whoever asks the absorbed half before the merge, and the absorber after it, is answered.
#[test]
fn requests_find_the_merged_partition() {
    let mut pair = Pair::<Memory>::new(&halves(common::descriptor(full_schema())));
    let request = (0..7)
        .map(put_numbered)
        .find(|request| request.key >= border())
        .unwrap();
    let wrong = pair.sides[0]
        .evaluator
        .evaluate(&request, common::NOW_MS, Default::default());
    assert_eq!(wrong.unwrap_err(), PartitionError::Refused(Refusal::WrongRange));
    pair.freeze(1);
    pair.absorb(0);
    let right = pair.sides[0]
        .evaluator
        .evaluate(&request, common::NOW_MS, Default::default());
    right.unwrap();
}
