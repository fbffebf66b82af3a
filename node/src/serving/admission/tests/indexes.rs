//! What a partition of an index takes, and what becomes of writes to its table when it does not keep up.

use partita_model::partition::PartitionDescriptor;

use super::*;

/// A partition of the index that serves 3,000 units of writes in a second.
fn index_meter(world: &World) -> Arc<Meter> {
    let index: &PartitionDescriptor = &world.record.index_descriptors(&world.record.global[0])[0];
    world.admission.new_meter(index)
}

fn took(world: &World, meter: &Meter, rows: u64) -> bool {
    let admitted = meter.admit_delivery((world.admission.now_ms)()).is_ok();
    if admitted {
        world.admission.delivered(meter, HalfUnits(rows * 2), Vec::new());
    }
    admitted
}

#[test]
fn one_partition_of_an_index_takes_as_many_rows_in_a_second_as_it_can_write() {
    let mut world = World::new(Mode::Enforce, indexed(9000, 9000));
    let meter = index_meter(&world);
    assert!(meter.is_complete_index());
    let mut rows = 0;
    for _ in 0..20_000 {
        rows += if took(&world, &meter, 500) { 500 } else { 0 };
        world.wait(1);
    }
    // What a second brings was there at the beginning, and one batch is owed.
    assert!((60_000..=63_500).contains(&rows), "{rows}");
    assert_eq!(meter.delivered_half_units(), rows * 2);
    assert_eq!(
        meter.counted(UnitKind::Write).used_half_units,
        0,
        "it was counted with the writes"
    );
    // Copies into an index that is being built are free.
    world.record.global[0].phase = partita_model::table::record::IndexPhase::Building;
    world.admission.declare(&world.record, &|_| Some(1));
    let meter = world.admission.meters.read().values().next().cloned().unwrap();
    assert!(!meter.is_complete_index());
}

#[test]
fn an_index_that_is_too_far_behind_holds_back_writes_that_may_touch_it() {
    let far = Arc::new(Mutex::new(None));
    for mode in [Mode::Enforce, Mode::Shadow, Mode::Off] {
        let world = World::new(mode, indexed(1000, 1000));
        let known = Arc::clone(&far);
        world.admission.hold_back(Box::new(move |_| known.lock().clone()));
        let group = world.record.partitions[0].group;
        let meter = world.meter(0);
        let write = |colour: Option<&str>| {
            let action = Action::Put(item(colour));
            world
                .asked(world.admission.admit_write(&meter, group, &action))
                .map(drop)
        };
        for index in [None, Some("byColour".to_owned())] {
            *far.lock() = None;
            assert_eq!(write(Some("red")), Ok(()));
            *far.lock() = Some(TooFar { index });
            assert_eq!(write(None), Ok(()), "it has no row there");
            match (mode, write(Some("red"))) {
                (Mode::Enforce, Err(refused)) => {
                    assert_eq!(refused.reason(), "IndexWriteKeyRangeThroughputExceeded");
                    assert_eq!(refused.index.as_deref(), Some("byColour"));
                }
                (Mode::Shadow | Mode::Off, Ok(())) => {}
                other => panic!("{other:?}"),
            }
        }
        *far.lock() = Some(TooFar {
            index: Some("another".to_owned()),
        });
        assert_eq!(write(Some("red")), Ok(()), "it waits for another one");
    }
}
