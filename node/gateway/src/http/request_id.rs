//! `x-amzn-RequestId`: 52 characters of digits and upper-case letters, as DynamoDB's.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

const LENGTH: usize = 52;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
/// Characters that one 64-bit word gives, five bits each.
const CHARACTERS_PER_WORD: usize = 12;
/// SplitMix64's increment: 2^64 divided by the golden ratio.
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

/// A new request id: unique within the process, and across processes as far as their random starts differ.
pub(super) fn request_id() -> HeaderValue {
    static SEED: OnceLock<u64> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let seed = *SEED.get_or_init(|| uuid::Uuid::new_v4().as_u64_pair().0);
    let mut state = seed.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed).wrapping_mul(INCREMENT << 3));
    let mut text = [0; LENGTH];
    for chunk in text.chunks_mut(CHARACTERS_PER_WORD) {
        state = state.wrapping_add(INCREMENT);
        let mut word = mix(state);
        for character in chunk {
            *character = ALPHABET[(word & 31) as usize];
            word >>= 5;
        }
    }
    // The alphabet is ASCII: this cannot fail.
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""))
}

/// SplitMix64's output function.
fn mix(state: u64) -> u64 {
    let word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn ids_have_dynamodbs_form_and_differ() {
        let ids: HashSet<_> = (0..10_000).map(|_| super::request_id()).collect();
        assert_eq!(ids.len(), 10_000);
        for id in &ids {
            let text = id.to_str().unwrap();
            assert_eq!(text.len(), 52);
            assert!(
                text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()),
                "{text}"
            );
        }
    }
}
