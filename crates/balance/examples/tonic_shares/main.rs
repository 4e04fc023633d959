//! A gRPC client over three servers, of which one fails and one is slow: who gets how much.
//!
//! ```text
//! cargo run -p plimsoll-balance --example tonic_shares --features tower
//! ```

mod play;

use std::error::Error;
use std::io::{self, Write};

/// How many calls are made.
const CALLS: u32 = 2_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let played = play::play(CALLS).await?;
    let mut out = io::stdout().lock();
    writeln!(out, "{CALLS} calls, {} of which failed", played.failed)?;
    writeln!(out, "server    calls   share  answered  failed     p50")?;
    for (name, server) in play::SERVERS.iter().zip(&played.view.endpoints) {
        let share = 100.0 * server.picks as f64 / f64::from(CALLS);
        let (answered, failed) = (server.successes, server.failures.total());
        let p50 = server.latency.p50.unwrap_or_default();
        writeln!(
            out,
            "{name:8} {:6} {share:5.1} % {answered:9} {failed:7} {p50:7.1?}",
            server.picks
        )?;
    }
    Ok(())
}
