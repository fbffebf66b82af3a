//! What is read out of a certificate that somebody else checks: webpki checks validity and does not say what it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::name::Name;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
/// The version, which is not there in the oldest certificates.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const DAY_S: i64 = 24 * 3600;

/// A certificate's validity and names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Valid from, in seconds since 1970.
    pub not_before: i64,
    /// Valid to, in seconds since 1970.
    pub not_after: i64,
    /// Its DNS names.
    pub dns: Vec<String>,
}

impl Certificate {
    /// Reads one; `None` if it is none.
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let names = webpki::EndEntityCert::try_from(der).ok()?;
        let (not_before, not_after) = validity(der)?;
        Some(Self {
            not_before,
            not_after,
            dns: names.valid_dns_names().map(str::to_owned).collect(),
        })
    }

    /// Reads the first one of a text in PEM format.
    pub fn from_pem(text: &str) -> Option<Self> {
        Self::read(&CertificateDer::from_pem_slice(text.as_bytes()).ok()?)
    }

    /// What it says that its holder is; more than one thing if it likes.
    pub fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.dns.iter().filter_map(|dns| Name::parse(dns))
    }

    /// For how long it is still valid; zero when it has expired.
    pub fn valid_for(&self, now: SystemTime) -> Duration {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_secs(u64::try_from(self.not_after).unwrap_or(0)).saturating_sub(now)
    }
}

/// The validity of a certificate (RFC 5280, 4.1): the fourth field of its contents, not counting the version.
fn validity(der: &[u8]) -> Option<(i64, i64)> {
    let (certificate, _) = expect(der, SEQUENCE)?;
    let (contents, _) = expect(certificate, SEQUENCE)?;
    let rest = match element(contents)? {
        (VERSION, _, rest) => rest,
        _ => contents,
    };
    let (_, rest) = expect(rest, INTEGER)?;
    let (_signature, rest) = expect(rest, SEQUENCE)?;
    let (_issuer, rest) = expect(rest, SEQUENCE)?;
    let (validity, _) = expect(rest, SEQUENCE)?;
    let (tag, not_before, rest) = element(validity)?;
    let from = time(tag, not_before)?;
    let (tag, not_after, _) = element(rest)?;
    Some((from, time(tag, not_after)?))
}

/// The first element's contents, if it has this tag, and what follows.
fn expect(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, contents, rest) = element(der)?;
    (tag == wanted).then_some((contents, rest))
}

/// The first element: its tag, its contents, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

/// A time, in seconds since 1970: `YYMMDDHHMMSSZ` (from 1950 on) or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    let number = |digits: &[u8]| {
        let text = std::str::from_utf8(digits).ok()?;
        text.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
        text.parse::<i64>().ok()
    };
    let (year, rest) = match tag {
        UTC_TIME if digits.len() == 12 => {
            let year = number(&digits[..2])?;
            (year + if year < 50 { 2000 } else { 1900 }, &digits[2..])
        }
        GENERALIZED_TIME if digits.len() == 14 => (number(&digits[..4])?, &digits[4..]),
        _ => return None,
    };
    let mut parts = rest.chunks(2).map(number);
    let mut part = || parts.next().flatten();
    let (month, day, hour, minute, second) = (part()?, part()?, part()?, part()?, part()?);
    (1..=12).contains(&month).then_some(())?;
    Some(days(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second)
}

/// Days from 1970-01-01 to a date. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::{Authority, Validity};

    #[test]
    fn times_are_seconds() {
        assert_eq!(time(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, b"240229123456Z"), Some(1_709_210_096));
        assert_eq!(time(UTC_TIME, b"500101000000Z"), Some(-631_152_000));
        assert_eq!(time(GENERALIZED_TIME, b"20500301000000Z"), Some(2_529_705_600));
        for wrong in [
            "",
            "Z",
            "700101000000",
            "7001010000Z",
            "70010100000xZ",
            "701301000000Z",
            "+00101000000Z",
        ] {
            assert_eq!(time(UTC_TIME, wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_certificate_says_what_was_put_into_it_and_half_of_one_says_nothing() {
        for (from_s, to_s) in [(1_700_000_000, 1_800_000_000), (0, 4_102_444_800)] {
            let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
            let validity = Validity {
                not_before: at(from_s),
                not_after: at(to_s),
            };
            let authority = Authority::make(validity).unwrap();
            let issued = authority.issue(
                &["a.example".to_owned(), "router.partita.internal".to_owned()],
                validity,
            );
            let issued = issued.unwrap().certificate;
            let read = Certificate::from_pem(&issued).unwrap();
            assert_eq!((read.not_before, read.not_after), (from_s as i64, to_s as i64));
            assert_eq!(read.dns, ["a.example", "router.partita.internal"]);
            assert_eq!(
                read.names().map(|name| name.to_string()).collect::<Vec<_>>(),
                ["router.partita.internal"]
            );
            assert_eq!(read.valid_for(at(to_s - 5)), Duration::from_secs(5));
            assert_eq!(read.valid_for(at(to_s + 5)), Duration::ZERO);
            let der = CertificateDer::from_pem_slice(issued.as_bytes()).unwrap();
            for length in 0..der.len() {
                assert_eq!(Certificate::read(&CertificateDer::from(&der[..length])), None);
            }
        }
    }
}
