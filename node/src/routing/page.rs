//! One page across partitions.
//!
//! 1. Find the partitions that the requested range touches, in the direction of reading.
//! 2. Ask each for what is left of the limit and of the bytes, within its own borders.
//! 3. Stop at the first that did not reach the end of its part; else when there is no further partition.
//!
//! Who asks for a page is admitted once, and pays once: the parts behind the first are told what has been read.

use std::ops::Bound;

use partita_model::key::KeyBytes;
use partita_model::request::{PageReply, PageRequest, Refusal};

use super::{Leader, Ranges};

/// Reads a page from all the partitions it touches, in key order.
pub async fn across<L: Leader>(ranges: &Ranges<L>, request: PageRequest) -> Result<PageReply, Refusal> {
    let (first, last) = touched(ranges, &request.range);
    if first == last {
        return ranges.partitions[first].1.page(request, None).await;
    }
    let mut whole = PageReply::default();
    for step in 0..=(last - first) {
        let place = if request.reverse { last - step } else { first + step };
        let part = PageRequest {
            range: clip(&request.range, ranges.bounds(place)),
            limit: request.limit.map(|limit| limit - whole.scanned),
            bytes_max: left(request.bytes_max, whole.bytes),
            ..request.clone()
        };
        let read = (step > 0).then_some(whole.bytes);
        let reply = ranges.partitions[place].1.page(part, read).await?;
        whole.items.extend(reply.items);
        whole.count += reply.count;
        whole.scanned += reply.scanned;
        whole.bytes += reply.bytes;
        whole.fetch_half_units += reply.fetch_half_units;
        whole.last = reply.last;
        // A part that used up the limit says where it stopped, so this is also where the limit ends the loop.
        if whole.last.is_some() {
            break;
        }
    }
    Ok(whole)
}

/// First and last of the partitions that a range touches; at least one.
fn touched<L>(ranges: &Ranges<L>, range: &(Bound<KeyBytes>, Bound<KeyBytes>)) -> (usize, usize) {
    let first = match &range.0 {
        Bound::Included(key) | Bound::Excluded(key) => ranges.position(key),
        Bound::Unbounded => 0,
    };
    let last = match &range.1 {
        Bound::Included(key) => ranges.position(key),
        Bound::Excluded(key) => {
            // A range that ends where a partition begins does not touch that partition.
            let place = ranges.position(key);
            if place > 0 && ranges.bounds(place).0 == key {
                place - 1
            } else {
                place
            }
        }
        Bound::Unbounded => ranges.partitions.len() - 1,
    };
    (first, last.max(first))
}

/// The part of a range that lies between a partition's borders.
fn clip(
    range: &(Bound<KeyBytes>, Bound<KeyBytes>),
    (start, end): (&KeyBytes, Option<&KeyBytes>),
) -> (Bound<KeyBytes>, Bound<KeyBytes>) {
    let lower = match &range.0 {
        Bound::Included(key) | Bound::Excluded(key) if key >= start => range.0.clone(),
        _ => Bound::Included(start.clone()),
    };
    let upper = match (&range.1, end) {
        (Bound::Included(key) | Bound::Excluded(key), Some(end)) if key < end => range.1.clone(),
        (_, Some(end)) => Bound::Excluded(end.clone()),
        (upper, None) => upper.clone(),
    };
    (lower, upper)
}

/// What is left of the bytes; at least one, so that a part evaluates at least one row.
fn left(bytes_max: u32, used: u64) -> u32 {
    bytes_max.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use partita_model::request::{GetReply, GetRequest, Target, WriteReply, WriteRequest};
    use partita_model::schema::{SchemaVersion, TableId};

    use super::*;

    /// A partition with rows of one byte of key and ten bytes of size each, that notes what it was asked for.
    #[derive(Clone)]
    struct Fake {
        rows: Vec<u8>,
        asked: Arc<Mutex<Vec<String>>>,
        read: Arc<Mutex<Vec<Option<u64>>>>,
    }

    impl Leader for Fake {
        async fn get(&self, _: GetRequest) -> Result<GetReply, Refusal> {
            Err(Refusal::Stopping)
        }

        async fn write(&self, _: WriteRequest) -> Result<WriteReply, Refusal> {
            Err(Refusal::Stopping)
        }

        async fn page(&self, request: PageRequest, read: Option<u64>) -> Result<PageReply, Refusal> {
            use std::ops::RangeBounds;
            self.read.lock().unwrap().push(read);
            let key = |row: &u8| KeyBytes(vec![*row]);
            let mut rows: Vec<u8> = self
                .rows
                .iter()
                .filter(|row| request.range.contains(&key(row)))
                .copied()
                .collect();
            if request.reverse {
                rows.reverse();
            }
            let mut reply = PageReply::default();
            for row in rows {
                reply.scanned += 1;
                reply.count += 1;
                reply.bytes += 10;
                let full = request.limit == Some(reply.scanned) || reply.bytes >= u64::from(request.bytes_max);
                self.asked.lock().unwrap().push(format!("{row:02x}"));
                if full {
                    reply.last = Some((key(&row), Item::empty()));
                    break;
                }
            }
            Ok(reply)
        }
    }

    use partita_model::item::Item;

    /// Three partitions, `..40`, `40..80`, `80..`, with four rows each.
    fn read(
        range: (Bound<u8>, Bound<u8>),
        reverse: bool,
        limit: Option<u32>,
        bytes_max: u32,
    ) -> (String, Option<u8>, u32) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let before: Arc<Mutex<Vec<Option<u64>>>> = Arc::default();
        let partition = |first: u8| {
            let start = if first == 0 { Vec::new() } else { vec![first] };
            let rows = (0..4).map(|step| first + step * 0x10).collect();
            (
                KeyBytes(start),
                Fake {
                    rows,
                    asked: Arc::clone(&asked),
                    read: Arc::clone(&before),
                },
            )
        };
        let ranges = Ranges::new(vec![partition(0), partition(0x40), partition(0x80)]).unwrap();
        let request = PageRequest {
            table: TableId(1),
            schema_version: SchemaVersion(1),
            target: Target::Table,
            range: (
                range.0.map(|key| KeyBytes(vec![key])),
                range.1.map(|key| KeyBytes(vec![key])),
            ),
            reverse,
            limit,
            bytes_max,
            consistent: false,
            filter: None,
            projection: None,
            count_only: false,
            fetch_from_table: false,
        };
        let page = futures::executor::block_on(across(&ranges, request)).unwrap();
        let asked = asked.lock().unwrap().join(" ");
        // Whoever is asked first is asked for a page, and the others for more of it.
        let before = before.lock().unwrap();
        assert!(before[0].is_none() && before[1..].iter().all(Option::is_some) && before.is_sorted());
        (asked, page.last.map(|(key, _)| key.0[0]), page.scanned)
    }

    const ALL: (Bound<u8>, Bound<u8>) = (Bound::Unbounded, Bound::Unbounded);

    #[test]
    fn a_page_crosses_partitions_in_both_directions() {
        assert_eq!(
            read(ALL, false, None, 1000),
            ("00 10 20 30 40 50 60 70 80 90 a0 b0".into(), None, 12)
        );
        assert_eq!(
            read(ALL, true, None, 1000),
            ("b0 a0 90 80 70 60 50 40 30 20 10 00".into(), None, 12)
        );
        let part = (Bound::Excluded(0x30), Bound::Included(0x80));
        assert_eq!(read(part, false, None, 1000), ("40 50 60 70 80".into(), None, 5));
        assert_eq!(read(part, true, None, 1000), ("80 70 60 50 40".into(), None, 5));
    }

    #[test]
    fn the_limit_is_the_pages_and_not_the_partitions() {
        assert_eq!(read(ALL, false, Some(3), 1000), ("00 10 20".into(), Some(0x20), 3));
        assert_eq!(read(ALL, false, Some(4), 1000), ("00 10 20 30".into(), Some(0x30), 4));
        assert_eq!(
            read(ALL, false, Some(6), 1000),
            ("00 10 20 30 40 50".into(), Some(0x50), 6)
        );
        assert_eq!(read(ALL, true, Some(5), 1000), ("b0 a0 90 80 70".into(), Some(0x70), 5));
    }

    #[test]
    fn the_bytes_are_the_pages_and_not_the_partitions() {
        assert_eq!(read(ALL, false, None, 50), ("00 10 20 30 40".into(), Some(0x40), 5));
        assert_eq!(read(ALL, false, None, 41), ("00 10 20 30 40".into(), Some(0x40), 5));
    }

    #[test]
    fn a_range_that_ends_where_a_partition_begins_does_not_touch_it() {
        let part = (Bound::Included(0x10), Bound::Excluded(0x40));
        assert_eq!(read(part, false, None, 1000), ("10 20 30".into(), None, 3));
        let none = (Bound::Included(0x20), Bound::Excluded(0x20));
        assert_eq!(read(none, false, None, 1000), (String::new(), None, 0));
    }

    #[test]
    fn ranges_have_no_gaps() {
        assert!(Ranges::new(vec![(KeyBytes(vec![1]), ())]).is_none());
        assert!(Ranges::new(vec![(KeyBytes::default(), ()), (KeyBytes::default(), ())]).is_none());
    }
}
