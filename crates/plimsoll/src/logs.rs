//! Where log lines go: to standard error, from a thread of their own, so that a reader that has stopped
//! reading never stops a request.

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;

use crate::cli::LogFormat;

/// Lines kept while standard error does not take them; more are dropped.
const LINES_MAX: usize = 1_024;

/// Begins logging. The guard writes what is left when it is dropped.
pub(crate) fn begin(format: LogFormat) -> WorkerGuard {
    begin_at(format, LevelFilter::INFO)
}

/// The same, with lines of this level and above.
pub(crate) fn begin_at(format: LogFormat, level: LevelFilter) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES_MAX)
        .thread_name("logs")
        .finish(std::io::stderr());
    let builder = fmt()
        .with_max_level(level)
        .with_writer(writer)
        .with_target(false);
    let begun = match format {
        LogFormat::Text => {
            tracing::subscriber::set_global_default(builder.with_ansi(false).finish())
        }
        LogFormat::Json => {
            tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
        }
    };
    // Only a second call in one process fails, and then the first one's lines go on.
    drop(begun);
    guard
}
