//! An access key and the signing keys derived from it.

use hmac::{Hmac, Mac};
use parking_lot::RwLock;
use sha2::Sha256;

use super::{SERVICE, TERMINATOR};
use crate::backend::Account;

/// What an access key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Read and write items, and look at tables.
    Data,
    /// Everything that `Data` allows, and make, change and remove tables.
    Tables,
}

/// One access key.
pub struct AccessKey {
    /// Its account.
    pub account: Account,
    /// What it may do.
    pub permission: Permission,
    secret: String,
    /// The signing key of the day that was last asked for: a day's requests need one derivation, and a secret that is
    /// replaced takes its derived key with it.
    derived: RwLock<Option<Derived>>,
}

struct Derived {
    date: String,
    region: String,
    key: Hmac<Sha256>,
}

impl AccessKey {
    /// A key with its secret.
    pub fn new(secret: String, account: Account, permission: Permission) -> Self {
        Self {
            account,
            permission,
            secret,
            derived: RwLock::new(None),
        }
    }

    /// The signature in lower-case hex that a request of this time and canonical hash must carry.
    pub(super) fn sign(&self, date: &str, region: &str, time: &str, request_hash: &[u8; 64]) -> [u8; 64] {
        let mut mac = self.signing_key(date, region);
        for part in [
            "AWS4-HMAC-SHA256\n",
            time,
            "\n",
            date,
            "/",
            region,
            "/",
            SERVICE,
            "/",
            TERMINATOR,
            "\n",
        ] {
            mac.update(part.as_bytes());
        }
        mac.update(request_hash);
        hex64(&mac.finalize().into_bytes().into())
    }

    fn signing_key(&self, date: &str, region: &str) -> Hmac<Sha256> {
        if let Some(derived) = &*self.derived.read()
            && derived.date == date
            && derived.region == region
        {
            return derived.key.clone();
        }
        let mut secret = String::with_capacity(4 + self.secret.len());
        secret.push_str("AWS4");
        secret.push_str(&self.secret);
        let mut key = keyed(secret.as_bytes());
        for part in [date, region, SERVICE, TERMINATOR] {
            key.update(part.as_bytes());
            key = keyed(&key.finalize().into_bytes());
        }
        *self.derived.write() = Some(Derived {
            date: date.to_owned(),
            region: region.to_owned(),
            key: key.clone(),
        });
        key
    }
}

impl std::fmt::Debug for AccessKey {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey")
            .field("account", &self.account)
            .field("permission", &self.permission)
            .finish_non_exhaustive()
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    match Hmac::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of every length"),
    }
}

/// 32 bytes in lower-case hex.
pub(super) fn hex64(bytes: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}
