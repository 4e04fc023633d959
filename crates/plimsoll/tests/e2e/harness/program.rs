//! Programs of the system.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::soon;

/// What a program has said.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) success: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

/// Whether `name` is installed. A build server must have it; elsewhere its absence is told, and the test has
/// nothing to say.
pub(crate) fn is_here(name: &str) -> bool {
    let is_here = std::process::Command::new(name)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    let must_be_here = std::env::var_os("CI").is_some();
    assert!(is_here || !must_be_here, "{name} is not installed");
    if !is_here {
        println!("skipped: {name} is not installed");
    }
    is_here
}

/// Runs a program to its end.
pub(crate) async fn run(name: &str, arguments: &[&str]) -> Said {
    run_with(name, arguments, b"").await
}

/// Runs a program to its end, with `input` on its standard input.
pub(crate) async fn run_with(name: &str, arguments: &[&str], input: &[u8]) -> Said {
    let mut child = Command::new(name)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let (_, output) = soon(name, async {
        tokio::join!(
            async {
                // A program that does not read its input has closed it.
                stdin.write_all(input).await.ok();
                drop(stdin);
            },
            child.wait_with_output()
        )
    })
    .await;
    let output = output.unwrap();
    Said {
        success: output.status.success(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
