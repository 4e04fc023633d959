//! Gives memory back after a burst.
//!
//! The allocator keeps what has been freed for the next request, also where a thousand connections have come
//! and gone. A sidecar's memory is its price in every pod, so what is free is given back to the system once it
//! is no longer being used.

use std::time::Duration;

use plimsoll_proxy::Stats;

/// How often it is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// Connections that must have given up their memory for it to be worth the work.
const RELEASED_MIN: u64 = 64;

/// Resident memory below this is left alone, in bytes.
const RESIDENT_MIN: u64 = 8 * 1024 * 1024;

/// Where connections come and go all the time, what one gives back the next one takes: if giving back has
/// brought less than this, in bytes, ...
const GAIN_MIN: u64 = 1024 * 1024;

/// ... it is left alone for so many periods.
const PAUSE_PERIODS: u32 = 15;

/// Gives memory back, for as long as it is polled.
pub(crate) async fn give_back_after_bursts(stats: Stats) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut released_then = 0;
    let mut pause = 0;
    loop {
        ticks.tick().await;
        let released = stats.connections_released();
        if pause > 0 {
            pause -= 1;
        } else if released - released_then >= RELEASED_MIN {
            released_then = released;
            pause = if trim_gain() < GAIN_MIN {
                PAUSE_PERIODS
            } else {
                0
            };
        }
    }
}

/// Returns free memory to the system, if there may be much, and says how much it was.
fn trim_gain() -> u64 {
    match resident_bytes() {
        Some(before) if before >= RESIDENT_MIN => {
            trim();
            before.saturating_sub(resident_bytes().unwrap_or(before))
        }
        _ => 0,
    }
}

/// Resident memory of this process.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Returns free memory to the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(
    unsafe_code,
    reason = "a function of the C library that has no safe wrapper"
)]
fn trim() {
    // SAFETY: malloc_trim may be called at any time from any thread: it takes the allocator's own locks, and
    // touches nothing but memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other C libraries have no such function, or do it by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
