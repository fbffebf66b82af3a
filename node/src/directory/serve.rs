//! `GET /directory`: the listing for other routers and for replicas.
//!
//! With `after=<revision>` the answer waits until there is another revision than that; 204 when there was none for
//! [`WAIT_MAX`]. 503 while nothing is known.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use tokio::time::timeout;

use super::{Directory, Listing};

/// How long an answer waits for news: less than what proxies and firewalls take for a dead connection.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// The route's handler.
pub fn route<S: Clone + Send + Sync + 'static>(directory: Arc<Directory>) -> MethodRouter<S> {
    get(answer).with_state(directory)
}

async fn answer(State(directory): State<Arc<Directory>>, RawQuery(query): RawQuery) -> Response {
    answer_within(&directory, query.as_deref(), WAIT_MAX).await
}

async fn answer_within(directory: &Directory, query: Option<&str>, wait: Duration) -> Response {
    let Ok(after) = after(query) else {
        return (StatusCode::BAD_REQUEST, "after: not a revision\n").into_response();
    };
    if after.is_none() && !directory.is_loaded() {
        return (StatusCode::SERVICE_UNAVAILABLE, "nothing is known yet\n").into_response();
    }
    let mut listings = directory.subscribe();
    let news = |listing: &Arc<Listing>| directory.is_loaded() && Some(listing.revision) != after;
    let listing = match timeout(wait, listings.wait_for(news)).await {
        Ok(Ok(listing)) => Arc::clone(&listing),
        Ok(Err(_)) | Err(_) => return StatusCode::NO_CONTENT.into_response(),
    };
    match serde_json::to_vec(&*listing) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The revision that the caller has.
fn after(query: Option<&str>) -> Result<Option<u64>, std::num::ParseIntError> {
    let mut parameters = query.unwrap_or_default().split('&');
    let wanted = parameters.find_map(|parameter| parameter.strip_prefix("after="));
    wanted.map(str::parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_numbers() {
        assert_eq!(after(None), Ok(None));
        assert_eq!(after(Some("x=1&after=12")), Ok(Some(12)));
        assert!(after(Some("after=new")).is_err());
    }

    #[tokio::test]
    async fn an_answer_waits_for_news() {
        let directory = Directory::new();
        let (seldom, forever) = (Duration::from_millis(1), Duration::MAX);
        let ask = |query| answer_within(&directory, Some(query), seldom);
        assert_eq!(ask("").await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask("after=-").await.status(), StatusCode::BAD_REQUEST);
        directory.set(Listing::default());
        assert_eq!(ask("").await.status(), StatusCode::OK);
        assert_eq!(ask("after=0").await.status(), StatusCode::NO_CONTENT);
        assert_eq!(ask("after=1").await.status(), StatusCode::OK);
        let news = Listing {
            revision: 2,
            ..Listing::default()
        };
        let publish = async { directory.set(news) };
        let (answer, ()) = tokio::join!(answer_within(&directory, Some("after=0"), forever), publish);
        assert_eq!(answer.status(), StatusCode::OK);
    }
}
