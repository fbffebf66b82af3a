//! The last minute or two, in two windows: what is older is forgotten.

/// What is older than two of these is forgotten.
pub(crate) const WINDOW_MS: u64 = 60_000;

/// The window that runs, and the one before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recent<W> {
    pub(crate) now: W,
    pub(crate) before: W,
    /// When the window that runs began.
    pub(crate) began_ms: u64,
}

impl<W: Default> Recent<W> {
    /// The windows as of this time.
    pub(crate) fn at(&mut self, now_ms: u64) -> &mut Self {
        let over = now_ms.saturating_sub(self.began_ms) / WINDOW_MS;
        if over > 0 {
            let ended = std::mem::take(&mut self.now);
            self.before = if over == 1 { ended } else { W::default() };
            self.began_ms += over * WINDOW_MS;
        }
        self
    }
}
