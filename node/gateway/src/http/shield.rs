//! A panic while one client's request is worked on is an error for that client and nobody else.
//!
//! The process as a whole ends on a panic (its state would be anybody's guess), so its panic hook has to know which
//! panics are caught here: [`is_shielded`]. State that a request changes under a lock guards itself.

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;

thread_local! {
    static SHIELDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread, now, is caught and answered.
pub fn is_shielded() -> bool {
    SHIELDED.get()
}

/// Runs a request's future; a panic in it is an `Err`.
pub async fn shield<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    std::future::poll_fn(move |context| {
        let before = SHIELDED.replace(true);
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::as_mut(&mut future).poll(context)));
        SHIELDED.set(before);
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_request_is_an_error_of_that_request() {
        assert!(!is_shielded());
        let inside = shield(async {
            tokio::task::yield_now().await;
            is_shielded()
        });
        assert!(inside.await.unwrap());
        assert!(shield(async { panic!("on purpose") }).await.is_err());
        assert!(!is_shielded());
    }
}
