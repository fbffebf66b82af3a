//! Who may use how much, now: the units of tables and indexes. Pure: time is an argument, nothing waits.
//!
//! 1. A [`bucket::Bucket`] fills with a rate and holds what was left unused for a while: that is burst.
//! 2. A [`table::Capacity`] holds what the partitions of one table (or global index) share of one kind of units, so that
//!    throughput follows the load; a [`table::Ceiling`] what one of them may do by itself.
//! 3. On demand the rate is twice the highest load of before ([`peak::Peak`]), and what `onDemandThroughput` allows at most.
//! 4. A request asks first ([`table::Capacity::admit`]): it needs every balance to be positive, beside what those cost at least that
//!    have been admitted and have not paid. Afterwards it pays what it cost ([`table::Capacity::charge`]): the price of an
//!    update or a query is known only then. A balance may become negative by that; the debt is paid back before anybody is
//!    admitted again, so the rate holds in the long run.
//! 5. Where partitions live in several processes, one of them grants the others shares ([`share`], [`pool`]).
//! 6. Levels are plain data ([`table::Levels`]): a new leader, or a process that has started again, begins with those of
//!    before, without a refill for the time in between, so that nothing of the kind hands out a second burst.
//!
//! Beside it, [`hot::HotKeys`] finds the keys that use the most, and [`spread::Spread`] the place that halves a partition's load.
//!
//! Sources: "Burst and adaptive capacity" and "On-demand capacity mode", Amazon DynamoDB Developer Guide; Elhemali et al.,
//! "Amazon DynamoDB: A Scalable, Predictably Performant, and Fully Managed NoSQL Database Service", USENIX ATC 2022.

pub mod bucket;
pub mod hot;
pub mod peak;
pub mod pool;
mod recent;
pub mod share;
pub mod spread;
pub mod table;
