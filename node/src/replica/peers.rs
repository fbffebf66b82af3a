//! The way to other stores, and what is written down of them in the data folder.
//!
//! 1. [`Mail`] is what the store sends letters by. It is made before the store is open, when nobody knows yet which store
//!    that is, and connected afterwards.
//! 2. [`introduce`] says who this store is: every start is counted, durably, before anybody hears of it.
//! 3. [`address_book`] begins with what was known at the last start, and writes down what is learned: groups find their
//!    members again when everything restarts at once and nobody is there to ask.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use bytes::Bytes;
use partita_replication::{Peers, Store};
use partita_transport::{AddressBook, KnownAddress, Letters, StoreIdentity};
use uuid::Uuid;

/// How often the store was started, in the data folder.
const STARTS_FILE: &str = "STARTS";
/// Where other stores are, in the data folder.
const PEERS_FILE: &str = "PEERS";

/// Letters of the store, from the moment at which it can be said whose they are.
#[derive(Default)]
pub struct Mail(OnceLock<Letters>);

impl Mail {
    /// Letters leave from now on.
    pub fn connect(&self, letters: Letters) {
        // Only the first call counts; there is one.
        let _ = self.0.set(letters);
    }
}

impl Peers for Mail {
    fn send(&self, to: Uuid, frames: Bytes) {
        // Before it is connected letters are lost, as any may be.
        if let Some(letters) = self.0.get() {
            letters.send(to, frames);
        }
    }
}

/// Who this store is, at one start more than before.
pub fn introduce(
    folder: &Path,
    store: &Store,
    listen: SocketAddr,
    advertise: Option<&str>,
) -> anyhow::Result<StoreIdentity> {
    let starts = count_start(folder).with_context(|| folder.join(STARTS_FILE).display().to_string())?;
    let bound = (!listen.ip().is_unspecified()).then(|| listen.to_string());
    Ok(StoreIdentity {
        uuid: store.uuid(),
        starts,
        incarnation: rand::random::<u64>().max(1),
        address: advertise.map(str::to_owned).or(bound).unwrap_or_default(),
    })
}

fn count_start(folder: &Path) -> io::Result<u64> {
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let before: u64 = match std::fs::read_to_string(folder.join(STARTS_FILE)) {
        Ok(text) => text.trim().parse().map_err(|_| invalid("not a number of starts"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let starts = before
        .checked_add(1)
        .ok_or_else(|| invalid("too large a number of starts"))?;
    replace(folder, STARTS_FILE, format!("{starts}\n").as_bytes())?;
    Ok(starts)
}

/// What is known of other stores: durable in the data folder.
pub fn address_book(folder: &Path, own: StoreIdentity) -> anyhow::Result<Arc<AddressBook>> {
    let path = folder.join(PEERS_FILE);
    let known: Vec<KnownAddress> = match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).with_context(|| path.display().to_string())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let folder = folder.to_owned();
    let keep = move |known: &[KnownAddress]| replace(&folder, PEERS_FILE, &serde_json::to_vec(known)?);
    Ok(Arc::new(AddressBook::new(own, known, Box::new(keep))))
}

/// Puts a file in place, durably: it is there as a whole, or the one before is.
fn replace(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let draft = folder.join(format!("{name}.new"));
    let mut file = File::create(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&draft, folder.join(name))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(count_start(folder.path()).unwrap(), 1);
        assert_eq!(count_start(folder.path()).unwrap(), 2);
        std::fs::write(folder.path().join(STARTS_FILE), "many").unwrap();
        assert!(
            count_start(folder.path())
                .unwrap_err()
                .to_string()
                .contains("not a number")
        );
    }

    #[test]
    fn what_is_known_of_others_survives() {
        let folder = tempfile::tempdir().unwrap();
        let own = StoreIdentity {
            uuid: Uuid::from_u128(1),
            starts: 1,
            incarnation: 1,
            address: "a:1".to_owned(),
        };
        let book = || address_book(folder.path(), own.clone());
        let other = Uuid::from_u128(2);
        book().unwrap().told(other, "b:1");
        assert_eq!(book().unwrap().address(other).as_deref(), Some("b:1"));
        std::fs::write(folder.path().join(PEERS_FILE), "[{").unwrap();
        assert!(book().is_err());
    }
}
