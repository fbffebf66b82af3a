//! DynamoDB numbers: up to 38 significant digits, magnitudes from 1e-130 to 9.99…e125, and zero.

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
