//! Inbox and outbox against each other, and against bytes of any kind.

use proptest::prelude::*;

use super::*;
use crate::frame::MESSAGE_BYTES_MAX;
use crate::outbox::Outbox;

/// Reads all of `bytes`, as many at once as `splits` says, and returns the messages.
fn received(inbox: &mut Inbox, bytes: &[u8], splits: &[usize]) -> Result<Vec<(u64, Kind, Vec<u8>)>, FrameError> {
    let mut messages = Vec::new();
    let mut rest = bytes;
    let mut splits = splits.iter().cycle();
    while !rest.is_empty() {
        let part = rest.len().min(*splits.next().unwrap_or(&1));
        let mut source = &rest[..part];
        while !source.is_empty() {
            futures::executor::block_on(inbox.read(&mut source)).unwrap();
            while let Some(message) = inbox.next()? {
                messages.push((message.id, message.kind, message.payload.into_owned()));
            }
        }
        rest = &rest[part..];
    }
    Ok(messages)
}

/// What an inbox holds.
fn held(inbox: &Inbox) -> usize {
    inbox.buffer.len() + inbox.pieces.values().map(Vec::len).sum::<usize>()
}

fn splits() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(prop_oneof![1usize..40, 1usize..200_000], 1..10)
}

/// A message's size, and whether the outbox is emptied behind it.
fn sizes() -> impl Strategy<Value = Vec<(usize, bool)>> {
    let size = prop_oneof![4 => 0usize..300, 1 => 65_000usize..66_000, 1 => 60_000usize..300_000];
    proptest::collection::vec((size, any::<bool>()), 1..40)
}

/// The stream of messages of these sizes, and what they were.
fn sent(sizes: &[(usize, bool)]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut outbox = Outbox::default();
    let (mut stream, mut taken, mut payloads) = (Vec::new(), Vec::new(), Vec::new());
    for ((size, take), id) in sizes.iter().zip(0u64..) {
        let message = vec![id as u8; *size];
        let bytes = serde_bytes::Bytes::new(&message);
        outbox.push(Kind::Request, id, &bytes, MESSAGE_BYTES_MAX).unwrap();
        payloads.push(postcard::to_stdvec(&bytes).unwrap());
        if *take {
            outbox.take(&mut taken, |_, _| {});
            stream.extend_from_slice(&taken);
        }
    }
    while !outbox.is_empty() {
        outbox.take(&mut taken, |_, _| {});
        stream.extend_from_slice(&taken);
    }
    assert_eq!(outbox.bytes(), 0);
    (stream, payloads)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_sent_is_received(sizes in sizes(), splits in splits()) {
        let (stream, payloads) = sent(&sizes);
        let mut messages = received(&mut Inbox::new(MESSAGE_BYTES_MAX), &stream, &splits).unwrap();
        // The short ones stay in order.
        let short = messages.iter().filter(|(_, _, payload)| payload.len() <= CHUNK_BYTES_MAX);
        prop_assert!(short.clone().zip(short.skip(1)).all(|(a, b)| a.0 < b.0));
        messages.sort_by_key(|(id, _, _)| *id);
        let expected: Vec<_> = (0u64..).zip(payloads).map(|(id, payload)| (id, Kind::Request, payload)).collect();
        prop_assert!(messages == expected);
    }

    #[test]
    fn a_changed_bit_never_makes_another_message(sizes in sizes(), splits in splits(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let (mut stream, payloads) = sent(&sizes);
        let at = at.index(stream.len());
        stream[at] ^= 1 << bit;
        let mut inbox = Inbox::new(MESSAGE_BYTES_MAX);
        if let Ok(messages) = received(&mut inbox, &stream, &splits) {
            // It waits for bytes that never come: what came before is right.
            prop_assert!(messages.len() < payloads.len());
            for (id, _, payload) in messages {
                prop_assert!(payloads[id as usize] == payload);
            }
        }
    }

    #[test]
    fn bytes_of_any_kind_hold_no_more_than_is_allowed(
        frames in proptest::collection::vec((0u64..40, any::<bool>(), 0usize..70_000, any::<bool>()), 0..60),
        splits in splits(),
    ) {
        let mut inbox = Inbox::new(200_000);
        for (id, more, size, right) in frames {
            let payload = vec![7; size.min(CHUNK_BYTES_MAX)];
            let mut bytes = Header::of(Kind::Request, id, more, &payload).encode().to_vec();
            bytes.extend(payload);
            if !right && size % 7 == 0 {
                bytes[size % 20] ^= 0x55;
            }
            let broken = received(&mut inbox, &bytes, &splits).is_err();
            prop_assert!(held(&inbox) <= BUFFER_BYTES_MAX + PIECES_MAX * 200_000);
            if broken {
                break;
            }
        }
    }
}

#[test]
fn a_long_message_that_nobody_wants_is_withdrawn_until_it_has_begun() {
    let mut outbox = Outbox::default();
    let long = vec![1u8; 200_000];
    let bytes = serde_bytes::Bytes::new(&long);
    let end = outbox.push(Kind::Answer, 5, &bytes, MESSAGE_BYTES_MAX).unwrap();
    assert_eq!(end, None);
    assert!(!outbox.withdraw(4));
    assert!(outbox.withdraw(5));
    assert!(outbox.is_empty() && outbox.bytes() == 0);
    outbox.push(Kind::Answer, 6, &bytes, MESSAGE_BYTES_MAX).unwrap();
    outbox.take(&mut Vec::new(), |_, _| {});
    assert!(!outbox.withdraw(6));
}

#[test]
fn the_end_of_a_message_is_its_place_in_the_stream() {
    let mut outbox = Outbox::default();
    let long = vec![1u8; 200_000];
    let bytes = serde_bytes::Bytes::new(&long);
    let first = outbox.push(Kind::Request, 1, &7u8, MESSAGE_BYTES_MAX).unwrap();
    assert_eq!(first, Some(HEADER_BYTES as u64 + 1));
    outbox.push(Kind::Request, 2, &bytes, MESSAGE_BYTES_MAX).unwrap();
    let (mut taken, mut stream, mut ends) = (Vec::new(), 0, Vec::new());
    while !outbox.is_empty() {
        outbox.take(&mut taken, |id, end| ends.push((id, end)));
        stream += taken.len() as u64;
    }
    assert_eq!(ends, [(2, stream)]);
}

#[test]
fn only_so_many_messages_are_in_pieces_at_once() {
    let mut outbox = Outbox::default();
    let long = vec![1u8; 3 * CHUNK_BYTES_MAX];
    for id in 0..50 {
        outbox
            .push(Kind::Request, id, &serde_bytes::Bytes::new(&long), MESSAGE_BYTES_MAX)
            .unwrap();
    }
    let (mut taken, mut inbox, mut ended) = (Vec::new(), Inbox::new(MESSAGE_BYTES_MAX), Vec::new());
    while !outbox.is_empty() {
        outbox.take(&mut taken, |_, _| {});
        ended.extend(
            received(&mut inbox, &taken, &[usize::MAX])
                .unwrap()
                .into_iter()
                .map(|message| message.0),
        );
        assert!(inbox.pieces.len() <= PIECES_MAX);
    }
    // Those that came first also end first.
    assert_eq!(ended, (0..50).collect::<Vec<u64>>());
}

#[test]
fn a_message_that_is_too_long_leaves_no_trace() {
    let mut outbox = Outbox::default();
    outbox.push(Kind::Request, 1, &7u8, 100_000).unwrap();
    let long = vec![1u8; 100_000];
    let pushed = outbox.push(Kind::Request, 2, &serde_bytes::Bytes::new(&long), 100_000);
    assert_eq!(pushed, Err(crate::outbox::PushError::TooLong(100_003)));
    let mut taken = Vec::new();
    outbox.take(&mut taken, |_, _| {});
    assert_eq!(taken.len(), HEADER_BYTES + 1);
    assert!(outbox.is_empty());
}
