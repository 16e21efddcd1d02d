//! HTTP client that checks listings: what is no listing would be taken for one without objects.
//!
//! Stores send errors with the status 200, and proxies send pages of their own. Such an answer gets the status 503, so
//! that it is asked for again.

use std::pin::Pin;

use futures_util::StreamExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    ReqwestConnector,
};
use reqwest::{Method, StatusCode};

/// Roots of the listings of S3 and Google, and of Azure.
const LISTINGS: [&str; 2] = ["<ListBucketResult", "<EnumerationResults"];

/// Maker of clients that check listings.
#[derive(Debug)]
pub(super) struct Connector;

#[derive(Debug)]
struct Checked(HttpClient);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        ReqwestConnector::default().connect(options).map(|client| HttpClient::new(Checked(client)))
    }
}

// As `async_trait` writes it, which is the form of the trait.
impl HttpService for Checked {
    fn call<'service, 'answer>(
        &'service self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'answer>>
    where
        'service: 'answer,
        Self: 'answer,
    {
        let query = request.uri().query().unwrap_or_default();
        let is_listing =
            request.method() == Method::GET && (query.contains("list-type=2") || query.contains("comp=list"));
        Box::pin(async move {
            let answer = self.0.execute(request).await?;
            if is_listing && answer.status().is_success() { checked(answer).await } else { Ok(answer) }
        })
    }
}

async fn checked(answer: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (mut head, body) = answer.into_parts();
    let mut bytes = Vec::new();
    let mut parts = body.bytes_stream();
    while let Some(part) = parts.next().await {
        bytes.extend_from_slice(&part?);
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]);
    if !LISTINGS.iter().any(|root| text.contains(root)) {
        head.status = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(HttpResponse::from_parts(head, HttpResponseBody::from(bytes)))
}
