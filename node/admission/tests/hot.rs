//! The keys that use the most are found among very many.

use partita_admission::hot::HotKeys;
use partita_model::capacity::HalfUnits;

fn top(hot: &mut HotKeys, now_ms: u64) -> Vec<(String, f64, f64)> {
    let top = hot.top(2, now_ms);
    let shown = top.into_iter().map(|hot| {
        (
            String::from_utf8_lossy(&hot.key).into_owned(),
            hot.units_per_second,
            hot.share,
        )
    });
    shown.collect()
}

#[test]
fn two_hot_keys_stand_out_from_ten_thousand() {
    let mut hot = HotKeys::default();
    for number in 0..10_000_u32 {
        hot.note(number.to_string().as_bytes(), HalfUnits(1), 1000);
        hot.note(b"hot", HalfUnits(2), 1000);
        hot.note(b"warm", HalfUnits(1), 1000);
    }
    let found = top(&mut hot, 10_000);
    assert_eq!(found[0], ("hot".to_owned(), 1000.0, 0.5));
    assert_eq!(found[1], ("warm".to_owned(), 500.0, 0.25));
}

#[test]
fn what_is_over_is_forgotten() {
    let mut hot = HotKeys::default();
    hot.note(b"a", HalfUnits(120), 0);
    hot.note(b"b", HalfUnits(240), 60_000);
    assert_eq!(top(&mut hot, 60_000)[0], ("b".to_owned(), 2.0, 2.0 / 3.0));
    assert_eq!(top(&mut hot, 120_000), vec![("b".to_owned(), 2.0, 1.0)]);
    assert_eq!(top(&mut hot, 600_000), vec![]);
}
