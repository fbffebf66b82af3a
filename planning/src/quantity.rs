//! Kubernetes' quantities: enough to read them and to tell whether two of them are the same amount.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// A unit's value in thousand-millionths.
const NANO: i128 = 1_000_000_000;
/// Exponents beyond these are no amount of anything.
const EXPONENT_MAX: i32 = 24;

/// The amount in thousand-millionths; `None` when it is none.
///
/// Source: "Quantity", Kubernetes API reference, `resource.Quantity`.
pub fn nanos(quantity: &Quantity) -> Option<i128> {
    let text = quantity.0.as_str();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')));
    let (number, suffix) = text.split_at(digits.unwrap_or(text.len()));
    let (numerator, denominator) = scale(suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut amount: i128 = whole
        .parse()
        .or_else(|e| if whole.is_empty() { Ok(0) } else { Err(e) })
        .ok()?;
    let mut parts = 1_i128;
    for digit in fraction.chars() {
        amount = amount.checked_mul(10)?.checked_add(i128::from(digit.to_digit(10)?))?;
        parts = parts.checked_mul(10)?;
    }
    let scaled = amount.checked_mul(numerator)?.checked_mul(NANO)?;
    Some(scaled / denominator.checked_mul(parts)?)
}

/// What a suffix multiplies and divides by.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let binary = |power: u32| Some((1 << (10 * power), 1));
    let decimal = |power: u32| Some((10_i128.pow(power), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, NANO)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            if exponent.abs() > EXPONENT_MAX {
                return None;
            }
            let power = 10_i128.pow(exponent.unsigned_abs());
            Some(if exponent < 0 { (1, power) } else { (power, 1) })
        }
    }
}

/// Whether both are the same amount, however written.
pub fn same(one: &Quantity, other: &Quantity) -> bool {
    match (nanos(one), nanos(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_the_same_however_written() {
        let same = |one: &str, other: &str| same(&Quantity(one.into()), &Quantity(other.into()));
        for (one, other) in [
            ("1Gi", "1024Mi"),
            ("0.1", "100m"),
            ("1.5Gi", "1536Mi"),
            ("2e3", "2k"),
            ("1E", "1000P"),
            ("100m", "1e-1"),
            ("5", "5.0"),
            (".5", "500m"),
        ] {
            assert!(same(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("1G", "1Gi"),
            ("1", "1m"),
            ("x", "y"),
            ("1Q", "1"),
            ("", "1"),
            ("1e99", "1"),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_amount_is_none() {
        for wrong in ["x", "1.x", "--1", "1KiB", "9e25"] {
            assert_eq!(nanos(&Quantity(wrong.into())), None, "{wrong}");
        }
        assert_eq!(nanos(&Quantity("1".into())), Some(NANO));
    }
}
