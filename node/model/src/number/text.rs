//! Numbers as text: the grammar DynamoDB accepts (that of Java's `BigDecimal`) and the plain notation it prints.

use std::fmt;

use super::encoding::{Encoded, unpack};
use super::{COEFFICIENT_END, MAGNITUDE_MAX, MAGNITUDE_MIN, Number, NumberError};

/// Any number of so many digits fits 64 bits.
const SMALL_DIGITS_MAX: usize = 19;

impl Number {
    /// Reads `[+-] digits [. digits] [(e|E) [+-] digits]`; a part of the digits may be missing, not both.
    pub fn parse(text: &str) -> Result<Self, NumberError> {
        let bytes = text.as_bytes();
        let (negative, mut rest) = match bytes {
            [] => return Err(NumberError::Empty),
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, bytes),
        };
        if let Some(number) = parse_small_integer(negative, rest) {
            return Ok(number);
        }
        let mut digits = Digits::default();
        let mut point = false;
        while let [byte, tail @ ..] = rest {
            match byte {
                b'0'..=b'9' => digits.push(byte - b'0', point),
                b'.' if !point => point = true,
                _ => break,
            }
            rest = tail;
        }
        if !digits.any {
            return Err(NumberError::NotANumber);
        }
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', rest @ ..] => parse_exponent(rest)?,
            _ => return Err(NumberError::NotANumber),
        };
        digits.finish(negative, exponent)
    }
}

/// The commonest texts by far, in 64-bit arithmetic; `None` for all others.
fn parse_small_integer(negative: bool, digits: &[u8]) -> Option<Number> {
    if digits.is_empty() || digits.len() > SMALL_DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits
        .iter()
        .fold(0u64, |value, digit| value * 10 + u64::from(digit - b'0'));
    Number::new(negative, value.into(), 0).ok()
}

/// The significant digits read so far.
#[derive(Default)]
struct Digits {
    /// Their value, without the zeros in `zeros`.
    coefficient: u128,
    /// Zeros after the last digit that was not one: they count only when another digit follows.
    zeros: i64,
    /// Digits after the point that are in `coefficient` or `zeros`.
    fraction: i64,
    /// There was a digit, be it a leading zero.
    any: bool,
    /// More than 38 significant digits; the ones that do not fit are counted in `dropped`.
    too_long: bool,
    dropped: i64,
}

impl Digits {
    fn push(&mut self, digit: u8, after_point: bool) {
        self.any = true;
        self.fraction += i64::from(after_point);
        if digit == 0 {
            self.zeros += i64::from(self.coefficient != 0);
            return;
        }
        let mut value = Some(self.coefficient);
        for _ in 0..self.zeros.min(39) {
            value = value.and_then(|v| v.checked_mul(10));
        }
        let value = value
            .and_then(|v| v.checked_mul(10))
            .and_then(|v| v.checked_add(u128::from(digit)))
            .filter(|v| *v < COEFFICIENT_END);
        match value {
            Some(value) if !self.too_long => {
                self.coefficient = value;
            }
            _ => {
                self.too_long = true;
                self.dropped += self.zeros + 1;
            }
        }
        self.zeros = 0;
    }

    fn finish(self, negative: bool, exponent: i64) -> Result<Number, NumberError> {
        let exponent = exponent + self.dropped + self.zeros - self.fraction;
        let exponent = exponent.clamp(i64::from(i32::MIN / 2), i64::from(i32::MAX / 2)) as i32;
        let number = Number::new(negative, self.coefficient, exponent)?;
        if self.too_long {
            return Err(NumberError::Precision);
        }
        Ok(number)
    }
}

/// Digits with an optional sign; more of them than anything needs saturate.
fn parse_exponent(text: &[u8]) -> Result<i64, NumberError> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(NumberError::NotANumber);
    }
    let value = digits.iter().fold(0i64, |value, digit| {
        value.saturating_mul(10).saturating_add(i64::from(digit - b'0'))
    });
    // Far beyond every number and far from overflowing when digits are added to it.
    let value = value.min(1 << 40);
    Ok(if negative { -value } else { value })
}

/// Appends the plain decimal notation of a stored number; of bytes that are none, `0`.
pub fn write_text(stored: &[u8], out: &mut Vec<u8>) {
    let Some(unpacked) = unpack(stored) else {
        out.push(b'0');
        return;
    };
    let digits = unpacked.digits();
    if digits.is_empty() {
        out.push(b'0');
        return;
    }
    if unpacked.negative {
        out.push(b'-');
    }
    debug_assert!((MAGNITUDE_MIN..=MAGNITUDE_MAX).contains(&unpacked.magnitude));
    let ascii = |out: &mut Vec<u8>, digits: &[u8]| out.extend(digits.iter().map(|d| d + b'0'));
    let zeros = |out: &mut Vec<u8>, count: usize| out.resize(out.len() + count, b'0');
    if unpacked.magnitude < 0 {
        out.extend_from_slice(b"0.");
        zeros(out, (-unpacked.magnitude - 1) as usize);
        ascii(out, digits);
        return;
    }
    let whole = unpacked.magnitude as usize + 1;
    if digits.len() <= whole {
        ascii(out, digits);
        zeros(out, whole - digits.len());
    } else {
        ascii(out, &digits[..whole]);
        out.push(b'.');
        ascii(out, &digits[whole..]);
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(48);
        write_text(Encoded::from(*self).as_bytes(), &mut text);
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}
