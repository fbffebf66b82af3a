//! Admission as requests meet it, with a clock that is set by hand. What a request cost is said by the tests: nothing is
//! stored.

mod indexes;
mod levels;
mod spread;

use std::sync::atomic::{AtomicU64, Ordering};

use partita_model::capacity::{ThrottleLimit, Throttled, UnitsAnswer, UnitsCall};
use partita_model::item::Item;
use partita_model::request::Action;
use partita_model::schema::{IndexProjection, KeyAttribute, KeySchema, ScalarType};
use partita_model::table::record::{Circumstances, Owner, PartitionLimits};
use partita_model::table::{BillingMode, GlobalIndexSpec, OnDemandThroughput, TableSpec};
use partita_model::value::Value;

use super::*;
use crate::directory::samples::spec as entry_spec;

const TABLE: TableId = TableId(7);

struct World {
    admission: Admission,
    now_ms: Arc<AtomicU64>,
    record: Record,
}

fn options(mode: Mode) -> Options {
    let limits = |partition: u64| Limits {
        partition: HalfUnits(partition * 2),
        burst_ms: 300_000,
    };
    Options {
        mode,
        reads: limits(3000),
        // What a small table has saved up may be used in an instant: the clock stands while it is.
        writes: limits(3000),
        on_demand: ON_DEMAND_UNITS,
    }
}

fn spec(write: u64) -> TableSpec {
    entry_spec("orders", write)
}

/// With a global index by `colour` that has so many write units.
fn indexed(write: u64, index_write: u64) -> TableSpec {
    let mut spec = spec(write);
    spec.attributes.push(("colour".to_owned(), ScalarType::S));
    spec.global.push(GlobalIndexSpec {
        name: "byColour".to_owned(),
        keys: KeySchema {
            hash: vec![KeyAttribute {
                name: "colour".to_owned(),
                kind: ScalarType::S,
            }],
            range: Vec::new(),
        },
        projection: IndexProjection::All,
        throughput: Throughput {
            read: 1,
            write: index_write,
        },
        on_demand: None,
        warm: None,
    });
    spec
}

const AT: Circumstances = Circumstances {
    now_ms: 1,
    partitions: PartitionLimits::at_most(64),
};

impl World {
    fn new(mode: Mode, spec: TableSpec) -> Self {
        Self::after(mode, spec, HashMap::new())
    }

    /// Of a process that finds these levels.
    fn after(mode: Mode, spec: TableSpec, levels: HashMap<TableId, SavedTable>) -> Self {
        Self::of(mode, spec, super::levels::Saved::of(levels))
    }

    fn of(mode: Mode, spec: TableSpec, saved: super::levels::Saved) -> Self {
        let now_ms = Arc::new(AtomicU64::new(1000));
        let clock = Arc::clone(&now_ms);
        let clock: Clock = Arc::new(move || clock.load(Ordering::Relaxed));
        let mut record = Record::create("123456789012", spec, Owner::Api, TABLE, AT);
        record.created();
        let admission = Admission::new(options(mode), clock, saved);
        admission.declare(&record, &|_| Some(1));
        Self {
            admission,
            now_ms,
            record,
        }
    }

    fn wait(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    fn meter(&self, partition: usize) -> Arc<Meter> {
        let descriptor = &self.record.table_descriptors()[partition];
        let known = self.admission.meters.read().get(&descriptor.group).cloned();
        known.unwrap_or_else(|| self.admission.new_meter(descriptor))
    }

    /// A put of an item with this colour, at a price of one unit for the table and one for the index.
    fn put(&self, partition: usize, colour: Option<&str>) -> Result<(), Throttled> {
        let meter = self.meter(partition);
        let action = Action::Put(item(colour));
        let pays = self.asked(meter.admit_write(&action, (self.admission.now_ms)()))?;
        let pays = pays.is_some();
        let mut cost = WriteCost {
            table: HalfUnits(2),
            ..WriteCost::default()
        };
        if colour.is_some() {
            cost.global
                .extend(self.record.global.iter().map(|index| (index.id, HalfUnits(2))));
        }
        self.admission.charge_write(&meter, pays, None, &cost);
        Ok(())
    }

    fn read(&self, partition: usize, cost: HalfUnits) -> Result<(), Throttled> {
        let meter = self.meter(partition);
        let pays = self.asked(meter.admit_read(true, (self.admission.now_ms)()))?;
        self.admission.charge_read(&meter, pays.is_some(), None, cost);
        Ok(())
    }

    fn asked<'a>(&self, admitted: Result<Deposit<'a>, Met<'_>>) -> Result<Option<Deposit<'a>>, Throttled> {
        self.admission.ask(admitted).map_err(|refusal| match refusal {
            Refusal::Throttled(throttled) => *throttled,
            other => panic!("{other}"),
        })
    }

    /// Puts as many as are admitted now.
    fn drain(&self, colour: Option<&str>) -> u64 {
        let mut admitted = 0;
        while self.put(0, colour).is_ok() {
            admitted += 1;
        }
        admitted
    }

    fn declare(&mut self, spec: TableSpec) {
        self.record.retarget(spec, AT).unwrap();
        self.admission.declare(&self.record, &|_| Some(1));
    }
}

fn item(colour: Option<&str>) -> Item {
    let attributes = colour.map(|colour| ("colour", colour)).into_iter().chain([("pk", "a")]);
    let attributes: Vec<_> = attributes.map(|(name, value)| (name, Value::string(value))).collect();
    Item::from_attributes(attributes.iter().map(|(name, value)| (*name, value.as_ref())))
}

#[test]
fn a_new_table_has_its_whole_burst_and_then_its_rate() {
    let world = World::new(Mode::Enforce, spec(5));
    assert_eq!(world.drain(None), 1500);
    let refused = world.put(0, None).unwrap_err();
    assert_eq!(refused.reason(), "TableWriteProvisionedThroughputExceeded");
    assert_eq!(refused.table, "orders");
    assert!(refused.provisioned);
    // Ten times the units, for a minute.
    let mut admitted = 0;
    for _ in 0..60 * 50 {
        world.wait(20);
        admitted += u64::from(world.put(0, None).is_ok());
    }
    assert!((294..=306).contains(&admitted), "{admitted}");
    // Reads have units of their own.
    assert_eq!(world.read(0, HalfUnits(1)), Ok(()));
}

#[test]
fn a_batch_does_not_go_ahead_as_a_whole_because_there_was_something_left() {
    let world = World::new(Mode::Enforce, spec(5));
    let meter = world.meter(0);
    let text = "x".repeat(390 << 10);
    let large = [("pk", Value::string("a")), ("text", Value::string(&text))];
    let large = Item::from_attributes(large.iter().map(|(name, value)| (*name, value.as_ref())));
    let action = Action::Put(large);
    // Of a burst of 1,500 units three take 391 each; the fourth one makes a debt, and nobody else may.
    let mut admitted = Vec::new();
    while let Ok(pays) = world.asked(meter.admit_write(&action, (world.admission.now_ms)())) {
        admitted.push(pays.unwrap());
    }
    assert_eq!(admitted.len(), 4);
    assert!(world.put(0, None).is_err());
    // What came to nothing is there again.
    admitted.clear();
    assert_eq!(world.drain(None), 1500);
}

#[test]
fn the_partitions_share_the_units_up_to_what_one_can_do() {
    let world = World::new(Mode::Enforce, spec(3000));
    assert_eq!(world.record.partitions.len(), 3);
    let mut admitted = 0;
    while world.put(1, None).is_ok() {
        admitted += 1;
    }
    assert_eq!(admitted, 3000, "what one partition does in a second");
    let refused = world.put(1, None).unwrap_err();
    assert_eq!(refused.limit, ThrottleLimit::KeyRangeThroughputExceeded);
    assert_eq!(world.put(2, None), Ok(()));
}

#[test]
fn an_index_without_write_units_holds_back_the_writes_that_touch_it() {
    let world = World::new(Mode::Enforce, indexed(100, 1));
    assert_eq!(world.drain(Some("red")), 300);
    let refused = world.put(0, Some("red")).unwrap_err();
    assert_eq!(refused.reason(), "IndexWriteProvisionedThroughputExceeded");
    assert_eq!(refused.index.as_deref(), Some("byColour"));
    assert_eq!(world.put(0, None), Ok(()), "it has no row in the index");
    world.wait(1000);
    assert_eq!(world.put(0, Some("red")), Ok(()));
    assert!(world.put(0, Some("red")).is_err());
}

#[test]
fn other_units_hold_at_once_and_bring_no_second_burst() {
    let mut world = World::new(Mode::Enforce, spec(5));
    world.drain(None);
    world.declare(spec(500));
    assert_eq!(world.drain(None), 0);
    world.wait(1000);
    assert_eq!(world.drain(None), 500);
    world.declare(spec(5));
    world.wait(1000);
    assert_eq!(world.drain(None), 5);
    // An index that is added has a burst of its own.
    world.declare(indexed(5, 5));
    world.wait(1000);
    assert_eq!(world.drain(Some("red")), 5);
}

#[test]
fn in_shadow_everything_goes_ahead_and_is_counted() {
    let world = World::new(Mode::Shadow, spec(5));
    for _ in 0..2000 {
        world.put(0, None).unwrap();
    }
    let meter = world.meter(0);
    let counted = meter.counted(UnitKind::Write);
    assert_eq!((counted.shadowed(), counted.throttled()), (500, 0));
    // What would have been refused has taken nothing: the table is not in debt.
    world.wait(1000);
    for _ in 0..6 {
        world.put(0, None).unwrap();
    }
    assert_eq!(meter.counted(UnitKind::Write).shadowed(), 501);
}

#[test]
fn off_is_off_and_counts_what_is_used() {
    let world = World::new(Mode::Off, spec(1));
    for _ in 0..2000 {
        world.put(0, None).unwrap();
    }
    let counted = world.meter(0).counted(UnitKind::Write);
    assert_eq!((counted.used_half_units, counted.throttled()), (4000, 0));
    assert!(world.admission.levels().is_empty());
}

#[test]
fn on_demand_meets_its_own_limits() {
    let mut spec = spec(1);
    spec.billing = BillingMode::PayPerRequest;
    spec.throughput = Throughput::default();
    let world = World::new(Mode::Enforce, spec.clone());
    assert_eq!(world.put(0, None), Ok(()));
    let all = WriteCost {
        table: HalfUnits(2 * 4000 * 300),
        ..WriteCost::default()
    };
    world.admission.charge_write(&world.meter(0), true, None, &all);
    let refused = world.put(0, None).unwrap_err();
    assert_eq!(refused.reason(), "TableWriteKeyRangeThroughputExceeded");
    assert!(!refused.provisioned);

    spec.on_demand = Some(OnDemandThroughput {
        read_max: None,
        write_max: Some(50),
    });
    let world = World::new(Mode::Enforce, spec);
    assert_eq!(world.drain(None), 50);
    let refused = world.put(0, None).unwrap_err();
    assert_eq!(refused.reason(), "TableWriteMaxOnDemandThroughputExceeded");
}

#[test]
fn nothing_is_refused_before_it_is_known_what_is_declared() {
    let world = World::new(Mode::Enforce, spec(1));
    let unknown = Admission::new(options(Mode::Enforce), elapsed_ms(), super::levels::Saved::default());
    let descriptor = &world.record.table_descriptors()[0];
    let meter = unknown.new_meter(descriptor);
    for _ in 0..5000 {
        let pays = unknown.ask(meter.admit_read(true, 0)).unwrap();
        unknown.charge_read(&meter, pays.is_some(), None, HalfUnits(100));
    }
    // From then on its partitions are asked for what they have used since.
    unknown.declare(&world.record, &|_| Some(1));
    let meter = unknown.meters.read()[&descriptor.group].clone();
    unknown.charge_read(&meter, true, None, HalfUnits(2 * 300));
    assert!(meter.admit_read(true, 0).is_err());
}

#[test]
fn whoever_leads_the_first_partition_has_the_units() {
    let mut world = World::new(Mode::Enforce, spec(3000));
    let [first, second] = [0, 1].map(|place: usize| world.record.partitions[place].group);
    let allowed = |world: &World| {
        let known = world.admission.known.lock();
        let shown = known.tables[&TABLE].shown(0);
        shown[0].units(UnitKind::Write).allowed
    };
    let leads = |admission: &World, led: GroupId| {
        let only = move |group| (group == led).then_some(1);
        admission.admission.declare(&admission.record, &only);
    };
    leads(&world, first);
    assert_eq!(allowed(&world), Some(3000.0));
    leads(&world, second);
    assert_eq!(allowed(&world), None, "others have them");
    world.declare(spec(3000));
    assert_eq!(allowed(&world), Some(3000.0));
}

/// Brings the other store's reports to the one that grants, and the answers back.
fn exchange(grants: &World, holds: &World) {
    for reports in holds.admission.reports() {
        let call = holds.admission.call(&reports);
        let answer = grants.admission.answer(reports.table, call).unwrap();
        let UnitsAnswer::Grants(granted) = answer else {
            panic!("{answer:?}")
        };
        holds.admission.granted(&reports, &granted);
    }
}

#[test]
fn a_store_that_leads_another_partition_gets_the_units_and_the_burst_where_the_load_is() {
    let grants = World::new(Mode::Enforce, indexed(2000, 2000));
    let mut holds = World::new(Mode::Enforce, indexed(2000, 2000));
    holds.admission.holder = 2;
    let first = grants.record.partitions[0].group;
    grants
        .admission
        .declare(&grants.record, &|group| (group == first).then_some(1));
    holds
        .admission
        .declare(&holds.record, &|group| (group != first).then_some(1));
    // A second's even part, and then what is granted: ten times a second for a minute.
    let mut admitted = 0;
    for _ in 0..600 {
        for _ in 0..250 {
            admitted += u64::from(holds.put(1, Some("red")).is_ok());
        }
        for world in [&grants, &holds] {
            world.wait(100);
        }
        exchange(&grants, &holds);
    }
    assert!(
        admitted > 2400 * 60,
        "{admitted} of {} under a burst of 600,000",
        2500 * 60
    );
    // All of it is paid where the units are.
    let known = grants.admission.known.lock();
    let shown = known.tables[&TABLE].shown((grants.admission.now_ms)());
    for resource in &shown {
        let balance = resource.units(UnitKind::Write).balance.unwrap();
        let paid = 600_000.0 - balance;
        assert!(
            paid >= (admitted - 2000 * 60) as f64 * 0.95,
            "{}: {paid} paid for {admitted}",
            resource.labels
        );
    }
}

#[test]
fn an_answer_of_a_store_that_does_not_grant_is_that_it_does_not_lead() {
    let world = World::new(Mode::Enforce, spec(5));
    let report = UnitsCall::Report {
        holder: 2,
        reports: vec![partita_model::capacity::UnitsReport {
            units: partita_model::capacity::UnitsId {
                index: None,
                kind: UnitKind::Write,
            },
            used: HalfUnits(1),
            wanted: HalfUnits(1),
            number: 1,
        }],
    };
    assert!(world.admission.answer(TABLE, report.clone()).is_ok());
    world.admission.declare(&world.record, &|_| None);
    assert_eq!(world.admission.answer(TABLE, report.clone()), Err(Refusal::NotLeader));
    assert_eq!(world.admission.answer(TableId(99), report), Err(Refusal::NotLeader));
}

#[test]
fn who_takes_over_goes_on_where_it_was_told() {
    let old = World::new(Mode::Enforce, spec(5));
    let new = World::new(Mode::Enforce, spec(5));
    new.admission.declare(&new.record, &|_| None);
    old.put(0, None).unwrap();
    let news = old.admission.news();
    let [(table, levels)] = &news[..] else {
        panic!("{news:?}")
    };
    assert_eq!(
        new.admission.answer(*table, UnitsCall::Levels(levels.clone())),
        Ok(UnitsAnswer::Heard)
    );
    assert!(old.admission.news().is_empty(), "it is said once");
    old.admission.unheard(*table, levels);
    assert_eq!(old.admission.news().len(), 1, "but to whom has not heard it");
    new.admission.declare(&new.record, &|_| Some(2));
    assert_eq!(new.drain(None), 1499);
    // Who comes back has heard nothing, and asks.
    old.admission.declare(&old.record, &|_| None);
    old.admission.declare(&old.record, &|_| Some(3));
    assert_eq!(old.drain(None), 0);
    let Ok(UnitsAnswer::Levels(known)) = new.admission.answer(TABLE, UnitsCall::Ask) else {
        panic!("what is known is said")
    };
    old.admission.resume(TABLE, known);
    assert_eq!(old.drain(None), 0, "nothing was left");
}

#[test]
fn a_throttled_neighbour_is_not_felt() {
    let world = World::new(Mode::Enforce, spec(5));
    world.drain(None);
    let mut other = Record::create("123456789012", entry_spec("other", 5), Owner::Api, TableId(8), AT);
    other.created();
    world.admission.declare(&other, &|_| Some(1));
    let neighbour = World {
        record: other,
        admission: world.admission,
        now_ms: world.now_ms,
    };
    assert_eq!(neighbour.drain(None), 1500);
    // A table that is gone takes its units with it.
    neighbour.admission.forget(TABLE);
    assert!(!neighbour.admission.levels().contains_key(&TABLE));
}
