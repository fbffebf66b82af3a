//! Small things of plans; whole tables are in `table::tests`.

use super::two_digits;

#[test]
fn amounts_are_rounded_to_two_digits() {
    for (amount, rounded) in [
        (0, 0),
        (7, 7),
        (99, 99),
        (100, 100),
        (109, 100),
        (12_345, 12_000),
        (u64::MAX, i64::MAX),
    ] {
        assert_eq!(two_digits(amount), rounded, "{amount}");
    }
}
