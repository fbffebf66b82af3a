//! SigV4 for DynamoDB requests: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

const SIGNED_HEADERS: &str = "content-type;host;x-amz-date;x-amz-target";
const CONTENT_TYPE: &str = "application/x-amz-json-1.0";
const SECONDS_PER_DAY: u64 = 86_400;

/// Signs requests of one identity to one host. The key of the day and the text of the second are kept, so that a
/// signature costs three hashes of short texts and one of the body.
#[derive(Clone)]
pub struct Signer {
    access_key: String,
    secret: String,
    region: String,
    host: String,
    second: u64,
    timestamp: String,
    scope: String,
    key: Option<Hmac<Sha256>>,
    scratch: String,
}

impl Signer {
    /// An identity for `host` (`127.0.0.1:8000`).
    pub fn new(access_key: &str, secret: &str, region: &str, host: &str) -> Self {
        Signer {
            access_key: access_key.to_owned(),
            secret: secret.to_owned(),
            region: region.to_owned(),
            host: host.to_owned(),
            second: 0,
            timestamp: String::new(),
            scope: String::new(),
            key: None,
            scratch: String::with_capacity(512),
        }
    }

    /// Appends a whole signed request (head and body) for an operation (`GetItem`) to `out`.
    pub fn request(&mut self, out: &mut Vec<u8>, operation: &str, body: &[u8]) {
        self.turn_to(SystemTime::now());
        let payload = Sha256::digest(body);
        let Signer {
            host,
            timestamp,
            scope,
            scratch,
            ..
        } = self;

        scratch.clear();
        for part in [
            "POST\n/\n\ncontent-type:",
            CONTENT_TYPE,
            "\nhost:",
            host,
            "\nx-amz-date:",
            timestamp,
            "\nx-amz-target:DynamoDB_20120810.",
            operation,
            "\n\n",
            SIGNED_HEADERS,
            "\n",
        ] {
            scratch.push_str(part);
        }
        push_hex(scratch, &payload);
        let canonical = Sha256::digest(scratch.as_bytes());

        scratch.clear();
        for part in ["AWS4-HMAC-SHA256\n", timestamp, "\n", scope, "\n"] {
            scratch.push_str(part);
        }
        push_hex(scratch, &canonical);
        let Some(key) = &self.key else { return };
        let mut mac = key.clone();
        mac.update(scratch.as_bytes());
        let signature = mac.finalize().into_bytes();

        scratch.clear();
        for part in [
            "POST / HTTP/1.1\r\nhost: ",
            host,
            "\r\ncontent-type: ",
            CONTENT_TYPE,
            "\r\nx-amz-date: ",
            timestamp,
            "\r\nx-amz-target: DynamoDB_20120810.",
            operation,
            "\r\nauthorization: AWS4-HMAC-SHA256 Credential=",
            &self.access_key,
            "/",
            scope,
            ", SignedHeaders=",
            SIGNED_HEADERS,
            ", Signature=",
        ] {
            scratch.push_str(part);
        }
        push_hex(scratch, &signature);
        scratch.push_str("\r\ncontent-length: ");
        out.extend_from_slice(scratch.as_bytes());
        out.extend_from_slice(body.len().to_string().as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(body);
    }

    /// Renews what depends on the second and on the day.
    fn turn_to(&mut self, now: SystemTime) {
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        if second == self.second && self.key.is_some() {
            return;
        }
        let (year, month, day) = civil(second / SECONDS_PER_DAY);
        let rest = second % SECONDS_PER_DAY;
        let date = format!("{year:04}{month:02}{day:02}");
        self.timestamp = format!("{date}T{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60);
        if self.key.is_none() || second / SECONDS_PER_DAY != self.second / SECONDS_PER_DAY {
            let mut key = hmac(format!("AWS4{}", self.secret).as_bytes(), date.as_bytes());
            for part in [self.region.as_str(), "dynamodb", "aws4_request"] {
                key = hmac(&key, part.as_bytes());
            }
            self.key = Some(keyed(&key));
            self.scope = format!("{date}/{}/dynamodb/aws4_request", self.region);
        }
        self.second = second;
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    #[allow(clippy::expect_used)]
    Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = keyed(key);
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)] as char);
        out.push(DIGITS[usize::from(byte & 15)] as char);
    }
}

/// Days since 1970-01-01 as year, month, day (Howard Hinnant's `civil_from_days`, for days after the epoch).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_the_calendars() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_513), (2026, 3, 1));
    }

    /// The vector of AWS's documentation for deriving a signing key.
    #[test]
    fn the_key_is_derived_as_documented() {
        let mut key = hmac(b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", b"20120215");
        for part in ["us-east-1", "iam", "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        let mut text = String::new();
        push_hex(&mut text, &key);
        assert_eq!(text, "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d");
    }

    #[test]
    fn the_day_turns() {
        let mut signer = Signer::new("a", "b", "us-east-1", "h");
        signer.turn_to(UNIX_EPOCH + Duration::from_secs(SECONDS_PER_DAY - 1));
        assert_eq!(signer.timestamp, "19700101T235959Z");
        signer.turn_to(UNIX_EPOCH + Duration::from_secs(SECONDS_PER_DAY));
        assert_eq!(signer.scope, "19700102/us-east-1/dynamodb/aws4_request");
    }
}
