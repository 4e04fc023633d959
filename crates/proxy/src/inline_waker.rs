//! A waker for futures that are polled inside another task.
//!
//! The upstream connection of a request without a body is polled by the task of the client's connection: one
//! task, one poll per event. Inside such a poll the HTTP library wakes the task many times (a channel got a
//! value, the reader wants more), and each of these would put the task into the run queue for one more poll
//! that has nothing to do. This waker tells the two apart: a wake-up during the poll only asks for another
//! turn of the loop; any other goes to the task.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

/// Nobody polls: a wake-up goes to the task.
const IDLE: u8 = 0;
/// A poll is under way and nothing has woken it.
const POLLING: u8 = 1;
/// A poll is under way and something has woken it: it takes another turn.
const WOKEN: u8 = 2;

/// The most turns of one poll; then other tasks have theirs first.
const TURNS_MAX: usize = 32;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct InlineWaker {
    state: AtomicU8,
    task: Mutex<Waker>,
}

impl InlineWaker {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU8::new(IDLE),
            task: Mutex::new(Waker::noop().clone()),
        })
    }

    /// Polls with `poll` until it is ready, or pending without having been woken meanwhile.
    ///
    /// `inline` is the waker made of `self`; the caller keeps it so that it need not be made every time.
    pub(crate) fn run<T>(
        &self,
        inline: &Waker,
        cx: &Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        // Costs nothing if it is the same task as last time.
        self.task.lock().clone_from(cx.waker());
        let mut inline_cx = Context::from_waker(inline);
        for _ in 0..TURNS_MAX {
            self.state.store(POLLING, Ordering::SeqCst);
            if let Poll::Ready(value) = poll(&mut inline_cx) {
                self.state.store(IDLE, Ordering::SeqCst);
                return Poll::Ready(value);
            }
            if self
                .state
                .compare_exchange(POLLING, IDLE, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
            {
                return Poll::Pending;
            }
        }
        self.state.store(IDLE, Ordering::SeqCst);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Forgets the task, so that an idle connection does not keep a finished one alive.
    pub(crate) fn forget_task(&self) {
        *self.task.lock() = Waker::noop().clone();
    }
}

impl Wake for InlineWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let during_poll =
            self.state
                .compare_exchange(POLLING, WOKEN, Ordering::SeqCst, Ordering::SeqCst);
        if during_poll == Err(IDLE) {
            self.task.lock().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_wake_up_during_the_poll_polls_again_and_leaves_the_task_alone() {
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let inline = InlineWaker::new();
        let waker = Waker::from(Arc::clone(&inline));
        let mut polls = 0;
        let poll = inline.run(&waker, &Context::from_waker(&task), |cx| {
            polls += 1;
            if polls < 3 {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert!(poll.is_pending());
        assert_eq!(polls, 3);
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_wake_up_between_polls_reaches_the_task_of_the_last_poll() {
        let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let inline = InlineWaker::new();
        let waker = Waker::from(Arc::clone(&inline));
        for task in [&first, &second] {
            let task = Waker::from(Arc::clone(task));
            assert!(
                inline
                    .run(&waker, &Context::from_waker(&task), |_| Poll::<()>::Pending)
                    .is_pending()
            );
        }
        waker.wake_by_ref();
        assert_eq!(first.0.load(Ordering::SeqCst), 0);
        assert_eq!(second.0.load(Ordering::SeqCst), 1);
        inline.forget_task();
        waker.wake_by_ref();
        assert_eq!(second.0.load(Ordering::SeqCst), 1);
        assert_eq!(
            Arc::strong_count(&second),
            1,
            "the task must not be kept alive"
        );
    }
}
