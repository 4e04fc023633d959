//! Gives memory back after the start, and after a burst.
//!
//! A sidecar's memory is its price in every pod. Most of what is resident after the start is code that ran once:
//! the command line, the configuration, the loader. The allocator, too, keeps what has been freed for the next
//! request, also where a thousand connections have come and gone. Both are given back to the system once they are
//! no longer being used.

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
pub(crate) async fn give_back(stats: Stats) {
    let first = tokio::time::Instant::now() + PERIOD;
    let mut ticks = tokio::time::interval_at(first, PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    trim();
    program_pages::give_back();
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

/// Pages of the program's own file.
#[cfg(target_os = "linux")]
mod program_pages {
    /// Gives back those that nothing has written to. The page cache keeps them, and what is used again is mapped again
    /// at the next access, sixteen pages at a time, without reading the file.
    pub(super) fn give_back() {
        let (Ok(program), Ok(smaps)) = (
            std::fs::read_link("/proc/self/exe"),
            std::fs::read_to_string("/proc/self/smaps"),
        ) else {
            return;
        };
        for (address, length) in program
            .to_str()
            .map_or_else(Vec::new, |path| unwritten(&smaps, path))
        {
            release(address, length);
        }
    }

    /// Address and length in bytes of the mappings in `smaps` (proc_pid_smaps(5)) of the file `program` that can be read
    /// but not written, and hold no page that differs from the file. A page that the loader relocated and then protected
    /// does differ, and counts as anonymous.
    fn unwritten(smaps: &str, program: &str) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        let mut mapping = None;
        for line in smaps.lines() {
            let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
            let rest = rest.trim_start();
            match first {
                "Anonymous:" | "Swap:" if rest != "0 kB" => mapping = None,
                "VmFlags:" => found.extend(mapping.take()),
                _ if !first.ends_with(':') => {
                    let is_fixed = rest.starts_with("r-xp ") || rest.starts_with("r--p ");
                    let is_ours = rest
                        .strip_suffix(program)
                        .is_some_and(|before| before.ends_with(' '));
                    mapping = (is_fixed && is_ours).then(|| range(first)).flatten();
                }
                _ => {}
            }
        }
        found
    }

    /// Address and length of `from-to`, in hexadecimal digits.
    fn range(text: &str) -> Option<(usize, usize)> {
        let (from, to) = text.split_once('-')?;
        let from = usize::from_str_radix(from, 16).ok()?;
        let to = usize::from_str_radix(to, 16).ok()?;
        Some((from, to.checked_sub(from)?))
    }

    #[expect(
        unsafe_code,
        reason = "a function of the C library that has no safe wrapper"
    )]
    fn release(address: usize, length: usize) {
        // SAFETY: the range is one whole mapping of the program's own file, private, not writable and without a page
        // that differs from the file (`unwritten`). Such a page reads the same after it was given back: the next
        // access maps it from the file again (madvise(2)). The kernel made these mappings before the first
        // instruction ran, and nothing changes them. If it fails, the pages stay, which is no harm.
        unsafe {
            libc::madvise(
                std::ptr::with_exposed_provenance_mut(address),
                length,
                libc::MADV_DONTNEED,
            );
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// A mapping as the kernel prints it, without the lines that are not looked at.
        fn mapping(head: &str, anonymous: u32, swap: u32) -> String {
            format!(
                "{head}\nSize: 8 kB\nRss: 4 kB\nAnonymous: {anonymous} kB\nSwap: {swap} kB\nVmFlags: rd mr mw me\n"
            )
        }

        #[test]
        fn only_what_equals_the_file_is_given_back() {
            let rows = [
                ("1000-3000 r-xp 00000000 fe:00 7      /bin/a b", 0, 0, true),
                ("3000-4000 r--p 00002000 fe:00 7      /bin/a b", 0, 0, true),
                ("4000-5000 r--p 00003000 fe:00 7      /bin/a b", 4, 0, false),
                ("5000-6000 r--p 00003000 fe:00 7      /bin/a b", 0, 4, false),
                ("6000-7000 rw-p 00004000 fe:00 7      /bin/a b", 0, 0, false),
                ("7000-8000 r-xs 00004000 fe:00 7      /bin/a b", 0, 0, false),
                (
                    "8000-9000 r-xp 00000000 fe:00 8      /usr/bin/a b",
                    0,
                    0,
                    false,
                ),
                ("9000-a000 r-xp 00000000 00:00 0      [vdso]", 0, 0, false),
                ("a000-b000 r--p 00000000 00:00 0", 0, 0, false),
            ];
            for (head, anonymous, swap, is_given_back) in rows {
                let found = unwritten(&mapping(head, anonymous, swap), "/bin/a b");
                assert_eq!(!found.is_empty(), is_given_back, "{head}");
            }
            let all: String = rows
                .iter()
                .map(|row| mapping(row.0, row.1, row.2))
                .collect();
            assert_eq!(
                unwritten(&all, "/bin/a b"),
                [(0x1000, 0x2000), (0x3000, 0x1000)]
            );
        }

        /// After it, this very program must still be able to run.
        #[test]
        fn the_program_goes_on_with_fewer_pages() {
            let before = super::super::resident_bytes().unwrap();
            give_back();
            let after = super::super::resident_bytes().unwrap();
            assert!(after < before, "{after} bytes after {before}");
        }
    }
}

/// Other systems account for such pages in other ways.
#[cfg(not(target_os = "linux"))]
mod program_pages {
    pub(super) fn give_back() {}
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
