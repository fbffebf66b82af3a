//! What of each data file is not durable.

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::paths;

/// Descriptors above this are not tracked; a store has far fewer files open.
const DESCRIPTORS: usize = 65_536;
/// Ranges of one file kept apart; beyond it they are joined, which only makes more durable than was asked for.
const RANGES: usize = 4096;
const COPY_BYTES: usize = 256 * 1024;

/// A data file, by inode: it outlives its descriptors, because what was written and not synced before a close is not
/// durable after it either.
pub struct Tracked {
    inner: Mutex<Inner>,
}

struct Inner {
    /// Descriptor of the twin.
    twin: i32,
    /// Written since the last sync: start and end, bytes, in the order of the writes.
    dirty: Vec<(u64, u64)>,
    /// The shortest length since the last sync, when it was cut.
    cut: Option<u64>,
}

static OPEN: [AtomicPtr<Tracked>; DESCRIPTORS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; DESCRIPTORS];
static INODES: Mutex<Option<HashMap<(u64, u64), &'static Tracked>>> = Mutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The data file behind a descriptor.
pub fn tracked(fd: i32) -> Option<&'static Tracked> {
    let slot = OPEN.get(usize::try_from(fd).ok()?)?;
    // SAFETY: what is stored there is leaked and never freed.
    unsafe { slot.load(Ordering::Acquire).as_ref() }
}

/// Forgets a descriptor.
pub fn closed(fd: i32) {
    if let Some(slot) = usize::try_from(fd).ok().and_then(|fd| OPEN.get(fd)) {
        slot.store(std::ptr::null_mut(), Ordering::Release);
    }
}

/// One descriptor became another one, too.
pub fn duplicated(from: i32, to: i32) {
    if let Some(slot) = usize::try_from(to).ok().and_then(|fd| OPEN.get(fd)) {
        let file = tracked(from).map_or(std::ptr::null_mut(), |file| (file as *const Tracked).cast_mut());
        slot.store(file, Ordering::Release);
    }
}

/// A data file was opened for writing.
pub fn opened(fd: i32, twin: &CStr, flags: i32) {
    let Some(inode) = inode(fd) else { return };
    let mut inodes = lock(&INODES);
    let file: &'static Tracked = inodes.get_or_insert_with(HashMap::new).entry(inode).or_insert_with(|| {
        // SAFETY: a C string and constant flags. The call is the kernel's own, past the hooks.
        let twin = unsafe {
            libc::syscall(
                libc::SYS_openat,
                libc::AT_FDCWD,
                twin.as_ptr(),
                libc::O_RDWR | libc::O_CREAT | libc::O_CLOEXEC,
                0o644,
            )
        };
        if twin < 0 {
            fail("cannot make the twin of a data file");
        }
        let inner = Inner {
            twin: twin as i32,
            dirty: Vec::new(),
            cut: None,
        };
        Box::leak(Box::new(Tracked {
            inner: Mutex::new(inner),
        }))
    });
    if flags & libc::O_TRUNC != 0 {
        lock(&file.inner).cut = Some(0);
    }
    if let Some(slot) = usize::try_from(fd).ok().and_then(|fd| OPEN.get(fd)) {
        slot.store((file as *const Tracked).cast_mut(), Ordering::Release);
    } else {
        fail("a data file has a descriptor above the limit");
    }
}

/// An inode is about to lose a name; when it is the last one its number may be used again.
pub fn removing(path: &CStr, folder: i32) {
    // SAFETY: all zeroes is a valid stat; the buffer lives through the call.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let found = unsafe { libc::fstatat(folder, path.as_ptr(), &mut stat, libc::AT_SYMLINK_NOFOLLOW) } == 0;
    if found && stat.st_nlink <= 1 {
        let removed = lock(&INODES)
            .as_mut()
            .and_then(|inodes| inodes.remove(&(stat.st_dev, stat.st_ino)));
        // Who still holds a descriptor writes on into nowhere, as on a disk.
        if let Some(file) = removed {
            lock(&file.inner).dirty.clear();
        }
    }
}

impl Tracked {
    /// Runs a write with the file locked, and remembers its range: `write` returns where it started and how long it was.
    pub fn write(&self, write: impl FnOnce() -> Option<(u64, u64)>) {
        let mut inner = lock(&self.inner);
        let Some((start, length)) = write() else { return };
        let end = start + length;
        match inner.dirty.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => inner.dirty.push((start, end)),
        }
        if inner.dirty.len() > RANGES {
            let start = inner.dirty.iter().map(|range| range.0).min().unwrap_or(0);
            let end = inner.dirty.iter().map(|range| range.1).max().unwrap_or(0);
            inner.dirty = vec![(start, end)];
        }
    }

    /// Cuts (or extends) the file with it locked.
    pub fn cut(&self, length: u64, cut: impl FnOnce() -> bool) {
        let mut inner = lock(&self.inner);
        if cut() {
            inner.cut = Some(inner.cut.map_or(length, |shortest| shortest.min(length)));
        }
    }

    /// Makes durable what is in the file now.
    pub fn sync(&self, fd: i32) {
        if paths::lies() {
            return;
        }
        let mut inner = lock(&self.inner);
        let length = length(fd);
        if let Some(cut) = inner.cut.take() {
            set_length(inner.twin, cut);
        }
        set_length(inner.twin, length);
        let mut buffer = vec![0; COPY_BYTES];
        for (start, end) in std::mem::take(&mut inner.dirty) {
            copy(fd, inner.twin, start, end.min(length), &mut buffer);
        }
    }
}

fn inode(fd: i32) -> Option<(u64, u64)> {
    // SAFETY: all zeroes is a valid stat; the buffer lives through the call.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let known = unsafe { libc::fstat(fd, &mut stat) } == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFREG;
    known.then_some((stat.st_dev, stat.st_ino))
}

fn length(fd: i32) -> u64 {
    // SAFETY: as in `inode`.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: as in `inode`.
    if unsafe { libc::fstat(fd, &mut stat) } != 0 {
        fail("cannot stat a data file");
    }
    stat.st_size as u64
}

fn set_length(fd: i32, length: u64) {
    // SAFETY: the kernel's own call on a descriptor of ours.
    if unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) } != 0 {
        fail("cannot set the length of a twin");
    }
}

/// Copies a range. A data file opened for writing alone cannot be read, so it is read through its name in /proc.
fn copy(from: i32, to: i32, mut start: u64, end: u64, buffer: &mut [u8]) {
    let name = format!("/proc/self/fd/{from}\0");
    // SAFETY: a C string and constant flags; the kernel's own call.
    let reader = unsafe {
        libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            name.as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC,
        )
    };
    if reader < 0 {
        fail("cannot read a data file");
    }
    while start < end {
        let wanted = buffer.len().min((end - start) as usize);
        // SAFETY: the buffer lives through the calls and is as long as said.
        let count = unsafe { libc::syscall(libc::SYS_pread64, reader, buffer.as_mut_ptr(), wanted, start) };
        if count <= 0 {
            break;
        }
        // SAFETY: as above.
        if unsafe { libc::syscall(libc::SYS_pwrite64, to, buffer.as_ptr(), count, start) } != count {
            fail("cannot write a twin");
        }
        start += count as u64;
    }
    // SAFETY: opened above.
    unsafe { libc::syscall(libc::SYS_close, reader) };
}

/// Ends the process: a test must not go on with an interposer that lost track.
pub fn fail(what: &str) -> ! {
    let text = format!("interposer: {what}: {}\n", std::io::Error::last_os_error());
    // SAFETY: the buffer lives through the call.
    unsafe {
        libc::syscall(libc::SYS_write, 2, text.as_ptr(), text.len());
        libc::abort()
    }
}
