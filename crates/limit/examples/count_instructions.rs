//! A fixed number of operations, for counting instructions per operation.
//!
//! ```sh
//! cargo build --release -p plimsoll-limit --example count_instructions
//! for n in 100000 200000; do
//!   valgrind --tool=callgrind --callgrind-out-file=/dev/null \
//!     target/release/examples/count_instructions enter $n 2>&1 | grep Collected
//! done
//! ```
//!
//! The difference divided by 100000 is the cost of one operation, without that
//! of starting the process. Operations: `enter` (a free slot, and release),
//! `refuse` (a full queue), `queue` (wait, and be handed the slot).

use std::hint::black_box;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Waker};

use plimsoll_limit::{Breaker, Entry};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let operation = arguments.next().unwrap_or_default();
    let turns = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let Ok(breaker) = Breaker::new(1, 10) else {
        return ExitCode::FAILURE;
    };
    match operation.as_str() {
        "enter" => (0..turns).for_each(|_: u32| drop(black_box(breaker.enter()))),
        "refuse" => refuse(&breaker, turns),
        "queue" => queue(&breaker, turns),
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

fn refuse(breaker: &Breaker, turns: u32) {
    let _taken: Vec<_> = (0..11).map(|_| breaker.enter()).collect();
    for _ in 0..turns {
        drop(black_box(breaker.enter()));
    }
}

fn queue(breaker: &Breaker, turns: u32) {
    let mut running = breaker.try_reserve();
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..turns {
        if let Ok(Entry::Waiting(mut waiting)) = breaker.enter() {
            assert!(Future::poll(Pin::new(&mut waiting), &mut cx).is_pending());
            drop(running.take());
            running =
                Some(Future::poll(Pin::new(&mut waiting), &mut cx)).and_then(|poll| match poll {
                    std::task::Poll::Ready(slot) => Some(slot),
                    std::task::Poll::Pending => None,
                });
        }
    }
}
