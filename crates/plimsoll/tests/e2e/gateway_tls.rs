//! TLS on both sides of the gateway, as it is set with flags and files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustix::process::Signal;

use crate::harness::app;
use crate::harness::gateway::{Folder, Gateway};
use crate::harness::{eventually, program};

/// An authority of a test's own.
struct Authority {
    name: &'static str,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &'static str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            name,
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Writes its own certificate.
    fn write(&self, folder: &Folder) -> PathBuf {
        folder.write(self.name, &self.pem)
    }

    /// Writes a certificate for these names, and its key: `cert.pem` and `key.pem`.
    fn issue(&self, folder: &Folder, names: &[&str]) -> (PathBuf, PathBuf) {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let params = CertificateParams::new(names).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (
            folder.write("cert.pem", &certificate.pem()),
            folder.write("key.pem", &key.serialize_pem()),
        )
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Asks with curl, which trusts `authority` alone. The status, or curl's own complaint.
async fn curl(gateway: &Gateway, authority: &Path, flag: &str) -> Result<String, String> {
    let port = gateway.data.port();
    let said = program::run(
        "curl",
        &[
            "-sS",
            flag,
            "--cacert",
            text(authority),
            "--resolve",
            &format!("site.test:{port}:127.0.0.1"),
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} HTTP/%{http_version}",
            &format!("https://site.test:{port}/bytes/100000"),
        ],
    )
    .await;
    let stdout = said.text().to_owned();
    said.success.then_some(stdout).ok_or(said.stderr)
}

#[tokio::test]
async fn a_certificate_is_exchanged_while_clients_come_and_a_bad_one_is_refused() {
    if !program::is_here("curl") {
        return;
    }
    let folder = Folder::new();
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (trusts_old, trusts_new) = (old.write(&folder), new.write(&folder));
    let (cert, key) = old.issue(&folder, &["site.test"]);
    let app = app::lab();
    let flags = ["--tls-cert", text(&cert), "--tls-key", text(&key)];
    let gateway = Gateway::before(&[app.addr()], &flags).await;
    for (flag, answer) in [("--http1.1", "200 HTTP/1.1"), ("--http2", "200 HTTP/2")] {
        assert_eq!(
            curl(&gateway, &trusts_old, flag).await.as_deref(),
            Ok(answer)
        );
    }
    // Without TLS nobody is understood, and it is counted.
    let refused = curl(&gateway, &trusts_new, "--http1.1").await;
    assert!(refused.is_err(), "{refused:?}");
    eventually("the failed handshake is counted", async || {
        let metrics = gateway.scrape().await;
        let failures = metrics.value("plimsoll_gateway_tls_handshake_failures_total");
        (failures >= 1.0).then_some(())
    })
    .await;

    // One that cannot be used keeps the old one.
    folder.write("cert.pem", "nonsense\n");
    gateway.signal(Signal::HUP);
    let refused = gateway
        .logged("it is refused", |line| line["level"] == "ERROR")
        .await;
    assert!(refused.to_string().contains("cert.pem"), "{refused}");
    assert!(curl(&gateway, &trusts_old, "--http2").await.is_ok());

    new.issue(&folder, &["site.test"]);
    eventually("the new one", async || {
        curl(&gateway, &trusts_new, "--http2").await.ok()
    })
    .await;
    assert!(curl(&gateway, &trusts_old, "--http2").await.is_err());
}

#[tokio::test]
async fn a_file_that_only_a_refused_configuration_names_is_looked_at_too() {
    let folder = Folder::new();
    let endpoint = app::nowhere().await;
    let plain = format!("[services.a]\nupstreams = [\"{endpoint}\"]\n");
    let gateway = Gateway::configured(&folder.write("g.toml", &plain)).await;
    folder.write(
        "g.toml",
        &format!("{plain}tls = {{ ca = \"authority\" }}\n"),
    );
    let refused = gateway
        .logged("it is refused", |line| line["level"] == "ERROR")
        .await;
    assert!(refused.to_string().contains("authority"), "{refused}");
    // Nothing but the missing file comes.
    Authority::new("authority").write(&folder);
    eventually("it is in use", async || {
        let status = gateway.api("status").await;
        (status["config"]["reloads"] == 1 && status["config"]["refused"].is_null()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn endpoints_over_tls_are_checked_for_their_names() {
    let folder = Folder::new();
    let authority = Authority::new("authority");
    let trusted = authority.write(&folder);
    let (cert, key) = authority.issue(&folder, &["app.test"]);
    let app = app::lab();
    let flags = ["--tls-cert", text(&cert), "--tls-key", text(&key)];
    let inner = Gateway::before(&[app.addr()], &flags).await;
    let ca = ["--upstream-tls", "--upstream-ca", text(&trusted)];
    for (name, insecure, status) in [
        ("app.test", false, 200),
        ("other.test", false, 502),
        ("other.test", true, 200),
    ] {
        let name = ["--upstream-server-name", name];
        let insecure: &[&str] = if insecure {
            &["--upstream-insecure"]
        } else {
            &[]
        };
        // Trust in nobody and roots to trust exclude each other.
        let trust: &[&str] = if insecure.is_empty() { &ca } else { &ca[..1] };
        let flags = [trust, &name, insecure].concat();
        let outer = Gateway::before(&[inner.data], &flags).await;
        for path in ["/bytes/100", "/bytes/100000"] {
            let answer = outer.get(path).await;
            assert_eq!(answer.status, status, "{flags:?}: {}", answer.head);
        }
        if status == 502 {
            let answer = outer.get("/").await;
            assert_eq!(answer.proxy_error(), Some("tls_certificate_error"));
            let endpoint = outer.endpoint(inner.data).await;
            assert_eq!(endpoint["failures"]["connect"], 3, "{endpoint}");
        }
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_ends_the_start_with_the_reason() {
    let folder = Folder::new();
    let authority = Authority::new("authority");
    let (cert, _) = authority.issue(&folder, &["a"]);
    let (cert, other) = (cert, folder.write("other.pem", "nonsense\n"));
    let mut command = crate::harness::sidecar::plimsoll();
    let command = command
        .args(["gateway", "--upstream", "1", "--listen", "127.0.0.1:0"])
        .args(["--tls-cert", text(&cert), "--tls-key", text(&other)]);
    let output = tokio::time::timeout(Duration::from_secs(20), command.output());
    let output = output.await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("other.pem holds no private key"), "{said}");
}
