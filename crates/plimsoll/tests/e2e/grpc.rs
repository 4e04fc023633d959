//! gRPC, spoken by a library on both ends: it needs HTTP/2, trailers and streams in both directions.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use http::uri::PathAndQuery;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, BoxStream, Context, Poll, Service};
use tonic::server::UnaryService;
use tonic::server::{
    ClientStreamingService, NamedService, ServerStreamingService, StreamingService,
};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::harness::app::{self, free_listener};
use crate::harness::sidecar::Sidecar;
use crate::harness::soon;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Number {
    #[prost(uint64, tag = "1")]
    pub(crate) value: u64,
}

type Codec = ProstCodec<Number, Number>;

fn number(value: u64) -> Number {
    Number { value }
}

/// The service: what would be generated from a `.proto` file, and the four methods.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calculator;

impl NamedService for Calculator {
    const NAME: &'static str = "test.Calculator";
}

impl Service<http::Request<Body>> for Calculator {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Codec::default());
            Ok(match request.uri().path() {
                "/test.Calculator/Square" => grpc.unary(Self, request).await,
                "/test.Calculator/Sum" => grpc.client_streaming(Self, request).await,
                "/test.Calculator/Count" => grpc.server_streaming(Self, request).await,
                "/test.Calculator/Double" => grpc.streaming(Self, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// Squares a number, and says whom for. 0 is out of range.
impl UnaryService<Number> for Calculator {
    type Response = Number;
    type Future = BoxFuture<Response<Number>, Status>;

    fn call(&mut self, request: Request<Number>) -> Self::Future {
        Box::pin(async move {
            let caller = request.metadata().get("x-caller").cloned();
            let value = request.into_inner().value;
            if value == 0 {
                return Err(Status::out_of_range("not 0: 50 % of it is é"));
            }
            let mut response = Response::new(number(value * value));
            if let Some(caller) = caller {
                response.metadata_mut().insert("x-served", caller);
            }
            Ok(response)
        })
    }
}

/// Adds up what the client sends.
impl ClientStreamingService<Number> for Calculator {
    type Response = Number;
    type Future = BoxFuture<Response<Number>, Status>;

    fn call(&mut self, request: Request<Streaming<Number>>) -> Self::Future {
        Box::pin(async move {
            let mut numbers = request.into_inner();
            let mut sum = 0;
            while let Some(number) = numbers.message().await? {
                sum += number.value;
            }
            Ok(Response::new(number(sum)))
        })
    }
}

/// Counts to a number; from [`ENDLESS`] on it never comes to the end.
impl ServerStreamingService<Number> for Calculator {
    type Response = Number;
    type ResponseStream = BoxStream<Number>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Number>) -> Self::Future {
        Box::pin(async move {
            let last = request.into_inner().value;
            let counted = stream::iter((1..=last.min(ENDLESS)).map(|value| Ok(number(value))));
            let rest: BoxStream<Number> = if last < ENDLESS {
                Box::pin(stream::empty())
            } else {
                Box::pin(stream::pending())
            };
            Ok(Response::new(
                Box::pin(counted.chain(rest)) as Self::ResponseStream
            ))
        })
    }
}

pub(crate) const ENDLESS: u64 = 5;

/// Doubles each number as it comes.
impl StreamingService<Number> for Calculator {
    type Response = Number;
    type ResponseStream = BoxStream<Number>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<Number>>) -> Self::Future {
        Box::pin(async move {
            let doubled = request
                .into_inner()
                .map(|given| given.map(|given| number(given.value * 2)));
            Ok(Response::new(Box::pin(doubled) as Self::ResponseStream))
        })
    }
}

/// A running [`Calculator`]. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Calculator {
    /// Serves for ever.
    pub(crate) async fn serve(listen: SocketAddr) {
        let server = Server::builder().add_service(Self);
        server.serve(listen).await.unwrap();
    }

    pub(crate) async fn start() -> Running {
        let listener = free_listener().await;
        let addr = listener.local_addr().unwrap();
        let served = Server::builder()
            .add_service(Self)
            .serve_with_incoming(TcpIncoming::from(listener));
        let task = tokio::spawn(async move { served.await.unwrap() });
        Running { addr, task }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) type Client = tonic::client::Grpc<Channel>;

pub(crate) async fn client(sidecar: &Sidecar) -> Client {
    client_of(sidecar.data).await
}

pub(crate) async fn client_of(address: SocketAddr) -> Client {
    let endpoint = Endpoint::try_from(format!("http://{address}")).unwrap();
    let mut client = Client::new(soon("connect", endpoint.connect()).await.unwrap());
    client.ready().await.unwrap();
    client
}

fn method(name: &str) -> PathAndQuery {
    format!("/test.Calculator/{name}").parse().unwrap()
}

pub(crate) async fn square(client: &mut Client, value: u64) -> Result<Response<Number>, Status> {
    let mut request = Request::new(number(value));
    request
        .metadata_mut()
        .insert("x-caller", "me".parse().unwrap());
    client.ready().await.unwrap();
    let called = client.unary(request, method("Square"), Codec::default());
    soon("Square", called).await
}

pub(crate) async fn count(client: &mut Client, to: u64) -> Result<Streaming<Number>, Status> {
    client.ready().await.unwrap();
    let called =
        client.server_streaming(Request::new(number(to)), method("Count"), Codec::default());
    Ok(soon("Count", called).await?.into_inner())
}

#[tokio::test]
async fn all_four_kinds_of_calls_pass_with_their_metadata() {
    let app = Calculator::start().await;
    let sidecar = Sidecar::start(app.addr, &["--concurrency", "4"]).await;
    all_four_kinds_of_calls(&mut client(&sidecar).await).await;
    let metrics = sidecar
        .scraped("four calls", |metrics| {
            metrics.requests("2xx", "app") == 4.0
        })
        .await;
    assert_eq!((metrics.errors_total(), metrics.in_flight()), (0.0, 0.0));
}

/// Makes one call of each kind, and looks at what comes back.
pub(crate) async fn all_four_kinds_of_calls(client: &mut Client) {
    let squared = square(client, 12).await.unwrap();
    assert_eq!(squared.metadata().get("x-served").unwrap(), "me");
    assert_eq!(squared.into_inner(), number(144));

    client.ready().await.unwrap();
    let numbers = Request::new(stream::iter((1..=1_000).map(number)));
    let called = client.client_streaming(numbers, method("Sum"), Codec::default());
    assert_eq!(
        soon("Sum", called).await.unwrap().into_inner(),
        number(500_500)
    );

    let mut counted = count(client, 4).await.unwrap();
    for expected in 1..=4 {
        let message = soon("a number", counted.message()).await.unwrap();
        assert_eq!(message, Some(number(expected)));
    }
    assert_eq!(soon("the end", counted.message()).await.unwrap(), None);

    // Each number is sent when the one before has come back.
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let numbers = stream::unfold(receive, |mut receive| async move {
        receive.recv().await.map(|number| (number, receive))
    });
    client.ready().await.unwrap();
    let called = client.streaming(Request::new(numbers), method("Double"), Codec::default());
    let mut doubled = soon("Double", called).await.unwrap().into_inner();
    for value in 1..=20 {
        send.send(number(value)).await.unwrap();
        let message = soon("a number", doubled.message()).await.unwrap();
        assert_eq!(message, Some(number(2 * value)));
    }
    drop(send);
    assert_eq!(soon("the end", doubled.message()).await.unwrap(), None);
}

#[tokio::test]
async fn an_error_of_the_application_arrives_as_it_was_given() {
    let app = Calculator::start().await;
    let sidecar = Sidecar::start(app.addr, &[]).await;
    out_of_range(&mut client(&sidecar).await).await;
}

/// Makes a call that the application answers with an error.
pub(crate) async fn out_of_range(client: &mut Client) {
    let refused = square(client, 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert_eq!(refused.message(), "not 0: 50 % of it is é");
}

#[tokio::test]
async fn a_time_limit_within_a_stream_ends_it_with_deadline_exceeded() {
    let app = Calculator::start().await;
    let sidecar = Sidecar::start(app.addr, &["--timeout", "500ms"]).await;
    let mut client = client(&sidecar).await;
    let mut counted = count(&mut client, ENDLESS).await.unwrap();
    for expected in 1..=ENDLESS {
        let message = soon("a number", counted.message()).await.unwrap();
        assert_eq!(message, Some(number(expected)));
    }
    let cut = soon("the limit", counted.message()).await.unwrap_err();
    assert_eq!(
        (cut.code(), cut.message()),
        (Code::DeadlineExceeded, "request timeout")
    );
    let metrics = sidecar
        .scraped("the call has ended", |metrics| metrics.in_flight() == 0.0)
        .await;
    assert_eq!(metrics.requests("5xx", "timeout"), 1.0);
    assert_eq!(
        square(&mut client, 2).await.unwrap().into_inner(),
        number(4)
    );
}

#[tokio::test]
async fn failures_of_the_sidecar_are_grpc_statuses() {
    // Nobody there.
    let sidecar = Sidecar::start(app::nowhere().await, &[]).await;
    let mut caller = client(&sidecar).await;
    let refused = square(&mut caller, 1).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.message().contains("connect"), "{refused:?}");

    // No answer in time.
    let lab = app::lab();
    let sidecar = Sidecar::start(lab.addr(), &["--timeout", "100ms"]).await;
    let mut caller = client(&sidecar).await;
    let request = Request::new(number(1));
    let called = caller.unary(
        request,
        PathAndQuery::from_static("/hang"),
        Codec::default(),
    );
    let late = soon("the limit", called).await.unwrap_err();
    assert_eq!(
        (late.code(), late.message()),
        (Code::DeadlineExceeded, "request timeout")
    );

    // No place.
    let app = Calculator::start().await;
    let sidecar = Sidecar::start(app.addr, &["--concurrency", "1", "--queue", "1"]).await;
    let mut caller = client(&sidecar).await;
    let held = count(&mut caller, ENDLESS).await.unwrap();
    let mut other = caller.clone();
    let waiting = tokio::spawn(async move { square(&mut other, 2).await });
    sidecar
        .scraped("one waits", |metrics| {
            metrics.value("plimsoll_queue_depth") == 1.0
        })
        .await;
    let refused = square(&mut caller, 1).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unavailable, "pending request queue full")
    );
    drop(held);
    let waited = soon("the one that waited", waiting).await.unwrap();
    assert_eq!(waited.unwrap().into_inner(), number(4));
}

#[tokio::test]
async fn a_deadline_of_the_client_gives_everything_back() {
    let app = Calculator::start().await;
    let sidecar = Sidecar::start(app.addr, &["--concurrency", "1"]).await;
    let mut caller = client(&sidecar).await;
    // Numbers that never come to an end, so that there is never a sum.
    let mut request = Request::new(stream::pending());
    request.set_timeout(Duration::from_millis(200));
    let called = caller.client_streaming(request, method("Sum"), Codec::default());
    let late: Result<Response<Number>, Status> = soon("the deadline", called).await;
    assert!(late.is_err(), "{late:?}");
    sidecar
        .scraped("nothing in flight", |metrics| metrics.in_flight() == 0.0)
        .await;
    assert_eq!(
        square(&mut caller, 3).await.unwrap().into_inner(),
        number(9)
    );
}
