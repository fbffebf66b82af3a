//! A library to preload that keeps what was synced apart from what was only written.
//!
//! A kill -9 proves no fsync: the page cache survives it. Here every write to a file under `INTERPOSER_DATA` goes
//! through as usual, and is remembered as a range that is not durable; `fsync` and `fdatasync` copy such ranges into
//! the file's twin under `INTERPOSER_SHADOW`. After a kill the shadow is what a disk would hold that lost everything
//! unsynced, and the test puts it in place of the data (with torn pieces of the rest, as it likes).
//!
//! 1. [`hooks`] are the C functions that the process calls instead of glibc's;
//! 2. [`track`] knows which descriptors are data files, and what of each is not durable;
//! 3. [`paths`] says where a path's twin is.
//!
//! Creating, renaming, linking and removing a file is durable at once and in order, as on a journalling file system:
//! the harshest reading for a removal, the kindest for a creation. A shared writable mapping or a write through another
//! interface (io_uring, stdio) is not seen; the first ends the process loudly, the second leaves a file without a twin,
//! which the test then removes.
//!
//! While the file that `INTERPOSER_LIE` names is there, every sync is a lie: nothing becomes durable. A test that does not
//! fail under it proves nothing. `INTERPOSER_SYNC_MICROS` makes every sync take so much longer, in any process: a slow disk.

mod hooks;
mod paths;
mod track;
