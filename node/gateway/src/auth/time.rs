//! Times as signatures write them: `YYYYMMDDTHHMMSSZ`, without a calendar library.

use std::fmt;

const DAY_SECONDS: i64 = 86_400;

/// A second, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timestamp {
    epoch: i64,
}

impl Timestamp {
    pub(super) fn from_epoch(epoch: i64) -> Self {
        Self { epoch }
    }

    pub(super) fn epoch(self) -> i64 {
        self.epoch
    }

    /// `YYYYMMDDTHHMMSSZ`, each field within its range.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
            return None;
        }
        let field = |from: usize, to: usize| -> Option<i64> {
            bytes[from..to].iter().try_fold(0, |sum, byte| {
                byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'))
            })
        };
        let (year, month, day) = (field(0, 4)?, field(4, 6)?, field(6, 8)?);
        let (hour, minute, second) = (field(9, 11)?, field(11, 13)?, field(13, 15)?);
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let epoch = days_from_civil(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second;
        Some(Self { epoch })
    }

    /// The form of a `Date` header.
    pub(super) fn parse_http(text: &str) -> Option<Self> {
        let since = httpdate::parse_http_date(text)
            .ok()?
            .duration_since(std::time::UNIX_EPOCH)
            .ok()?;
        i64::try_from(since.as_secs()).ok().map(Self::from_epoch)
    }

    /// `YYYYMMDD`.
    pub(super) fn day(self) -> String {
        let (year, month, day) = civil_from_days(self.epoch.div_euclid(DAY_SECONDS));
        format!("{year:04}{month:02}{day:02}")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.epoch.div_euclid(DAY_SECONDS));
        let second = self.epoch.rem_euclid(DAY_SECONDS);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
    }
}

/// Days since 1970-01-01 of a date in the Gregorian calendar. The year is counted from March, so that the leap day is
/// its last, and eras of 400 years (146,097 days) repeat exactly.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_a_round_trip() {
        for text in [
            "20150830T123600Z",
            "20000229T235959Z",
            "19700101T000000Z",
            "20260131T000001Z",
            "21000301T000000Z",
        ] {
            let time = Timestamp::parse(text).unwrap();
            assert_eq!(time.to_string(), text);
            assert_eq!(time.day(), text[..8]);
        }
        assert_eq!(Timestamp::parse("20150830T123600Z").unwrap().epoch(), 1_440_938_160);
        assert_eq!(
            Timestamp::parse_http("Sun, 30 Aug 2015 12:36:00 GMT").unwrap().epoch(),
            1_440_938_160
        );
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "2015-08-30T12:36:00Z",
            "20151330T123600Z",
            "20150830T243600Z",
            "20150830t123600Z",
            "20150830T1236é",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
