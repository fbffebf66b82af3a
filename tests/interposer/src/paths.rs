//! Paths of data files and of their twins.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// Where the data and its twins are.
pub struct Settings {
    data: PathBuf,
    shadow: PathBuf,
    /// While this file is there, syncs do nothing and say that they did.
    lie: Option<PathBuf>,
}

static SETTINGS: OnceLock<Option<Settings>> = OnceLock::new();

/// The settings; `None` in a process that is not meant.
pub fn settings() -> Option<&'static Settings> {
    SETTINGS
        .get_or_init(|| {
            Some(Settings {
                data: PathBuf::from(std::env::var_os("INTERPOSER_DATA")?),
                shadow: PathBuf::from(std::env::var_os("INTERPOSER_SHADOW")?),
                lie: std::env::var_os("INTERPOSER_LIE").map(PathBuf::from),
            })
        })
        .as_ref()
}

/// What every sync takes longer than it does, in any process.
pub fn sync_delay() -> Option<Duration> {
    static DELAY: OnceLock<Option<Duration>> = OnceLock::new();
    *DELAY.get_or_init(|| {
        let micros = std::env::var("INTERPOSER_SYNC_MICROS").ok()?;
        micros.parse().ok().map(Duration::from_micros)
    })
}

/// Whether syncs are lies now.
pub fn lies() -> bool {
    let lie = settings().and_then(|settings| settings.lie.as_ref());
    lie.is_some_and(|path| path.exists())
}

/// The twin of a path given as the `*at` functions take it; `None` when it is no data file.
///
/// # Safety
/// `path` is null or a C string.
pub unsafe fn twin(folder: i32, path: *const libc::c_char) -> Option<CString> {
    let settings = settings()?;
    if path.is_null() {
        return None;
    }
    // SAFETY: the caller says so.
    let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()));
    let absolute = if path.is_absolute() {
        path.to_owned()
    } else {
        base(folder)?.join(path)
    };
    let inside = absolute.strip_prefix(&settings.data).ok()?;
    CString::new(settings.shadow.join(inside).into_os_string().as_bytes()).ok()
}

fn base(folder: i32) -> Option<PathBuf> {
    if folder == libc::AT_FDCWD {
        return std::env::current_dir().ok();
    }
    std::fs::read_link(format!("/proc/self/fd/{folder}")).ok()
}
