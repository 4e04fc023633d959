//! One run: warm-up, measured window, grace.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::arrivals::Arrivals;
use super::client::{Client, Failure};
use super::recorder::Recorder;
use super::timer::PreciseTimer;
use super::{Error, Options, Pace, Summary};

/// Arrivals that may wait for a free lane in an open loop: at 2,000 a second, more than half a minute.
const WAITING_ARRIVALS: usize = 65_536;

/// How long opening all connections may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause of a lane after a failure, so that a server that is down is not asked in a tight loop.
const FAILURE_PAUSE: Duration = Duration::from_millis(5);

/// Told when the measured window begins and ends, on the generator's own thread: exactly the
/// requests between the two calls are in the [`Summary`] (closed loop).
pub trait Observer {
    /// The warm-up is over; the next request that ends is the first that counts.
    fn begin(&mut self);
    /// The window is over; the last request that counts has ended.
    fn end(&mut self);
}

impl Observer for () {
    fn begin(&mut self) {}
    fn end(&mut self) {}
}

/// One arrival of an open loop.
struct Arrival {
    due: Instant,
    measured: bool,
}

/// Runs on the current runtime, which must be single-threaded if the figures are to mean something.
pub(super) async fn run_here(
    options: &Options,
    observer: &mut impl Observer,
) -> Result<Summary, Error> {
    options.check()?;
    let lanes = tokio::time::timeout(CONNECT_TIMEOUT, Client::open_all(options))
        .await
        .map_err(|_| Error::Options("the connections were not all made within 10 s"))??;
    let recorder = Arc::new(Recorder::new(options.requests));
    let mut tasks = JoinSet::new();
    let arrivals = match options.pace {
        Pace::Closed => None,
        Pace::Constant(per_second) => Some(Arrivals::constant(per_second)),
        Pace::Poisson { per_second, seed } => Some(Arrivals::poisson(per_second, seed)),
    };
    let is_open = arrivals.is_some();
    match arrivals {
        None => {
            for lane in lanes {
                tasks.spawn(closed_lane(lane, Arc::clone(&recorder)));
            }
        }
        Some(arrivals) => {
            let (send, receive) = mpsc::channel(WAITING_ARRIVALS);
            let receive = Arc::new(Mutex::new(receive));
            for lane in lanes {
                tasks.spawn(open_lane(lane, Arc::clone(&receive), Arc::clone(&recorder)));
            }
            let timer = PreciseTimer::new().map_err(Error::Timer)?;
            tasks.spawn(pace(arrivals, timer, send, Arc::clone(&recorder)));
        }
    }

    let elapsed = measure(options, &recorder, observer).await;
    let in_time = tokio::time::timeout(options.grace, async {
        while tasks.join_next().await.is_some() {}
    });
    let unfinished = match in_time.await {
        Ok(()) => 0,
        Err(_) if is_open => recorder.pending(),
        Err(_) => tasks.len() as u64,
    };
    tasks.shutdown().await;
    Ok(recorder.summary(elapsed, unfinished))
}

/// Lets the warm-up and the window pass; returns the window's length.
async fn measure(options: &Options, recorder: &Recorder, observer: &mut impl Observer) -> Duration {
    if !options.warm_up.is_zero() {
        tokio::time::sleep(options.warm_up).await;
    }
    observer.begin();
    recorder.measure();
    let begin = Instant::now();
    tokio::select! {
        () = tokio::time::sleep(options.duration) => {}
        () = recorder.enough.notified() => {}
    }
    recorder.stop();
    let elapsed = begin.elapsed();
    observer.end();
    elapsed
}

async fn closed_lane(mut lane: Client, recorder: Arc<Recorder>) {
    while !recorder.is_stopped() {
        let start = Instant::now();
        let result = lane.call().await;
        if recorder.is_measuring() {
            recorder.end(start, result);
        }
        if result.is_err() {
            tokio::time::sleep(FAILURE_PAUSE).await;
        }
    }
}

/// Lanes wait for arrivals in the order in which they became free, so connections take turns.
async fn open_lane(
    mut lane: Client,
    arrivals: Arc<Mutex<mpsc::Receiver<Arrival>>>,
    recorder: Arc<Recorder>,
) {
    loop {
        let next = arrivals.lock().await.recv().await;
        let Some(arrival) = next else { return };
        let result = lane.call().await;
        if arrival.measured {
            recorder.end(arrival.due, result);
        }
    }
}

/// Hands out arrivals when they are due. One that is late by the fault of this process keeps the time
/// at which it was due.
async fn pace(
    mut arrivals: Arrivals,
    timer: PreciseTimer,
    send: mpsc::Sender<Arrival>,
    recorder: Arc<Recorder>,
) {
    let mut due = Instant::now();
    loop {
        due += arrivals.next_gap();
        // An error of the timer would let arrivals come early; there is none once it is made.
        if timer.sleep_until(due).await.is_err() || recorder.is_stopped() {
            return;
        }
        let measured = recorder.is_measuring();
        if measured {
            recorder.begin();
        }
        if send.try_send(Arrival { due, measured }).is_err() && measured {
            recorder.end(due, Err(Failure::Unsent));
        }
    }
}
