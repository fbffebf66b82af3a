//! `partita admin`: what the admin API of the replicas is asked.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use partita_model::item::Item;
use partita_model::key::KeyBytes;
use partita_model::partition::GroupId;

use crate::operate::{group_id, item_key, key_bytes};

/// A call of the admin API.
#[derive(Debug, Clone, Args)]
pub struct AdminCall {
    /// Admin addresses of the replicas (HOST:PORT,…): an order finds the one that it is for among them
    #[arg(
        long,
        value_name = "ADDRS",
        env = "PARTITA_NODES",
        value_delimiter = ',',
        required = true
    )]
    pub nodes: Vec<String>,

    /// Folder with tls.crt, tls.key and ca.crt, for replicas that have --peer-tls: they are called over mutual TLS, at the addresses
    /// of their --admin-tls-listen. tls.crt has a DNS name like admin.partita.internal
    #[arg(long, value_name = "DIR", env = "PARTITA_PEER_TLS", global = true)]
    pub peer_tls: Option<PathBuf>,

    /// Columns for people, or JSON
    #[arg(long, value_enum, default_value_t = Output::Table, global = true)]
    pub output: Output,

    /// What to do.
    #[command(subcommand)]
    pub command: AdminCommand,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns, for people.
    Table,
    /// JSON, for programs.
    Json,
}

/// What the admin API is asked.
#[derive(Debug, Clone, Subcommand)]
pub enum AdminCommand {
    /// The stores: identity, address, how many groups they have and lead
    Stores,
    /// The groups: range, where that comes from, leader, size
    Groups,
    /// One group, with its members and how far they are
    Group {
        /// Its id (16 hexadecimal digits)
        #[arg(value_parser = group_id)]
        group: GroupId,
    },
    /// Hands the leadership over to a voter
    Transfer {
        /// The group
        #[arg(value_parser = group_id)]
        group: GroupId,
        /// The voter: its number in the group, or its store
        #[arg(long, value_name = "REPLICA")]
        to: String,
    },
    /// Adds a replica on a store, which receives the log and does not vote
    AddLearner {
        /// The group
        #[arg(value_parser = group_id)]
        group: GroupId,
        /// The store: its UUID (or the beginning of it), or an address of it
        #[arg(long)]
        store: String,
        /// Carry the order out once for this id
        #[arg(long, value_name = "UUID")]
        id: Option<uuid::Uuid>,
    },
    /// Lets a learner that has caught up vote
    Promote {
        /// The group
        #[arg(value_parser = group_id)]
        group: GroupId,
        /// The learner's number
        #[arg(long)]
        replica: u64,
        /// Carry the order out once for this id
        #[arg(long, value_name = "UUID")]
        id: Option<uuid::Uuid>,
    },
    /// Removes a replica, and what its store has of the group
    Remove {
        /// The group
        #[arg(value_parser = group_id)]
        group: GroupId,
        /// The replica's number
        #[arg(long)]
        replica: u64,
        /// Carry the order out once for this id
        #[arg(long, value_name = "UUID")]
        id: Option<uuid::Uuid>,
    },
    /// Puts a new replica on a store in the place of a voter, without a moment with fewer voters
    Replace {
        /// The group
        #[arg(value_parser = group_id)]
        group: GroupId,
        /// The voter that goes
        #[arg(long)]
        replica: u64,
        /// The store that the new one comes to
        #[arg(long)]
        store: String,
    },
    /// Cuts a group's range in two: what is behind the cut becomes a group of its own, on the same stores. No data moves
    ///
    /// Without a place it is cut where half of the bytes are on either side.
    Split {
        /// The group
        #[arg(value_parser = group_id)]
        group: GroupId,
        /// In front of this key, in hexadecimal (`partita admin groups --output json` and `split-point` show such keys)
        #[arg(long, value_name = "KEY", value_parser = key_bytes, conflicts_with = "at_key")]
        at: Option<KeyBytes>,
        /// In front of the item with this key, such as '{"pk": {"S": "a"}, "sk": {"N": "1"}}'; without the sort key, in front
        /// of all items with that partition key
        #[arg(long, value_name = "ITEM-KEY", value_parser = item_key)]
        at_key: Option<Item>,
        /// The new group's id: 16 hexadecimal digits that no group ever had. By default it follows from --id
        #[arg(long, value_name = "GROUP", value_parser = group_id)]
        child: Option<GroupId>,
        /// Only if this is the group's range epoch
        #[arg(long, value_name = "EPOCH")]
        expected_epoch: Option<u64>,
        /// Carry the order out once for this id
        #[arg(long, value_name = "UUID")]
        id: Option<uuid::Uuid>,
    },
    /// Makes a group and its neighbour one again: the group has the keys of both, the neighbour is gone
    ///
    /// Both have their replicas on the same stores. The neighbour answers nobody from when it is told to stand still until it
    /// is decided, which takes about as long as two writes; what cannot be merged goes on as before.
    Merge {
        /// The group that stays
        #[arg(value_parser = group_id)]
        group: GroupId,
        /// The group that goes: the one in front of it or behind it. By default the one behind it
        #[arg(long, value_name = "GROUP", value_parser = group_id)]
        source: Option<GroupId>,
        /// Carry the order out once for this id
        #[arg(long, value_name = "UUID")]
        id: Option<uuid::Uuid>,
    },
    /// Makes what is left of a group the group, when most of its voters are lost for good
    ///
    /// What only the lost ones had is lost; without --i-accept-loss it only says what is there, and what may be missing. While
    /// enough voters answer, nothing is done. A lost store must not come back with what it had: remove its data first.
    Recover {
        /// The group
        #[arg(value_parser = group_id)]
        group: GroupId,
        /// The store whose replica becomes the group: its UUID (or the beginning of it), or an address of it
        #[arg(long, value_name = "STORE")]
        from: String,
        /// Do it
        #[arg(long)]
        i_accept_loss: bool,
        /// Carry the order out once for this id
        #[arg(long, value_name = "UUID")]
        id: Option<uuid::Uuid>,
    },
    /// Where split would cut a group, and what is behind that
    SplitPoint {
        /// The group
        #[arg(value_parser = group_id)]
        group: GroupId,
    },
    /// Compares the replicas of a table's groups with each other, and its global indexes with the table
    ///
    /// Reads everything and changes nothing; the table may be written to meanwhile. Ends with 1 if anything differs, or could
    /// not be compared.
    Verify {
        /// The table: its name, or its id (16 hexadecimal digits)
        table: String,
    },
    /// Lets a store give away what it leads, until it restarts or undrain is called
    Drain {
        /// The store
        store: String,
    },
    /// Lets a store lead again
    Undrain {
        /// The store
        store: String,
    },
}
