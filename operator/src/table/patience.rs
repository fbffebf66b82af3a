//! How long a Table has been waiting for the same: what has not come after a while will not come by itself, and a person must know.
//!
//! Kept in memory: an operator that is started again is patient anew.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

/// What each Table (by uid) waits for, and since when.
#[derive(Debug)]
pub struct Patience {
    deadline_ms: u64,
    waits: Mutex<HashMap<String, (&'static str, u64)>>,
}

impl Patience {
    /// Ends after so long.
    pub fn of(deadline: Duration) -> Self {
        Self {
            deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
            waits: Mutex::new(HashMap::new()),
        }
    }

    /// Notes what a Table waits for (`None`: for nothing), and tells whether it has for too long.
    pub fn is_at_an_end(&self, uid: &str, reason: Option<&'static str>, now_ms: u64) -> bool {
        let mut waits = self.waits.lock();
        let Some(reason) = reason else {
            waits.remove(uid);
            return false;
        };
        let wait = waits.entry(uid.to_owned()).or_insert((reason, now_ms));
        if wait.0 != reason {
            *wait = (reason, now_ms);
        }
        now_ms.saturating_sub(wait.1) >= self.deadline_ms
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

    #[test]
    fn it_ends_when_nothing_else_happens() {
        let patience = Patience::of(Duration::from_secs(600));
        assert!(!patience.is_at_an_end("a", Some("Creating"), 0));
        assert!(!patience.is_at_an_end("a", Some("Creating"), 599_999));
        assert!(patience.is_at_an_end("a", Some("Creating"), 600_000));
        assert!(
            !patience.is_at_an_end("b", Some("Creating"), 600_000),
            "another table's"
        );
        assert!(!patience.is_at_an_end("a", Some("Updating"), 600_000), "something else");
        assert!(!patience.is_at_an_end("a", None, 1_200_000));
        assert!(
            !patience.is_at_an_end("a", Some("Updating"), 1_200_000),
            "it went on meanwhile"
        );
        assert_eq!(patience.words(), "10 minutes");
    }
}
