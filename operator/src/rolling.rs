//! Whose turn it is to restart: of all tables together so many groups at a time.
//!
//! 1. [`Turns::take`] gives a StatefulSet its turn, or names the one that everybody waits for;
//! 2. the turn ends ([`Turns::end`]) when all its pods are new ones that serve. A new version that does not start is thus met by
//!    one group, not by all.
//!
//! Turns are kept in memory. An operator that was started meanwhile finds those of its predecessor by what they left behind: pods
//! that are up to date and do not serve, or of which some are new and some are not ([`Turns::take`]'s `restarting`).

use std::collections::BTreeSet;

use parking_lot::Mutex;

/// A namespace and a StatefulSet of storage nodes in it.
pub type Host = (String, String);

/// The turns of all tables.
#[derive(Debug)]
pub struct Turns {
    at_once: usize,
    taken: Mutex<BTreeSet<Host>>,
}

impl Turns {
    /// With so many groups at once.
    pub fn new(at_once: usize) -> Self {
        Self {
            at_once: at_once.max(1),
            taken: Mutex::new(BTreeSet::new()),
        }
    }

    /// Gives a StatefulSet its turn; `restarting` are those that are seen to be in the middle of a restart. Otherwise the one that is
    /// waited for.
    pub fn take(&self, host: Host, restarting: impl IntoIterator<Item = Host>) -> Result<(), Host> {
        let mut taken = self.taken.lock();
        let mut under_way = taken.clone();
        under_way.extend(restarting);
        under_way.remove(&host);
        match under_way.first() {
            Some(first) if under_way.len() >= self.at_once => Err(first.clone()),
            _ => {
                taken.insert(host);
                Ok(())
            }
        }
    }

    /// These have had their turn.
    pub fn end(&self, over: impl Fn(&Host) -> bool) {
        self.taken.lock().retain(|host| !over(host));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Host {
        ("shop".to_owned(), name.to_owned())
    }

    #[test]
    fn one_at_a_time() {
        let turns = Turns::new(1);
        assert_eq!(turns.take(host("a"), []), Ok(()));
        assert_eq!(turns.take(host("a"), []), Ok(()), "it has its turn");
        assert_eq!(turns.take(host("b"), []), Err(host("a")));
        turns.end(|over| *over == host("a"));
        assert_eq!(turns.take(host("b"), [host("c")]), Err(host("c")), "a predecessor's");
        assert_eq!(turns.take(host("b"), [host("b")]), Ok(()));
    }

    #[test]
    fn or_as_many_as_is_said() {
        let turns = Turns::new(2);
        assert_eq!(turns.take(host("a"), []), Ok(()));
        assert_eq!(turns.take(host("b"), []), Ok(()));
        assert!(turns.take(host("c"), []).is_err());
    }
}
