//! What can happen, and the order in which it does.

use bytes::Bytes;

pub enum Event {
    Frames {
        to: usize,
        from: usize,
        batch: Bytes,
    },
    Tick {
        machine: usize,
    },
    Disk {
        machine: usize,
        incarnation: u64,
    },
    Maintenance {
        machine: usize,
    },
    Client {
        client: usize,
    },
    Fault,
    Start {
        machine: usize,
    },
    /// Nothing passes from one machine to another any more.
    Sever {
        from: usize,
        to: usize,
    },
    Crash {
        machine: usize,
    },
    /// A process dies and is back within a moment, cut off from who led.
    Blink {
        machine: usize,
    },
    Operator,
    Delivery,
}

/// An event, with its time and its place among those of the same time.
pub struct Queued(pub u64, pub u64, pub Event);

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}
