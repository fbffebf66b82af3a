//! Where a partition can be cut, by what was asked of it.

use partita_model::admin::LoadSpread;
use partita_model::key;
use partita_model::table::LocalIndexSpec;

use super::*;

fn attribute(name: &str) -> KeyAttribute {
    KeyAttribute {
        name: name.to_owned(),
        kind: ScalarType::S,
    }
}

/// Items with a sort key; perhaps with a local index.
fn sorted(local: bool) -> TableSpec {
    let mut spec = spec(1000);
    spec.attributes.push(("sk".to_owned(), ScalarType::S));
    spec.keys.range.push(attribute("sk"));
    if local {
        spec.attributes.push(("colour".to_owned(), ScalarType::S));
        spec.local.push(LocalIndexSpec {
            name: "byColour".to_owned(),
            keys: KeySchema {
                hash: spec.keys.hash.clone(),
                range: vec![attribute("colour")],
            },
            projection: IndexProjection::KeysOnly,
        });
    }
    spec
}

/// Writes to items with these partition and sort keys; what is known of where they were.
fn spread_of<'a>(spec: TableSpec, writes: impl Iterator<Item = (&'a str, String)>) -> LoadSpread {
    let world = World::new(Mode::Enforce, spec);
    let partition = &world.record.table_descriptors()[0];
    let schema = world.record.schema();
    let meter = world.meter(0);
    for (pk, sk) in writes {
        let item = [("pk", Value::string(pk)), ("sk", Value::string(&sk))];
        let item = Item::from_attributes(item.iter().map(|(name, value)| (*name, value.as_ref())));
        let key = key::primary(&schema.keys, schema.seed, item.as_ref()).unwrap();
        let sample = meter.sampler(UnitKind::Write).sample(&key);
        let cost = WriteCost {
            table: HalfUnits(2),
            ..WriteCost::default()
        };
        world.admission.charge_write(&meter, true, sample, &cost);
    }
    world.admission.spread(partition, UnitKind::Write).unwrap()
}

#[test]
fn a_hot_collection_is_cut_between_its_sort_keys_unless_local_indexes_keep_it_in_one_piece() {
    let writes = || (0..4000).map(|n| ("hot", format!("{:03}", n % 1000)));
    let found = spread_of(sorted(false), writes());
    assert!(found.busiest_percent < 10, "{found:?}");
    let middle = found.middle.unwrap();
    let text = String::from_utf8_lossy(middle.as_bytes());
    assert!(text.contains("hot"), "{text}");

    let found = spread_of(sorted(true), writes());
    let whole = LoadSpread {
        busiest_percent: 100,
        middle: None,
    };
    assert_eq!(found, whole);
}

#[test]
fn one_hot_item_of_a_collection_is_no_reason_to_cut_it() {
    let writes = (0..4000).map(|n| ("hot", if n % 10 < 9 { "one".to_owned() } else { n.to_string() }));
    let found = spread_of(sorted(false), writes);
    assert!(found.busiest_percent > 80, "{found:?}");
}
