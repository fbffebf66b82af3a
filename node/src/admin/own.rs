//! What this process uses, under the names that Prometheus' own clients have for it. Read when it is asked for; what the system
//! does not tell (other systems than Linux) is left out.

use std::fs;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeVal;

use super::exposition::family;

/// When this process began, as far as its metrics are concerned.
static BEGAN: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);

/// Notes the beginning.
pub fn begin() {
    LazyLock::force(&BEGAN);
}

/// Appends all of it.
pub fn expose(text: &mut String) {
    let mut one = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            family(text, name, kind, help, &[(String::new(), value)]);
        }
    };
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of_status = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let kib = |name: &str| of_status(name).map(|kib| kib * 1024.0);
    one(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory size in bytes",
        kib("VmRSS:"),
    );
    one(
        "process_virtual_memory_bytes",
        "gauge",
        "Virtual memory size in bytes",
        kib("VmSize:"),
    );
    one("process_threads", "gauge", "Threads", of_status("Threads:"));
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let used = getrusage(UsageWho::RUSAGE_SELF).ok();
    one(
        "process_cpu_seconds_total",
        "counter",
        "User and system CPU time spent, in seconds",
        used.map(|used| seconds(used.user_time()) + seconds(used.system_time())),
    );
    let open = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64);
    one("process_open_fds", "gauge", "Open file descriptors", open);
    let most = getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(most, _)| most as f64);
    one(
        "process_max_fds",
        "gauge",
        "Most file descriptors that may be open",
        most,
    );
    let began = BEGAN.duration_since(UNIX_EPOCH).ok().map(|began| began.as_secs_f64());
    one(
        "process_start_time_seconds",
        "gauge",
        "When the process began, in seconds since 1970",
        began,
    );
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_process_shows_what_it_uses() {
        super::begin();
        let mut text = String::new();
        super::expose(&mut text);
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.parse::<f64>().ok())
        };
        assert!(
            value("process_resident_memory_bytes").is_some_and(|bytes| bytes > 1e6),
            "{text}"
        );
        assert!(value("process_open_fds").is_some_and(|open| open >= 3.0), "{text}");
        assert!(value("process_open_fds") <= value("process_max_fds"), "{text}");
        assert!(
            value("process_start_time_seconds").is_some_and(|at| at > 1.6e9),
            "{text}"
        );
        assert!(value("process_cpu_seconds_total").is_some(), "{text}");
    }
}
