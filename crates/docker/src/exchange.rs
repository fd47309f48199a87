//! One request and its answer: a bounded body, the call on a thread that may block, one line of log.
//! `server` runs it for every connection.
//! It must never answer a failure without a text that says what to do about it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use wharfline_spec::docker::{self, Failure};

use crate::lines::{Answer, Room};
use crate::log::{self, Subject};
use crate::metrics::Metrics;
use crate::protocol::{Protocol, activate};
use crate::refusal::Refusal;

/// Longest body in bytes. An endpoint that publishes all 65,535 ports of a protocol has one of 10 MB.
const LONGEST_BODY: usize = 16 << 20;
/// How long a client may take for a body.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// What answers requests, and counts them.
pub(crate) struct Service {
    /// Does the calls.
    pub(crate) protocol: Arc<dyn Protocol>,
    /// What came of them.
    pub(crate) metrics: Metrics,
    /// Where those run that take long.
    pub(crate) works: Room,
}

/// Answers `request`; every failure is an answer too.
pub(crate) async fn exchange(
    service: Arc<Service>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let begun = Instant::now();
    let path = request.uri().path().to_owned();
    let mut subject = Subject::default();
    let outcome = match receive(request).await {
        Ok(body) => {
            subject = Subject::of(&body);
            if let Some(work) = service.protocol.work(&path) {
                let answer = service.works.start(work, body).await;
                let outcome = answer.as_ref().map(|_| Vec::new()).map_err(Refusal::clone);
                service.metrics.count(&path, &outcome, begun.elapsed());
                log::call(&path, &subject, &outcome, (begun.elapsed(), 0));
                return Ok(respond_to_work(answer));
            }
            perform(service.protocol.clone(), &path, body).await
        }
        Err(refusal) => (Err(refusal), 0),
    };
    let (outcome, steps) = outcome;
    let spent = begun.elapsed();
    service.metrics.count(&path, &outcome, spent);
    log::call(&path, &subject, &outcome, (spent, steps));
    Ok(respond(outcome))
}

async fn receive(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    if request.method() != Method::POST {
        let told = format!("{} is no POST", request.method());
        return Err(Refusal::with(StatusCode::METHOD_NOT_ALLOWED, told));
    }
    let body = Limited::new(request.into_body(), LONGEST_BODY).collect();
    let Ok(read) = tokio::time::timeout(BODY_WITHIN, body).await else {
        let told = format!(
            "the request's body is not whole after {} s",
            BODY_WITHIN.as_secs()
        );
        return Err(Refusal::with(StatusCode::REQUEST_TIMEOUT, told));
    };
    match read {
        Ok(body) => Ok(body.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => Err(Refusal::with(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the request's body is longer than {LONGEST_BODY} bytes"),
        )),
        Err(e) => Err(Refusal::malformed(format!("read the request's body: {e}"))),
    }
}

/// The outcome, and how many steps it took.
async fn perform(
    protocol: Arc<dyn Protocol>,
    path: &str,
    body: Bytes,
) -> (Result<Vec<u8>, Refusal>, u32) {
    let path = path.to_owned();
    let work = move || {
        log::begin_steps();
        let outcome = match path.as_str() {
            "/Plugin.Activate" => activate(&*protocol),
            path => protocol.call(path, &body),
        };
        (outcome, log::steps())
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // The panic's own message is on stderr.
        Err(_) => (Err(Refusal::new("a defect of this plugin: see its log")), 0),
    }
}

fn respond_to_work(answer: Result<Answer, Refusal>) -> Response<Answer> {
    match answer {
        Ok(lines) => {
            let mut response = Response::new(lines);
            let kind = HeaderValue::from_static(docker::volume::EVENTS);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Err(refusal) => respond(Err(refusal)),
    }
}

fn respond(outcome: Result<Vec<u8>, Refusal>) -> Response<Answer> {
    let (status, body) = match outcome {
        Ok(body) => (StatusCode::OK, body),
        Err(refusal) => {
            let failure = serde_json::to_vec(&Failure::new(&refusal.to_string()));
            (refusal.status(), failure.unwrap_or_default())
        }
    };
    let mut response = Response::new(Answer::Whole(Some(Bytes::from(body))));
    *response.status_mut() = status;
    let json = HeaderValue::from_static(docker::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
