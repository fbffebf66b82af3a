//! The clock of item times: the wall clock where it moves forward, a counter where it does not.

use crate::descriptor::ItemTime;

/// Issues item times, each above all before it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    last: ItemTime,
}

impl Clock {
    /// Nothing at or below this will be issued.
    pub fn observe(&mut self, time: ItemTime) {
        self.last = self.last.max(time);
    }

    /// The next time.
    pub fn next(&mut self, now_ms: u64) -> ItemTime {
        self.last = ItemTime::from_ms(now_ms).max(ItemTime(self.last.0.saturating_add(1)));
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_only_grow() {
        let mut clock = Clock::default();
        assert_eq!(clock.next(5), ItemTime(5 << 16));
        assert_eq!(clock.next(5), ItemTime((5 << 16) + 1));
        assert_eq!(clock.next(3), ItemTime((5 << 16) + 2));
        assert_eq!(clock.next(6), ItemTime(6 << 16));
        clock.observe(ItemTime(9 << 16));
        assert_eq!(clock.next(6), ItemTime((9 << 16) + 1));
    }
}
