//! The functions that stand in for glibc's. Each does the real thing by system call and tells [`track`] about it.
//!
//! `open`, `openat` and `fcntl` take a variable argument in C; on the ABIs of Linux an integer there is passed as a
//! third (fourth) fixed argument would be, so they are defined with it.

use std::ffi::CStr;

use libc::{c_char, c_int, c_uint, c_void, iovec, mode_t, off_t, size_t, ssize_t};

use crate::{paths, track};

/// Does `body` and leaves errno as the system call in it left it.
fn keep_errno<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: errno's address is valid for the thread's life.
    let errno = unsafe { *libc::__errno_location() };
    let result = body();
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
    result
}

unsafe fn open_at(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the arguments are the caller's, passed through.
    let fd = unsafe { libc::syscall(libc::SYS_openat, folder, path, flags, mode) } as c_int;
    if fd >= 0 {
        keep_errno(|| {
            track::closed(fd);
            if flags & libc::O_ACCMODE != libc::O_RDONLY
                // SAFETY: the kernel has just read it as a C string.
                && let Some(twin) = unsafe { paths::twin(folder, path) }
            {
                track::opened(fd, &twin, flags);
            }
        });
    }
    fd
}

macro_rules! opens {
    ($($name:ident)*) => {$(
        /// # Safety
        /// As the C function of that name.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
            // SAFETY: the caller's.
            unsafe { open_at(libc::AT_FDCWD, path, flags, mode) }
        }
    )*};
}
opens!(open open64 __open_2 __open64_2);

macro_rules! opens_at {
    ($($name:ident)*) => {$(
        /// # Safety
        /// As the C function of that name.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
            // SAFETY: the caller's.
            unsafe { open_at(folder, path, flags, mode) }
        }
    )*};
}
opens_at!(openat openat64 __openat_2 __openat64_2);

/// # Safety
/// As `creat`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn creat(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        open_at(
            libc::AT_FDCWD,
            path,
            libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC,
            mode,
        )
    }
}

/// # Safety
/// As `close`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    track::closed(fd);
    // SAFETY: the caller's.
    unsafe { libc::syscall(libc::SYS_close, fd) as c_int }
}

fn duplicate(from: c_int, to: c_int) -> c_int {
    if to >= 0 {
        track::duplicated(from, to);
    }
    to
}

/// # Safety
/// As `dup`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup(fd: c_int) -> c_int {
    // SAFETY: the caller's.
    duplicate(fd, unsafe { libc::syscall(libc::SYS_dup, fd) as c_int })
}

/// # Safety
/// As `dup2`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup2(from: c_int, to: c_int) -> c_int {
    if from == to {
        // SAFETY: no pointers. It only tells whether the descriptor is open.
        return if unsafe { libc::syscall(libc::SYS_fcntl, from, libc::F_GETFD) } < 0 {
            -1
        } else {
            to
        };
    }
    // SAFETY: the caller's.
    duplicate(from, unsafe { libc::syscall(libc::SYS_dup3, from, to, 0) as c_int })
}

/// # Safety
/// As `dup3`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int {
    // SAFETY: the caller's.
    duplicate(from, unsafe { libc::syscall(libc::SYS_dup3, from, to, flags) as c_int })
}

macro_rules! fcntls {
    ($($name:ident)*) => {$(
        /// # Safety
        /// As `fcntl`.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(fd: c_int, command: c_int, argument: *mut c_void) -> c_int {
            // SAFETY: the caller's.
            let result = unsafe { libc::syscall(libc::SYS_fcntl, fd, command, argument) as c_int };
            match command {
                libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => duplicate(fd, result),
                _ => result,
            }
        }
    )*};
}
fcntls!(fcntl fcntl64);

/// Where a descriptor stands.
fn position(fd: c_int) -> u64 {
    // SAFETY: no pointers.
    keep_errno(|| unsafe { libc::syscall(libc::SYS_lseek, fd, 0, libc::SEEK_CUR) as u64 })
}

/// Whether every write is a sync (`O_SYNC` contains `O_DSYNC`).
fn syncs_itself(fd: c_int) -> bool {
    // SAFETY: no pointers.
    keep_errno(|| unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_GETFL) as c_int } & libc::O_DSYNC != 0)
}

/// A write at the descriptor's position (or the file's end): it ends where the descriptor stands afterwards.
fn written(fd: c_int, write: impl FnOnce() -> ssize_t) -> ssize_t {
    let Some(file) = track::tracked(fd) else { return write() };
    let mut count = -1;
    file.write(|| {
        count = write();
        (count > 0).then(|| (position(fd) - count as u64, count as u64))
    });
    after_write(file, fd, count)
}

fn written_at(fd: c_int, offset: off_t, write: impl FnOnce() -> ssize_t) -> ssize_t {
    let Some(file) = track::tracked(fd) else { return write() };
    let mut count = -1;
    file.write(|| {
        count = write();
        (count > 0).then_some((offset as u64, count as u64))
    });
    after_write(file, fd, count)
}

fn after_write(file: &track::Tracked, fd: c_int, count: ssize_t) -> ssize_t {
    if count > 0 && syncs_itself(fd) {
        keep_errno(|| file.sync(fd));
    }
    count
}

/// # Safety
/// As `write`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
    // SAFETY: the caller's.
    written(fd, || unsafe {
        libc::syscall(libc::SYS_write, fd, bytes, count) as ssize_t
    })
}

/// # Safety
/// As `writev`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller's.
    written(fd, || unsafe {
        libc::syscall(libc::SYS_writev, fd, parts, count) as ssize_t
    })
}

macro_rules! positioned_writes {
    ($($name:ident)*) => {$(
        /// # Safety
        /// As `pwrite`.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(fd: c_int, bytes: *const c_void, count: size_t, offset: off_t) -> ssize_t {
            // SAFETY: the caller's.
            written_at(fd, offset, || unsafe {
                libc::syscall(libc::SYS_pwrite64, fd, bytes, count, offset) as ssize_t
            })
        }
    )*};
}
positioned_writes!(pwrite pwrite64);

macro_rules! positioned_vector_writes {
    ($($name:ident)*) => {$(
        /// # Safety
        /// As `pwritev`.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(fd: c_int, parts: *const iovec, count: c_int, offset: off_t) -> ssize_t {
            // SAFETY: the caller's. The kernel takes the offset as two words; the high one is empty on 64 bits.
            written_at(fd, offset, || unsafe {
                libc::syscall(libc::SYS_pwritev, fd, parts, count as usize, offset, 0_usize) as ssize_t
            })
        }
    )*};
}
positioned_vector_writes!(pwritev pwritev64);

/// # Safety
/// As `copy_file_range`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn copy_file_range(
    from: c_int,
    from_offset: *mut off_t,
    to: c_int,
    to_offset: *mut off_t,
    count: size_t,
    flags: c_uint,
) -> ssize_t {
    // SAFETY: the caller's.
    let copy = || unsafe {
        libc::syscall(
            libc::SYS_copy_file_range,
            from,
            from_offset,
            to,
            to_offset,
            count,
            flags,
        ) as ssize_t
    };
    // SAFETY: null or valid, as the caller says.
    match unsafe { to_offset.as_ref() } {
        None => written(to, copy),
        Some(&offset) => written_at(to, offset, copy),
    }
}

macro_rules! truncates {
    ($($name:ident)*) => {$(
        /// # Safety
        /// As `ftruncate`.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(fd: c_int, length: off_t) -> c_int {
            // SAFETY: no pointers.
            let mut result = -1;
            let mut cut = || {
                // SAFETY: no pointers.
                result = unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) as c_int };
                result == 0
            };
            match track::tracked(fd) {
                Some(file) => file.cut(length as u64, cut),
                None => {
                    cut();
                }
            }
            result
        }
    )*};
}
truncates!(ftruncate ftruncate64);

/// Allocation alone changes no content; punching and zeroing do.
fn allocated(fd: c_int, mode: c_int, offset: off_t, length: off_t, allocate: impl FnOnce() -> c_int) -> c_int {
    let changes = mode & (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE) != 0;
    if mode & (libc::FALLOC_FL_COLLAPSE_RANGE | libc::FALLOC_FL_INSERT_RANGE) != 0 {
        track::fail("a data file is collapsed or inserted into, which is not understood here");
    }
    let mut result = -1;
    let allocate = || {
        result = allocate();
        (result == 0 && changes).then_some((offset as u64, length as u64))
    };
    match track::tracked(fd) {
        Some(file) => file.write(allocate),
        None => {
            allocate();
        }
    }
    result
}

macro_rules! allocations {
    ($($name:ident)*) => {$(
        /// # Safety
        /// As `fallocate`.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(fd: c_int, mode: c_int, offset: off_t, length: off_t) -> c_int {
            // SAFETY: no pointers.
            allocated(fd, mode, offset, length, || unsafe {
                libc::syscall(libc::SYS_fallocate, fd, mode, offset, length) as c_int
            })
        }
    )*};
}
allocations!(fallocate fallocate64);

/// The real sync first: a data folder on a disk keeps its promise too.
fn synced(fd: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let result = real();
    paths::sync_delay().map(std::thread::sleep);
    if result == 0
        && let Some(file) = track::tracked(fd)
    {
        keep_errno(|| file.sync(fd));
    }
    result
}

/// # Safety
/// As `fsync`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    // SAFETY: no pointers.
    synced(fd, || unsafe { libc::syscall(libc::SYS_fsync, fd) as c_int })
}

/// # Safety
/// As `fdatasync`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: no pointers.
    synced(fd, || unsafe { libc::syscall(libc::SYS_fdatasync, fd) as c_int })
}

macro_rules! maps {
    ($($name:ident)*) => {$(
        /// # Safety
        /// As `mmap`.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            address: *mut c_void,
            length: size_t,
            protection: c_int,
            flags: c_int,
            fd: c_int,
            offset: off_t,
        ) -> *mut c_void {
            if protection & libc::PROT_WRITE != 0 && flags & libc::MAP_SHARED != 0 && track::tracked(fd).is_some() {
                track::fail("a data file is mapped for writing, which is not understood here");
            }
            // SAFETY: the caller's.
            unsafe { libc::syscall(libc::SYS_mmap, address, length, protection, flags, fd, offset) as *mut c_void }
        }
    )*};
}
maps!(mmap mmap64);

/// Does the same to the twin of a path.
unsafe fn mirror(folder: c_int, path: *const c_char, same: impl FnOnce(*const c_char)) {
    // SAFETY: the caller's.
    keep_errno(|| {
        if let Some(twin) = unsafe { paths::twin(folder, path) } {
            same(twin.as_ptr());
        }
    });
}

unsafe fn rename_at(
    from_folder: c_int,
    from: *const c_char,
    to_folder: c_int,
    to: *const c_char,
    flags: c_uint,
) -> c_int {
    // SAFETY: the caller's.
    keep_errno(|| {
        if unsafe { paths::twin(to_folder, to) }.is_some() {
            track::removing(unsafe { CStr::from_ptr(to) }, to_folder);
        }
    });
    // SAFETY: the caller's.
    let result = unsafe { libc::syscall(libc::SYS_renameat2, from_folder, from, to_folder, to, flags) as c_int };
    if result == 0 {
        // SAFETY: the caller's; the twins are C strings.
        keep_errno(|| unsafe {
            if let (Some(from), Some(to)) = (paths::twin(from_folder, from), paths::twin(to_folder, to)) {
                let (from, to) = (from.as_ptr(), to.as_ptr());
                libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, flags);
            }
        });
    }
    result
}

/// # Safety
/// As `rename`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller's.
    unsafe { rename_at(libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) }
}

/// # Safety
/// As `renameat`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn renameat(
    from_folder: c_int,
    from: *const c_char,
    to_folder: c_int,
    to: *const c_char,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { rename_at(from_folder, from, to_folder, to, 0) }
}

/// # Safety
/// As `renameat2`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn renameat2(
    from_folder: c_int,
    from: *const c_char,
    to_folder: c_int,
    to: *const c_char,
    flags: c_uint,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { rename_at(from_folder, from, to_folder, to, flags) }
}

unsafe fn unlink_at(folder: c_int, path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        keep_errno(|| {
            if paths::twin(folder, path).is_some() {
                track::removing(CStr::from_ptr(path), folder);
            }
        });
        let result = libc::syscall(libc::SYS_unlinkat, folder, path, flags) as c_int;
        if result == 0 {
            mirror(folder, path, |twin| {
                libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, twin, flags);
            });
        }
        result
    }
}

/// # Safety
/// As `unlink`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the caller's.
    unsafe { unlink_at(libc::AT_FDCWD, path, 0) }
}

/// # Safety
/// As `remove`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn remove(path: *const c_char) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        match unlink_at(libc::AT_FDCWD, path, 0) {
            0 => 0,
            _ if *libc::__errno_location() == libc::EISDIR => unlink_at(libc::AT_FDCWD, path, libc::AT_REMOVEDIR),
            failed => failed,
        }
    }
}

/// # Safety
/// As `unlinkat`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the caller's.
    unsafe { unlink_at(folder, path, flags) }
}

/// # Safety
/// As `rmdir`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    // SAFETY: the caller's.
    unsafe { unlink_at(libc::AT_FDCWD, path, libc::AT_REMOVEDIR) }
}

unsafe fn make_folder(folder: c_int, path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the caller's.
    unsafe {
        let result = libc::syscall(libc::SYS_mkdirat, folder, path, mode) as c_int;
        if result == 0 {
            mirror(folder, path, |twin| {
                libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, twin, mode);
            });
        }
        result
    }
}

/// # Safety
/// As `mkdir`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the caller's.
    unsafe { make_folder(libc::AT_FDCWD, path, mode) }
}

/// # Safety
/// As `mkdirat`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdirat(folder: c_int, path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the caller's.
    unsafe { make_folder(folder, path, mode) }
}

unsafe fn link_at(from_folder: c_int, from: *const c_char, to_folder: c_int, to: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the caller's; the twins are C strings.
    unsafe {
        let result = libc::syscall(libc::SYS_linkat, from_folder, from, to_folder, to, flags) as c_int;
        if result == 0 {
            keep_errno(|| {
                if let (Some(from), Some(to)) = (paths::twin(from_folder, from), paths::twin(to_folder, to)) {
                    libc::syscall(
                        libc::SYS_linkat,
                        libc::AT_FDCWD,
                        from.as_ptr(),
                        libc::AT_FDCWD,
                        to.as_ptr(),
                        0,
                    );
                }
            });
        }
        result
    }
}

/// # Safety
/// As `link`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn link(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller's.
    unsafe { link_at(libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) }
}

/// # Safety
/// As `linkat`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn linkat(
    from_folder: c_int,
    from: *const c_char,
    to_folder: c_int,
    to: *const c_char,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { link_at(from_folder, from, to_folder, to, flags) }
}
