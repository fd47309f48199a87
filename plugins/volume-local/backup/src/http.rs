//! HTTP for the object store: hyper's client, with TLS by rustls and the host's own certificates.
//! object_store asks it; its own client (reqwest) would be sixty crates more.
//! It must never let an answer take longer than [`WITHIN`].

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_RANGE;
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// For a whole answer; the largest is a pack of 128 MiB, which restic may have written.
const WITHIN: Duration = Duration::from_secs(300);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub(crate) struct Connector(Client<HttpsConnector<Tcp>, HttpRequestBody>);

impl Connector {
    /// Believes the host's certificates, and `authorities` (PEM) as well.
    pub(crate) fn new(authorities: Option<&str>) -> Result<Connector, String> {
        let mut tcp = Tcp::new();
        tcp.set_connect_timeout(Some(CONNECT_WITHIN));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let tls = ClientConfig::builder()
            .with_root_certificates(roots(authorities)?)
            .with_no_client_auth();
        let https = HttpsConnectorBuilder::new().with_tls_config(tls);
        let https = https.https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(https);
        Ok(Connector(client))
    }

    async fn answer(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = self.0.request(request).await.map_err(|cause| {
            // Another try would find the same certificate.
            let kind = match cause.is_connect() {
                true if is_of_certificate(&cause) => HttpErrorKind::Unknown,
                true => HttpErrorKind::Connect,
                false => HttpErrorKind::Request,
            };
            HttpError::new(kind, cause)
        })?;
        let (mut head, body) = answer.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|cause| HttpError::new(HttpErrorKind::Interrupted, cause))?;
        // rclone's server sends the range that was asked for as an ordinary answer.
        if head.status == StatusCode::OK && head.headers.contains_key(CONTENT_RANGE) {
            head.status = StatusCode::PARTIAL_CONTENT;
        }
        let whole = Full::<Bytes>::new(body.to_bytes()).map_err(|never| match never {});
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(whole)))
    }
}

/// Whether the server's certificate is why.
fn is_of_certificate(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return true;
        }
        // The source of an io::Error is that of the error in it.
        next = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

/// A host without certificates of its own can still believe those that it is given.
fn roots(authorities: Option<&str>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let Some(given) = authorities else {
        return match roots.is_empty() {
            true => Err("this host has no certificates (ca-certificates)".to_owned()),
            false => Ok(roots),
        };
    };
    let refused = |cause: String| format!("read the certificates that were given: {cause}");
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(given.as_bytes()) {
        let certificate = certificate.map_err(|cause| refused(cause.to_string()))?;
        roots
            .add(certificate)
            .map_err(|cause| refused(cause.to_string()))?;
        count += 1;
    }
    match count {
        0 => Err(refused("there is none in PEM".to_owned())),
        _ => Ok(roots),
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait::async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = tokio::time::timeout(WITHIN, self.answer(request)).await;
        answer.unwrap_or_else(|late| Err(HttpError::new(HttpErrorKind::Timeout, late)))
    }
}
