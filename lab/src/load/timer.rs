//! A timer that keeps microseconds.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A Linux timerfd in the runtime's event loop.
///
/// tokio's own timer rounds up to the millisecond, which at 2,000 arrivals a second is two whole
/// gaps; and a loop that spins takes the processor from the backend.
pub(crate) struct PreciseTimer(AsyncFd<OwnedFd>);

impl PreciseTimer {
    /// Must be called within a runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // The safe constructor is deprecated because a descriptor type may lie about what it owns;
        // `OwnedFd` is the type that does not, so nothing is gained by the unsafe one.
        #[allow(
            deprecated,
            reason = "the replacement is unsafe, and OwnedFd upholds what it asks"
        )]
        let registered = AsyncFd::with_interest(fd, Interest::READABLE)?;
        Ok(Self(registered))
    }

    /// Returns at `deadline`, or at once if it has passed.
    pub(crate) async fn sleep_until(&self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        // Zero would disarm the timer.
        if left.is_zero() {
            return Ok(());
        }
        let once = Itimerspec {
            it_interval: timespec(Duration::ZERO),
            it_value: timespec(left),
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        let mut expirations = [0; 8];
        let read = |fd: &OwnedFd| Ok(rustix::io::read(fd, &mut expirations)?);
        self.0.async_io(Interest::READABLE, read).await.map(drop)
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        // 292 billion years are enough.
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_never_fires_early() {
        let timer = PreciseTimer::new().unwrap();
        for micros in [0, 50, 300, 2000] {
            let deadline = Instant::now() + Duration::from_micros(micros);
            timer.sleep_until(deadline).await.unwrap();
            assert!(Instant::now() >= deadline);
        }
    }
}
