//! Sorts requests by method and path.

use http::header::ORIGIN;
use http::{Method, Request};
use hyper::body::Incoming;

pub(super) use super::answer::Answered;
use super::{App, answer, call};
use crate::backend::Backend;

/// The answer to a request.
pub(super) async fn route<B: Backend>(app: &App<B>, request: Request<Incoming>) -> Answered {
    let (head, body) = request.into_parts();
    let at_root = head.uri.path() == "/";
    let answered = match head.method {
        Method::POST if at_root => return call::call(app, head, body).await,
        Method::GET | Method::HEAD if at_root => answer::healthy(&head.headers, &app.region),
        Method::OPTIONS if head.headers.contains_key(ORIGIN) => answer::preflight(&head.headers),
        _ => answer::not_found(&head.headers),
    };
    answer::without_body(app, body, answered).await
}
