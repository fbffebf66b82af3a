//! `ConsumedCapacity`: what an operation used of a table and of its indexes.

use partita_model::capacity::{HalfUnits, ReadCost, WriteCost};
use partita_model::schema::{IndexId, TableSchema};
use partita_model::value::json::write_string;
use smallvec::SmallVec;

/// `ReturnConsumedCapacity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReturnConsumed {
    /// Nothing.
    #[default]
    None,
    /// The sum.
    Total,
    /// The sum, the table's part and each index's.
    Indexes,
}

/// Units used of one table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Consumed {
    table: HalfUnits,
    local: SmallVec<[(IndexId, HalfUnits); 4]>,
    global: SmallVec<[(IndexId, HalfUnits); 4]>,
}

impl Consumed {
    /// Units of the table itself.
    pub fn of_table(cost: ReadCost) -> Self {
        Self {
            table: cost.0,
            ..Self::default()
        }
    }

    /// Units of a local index, and of the table for whole items fetched from it.
    pub fn of_local(index: IndexId, units: HalfUnits, fetched: HalfUnits) -> Self {
        Self {
            table: fetched,
            local: SmallVec::from_slice(&[(index, units)]),
            ..Self::default()
        }
    }

    /// Units of a global index.
    pub fn of_global(index: IndexId, units: HalfUnits) -> Self {
        Self {
            global: SmallVec::from_slice(&[(index, units)]),
            ..Self::default()
        }
    }

    /// Units of a write, without indexes that it did not touch.
    pub fn of_write(cost: &WriteCost) -> Self {
        let touched = |units: &[(IndexId, HalfUnits)]| units.iter().filter(|(_, units)| units.0 > 0).copied().collect();
        Self {
            table: cost.table,
            local: touched(&cost.local),
            global: touched(&cost.global),
        }
    }

    /// Adds another operation's units on the same table.
    pub fn add(&mut self, other: &Self) {
        self.table += other.table;
        add_each(&mut self.local, &other.local);
        add_each(&mut self.global, &other.global);
    }

    /// The sum over the table and its indexes.
    pub fn total(&self) -> HalfUnits {
        let indexes = self.local.iter().chain(&self.global);
        self.table + indexes.map(|(_, units)| *units).sum()
    }

    /// Writes the structure. `name` is the table's as the request had it: a request by ARN is answered with the ARN.
    pub fn write(&self, out: &mut Vec<u8>, mode: ReturnConsumed, name: &str, schema: &TableSchema) {
        out.extend_from_slice(b"{\"TableName\":");
        write_string(name.as_bytes(), out);
        out.extend_from_slice(b",\"CapacityUnits\":");
        write_units(out, self.total());
        if mode == ReturnConsumed::Indexes {
            out.extend_from_slice(b",\"Table\":");
            write_capacity(out, self.table);
            let local = |id| schema.local.iter().find(|i| i.id == id).map(|i| i.name.as_str());
            write_indexes(out, "LocalSecondaryIndexes", &self.local, local);
            let global = |id| schema.global.iter().find(|i| i.id == id).map(|i| i.name.as_str());
            write_indexes(out, "GlobalSecondaryIndexes", &self.global, global);
        }
        out.push(b'}');
    }
}

fn add_each(to: &mut SmallVec<[(IndexId, HalfUnits); 4]>, from: &[(IndexId, HalfUnits)]) {
    for (id, units) in from {
        match to.iter_mut().find(|(known, _)| known == id) {
            Some((_, sum)) => *sum += *units,
            None => to.push((*id, *units)),
        }
    }
}

fn write_indexes<'a>(
    out: &mut Vec<u8>,
    member: &str,
    indexes: &[(IndexId, HalfUnits)],
    name_of: impl Fn(IndexId) -> Option<&'a str>,
) {
    let mut separator = b'{';
    for (id, units) in indexes {
        // An index that has been removed since the write has no name to show.
        let Some(name) = name_of(*id) else { continue };
        if separator == b'{' {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(member.as_bytes());
            out.extend_from_slice(b"\":");
        }
        out.push(separator);
        separator = b',';
        write_string(name.as_bytes(), out);
        out.push(b':');
        write_capacity(out, *units);
    }
    if separator == b',' {
        out.push(b'}');
    }
}

fn write_capacity(out: &mut Vec<u8>, units: HalfUnits) {
    out.extend_from_slice(b"{\"CapacityUnits\":");
    write_units(out, units);
    out.push(b'}');
}

/// As DynamoDB prints units: always with one decimal.
fn write_units(out: &mut Vec<u8>, units: HalfUnits) {
    out.extend_from_slice(itoa::Buffer::new().format(units.0 / 2).as_bytes());
    out.extend_from_slice(if units.0.is_multiple_of(2) { b".0" } else { b".5" });
}
