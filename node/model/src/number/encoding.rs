//! Numbers as bytes that compare as the numbers do, for stored values and keys alike.
//!
//! | number | bytes |
//! |---|---|
//! | zero | `80` |
//! | positive | `C0`, magnitude + 130, pairs of digits + 1, `00` |
//! | negative | `40`, then the complement of all that follows in the positive form |
//!
//! The magnitude is the power of ten of the first digit. Pairs start at the first digit; the last one is filled with
//! a zero and is never two zeros. The end mark makes the form self-delimiting: none is a prefix of another.

use super::{DIGITS_MAX, MAGNITUDE_MIN, Number, digit_count};

const ZERO: u8 = 0x80;
const POSITIVE: u8 = 0xC0;
const NEGATIVE: u8 = 0x40;
/// Ends the pairs of a positive number: below every pair.
const END: u8 = 0;
/// Pairs of the longest number.
const PAIRS_MAX: usize = DIGITS_MAX as usize / 2;

/// The longest form: sign, magnitude, pairs, end.
pub const ENCODED_BYTES_MAX: usize = 2 + PAIRS_MAX + 1;

/// A number's stored form.
#[derive(Debug, Clone, Copy)]
pub struct Encoded {
    bytes: [u8; ENCODED_BYTES_MAX],
    len: u8,
}

impl Encoded {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl From<Number> for Encoded {
    fn from(number: Number) -> Self {
        let mut bytes = [0; ENCODED_BYTES_MAX];
        if number.coefficient == 0 {
            bytes[0] = ZERO;
            return Self { bytes, len: 1 };
        }
        let mut digits = [0; 2 * PAIRS_MAX];
        let count = split_digits(number.coefficient, &mut digits);
        bytes[1] = (number.magnitude() - MAGNITUDE_MIN) as u8;
        let pairs = count.div_ceil(2);
        for (out, pair) in bytes[2..].iter_mut().zip(digits.chunks_exact(2)).take(pairs) {
            *out = pair[0] * 10 + pair[1] + 1;
        }
        let len = 2 + pairs + 1;
        bytes[len - 1] = END;
        bytes[0] = POSITIVE;
        if number.negative {
            bytes[0] = NEGATIVE;
            for byte in &mut bytes[1..len] {
                *byte = !*byte;
            }
        }
        Self { bytes, len: len as u8 }
    }
}

impl Number {
    /// The stored form.
    pub fn encode(self) -> Encoded {
        Encoded::from(self)
    }

    /// Reads a stored form that fills `stored`; `None` when it is none (or not the normal one).
    pub fn decode(stored: &[u8]) -> Option<Self> {
        let unpacked = unpack(stored)?;
        let digits = unpacked.digits();
        if digits.is_empty() {
            return Some(Self::ZERO);
        }
        let join = |digits: &[u8]| digits.iter().fold(0u64, |value, d| value * 10 + u64::from(*d));
        let (high, low) = digits.split_at(digits.len().min(19));
        let coefficient = u128::from(join(high)) * 10u128.pow(low.len() as u32) + u128::from(join(low));
        Some(Self {
            negative: unpacked.negative,
            coefficient,
            exponent: (unpacked.magnitude + 1 - digits.len() as i32) as i16,
        })
    }
}

/// How many of `bytes` are the stored number they start with.
pub fn encoded_len(bytes: &[u8]) -> Option<usize> {
    let end = match *bytes.first()? {
        ZERO => return Some(1),
        POSITIVE => END,
        NEGATIVE => !END,
        _ => return None,
    };
    let pairs = bytes.get(2..)?.iter().take(PAIRS_MAX + 1).position(|b| *b == end)?;
    (pairs > 0).then_some(2 + pairs + 1)
}

/// Significant digits before and behind the point, and sign, of a stored number: what its size is made of. Zeros
/// before the first and after the last other digit do not count.
pub fn significant_digits(stored: &[u8]) -> (usize, usize, bool) {
    let [sign, magnitude, pairs @ .., _] = stored else {
        return (0, 0, false);
    };
    let negative = *sign == NEGATIVE;
    let flip = if negative { 0xFF } else { 0 };
    let filled = pairs.last().is_none_or(|pair| (pair ^ flip) % 10 == 1);
    let digits = (2 * pairs.len()).saturating_sub(usize::from(filled));
    let before_point = i32::from(magnitude ^ flip) + MAGNITUDE_MIN + 1;
    let whole = digits.min(usize::try_from(before_point).unwrap_or(0));
    (whole, digits - whole, negative)
}

/// A stored number taken apart.
pub(super) struct Unpacked {
    pub negative: bool,
    pub magnitude: i32,
    digits: [u8; 2 * PAIRS_MAX],
    count: usize,
}

impl Unpacked {
    /// From the first to the last that is not zero; none for zero.
    pub fn digits(&self) -> &[u8] {
        &self.digits[..self.count]
    }
}

/// Takes a stored number apart; `None` for anything but exactly one number in its normal form.
pub(super) fn unpack(stored: &[u8]) -> Option<Unpacked> {
    let mut unpacked = Unpacked {
        negative: false,
        magnitude: 0,
        digits: [0; 2 * PAIRS_MAX],
        count: 0,
    };
    if stored == [ZERO] {
        return Some(unpacked);
    }
    let [sign, magnitude, pairs @ .., end] = stored else {
        return None;
    };
    let flip = match *sign {
        POSITIVE => 0,
        NEGATIVE => 0xFF,
        _ => return None,
    };
    if pairs.is_empty() || pairs.len() > PAIRS_MAX || end ^ flip != END {
        return None;
    }
    unpacked.negative = flip != 0;
    unpacked.magnitude = i32::from(magnitude ^ flip) + MAGNITUDE_MIN;
    for (digits, pair) in unpacked.digits.chunks_exact_mut(2).zip(pairs) {
        let pair = (pair ^ flip).checked_sub(1).filter(|p| *p < 100)?;
        digits[0] = pair / 10;
        digits[1] = pair % 10;
    }
    unpacked.count = 2 * pairs.len() - usize::from(unpacked.digits[2 * pairs.len() - 1] == 0);
    let normal = unpacked.digits[0] != 0 && unpacked.digits[unpacked.count - 1] != 0;
    normal.then_some(unpacked)
}

/// The decimal digits of a coefficient, first one first, and their count.
fn split_digits(coefficient: u128, out: &mut [u8; 2 * PAIRS_MAX]) -> usize {
    const HALF: u128 = 10u128.pow(19);
    let count = digit_count(coefficient) as usize;
    // Two 64-bit halves: 128-bit division is slow.
    let (high, low) = match u64::try_from(coefficient) {
        Ok(small) => (0, small),
        Err(_) => ((coefficient / HALF) as u64, (coefficient % HALF) as u64),
    };
    let mut at = count;
    let mut write = |mut value: u64, until: usize| {
        while at > until {
            at -= 1;
            out[at] = (value % 10) as u8;
            value /= 10;
        }
    };
    if high == 0 {
        write(low, 0);
    } else {
        write(low, count - 19);
        write(high, 0);
    }
    count
}
