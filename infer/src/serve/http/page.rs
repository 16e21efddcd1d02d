//! Page for people, and the description of the API; both are part of the program.
//!
//! The page loads nothing from elsewhere, and its policy forbids the browser to.

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Sources that a browser may load from: this server only. Nothing may frame the page.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

/// Description of the routes in [OpenAPI](https://spec.openapis.org/oas/v3.1.0) 3.1.
pub(crate) const OPENAPI: &str = include_str!("openapi.json");

/// Files of the page: address, content type and content.
const FILES: [(&str, &str, &str); 7] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/page/page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("/page/page.js", JAVASCRIPT, include_str!("page/page.js")),
    ("/page/server.js", JAVASCRIPT, include_str!("page/server.js")),
    ("/page/photo.js", JAVASCRIPT, include_str!("page/photo.js")),
    ("/page/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/openapi.json", "application/json", OPENAPI),
];

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Routes of the page and of the description of the API.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().fold(Router::new(), |router, &(path, kind, content)| {
        router.route(path, get(move || async move { file(kind, content) }))
    })
}

fn file(kind: &'static str, content: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // A newer program has a newer page.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, content).into_response()
}
