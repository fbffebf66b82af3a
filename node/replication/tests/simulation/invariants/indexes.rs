//! At the end, when nobody has written for a while, the global index holds what the table's items call for: neither a row less,
//! nor a row more, nor an old one.

use partita_model::key::KeyBytes;
use partita_partition::Partition;
use partita_partition::descriptor::GroupId;
use partita_partition::digest::{Asked, Pieces, Subject, digest};
use partita_partition::storage::Storage as _;

use crate::table::{INDEX, INDEX_ID, INDEXED};
use crate::world::World;

type Rows = Vec<(KeyBytes, u64)>;

pub fn check(world: &World) -> Result<(), String> {
    let called_for = rows(world, INDEXED, Subject::CalledFor(INDEX_ID))?;
    let held = rows(world, INDEX, Subject::IndexRows)?;
    let missing: Vec<_> = called_for.iter().filter(|row| !held.contains(row)).collect();
    let unwanted: Vec<_> = held.iter().filter(|row| !called_for.contains(row)).collect();
    if missing.is_empty() && unwanted.is_empty() {
        return Ok(());
    }
    let positions = positions(world).join("\n");
    Err(format!(
        "the index lacks {} rows, and has {} that it should not have: {missing:?} {unwanted:?}\n{positions}\n  {:?}",
        missing.len(),
        unwanted.len(),
        world.deliverer.doing(),
    ))
}

/// How far each partition of the table has been delivered to each of the index.
fn positions(world: &World) -> Vec<String> {
    let leaders = world.groups().into_iter().filter_map(|id| {
        let machine = &world.machines[world.leader(id)?];
        machine.group(id).map(|group| (machine.number, group))
    });
    let (sources, others): (Vec<_>, Vec<_>) = leaders.partition(|(_, group)| group.descriptor().table.0 == INDEXED.0);
    let mut lines = Vec::new();
    for (machine, source) in sources {
        let (id, counters) = (source.id(), source.stats().counters);
        lines.push(format!(
            "  group {} on {machine}: {counters:?} {:?}",
            id.0,
            source.lineage_here()
        ));
        for (machine, index) in others.iter().filter(|(_, group)| group.descriptor().table.0 == INDEX.0) {
            let position = Partition::open(
                world.machines[*machine].state.clone(),
                index.descriptor().table,
                index.id(),
            );
            let position = position.ok().flatten().map(|partition| partition.reader.position(id));
            lines.push(format!("    to group {} on {machine}: {position:?}", index.id().0));
        }
    }
    lines
}

/// The rows of a table's partitions, where each is led.
fn rows(world: &World, table: GroupId, subject: Subject) -> Result<Rows, String> {
    let all = || (KeyBytes::default(), None);
    let ((from, to), (first, last)) = (all(), all());
    let pieces = Pieces {
        from: first,
        to: last,
        count: 1,
    };
    let asked = Asked {
        subject,
        from,
        to,
        pieces,
        keys_max: usize::MAX,
    };
    let mut rows = Vec::new();
    for id in world.groups() {
        let leader = world.leader(id).ok_or("nobody leads at the end")?;
        let machine = &world.machines[leader];
        let group = machine.group(id).ok_or("the leader has no group")?;
        let descriptor = group.descriptor();
        if descriptor.table.0 == table.0 {
            let found = digest(&machine.state.pin(), &descriptor, &asked).map_err(|error| error.to_string())?;
            rows.extend(found.keys.ok_or("too many keys")?);
        }
    }
    rows.sort();
    Ok(rows)
}
