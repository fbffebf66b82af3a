//! Why something is to be done, in words that a person reads in an event and in the table's status.

use std::fmt;

use partita_model::table::Throughput;

use crate::amounts;

/// Whose units ask for partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Those that are declared, or follow the use within a declared range.
    Declared,
    /// Those that the table is kept warm for.
    Warm,
    /// On demand: the highest load of late.
    Peak,
}

/// Why.
#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    /// The units ask for more (or fewer) partitions.
    Units {
        /// The units.
        units: Throughput,
        /// Whose they are.
        of: Asker,
        /// As many are asked for, by units or bytes.
        asked: u64,
        /// As many are there.
        there: u64,
    },
    /// The bytes of the table ask for more partitions, or those of a partition are too many.
    Size {
        /// Of the partition.
        bytes: u64,
        /// It may have.
        limit: u64,
    },
    /// It is hot.
    Heat {
        /// Part of what it can.
        heat: f64,
        /// For how long.
        for_ms: u64,
    },
    /// One key is hot.
    Key {
        /// Part of what the partition can.
        heat: f64,
        /// The key's share of that.
        share: f64,
    },
    /// It is hot, and the table has as many partitions as it may have for that.
    Bound {
        /// Part of what it can.
        heat: f64,
        /// That many.
        most: u64,
    },
}

fn percent(part: f64) -> u64 {
    (part * 100.0).round() as u64
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Units {
                units: Throughput { read, write },
                of,
                asked,
                there,
            } => {
                let asked = amounts::count(*asked, "partition");
                match of {
                    Asker::Declared => write!(f, "units: {read} RCU and {write} WCU ask for {asked}"),
                    Asker::Warm => write!(f, "units: warm for {read} RCU and {write} WCU, which ask for {asked}"),
                    Asker::Peak => write!(
                        f,
                        "heat: on demand, the highest load of late is {read} RCU and {write} WCU, which ask for {asked}"
                    ),
                }?;
                write!(f, ", there are {there}")
            }
            Self::Size { bytes, limit } => write!(
                f,
                "size: it holds {} of at most {}",
                amounts::bytes(*bytes),
                amounts::bytes(*limit)
            ),
            Self::Heat { heat, for_ms } => write!(
                f,
                "heat: it serves {} % of what a partition can, for {} s",
                percent(*heat),
                for_ms / 1000
            ),
            Self::Key { heat, share } => write!(
                f,
                "heat: it serves {} % of what a partition can, {} % of that for one key: a split would not help",
                percent(*heat),
                percent(*share)
            ),
            Self::Bound { heat, most } => write!(
                f,
                "heat: it serves {} % of what a partition can, and heat alone makes no more than {} of this table",
                percent(*heat),
                amounts::count(*most, "partition")
            ),
        }
    }
}
