//! How long a Table has been waiting for the same, and nothing has come of it: what has not come after a while will not come by
//! itself, and a person must know.
//!
//! 1. What is waited for is known by its reason: the words about a pod that does not start change with every try.
//! 2. A number stands for how far things are: as long as it changes, something comes of it.
//! 3. Several things may be waited for in turns: each has its own time, until nothing is waited for or it was not for a while.
//!
//! Kept in memory: an operator that is started again is patient anew.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use parking_lot::Mutex;

/// What has not been waited for during so many milliseconds begins anew.
const FORGOTTEN_MS: u64 = 60_000;

/// What each Table (by uid) waits for.
#[derive(Debug)]
pub struct Patience {
    deadline_ms: u64,
    waits: Mutex<HashMap<String, BTreeMap<&'static str, Wait>>>,
}

#[derive(Debug, Clone, Copy)]
struct Wait {
    since_ms: u64,
    seen_ms: u64,
    progress: u64,
}

impl Patience {
    /// Ends after so long.
    pub fn of(deadline: Duration) -> Self {
        Self {
            deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
            waits: Mutex::new(HashMap::new()),
        }
    }

    /// Notes what a Table waits for (`None`: for nothing) and how far that is, and tells whether it has stood there for too long.
    pub fn is_at_an_end(&self, uid: &str, waits: Option<(&'static str, u64)>, now_ms: u64) -> bool {
        let mut all = self.waits.lock();
        let Some((reason, progress)) = waits else {
            all.remove(uid);
            return false;
        };
        let own = all.entry(uid.to_owned()).or_default();
        own.retain(|known, wait| *known == reason || now_ms.saturating_sub(wait.seen_ms) < FORGOTTEN_MS);
        let begins = Wait {
            since_ms: now_ms,
            seen_ms: now_ms,
            progress,
        };
        let wait = own.entry(reason).or_insert(begins);
        if wait.progress != progress {
            *wait = begins;
        }
        wait.seen_ms = now_ms;
        now_ms.saturating_sub(wait.since_ms) >= self.deadline_ms
    }

    /// The deadline in words.
    pub fn words(&self) -> String {
        match self.deadline_ms / 1000 {
            seconds if seconds >= 120 => format!("{} minutes", seconds / 60),
            seconds => format!("{seconds} seconds"),
        }
    }

    /// A Table is gone.
    pub fn forget(&self, uid: &str) {
        self.waits.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATING: Option<(&str, u64)> = Some(("Creating", 0));
    const UPDATING: Option<(&str, u64)> = Some(("Updating", 0));

    #[test]
    fn it_ends_when_nothing_else_happens() {
        let patience = Patience::of(Duration::from_secs(600));
        assert!(!patience.is_at_an_end("a", CREATING, 0));
        assert!(!patience.is_at_an_end("a", CREATING, 599_999));
        assert!(patience.is_at_an_end("a", CREATING, 600_000));
        assert!(!patience.is_at_an_end("b", CREATING, 600_000), "another table's");
        assert!(!patience.is_at_an_end("a", UPDATING, 600_000), "something else");
        assert!(!patience.is_at_an_end("a", None, 1_200_000));
        assert!(!patience.is_at_an_end("a", UPDATING, 1_200_000), "it went on meanwhile");
        assert_eq!(patience.words(), "10 minutes");
    }

    #[test]
    fn it_lasts_as_long_as_something_comes_of_it() {
        let patience = Patience::of(Duration::from_secs(600));
        for minute in 0..30 {
            let building = Some(("BuildingIndex", minute));
            assert!(!patience.is_at_an_end("a", building, minute * 60_000));
        }
        let building = Some(("BuildingIndex", 29));
        assert!(!patience.is_at_an_end("a", building, 38 * 60_000));
        assert!(patience.is_at_an_end("a", building, 39 * 60_000));
    }

    #[test]
    fn what_happens_in_between_does_not_renew_it() {
        let patience = Patience::of(Duration::from_secs(600));
        for second in (0..600).step_by(2) {
            let reason = if second % 60 == 0 { UPDATING } else { CREATING };
            assert!(!patience.is_at_an_end("a", reason, second * 1000));
        }
        assert!(patience.is_at_an_end("a", CREATING, 602_000));
        assert!(!patience.is_at_an_end("a", UPDATING, 700_000), "not seen for a while");
    }
}
