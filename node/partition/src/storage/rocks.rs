//! RocksDB: to be written next.
