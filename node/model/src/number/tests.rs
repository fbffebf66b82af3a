use proptest::prelude::*;

use super::*;

fn text(number: Number) -> String {
    number.to_string()
}

fn parse(input: &str) -> Result<String, NumberError> {
    Number::parse(input).map(text)
}

#[test]
fn prints_as_dynamodb_does() {
    let cases = [
        ("0", "0"),
        ("-0", "0"),
        ("-0.000", "0"),
        ("0e500", "0"),
        ("+1", "1"),
        ("007", "7"),
        ("1.50", "1.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1E+3", "1000"),
        ("1e3", "1000"),
        ("12.5e1", "125"),
        ("-12.5e-1", "-1.25"),
        ("100", "100"),
        ("0.00001", "0.00001"),
        (
            "12345678901234567890123456789012345678",
            "12345678901234567890123456789012345678",
        ),
        (
            "0.12345678901234567890123456789012345678",
            "0.12345678901234567890123456789012345678",
        ),
        (
            "1000000000000000000000000000000000000000000",
            "1000000000000000000000000000000000000000000",
        ),
        (
            "1234567890123456789.0123456789012345678000",
            "1234567890123456789.0123456789012345678",
        ),
    ];
    for (input, expected) in cases {
        assert_eq!(parse(input).as_deref(), Ok(expected), "{input}");
    }
    assert_eq!(parse("1e125").unwrap(), format!("1{}", "0".repeat(125)));
    assert_eq!(parse("-1e-130").unwrap(), format!("-0.{}1", "0".repeat(129)));
}

#[test]
fn refuses_what_is_no_number() {
    assert_eq!(parse(""), Err(NumberError::Empty));
    for input in [
        " ", " 1", "1 ", "a", "1a", "--1", "+-1", "1..2", ".", "-", "e5", "1e", "1e+", "1e5.5", "NaN", "Infinity",
        "0x10", "1_000", "١",
    ] {
        assert_eq!(parse(input), Err(NumberError::NotANumber), "{input}");
    }
}

#[test]
fn refuses_what_is_out_of_range() {
    let nines = "9".repeat(38);
    assert_eq!(parse(&format!("{nines}e89")), Err(NumberError::Overflow));
    assert!(parse(&format!("{nines}e-167")).is_ok_and(|t| t.len() > 38));
    assert_eq!(
        parse(&format!("{nines}e88")).unwrap(),
        format!("{nines}{}", "0".repeat(88))
    );
    for input in ["1e126", "-1e126", "10e125", "1e99999999999999999999"] {
        assert_eq!(parse(input), Err(NumberError::Overflow), "{input}");
    }
    for input in ["1e-131", "-9.9e-131", "0.1e-130", "1e-99999999999999999999"] {
        assert_eq!(parse(input), Err(NumberError::Underflow), "{input}");
    }
    for input in [
        "1".repeat(39),
        format!("1{}1", "0".repeat(37)),
        format!("0.{}", "3".repeat(39)),
    ] {
        assert_eq!(parse(&input), Err(NumberError::Precision), "{input}");
    }
    // A million digits are read in one pass.
    assert_eq!(parse(&"7".repeat(1_000_000)), Err(NumberError::Overflow));
    assert_eq!(parse(&format!("{}7", "0".repeat(1_000_000))).as_deref(), Ok("7"));
}

#[test]
fn adds_and_subtracts_exactly() {
    let sum = |a: &str, b: &str| {
        Number::parse(a)
            .unwrap()
            .checked_add(Number::parse(b).unwrap())
            .map(text)
    };
    let difference = |a: &str, b: &str| {
        Number::parse(a)
            .unwrap()
            .checked_sub(Number::parse(b).unwrap())
            .map(text)
    };
    assert_eq!(sum("1", "2").as_deref(), Ok("3"));
    assert_eq!(sum("0.1", "0.2").as_deref(), Ok("0.3"));
    assert_eq!(sum("-5", "5").as_deref(), Ok("0"));
    assert_eq!(sum("99", "1").as_deref(), Ok("100"));
    assert_eq!(difference("1", "0.01").as_deref(), Ok("0.99"));
    assert_eq!(difference("0", "3").as_deref(), Ok("-3"));
    assert_eq!(difference("3", "5").as_deref(), Ok("-2"));
    assert_eq!(difference("1e38", "1").unwrap(), "9".repeat(38));
    assert_eq!(difference("-1e38", "-1").unwrap(), format!("-{}", "9".repeat(38)));
    assert_eq!(sum("1e38", "1"), Err(NumberError::Precision));
    assert_eq!(sum("1e125", "1e-130"), Err(NumberError::Precision));
    assert_eq!(sum("9e125", "1e125"), Err(NumberError::Overflow));
    assert_eq!(sum(&"9".repeat(38), "1").unwrap(), format!("1{}", "0".repeat(38)));
    assert_eq!(sum(&"9".repeat(38), &"9".repeat(38)), Err(NumberError::Precision));
    assert_eq!(difference("1.5e-130", "1e-130"), Err(NumberError::Underflow));
    assert_eq!(difference("4e38", "1"), Err(NumberError::Precision));
}

#[test]
fn sizes_count_pairs_of_digits() {
    let size = |text: &str| {
        crate::value::Value::number(Number::parse(text).unwrap())
            .as_ref()
            .size()
    };
    assert_eq!(size("0"), 1);
    assert_eq!(size("7"), 2);
    assert_eq!(size("12"), 2);
    assert_eq!(size("123"), 3);
    assert_eq!(size("-123"), 4);
    assert_eq!(size("10"), 2);
    assert_eq!(size("1e100"), 2);
    assert_eq!(size("0.0012"), 2);
    // Digits before and behind the point do not share a byte.
    assert_eq!(size("1.5"), 3);
    assert_eq!(size("100.05"), 4);
    assert_eq!(size(&"1".repeat(38)), 20);
    assert_eq!(size(&format!("-{}", "1".repeat(38))), 21);
}

#[test]
fn becomes_an_integer_when_it_is_one() {
    let integer = |text: &str| Number::parse(text).unwrap().to_i64();
    assert_eq!(integer("1e3"), Some(1000));
    assert_eq!(integer("-9223372036854775808"), Some(i64::MIN));
    assert_eq!(integer("9223372036854775808"), None);
    assert_eq!(integer("1.5"), None);
    assert_eq!(integer("1e125"), None);
}

#[test]
fn damaged_bytes_are_no_number() {
    for bytes in [
        &[][..],
        &[0x80, 0],
        &[0xC0, 130, 0],
        &[0xC0, 130, 2],
        &[0xC0, 130, 1, 2, 0],
        &[0xC0, 130, 12, 1, 0],
        &[0xC0, 130, 200, 0],
        &[0x41, 130, 12, 0],
    ] {
        assert_eq!(Number::decode(bytes), None, "{bytes:?}");
        write_text(bytes, &mut Vec::new());
        significant_digits(bytes);
        encoded_len(bytes);
    }
}

/// Any number that can be.
pub fn any_number() -> impl Strategy<Value = Number> {
    let coefficient = prop_oneof![0..100u128, 0..10u128.pow(18), 0..COEFFICIENT_END];
    let exponent = prop_oneof![Just(0), -10..10i32, -170..130i32];
    (any::<bool>(), coefficient, exponent).prop_filter_map("in range", |(negative, coefficient, exponent)| {
        Number::new(negative, coefficient, exponent).ok()
    })
}

/// The same number as an exact integer of units of 1e-170, by digits: a slow second opinion.
fn scaled_digits(number: Number) -> (bool, String) {
    let digits = format!(
        "{}{}",
        number.coefficient,
        "0".repeat((170 + i32::from(number.exponent)) as usize)
    );
    (number.negative, format!("{digits:0>340}"))
}

proptest! {
    #[test]
    fn text_and_bytes_come_back(number in any_number()) {
        prop_assert_eq!(Number::parse(&text(number)), Ok(number));
        let encoded = number.encode();
        prop_assert_eq!(Number::decode(encoded.as_bytes()), Some(number));
        let mut with_tail = encoded.as_bytes().to_vec();
        with_tail.extend_from_slice(b"\x00\xFFtail");
        prop_assert_eq!(encoded_len(&with_tail), Some(encoded.as_bytes().len()));
        let mut out = Vec::new();
        write_text(encoded.as_bytes(), &mut out);
        prop_assert_eq!(String::from_utf8(out).unwrap(), text(number));
        let digits = if number.coefficient == 0 { 0 } else { digit_count(number.coefficient) as usize };
        let (whole, fraction, negative) = significant_digits(encoded.as_bytes());
        prop_assert_eq!((whole + fraction, negative), (digits, number.negative));
    }

    #[test]
    fn bytes_are_ordered_as_numbers(a in any_number(), b in any_number()) {
        let ((a_negative, a_digits), (b_negative, b_digits)) = (scaled_digits(a), scaled_digits(b));
        let expected = match (a_negative, b_negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => a_digits.cmp(&b_digits),
            (true, true) => b_digits.cmp(&a_digits),
        };
        prop_assert_eq!(a.cmp(&b), expected);
    }

    #[test]
    fn sums_are_those_of_integers(a in -1_000_000_000_000i64..1_000_000_000_000, b in -1_000_000_000_000i64..1_000_000_000_000, shift in -100i32..100) {
        let scaled = |value: i64| Number::new(value < 0, value.unsigned_abs().into(), shift).unwrap();
        prop_assert_eq!(scaled(a).checked_add(scaled(b)), Ok(scaled(a + b)));
        prop_assert_eq!(scaled(a).checked_sub(scaled(b)), Ok(scaled(a - b)));
    }

    #[test]
    fn what_was_added_can_be_taken_away(a in any_number(), b in any_number()) {
        if let Ok(sum) = a.checked_add(b) {
            prop_assert_eq!(b.checked_add(a), Ok(sum));
            prop_assert_eq!(sum.checked_sub(b), Ok(a));
        }
    }

    #[test]
    fn any_text_is_read_without_panic(text in "[-+0-9.eE ]{0,60}") {
        let _ = Number::parse(&text);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
        if let Some(number) = Number::decode(&bytes) {
            let encoded = number.encode();
            prop_assert_eq!(encoded.as_bytes(), &bytes[..]);
        }
        write_text(&bytes, &mut Vec::new());
        significant_digits(&bytes);
        encoded_len(&bytes);
    }
}
