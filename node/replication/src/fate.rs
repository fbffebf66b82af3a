//! What becomes of a log entry, for everybody who waits for it.
//!
//! All effects of an entry share one fate, so they share one [`Fate`]: no allocation per write. When it is known, the
//! log writer wakes one waiter only; that one, on its runtime's own thread, wakes the others. A wake-up within a
//! runtime is a push to a local queue, one from outside may be a system call.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use partita_model::request::Refusal;

/// What becomes of an entry: pending until it is known, once.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    known: Option<Result<(), Refusal>>,
    /// One slot per waiter that was polled; emptied when the waiter goes away.
    wakers: Vec<Option<Waker>>,
}

impl Fate {
    /// Waits until it is known.
    pub(crate) fn wait(self: &Arc<Self>) -> Waiting {
        Waiting {
            fate: Arc::clone(self),
            slot: None,
        }
    }

    /// Makes it known; the first word counts.
    pub(crate) fn decide(&self, outcome: Result<(), Refusal>) {
        let first = {
            let mut inner = self.inner.lock();
            if inner.known.is_some() {
                return;
            }
            inner.known = Some(outcome);
            // The slots of the others stay: whoever is polled (or dropped) next wakes them.
            loop {
                match inner.wakers.pop() {
                    Some(Some(waker)) => break Some(waker),
                    Some(None) => {}
                    None => break None,
                }
            }
        };
        if let Some(waker) = first {
            waker.wake();
        }
    }
}

fn wake_all(wakers: Vec<Option<Waker>>) {
    for waker in wakers.into_iter().flatten() {
        waker.wake();
    }
}

/// A wait for a [`Fate`].
#[derive(Debug)]
pub(crate) struct Waiting {
    fate: Arc<Fate>,
    slot: Option<usize>,
}

impl Future for Waiting {
    type Output = Result<(), Refusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let slot = self.slot;
        let mut inner = self.fate.inner.lock();
        if let Some(outcome) = inner.known.clone() {
            let others = std::mem::take(&mut inner.wakers);
            drop(inner);
            wake_all(others);
            return Poll::Ready(outcome);
        }
        let waker = Some(context.waker().clone());
        match slot {
            Some(slot) => inner.wakers[slot] = waker,
            None => {
                inner.wakers.push(waker);
                let slot = inner.wakers.len() - 1;
                drop(inner);
                self.slot = Some(slot);
            }
        }
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        let mut inner = self.fate.inner.lock();
        if inner.known.is_none() {
            inner.wakers[slot] = None;
        } else if !inner.wakers.is_empty() {
            let others = std::mem::take(&mut inner.wakers);
            drop(inner);
            wake_all(others);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll(waiting: &mut Waiting, count: &Arc<Count>) -> Poll<Result<(), Refusal>> {
        let waker = Waker::from(Arc::clone(count));
        Pin::new(waiting).poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn one_is_woken_and_wakes_the_others() {
        let fate = Arc::new(Fate::default());
        let counts: Vec<_> = (0..5).map(|_| Arc::new(Count::default())).collect();
        let mut waiting: Vec<_> = (0..5).map(|_| fate.wait()).collect();
        for (waiting, count) in waiting.iter_mut().zip(&counts) {
            assert!(poll(waiting, count).is_pending());
        }
        let woken = || counts.iter().map(|count| count.0.load(Ordering::SeqCst)).sum::<usize>();
        fate.decide(Ok(()));
        assert_eq!(woken(), 1);
        assert_eq!(poll(&mut waiting[4], &counts[4]), Poll::Ready(Ok(())));
        assert_eq!(woken(), 5);
    }

    #[test]
    fn a_dropped_waiter_does_not_break_the_chain() {
        let fate = Arc::new(Fate::default());
        let counts: Vec<_> = (0..3).map(|_| Arc::new(Count::default())).collect();
        let mut waiting: Vec<_> = (0..3).map(|_| fate.wait()).collect();
        for (waiting, count) in waiting.iter_mut().zip(&counts) {
            assert!(poll(waiting, count).is_pending());
        }
        // The last one goes before the fate is known, the one woken first goes before it is polled.
        waiting.pop();
        fate.decide(Err(Refusal::UnknownFate));
        assert_eq!(counts[1].0.load(Ordering::SeqCst), 1);
        waiting.pop();
        assert_eq!(counts[0].0.load(Ordering::SeqCst), 1);
        assert_eq!(
            poll(&mut waiting[0], &counts[0]),
            Poll::Ready(Err(Refusal::UnknownFate))
        );
        assert_eq!(
            poll(&mut fate.wait(), &counts[2]),
            Poll::Ready(Err(Refusal::UnknownFate))
        );
    }
}
