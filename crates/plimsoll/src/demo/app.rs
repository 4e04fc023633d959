//! The app of the demonstration: it answers every request with a line of text, after a while.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use tokio::net::TcpListener;

use crate::dice::Dice;

/// The shortest time an answer takes.
const TIME_MIN: Duration = Duration::from_millis(20);

/// The longest.
const TIME_MAX: Duration = Duration::from_millis(80);

/// The mean: all times between are equally likely.
const TIME_MEAN: Duration = Duration::from_millis(50);

/// How many requests the app is working on, by its own count. It knows nothing of the sidecar's.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// One request that the app is working on.
struct Work<'a>(&'a Busy);

// === impl Busy ===

impl Busy {
    /// The most there have been at once.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    fn begin(&self) -> Work<'_> {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        Work(self)
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Requests per second that an app can answer which works on `slots` of them at once.
pub(crate) fn capacity(slots: usize) -> f64 {
    slots as f64 / TIME_MEAN.as_secs_f64()
}

/// Serves, for as long as it is polled.
pub(crate) async fn serve(
    listener: TcpListener,
    busy: Arc<Busy>,
    dice: Arc<Dice>,
) -> io::Result<()> {
    let router = Router::new().fallback(answer).with_state((busy, dice));
    axum::serve(listener, router).await
}

/// A port of loopback that is free.
pub(crate) fn bind() -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn answer(State((busy, dice)): State<(Arc<Busy>, Arc<Dice>)>) -> String {
    let _work = busy.begin();
    let time = TIME_MIN + (TIME_MAX - TIME_MIN).mul_f64(dice.unit());
    tokio::time::sleep(time).await;
    format!("Hello from the app. This took {} ms.\n", time.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_at_once_is_remembered_and_each_is_given_back() {
        let busy = Busy::default();
        let first = busy.begin();
        drop(busy.begin());
        drop((busy.begin(), busy.begin()));
        drop(first);
        assert_eq!(busy.most(), 3);
        drop(busy.begin());
        assert_eq!(busy.most(), 3);
        assert_eq!(busy.now.into_inner(), 0);
    }

    #[test]
    fn the_mean_is_in_the_middle() {
        assert_eq!((TIME_MIN + TIME_MAX) / 2, TIME_MEAN);
    }
}
