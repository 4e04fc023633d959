//! Clients that others wrote.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::authority::{Authority, file};
use super::harness::*;

/// Whether `name` is installed. A build server must have it; elsewhere its absence is told, and the test has
/// nothing to say.
fn is_here(name: &str, version: &str) -> bool {
    let is_here = std::process::Command::new(name)
        .arg(version)
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

/// Runs a program with `input`; everything that it says.
async fn run(name: &str, arguments: &[&str], input: &[u8]) -> String {
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
                let _closed = stdin.write_all(input).await.is_ok();
                drop(stdin);
            },
            child.wait_with_output()
        )
    })
    .await;
    let output = output.unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn curl_speaks_both_protocols_and_checks_the_certificate() {
    if !is_here("curl", "--version") {
        return;
    }
    let (_running, address, authority) = tls_sidecar().await;
    let roots = file(&authority.pem);
    let url = format!("https://a:{}/", address.port());
    let resolve = format!("a:{}:127.0.0.1", address.port());
    let mut common = vec![
        "-sS",
        "--cacert",
        roots.to_str().unwrap(),
        "--resolve",
        &resolve,
    ];
    common.extend(["-w", " %{http_version} %{http_code} %{ssl_verify_result}"]);
    for (flag, told) in [("--http1.1", "ok 1.1 200 0"), ("--http1.0", "ok 1 200 0")] {
        let said = run("curl", &[&common[..], &[flag, &url, &url]].concat(), b"").await;
        // Some versions say 1.0, others 1.
        assert_eq!(said.replace("1.0", "1"), [told, told].concat());
    }
    // The application speaks HTTP/1.1 only, which is not what it is asked in.
    let said = run("curl", &[&common[..], &["--http2", &url]].concat(), b"").await;
    assert!(said.ends_with(" 2 502 0"), "{said}");
    let stranger = file(&Authority::new().pem);
    let said = run(
        "curl",
        &[
            "-sS",
            "--cacert",
            stranger.to_str().unwrap(),
            "--resolve",
            &resolve,
            &url,
        ],
        b"",
    )
    .await;
    assert!(said.contains("certificate"), "{said}");
}

#[tokio::test]
async fn curl_sends_a_long_body_over_http2() {
    if !is_here("curl", "--version") {
        return;
    }
    let authority = Authority::new();
    let (_running, address) = start(&with_tls(app(echo_http2).await, &authority.issue(&["a"])));
    let roots = file(&authority.pem);
    let url = format!("https://a:{}/", address.port());
    let resolve = format!("a:{}:127.0.0.1", address.port());
    let body = "0123456789".repeat(100_000);
    let arguments = ["-sS", "--http2", "--cacert", roots.to_str().unwrap()];
    let rest = ["--resolve", &resolve, "--data-binary", "@-", &url];
    let said = run("curl", &[&arguments[..], &rest].concat(), body.as_bytes()).await;
    assert!(said == body, "{} bytes came back", said.len());
}

#[tokio::test]
async fn openssl_agrees_on_version_and_protocol() {
    if !is_here("openssl", "version") {
        return;
    }
    let (_running, address, authority) = tls_sidecar().await;
    let roots = file(&authority.pem);
    let address = address.to_string();
    for (version, shown) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let mut arguments = vec![
            "s_client",
            "-connect",
            &address,
            "-servername",
            "a",
            version,
        ];
        arguments.extend([
            "-CAfile",
            roots.to_str().unwrap(),
            "-alpn",
            "http/1.1",
            "-ign_eof",
        ]);
        let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let said = run("openssl", &arguments, request).await;
        for expected in [
            "Verify return code: 0 (ok)",
            "ALPN protocol: http/1.1",
            shown,
            "HTTP/1.1 200 OK",
        ] {
            assert!(
                said.contains(expected),
                "{version}: no {expected:?} in {said}"
            );
        }
    }
}
