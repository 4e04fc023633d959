//! The data port with TLS in a pod of Knative's, and its certificate from a mounted secret.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::harness::app;
use crate::harness::gateway::Folder;
use crate::harness::http1;
use crate::harness::program::{self, Said};
use crate::harness::sidecar::{Sidecar, in_pod};

/// A secret as the kubelet mounts it: files are links into `..data`, which is a link to a folder of one version.
struct Secret {
    folder: Folder,
    issuer: Issuer<'static, KeyPair>,
    version: usize,
}

/// The name that the activator looks for in a certificate.
const NAME: &str = "kn-user-default";

impl Secret {
    fn new() -> Self {
        let folder = Folder::new();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority");
        let key = KeyPair::generate().unwrap();
        folder.write("ca.crt", &params.self_signed(&key).unwrap().pem());
        let secret = Self {
            folder,
            issuer: Issuer::new(params, key),
            version: 0,
        };
        for file in ["tls.crt", "tls.key"] {
            symlink(format!("..data/{file}"), secret.folder.path(file)).unwrap();
        }
        secret
    }

    /// Swaps in a new version.
    fn renew(&mut self) {
        let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.swap(&certificate.pem(), &key.serialize_pem());
    }

    fn swap(&mut self, certificate: &str, key: &str) {
        self.version += 1;
        let version = format!("..{}", self.version);
        std::fs::create_dir(self.folder.path(&version)).unwrap();
        self.folder
            .write(&format!("{version}/tls.crt"), certificate);
        self.folder.write(&format!("{version}/tls.key"), key);
        symlink(&version, self.folder.path("..next")).unwrap();
        std::fs::rename(self.folder.path("..next"), self.folder.path("..data")).unwrap();
    }

    fn directory(&self) -> String {
        self.folder.path("").to_str().unwrap().to_owned()
    }

    fn authority(&self) -> std::path::PathBuf {
        self.folder.path("ca.crt")
    }
}

async fn start(app: u16, secret: &Secret, variables: &[(&str, &str)]) -> Sidecar {
    let directory = secret.directory();
    let tls = ["--tls-dir", &*directory, "--tls-listen", "127.0.0.1:0"];
    Sidecar::start_in_pod(app, variables, &tls).await
}

/// Asks with curl, which trusts `authority` alone.
async fn curl(sidecar: &Sidecar, authority: &Path, flags: &[&str]) -> Said {
    let port = sidecar.port("tls").port();
    let resolve = format!("{NAME}:{port}:127.0.0.1");
    let url = format!("https://{NAME}:{port}/bytes/1000");
    let common = [
        "-sS",
        "--cacert",
        authority.to_str().unwrap(),
        "--resolve",
        &resolve,
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} HTTP/%{http_version}",
        &url,
    ];
    program::run("curl", &[&common[..], flags].concat()).await
}

#[tokio::test]
async fn both_protocols_are_spoken_with_tls_beside_the_plain_port() {
    if !program::is_here("curl") {
        return;
    }
    let app = app::lab();
    let mut secret = Secret::new();
    secret.renew();
    let sidecar = start(app.addr().port(), &secret, &[]).await;
    for (flag, expected) in [("--http1.1", "200 HTTP/1.1"), ("--http2", "200 HTTP/2")] {
        let said = curl(&sidecar, &secret.authority(), &[flag]).await;
        assert_eq!(said.text(), expected, "{}", said.stderr);
    }
    assert_eq!(http1::once(sidecar.data, http1::get("/")).await.status, 200);
    // TLS 1.3 alone, unless it is told otherwise.
    let old = curl(&sidecar, &secret.authority(), &["--tls-max", "1.2"]).await;
    assert!(!old.success, "{old:?}");
    let variables = [("QUEUE_PROXY_TLS_MIN_VERSION", "1.2")];
    let sidecar = start(app.addr().port(), &secret, &variables).await;
    let old = curl(&sidecar, &secret.authority(), &["--tls-max", "1.2"]).await;
    assert!(old.success, "{old:?}");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_ends_the_start_with_64() {
    let mut secret = Secret::new();
    let directory = secret.directory();
    let check = async |words: &[&str]| {
        let mut command = in_pod(8080, &[("PLIMSOLL_TLS_DIR", &*directory)]);
        let output = command.stderr(Stdio::piped()).output().await.unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{told}");
        for word in [&["PLIMSOLL_TLS_DIR", &*directory], words].concat() {
            assert!(told.contains(word), "{word}: {told}");
        }
    };
    check(&["tls.crt and tls.key must be in it"]).await;
    secret.swap("nonsense", "nonsense");
    check(&["BEGIN CERTIFICATE"]).await;
}

/// Clients that shake hands again and again while the secret is renewed; none of them fails.
#[tokio::test]
async fn a_certificate_is_renewed_under_load_with_no_failed_handshake() {
    if !program::is_here("curl") {
        return;
    }
    let app = app::lab();
    let mut secret = Secret::new();
    secret.renew();
    let sidecar = Arc::new(start(app.addr().port(), &secret, &[]).await);
    let (served, is_over) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (sidecar, served, is_over) = (
            Arc::clone(&sidecar),
            Arc::clone(&served),
            Arc::clone(&is_over),
        );
        let authority = secret.authority();
        clients.spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                let said = curl(&sidecar, &authority, &[]).await;
                assert!(said.success && said.text().starts_with("200 "), "{said:?}");
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let replaced =
        |line: &serde_json::Value| line["message"] == "the certificate has been replaced";
    for renewals in 1..=3 {
        secret.renew();
        sidecar
            .logged("replaced", |_| sidecar.log.count(replaced) >= renewals)
            .await;
    }
    // What cannot be used is told, and the old one stays.
    secret.swap("nonsense", "nonsense");
    sidecar
        .logged("a bad certificate", |line| {
            line["message"] == "the new certificate cannot be used; the old one stays"
        })
        .await;
    let before = served.load(Ordering::Relaxed);
    crate::harness::eventually("handshakes after it", async || {
        (served.load(Ordering::Relaxed) >= before + 8).then_some(())
    })
    .await;
    is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let handshakes = served.load(Ordering::Relaxed);
    println!("{handshakes} handshakes over 3 renewals and a bad one, none failed");
}

/// The port of user metrics with TLS, and with clients that must say who they are.
#[tokio::test]
async fn user_metrics_are_served_with_tls_if_it_is_asked_for() {
    if !program::is_here("curl") {
        return;
    }
    let app = app::lab();
    let mut secret = Secret::new();
    secret.renew();
    let path = |name: &str| secret.folder.path(name).to_str().unwrap().to_owned();
    let (certificate, key, authority) = (path("tls.crt"), path("tls.key"), path("ca.crt"));
    let variables = [
        (
            "OBSERVABILITY_CONFIG",
            r#"{"requestMetrics":{"protocol":"prometheus"}}"#,
        ),
        ("METRICS_PROMETHEUS_TLS_CERT", &*certificate),
        ("METRICS_PROMETHEUS_TLS_KEY", &*key),
        ("METRICS_PROMETHEUS_TLS_CLIENT_AUTH", "require"),
        ("METRICS_PROMETHEUS_TLS_CLIENT_CA_FILE", &*authority),
    ];
    let moved = ["--user-metrics-listen", "127.0.0.1:0"];
    let sidecar = Sidecar::start_in_pod(app.addr().port(), &variables, &moved).await;
    let port = sidecar.port("user_metrics").port();
    let resolve = format!("{NAME}:{port}:127.0.0.1");
    let url = format!("https://{NAME}:{port}/metrics");
    let common = ["-sS", "--cacert", &authority, "--resolve", &resolve, &url];
    // Two at a time: one that never shakes hands holds up nobody.
    let _silent = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .unwrap();
    let known = ["--cert", &certificate, "--key", &key];
    let said = program::run("curl", &[&common[..], &known].concat()).await;
    assert!(said.success, "{said:?}");
    for family in [
        "kn_serving_invocation_duration_seconds_count",
        "process_resident_memory_bytes ",
    ] {
        assert!(
            said.text().lines().any(|line| line.starts_with(family)),
            "{family}"
        );
    }
    let unknown = program::run("curl", &common).await;
    assert!(!unknown.success, "without a certificate: {unknown:?}");
    let plain = format!("http://127.0.0.1:{port}/metrics");
    let plain = program::run("curl", &["-sS", &plain]).await;
    assert!(!plain.success, "without TLS: {plain:?}");
    // It is renewed as the other one is.
    secret.renew();
    let replaced =
        |line: &serde_json::Value| line["message"] == "the certificate has been replaced";
    sidecar.logged("replaced", replaced).await;
    let said = program::run("curl", &[&common[..], &known].concat()).await;
    assert!(said.success, "{said:?}");
}

#[tokio::test]
async fn tls_of_user_metrics_that_cannot_be_used_ends_the_start_with_64() {
    let variables = [
        (
            "OBSERVABILITY_CONFIG",
            r#"{"requestMetrics":{"protocol":"prometheus"}}"#,
        ),
        ("METRICS_PROMETHEUS_TLS_CERT", "/no/such.crt"),
        ("METRICS_PROMETHEUS_TLS_KEY", "/no/such.key"),
    ];
    for (config, expected) in [(variables[0].1, Some(64)), ("{}", Some(0))] {
        let variables = [("OBSERVABILITY_CONFIG", config), variables[1], variables[2]];
        let mut command = in_pod(8080, &variables);
        let output = command.arg("--check").output().await.unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        // Where the port is not to be opened, nobody looks.
        assert_eq!(output.status.code(), expected, "{told}");
        assert_eq!(
            told.contains("METRICS_PROMETHEUS_TLS_CERT"),
            expected == Some(64),
            "{told}"
        );
    }
}
