//! Tables from their manifest to their end, against an API server and storage nodes in memory.

mod change;
mod data;
mod growth;
mod heat;
mod indexes;
mod life;
mod many;
mod memory;
mod merges;
mod nodes;
mod pods;
mod replicas;
mod scale;
mod words;
