//! What answers over HTTP teach, to the end of their bodies.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use plimsoll_balance::tower::{BalancerService, Http, MeasuredBody, outcome_of_error};
use plimsoll_balance::{BalancerConfig, Outcome};
use plimsoll_meter::ManualClock;
use tokio_test::{assert_ready, assert_ready_ok};

use crate::world::{Book, Inner, at, call, counts, failure, millis, seen, world};

/// The frames of a body, all there from the beginning.
#[derive(Debug)]
struct Frames {
    frames: VecDeque<Result<Frame<&'static [u8]>, Error>>,
    /// Whether the body can tell that there is no more.
    tells_its_end: bool,
}

type Answers = BalancerService<Inner<Response<Frames>>, Http<fn(&Error) -> Outcome>>;

impl Body for Frames {
    type Data = &'static [u8];
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Error>>> {
        Poll::Ready(self.frames.pop_front())
    }

    fn is_end_stream(&self) -> bool {
        self.tells_its_end && self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let ours = self.frames.iter().flatten();
        let bytes = ours
            .filter_map(Frame::data_ref)
            .map(|data| data.len() as u64);
        SizeHint::with_exact(bytes.sum())
    }
}

fn data() -> Result<Frame<&'static [u8]>, Error> {
    Ok(Frame::data(b"some"))
}

fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let fields = fields.iter().map(|&(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    });
    fields.collect()
}

fn trailers(given: &[(&'static str, &'static str)]) -> Result<Frame<&'static [u8]>, Error> {
    Ok(Frame::trailers(fields(given)))
}

fn broken() -> Result<Frame<&'static [u8]>, Error> {
    Err(Error::from(ErrorKind::ConnectionReset))
}

/// Calls, and gets this answer after 10 ms.
fn answered(
    status: u16,
    headers: &[(&'static str, &'static str)],
    frames: Vec<Result<Frame<&'static [u8]>, Error>>,
) -> (Answers, Arc<ManualClock>, Response<MeasuredBody<Frames>>) {
    let errors: fn(&Error) -> Outcome = |error| outcome_of_error(error);
    let config = BalancerConfig::default();
    let (service, book, clock) = world(config, Http::new(errors), &["a"]);
    let book: Arc<Book<_>> = book;
    let mut called = call(&service);
    let tells_its_end = !headers.contains(&OPEN);
    let mut response = Response::new(Frames {
        frames: frames.into(),
        tells_its_end,
    });
    *response.status_mut() = status.try_into().expect("a status");
    *response.headers_mut() = fields(headers);
    clock.advance_to(at(10));
    book.answer(Ok(response));
    let response = assert_ready_ok!(called.poll());
    (service, clock, response)
}

/// Marks an answer whose body cannot tell beforehand that there is no more.
const OPEN: (&str, &str) = ("x-body", "open");

const GRPC: (&str, &str) = ("content-type", "application/grpc");

#[tokio::test]
async fn a_request_lasts_until_its_body_has_ended_and_its_latency_to_the_head() {
    let (service, clock, mut response) = answered(200, &[], vec![data(), data()]);
    assert_eq!(response.body().size_hint().exact(), Some(8));
    assert!(response.body_mut().frame().await.is_some());
    assert_eq!(counts(&service, "a"), [1, 0, 0, 0]);
    clock.advance_to(at(500));
    assert!(response.body_mut().frame().await.is_some());
    // It ends with the last frame: not everybody asks whether there is another.
    assert_eq!(counts(&service, "a"), [0, 1, 0, 0]);
    assert!(response.body().is_end_stream());
    assert_eq!(seen(&service, "a").latency.sum, millis(10));
    assert!(response.body_mut().frame().await.is_none());
    drop(response);
    assert_eq!(counts(&service, "a"), [0, 1, 0, 0]);
}

#[tokio::test]
async fn a_body_that_cannot_tell_its_end_ends_when_there_is_no_more() {
    let (service, _clock, mut response) = answered(200, &[OPEN], vec![data()]);
    assert!(response.body_mut().frame().await.is_some());
    assert_eq!(counts(&service, "a"), [1, 0, 0, 0]);
    assert!(response.body_mut().frame().await.is_none());
    assert_eq!(counts(&service, "a"), [0, 1, 0, 0]);
}

#[test]
fn an_answer_without_a_body_is_whole_at_once() {
    let (service, _clock, _response) = answered(204, &[], vec![]);
    assert_eq!(counts(&service, "a"), [0, 1, 0, 0]);
}

#[tokio::test]
async fn the_end_of_an_answer_says_how_it_went() {
    type Frames = Vec<Result<Frame<&'static [u8]>, Error>>;
    type Row = (
        u16,
        &'static [(&'static str, &'static str)],
        Frames,
        &'static str,
    );
    let rows: [Row; 13] = [
        (200, &[], vec![data()], "success"),
        (404, &[], vec![data()], "success"),
        (500, &[], vec![data()], "error"),
        (503, &[], vec![], "overloaded"),
        (504, &[], vec![data()], "timeout"),
        (200, &[], vec![data(), broken()], "reset"),
        // The head has said more than that.
        (503, &[], vec![data(), broken()], "overloaded"),
        (
            200,
            &[GRPC],
            vec![data(), trailers(&[("grpc-status", "0")])],
            "success",
        ),
        (
            200,
            &[GRPC],
            vec![data(), trailers(&[("grpc-status", "14")])],
            "overloaded",
        ),
        (
            200,
            &[GRPC],
            vec![data(), trailers(&[("grpc-status", "5")])],
            "success",
        ),
        (200, &[GRPC], vec![data()], "error"),
        (200, &[GRPC, ("grpc-status", "13")], vec![], "error"),
        (
            200,
            &[],
            vec![data(), trailers(&[("grpc-status", "13")])],
            "success",
        ),
    ];
    for (status, headers, frames, expected) in rows {
        let told = format!("{status} {headers:?} {frames:?}");
        let (service, _clock, mut response) = answered(status, headers, frames);
        while response.body_mut().frame().await.is_some() {}
        let outcome = match counts(&service, "a") {
            [0, 1, 0, 0] => "success",
            [0, 0, 1, 0] => failure(&service, "a"),
            other => panic!("{told}: {other:?}"),
        };
        assert_eq!(outcome, expected, "{told}");
    }
}

#[tokio::test]
async fn a_body_that_is_dropped_blames_nobody_unless_the_head_has_told() {
    let ok = trailers(&[("grpc-status", "0")]);
    let (service, clock, mut response) = answered(200, &[GRPC], vec![data(), ok]);
    assert!(response.body_mut().frame().await.is_some());
    clock.advance_to(at(5_000));
    drop(response);
    assert_eq!(counts(&service, "a"), [0, 0, 0, 1]);
    let (service, _clock, response) = answered(500, &[], vec![data()]);
    drop(response);
    assert_eq!(counts(&service, "a"), [0, 0, 1, 0]);
    assert_eq!(failure(&service, "a"), "error");
}

#[test]
fn an_error_in_place_of_an_answer_is_what_its_cause_is() {
    let errors: fn(&Error) -> Outcome = |error| outcome_of_error(error);
    let rows = [
        (ErrorKind::ConnectionRefused, "connect"),
        (ErrorKind::TimedOut, "timeout"),
        (ErrorKind::ConnectionReset, "reset"),
    ];
    for (kind, expected) in rows {
        let config = BalancerConfig::default();
        let (service, book, _clock) = world(config, Http::new(errors), &["a"]);
        let mut called = call::<Response<Frames>, _>(&service);
        book.answer(Err(Error::from(kind)));
        assert!(assert_ready!(called.poll()).is_err());
        assert_eq!(failure(&service, "a"), expected);
    }
}
