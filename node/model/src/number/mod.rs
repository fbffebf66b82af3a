//! DynamoDB numbers: up to 38 significant digits, magnitudes from 1e-130 to 9.99…e125, and zero.
//!
//! 1. [`Number::parse`] reads the text of an `N` (`text`).
//! 2. [`Number::encode`] writes the stored form, which is also the key form: bytes that compare as the numbers do
//!    (`encoding`). Nothing else is ever stored, so equal numbers are equal bytes.
//! 3. [`Number::checked_add`] and [`Number::checked_sub`] are exact or fail.
//! 4. `Display`, and [`write_text`] straight from stored bytes, print as DynamoDB does: plain decimal notation.
//!
//! Source: "Naming rules and data types" and "Item sizes and formats", Amazon DynamoDB Developer Guide.

mod encoding;
mod text;

use std::cmp::Ordering;

use crate::error::ApiError;
use crate::message;

pub use encoding::{ENCODED_BYTES_MAX, Encoded, encoded_len, significant_digits};
pub use text::write_text;

/// Significant digits of a number.
pub const DIGITS_MAX: u32 = 38;
/// The largest power of ten of a first digit.
pub const MAGNITUDE_MAX: i32 = 125;
/// The smallest power of ten of a first digit.
pub const MAGNITUDE_MIN: i32 = -130;
/// 10^38: one more than the largest coefficient.
const COEFFICIENT_END: u128 = 10u128.pow(DIGITS_MAX);

/// A finite decimal, normalised (no trailing zeros in the coefficient; zero has exponent 0 and is positive).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Number {
    /// Below zero.
    negative: bool,
    /// At most 38 digits.
    coefficient: u128,
    /// Power of ten of the coefficient's last digit.
    exponent: i16,
}

/// Why a number cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub enum NumberError {
    /// The text is empty.
    Empty,
    /// The text is not a number (where DynamoDB quotes it: `message::not_a_number`).
    NotANumber,
    /// Beyond ±9.99…e125.
    Overflow,
    /// Closer to zero than 1e-130.
    Underflow,
    /// More than 38 significant digits.
    Precision,
}

impl NumberError {
    /// DynamoDB's words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Empty | Self::NotANumber => message::NUMBER_EMPTY,
            Self::Overflow => message::NUMBER_OVERFLOW,
            Self::Underflow => message::NUMBER_UNDERFLOW,
            Self::Precision => message::NUMBER_PRECISION,
        }
    }
}

impl From<NumberError> for ApiError {
    fn from(error: NumberError) -> Self {
        Self::validation(error.text())
    }
}

impl Number {
    /// Zero.
    pub const ZERO: Self = Self {
        negative: false,
        coefficient: 0,
        exponent: 0,
    };

    /// `±coefficient × 10^exponent`, normalised and checked.
    pub fn new(negative: bool, coefficient: u128, exponent: i32) -> Result<Self, NumberError> {
        if coefficient == 0 {
            return Ok(Self::ZERO);
        }
        let (coefficient, zeros) = strip_trailing_zeros(coefficient);
        let exponent = exponent.saturating_add(zeros as i32);
        let digits = digit_count(coefficient);
        let magnitude = exponent.saturating_add(digits as i32 - 1);
        if magnitude > MAGNITUDE_MAX {
            return Err(NumberError::Overflow);
        }
        if magnitude < MAGNITUDE_MIN {
            return Err(NumberError::Underflow);
        }
        if digits > DIGITS_MAX {
            return Err(NumberError::Precision);
        }
        Ok(Self {
            negative,
            coefficient,
            exponent: exponent as i16,
        })
    }

    /// Below zero.
    pub fn is_negative(self) -> bool {
        self.negative
    }

    /// The value as an integer, when it is one that fits.
    pub fn to_i64(self) -> Option<i64> {
        if self.exponent < 0 {
            return None;
        }
        let scale = 10i128.checked_pow(self.exponent as u32)?;
        let magnitude = i128::try_from(self.coefficient).ok()?.checked_mul(scale)?;
        i64::try_from(if self.negative { -magnitude } else { magnitude }).ok()
    }

    /// The sum, exactly.
    pub fn checked_add(self, other: Self) -> Result<Self, NumberError> {
        if self.coefficient == 0 {
            return Ok(other);
        }
        if other.coefficient == 0 {
            return Ok(self);
        }
        let (high, low) = if self.exponent >= other.exponent {
            (self, other)
        } else {
            (other, self)
        };
        let shift = (high.exponent - low.exponent) as u32;
        // Scaled to the lower exponent, the higher number ends in `shift` zeros, the lower one does not. With more
        // than 39 digits the result keeps more than 38 of them whatever is taken away; with 39 it may lose one.
        let too_long = NumberError::Precision;
        if digit_count(high.coefficient) + shift > DIGITS_MAX + 1 {
            return Err(too_long);
        }
        let scaled = 10u128
            .checked_pow(shift)
            .and_then(|scale| high.coefficient.checked_mul(scale))
            .ok_or(too_long)?;
        if high.negative == low.negative {
            let sum = scaled.checked_add(low.coefficient).ok_or(too_long)?;
            return Self::new(high.negative, sum, i32::from(low.exponent));
        }
        match scaled.cmp(&low.coefficient) {
            Ordering::Equal => Ok(Self::ZERO),
            Ordering::Greater => Self::new(high.negative, scaled - low.coefficient, i32::from(low.exponent)),
            Ordering::Less => Self::new(low.negative, low.coefficient - scaled, i32::from(low.exponent)),
        }
    }

    /// The difference, exactly.
    pub fn checked_sub(self, other: Self) -> Result<Self, NumberError> {
        self.checked_add(other.negated())
    }

    /// With the other sign.
    pub fn negated(self) -> Self {
        Self {
            negative: !self.negative && self.coefficient != 0,
            ..self
        }
    }

    /// The power of ten of the first digit.
    fn magnitude(self) -> i32 {
        i32::from(self.exponent) + digit_count(self.coefficient) as i32 - 1
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        // At most 19 digits: always in range.
        Self::new(value < 0, u128::from(value.unsigned_abs()), 0).unwrap_or(Self::ZERO)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        self.encode().as_bytes().cmp(other.encode().as_bytes())
    }
}

/// Decimal digits of a coefficient; 1 for zero.
fn digit_count(coefficient: u128) -> u32 {
    let log = match u64::try_from(coefficient) {
        Ok(small) => small.checked_ilog10(),
        Err(_) => coefficient.checked_ilog10(),
    };
    log.unwrap_or(0) + 1
}

/// The coefficient without its trailing zeros, and how many there were.
fn strip_trailing_zeros(mut coefficient: u128) -> (u128, u32) {
    let mut zeros = 0;
    // 128-bit division is slow: most numbers fit 64 bits.
    while coefficient > u128::from(u64::MAX) && coefficient.is_multiple_of(10) {
        coefficient /= 10;
        zeros += 1;
    }
    if let Ok(mut small) = u64::try_from(coefficient) {
        while small != 0 && small.is_multiple_of(10) {
            small /= 10;
            zeros += 1;
        }
        coefficient = u128::from(small);
    }
    (coefficient, zeros)
}

#[cfg(test)]
pub(crate) mod tests;
