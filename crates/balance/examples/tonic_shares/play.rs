//! Three servers, one client, and what the balancer has seen.
#![expect(
    clippy::disallowed_methods,
    reason = "a program, not the crate: it has a clock, timers and tasks"
)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use plimsoll_balance::tower::{BalancerService, BoxError, Http, outcome_of_error};
use plimsoll_balance::{BalancerConfig, BalancerView, EndpointSpec, Outcome};
use plimsoll_meter::{Clock, Tick};
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{self, Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// What the servers are like, in the order of the set.
pub(crate) const SERVERS: [&str; 3] = ["well", "failing", "slow"];

/// Calls that are made at once.
const TOGETHER: u32 = 8;

/// How long a server works on an answer; the slow one takes ten times as long.
const WORK: Duration = Duration::from_millis(5);

/// How often the balancer does its housekeeping.
const ADVANCE_PERIOD: Duration = Duration::from_millis(100);

/// What has come of the calls.
pub(crate) struct Played {
    /// What the balancer knows in the end.
    pub(crate) view: BalancerView,
    /// Calls that the caller saw fail.
    pub(crate) failed: u32,
}

/// The only message there is.
#[derive(Clone, PartialEq, prost::Message)]
struct Number {
    #[prost(uint64, tag = "1")]
    value: u64,
}

type Codec = ProstCodec<Number, Number>;

/// Time since the client began.
struct SinceStart(Instant);

/// A server that doubles numbers, in its own way.
#[derive(Clone, Copy)]
struct Doubler {
    nature: &'static str,
}

type Balanced = BalancerService<Channel, Http<fn(&transport::Error) -> Outcome>>;

impl Clock for SinceStart {
    fn now(&self) -> Tick {
        let since = self.0.elapsed().as_nanos();
        Tick::from_nanos(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

/// Makes `calls` calls, a few at a time, to three servers.
pub(crate) async fn play(calls: u32) -> Result<Played, BoxError> {
    let mut tasks = JoinSet::new();
    let mut specs = Vec::new();
    for nature in SERVERS {
        let address = serve(Doubler { nature }, &mut tasks).await?;
        specs.push(EndpointSpec::new(address.to_string()));
    }
    let outcomes = Http::new((|error| outcome_of_error(error)) as fn(&transport::Error) -> Outcome);
    let clock = SinceStart(Instant::now());
    let service = Balanced::new(BalancerConfig::default(), clock, outcomes, |endpoint| {
        let server = Endpoint::from_shared(format!("http://{}", endpoint.address))?;
        Ok(server.connect_lazy())
    })?;
    service.set(&specs)?;
    let tended = service.clone();
    tasks.spawn(async move {
        let mut ticks = tokio::time::interval(ADVANCE_PERIOD);
        loop {
            ticks.tick().await;
            tended.advance();
        }
    });
    let failed = call(calls, &service).await?;
    // Servers and housekeeping end with `tasks`.
    Ok(Played {
        view: service.view(),
        failed,
    })
}

/// Makes the calls. How many have failed.
async fn call(calls: u32, service: &Balanced) -> Result<u32, JoinError> {
    let made = Arc::new(AtomicU32::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..TOGETHER {
        let (made, service) = (Arc::clone(&made), service.clone());
        callers.spawn(async move {
            let mut client = Grpc::new(service);
            let mut failed = 0;
            while made.fetch_add(1, Ordering::Relaxed) < calls {
                failed += u32::from(double(&mut client, 21).await.is_err());
            }
            failed
        });
    }
    let mut failed = 0;
    while let Some(caller) = callers.join_next().await {
        failed += caller?;
    }
    Ok(failed)
}

async fn double(client: &mut Grpc<Balanced>, value: u64) -> Result<u64, Status> {
    let to_status = |error: BoxError| Status::unavailable(error.to_string());
    client
        .ready()
        .await
        .map_err(|error| to_status(error.into()))?;
    let path = http::uri::PathAndQuery::from_static("/example.Doubler/Double");
    let request = Request::new(Number { value });
    let answer = client.unary(request, path, Codec::default()).await?;
    Ok(answer.into_inner().value)
}

/// Starts a server among `tasks`.
async fn serve(server: Doubler, tasks: &mut JoinSet<()>) -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let served = Server::builder().add_service(server);
    tasks.spawn(async move {
        // It ends when it is aborted; what it could say before, its clients notice.
        let _ended = served.serve_with_incoming(incoming).await;
    });
    Ok(address)
}

// === impl Doubler: what would be generated from a `.proto` file ===

impl NamedService for Doubler {
    const NAME: &'static str = "example.Doubler";
}

impl Service<http::Request<Body>> for Doubler {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let server = *self;
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Codec::default());
            Ok(grpc.unary(server, request).await)
        })
    }
}

impl UnaryService<Number> for Doubler {
    type Response = Number;
    type Future = BoxFuture<Response<Number>, Status>;

    fn call(&mut self, request: Request<Number>) -> Self::Future {
        let nature = self.nature;
        Box::pin(async move {
            match nature {
                // At once: to a balancer that looks at times alone it is the best of all.
                "failing" => return Err(Status::internal("out of order")),
                "slow" => tokio::time::sleep(WORK * 10).await,
                _ => tokio::time::sleep(WORK).await,
            }
            let value = request.into_inner().value.wrapping_mul(2);
            Ok(Response::new(Number { value }))
        })
    }
}
