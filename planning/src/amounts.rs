//! Amounts in words: short, for people.

/// Bytes in a GiB.
pub const GIB: u64 = 1 << 30;

/// CPU: `0.25 CPU`.
pub fn cpu(millis: u64) -> String {
    format!("{} CPU", decimal(millis as f64 / 1000.0))
}

/// Bytes, in the binary unit that suits: `720 GiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    // What would be printed as 1024 or more of a unit is one of the next.
    while amount >= 1023.5 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{} {}", decimal(amount), UNITS[unit])
}

/// So many of something: `1 pod`, `3 pods`.
pub fn count(number: u64, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}

/// At most three digits behind the first one that counts, and no zeros at the end.
fn decimal(amount: f64) -> String {
    let places = match amount {
        amount if amount >= 100.0 => 0,
        amount if amount >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{amount:.places$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        for (amount, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (336 << 20, "336 MiB"),
            ((1 << 30) - 1, "1 GiB"),
            (720 << 30, "720 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(bytes(amount), text);
        }
        assert_eq!(cpu(60), "0.06 CPU");
        assert_eq!(cpu(6000), "6 CPU");
        assert_eq!(cpu(123_400), "123 CPU");
        assert_eq!(count(1, "pod"), "1 pod");
        assert_eq!(count(0, "pod"), "0 pods");
    }
}
