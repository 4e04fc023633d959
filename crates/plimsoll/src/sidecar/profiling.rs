//! The profiling port: what the process tells of itself, under the paths where Knative's users look for it.
//!
//! There is no garbage collector and no scheduler to profile, so of Go's `/debug/pprof/` only what any process has is
//! here: the command line, the processor time of each thread, the memory. A profile of where time goes is taken from
//! outside, by `perf`, which needs nothing from the process.

use std::fmt::Write;
use std::io;
use std::path::Path;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

/// The most threads that are listed.
const THREADS_MAX: usize = 1_024;

const INDEX: &str = "\
/debug/pprof/cmdline   the command line, words ended by NUL
/debug/pprof/threads   processor time of each thread, in ticks of the system
/debug/pprof/memory    what the system says of the process, its memory first
";

/// Serves the profiling port, for as long as it is polled.
pub(super) async fn serve(listener: TcpListener) -> io::Result<()> {
    let router = Router::new()
        .route("/debug/pprof/", get(async || INDEX))
        .route(
            "/debug/pprof/cmdline",
            get(async || file("/proc/self/cmdline")),
        )
        .route(
            "/debug/pprof/threads",
            get(async || threads(Path::new("/proc/self/task"))),
        )
        .route(
            "/debug/pprof/memory",
            get(async || file("/proc/self/status")),
        )
        .fallback(async || {
            let there = format!("there is no such profile; there is\n{INDEX}");
            (StatusCode::NOT_FOUND, there)
        });
    axum::serve(listener, router).await
}

fn file(path: &str) -> Response {
    match std::fs::read(path) {
        Ok(text) => text.into_response(),
        Err(error) => {
            let told = format!("cannot read {path}: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, told).into_response()
        }
    }
}

fn threads(tasks: &Path) -> String {
    let mut text = String::from("thread name user system\n");
    let found = std::fs::read_dir(tasks).into_iter().flatten().flatten();
    for task in found.take(THREADS_MAX) {
        let stat = std::fs::read_to_string(task.path().join("stat"));
        // One that has ended meanwhile is not listed.
        if let Some((name, user, system)) = stat.ok().as_deref().and_then(times) {
            let id = task.file_name();
            writeln!(text, "{} {name} {user} {system}", id.display())
                .expect("a String takes everything");
        }
    }
    text
}

/// Name, user and system time of a `stat` file (proc(5)). The name is in parentheses and may hold others.
fn times(stat: &str) -> Option<(&str, u64, u64)> {
    let (before, after) = stat.rsplit_once(") ")?;
    let (_, name) = before.split_once('(')?;
    // The state is the third field of the file, and the first here.
    let mut fields = after.split(' ').skip(11);
    let user = fields.next()?.parse().ok()?;
    let system = fields.next()?.parse().ok()?;
    Some((name, user, system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_thread_are_read_whatever_its_name() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 90 0 0 0 12 34 0 0 20 0 1 0 9 0 0";
        assert_eq!(times(stat), Some(("a (b) c", 12, 34)));
        for stat in ["", "7 (a", "7 (a) S 1", "a) S"] {
            assert_eq!(times(stat), None, "{stat}");
        }
    }

    #[test]
    fn this_process_has_threads() {
        let text = threads(Path::new("/proc/self/task"));
        assert!(text.lines().count() > 1, "{text}");
    }
}
