//! A real browser without a window, driven by the Chrome DevTools Protocol.

use std::collections::VecDeque;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::gateway::Folder;
use super::{LOOK_PERIOD, eventually, program, soon};

/// Chromium with one page. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Browser {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: Option<String>,
    calls: u64,
    events: VecDeque<Value>,
    _child: Child,
    _profile: Folder,
}

/// How the page is to be shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// In pixels of the style sheet.
    pub(crate) width: u32,
    pub(crate) dark: bool,
}

impl Look {
    pub(crate) const DESK: Self = Self {
        width: 1_280,
        dark: false,
    };
    pub(crate) const PHONE: Self = Self {
        width: 390,
        dark: false,
    };

    pub(crate) fn dark(self) -> Self {
        Self { dark: true, ..self }
    }
}

impl Browser {
    /// Starts it; `None` where there is none, which is said.
    pub(crate) async fn start() -> Option<Self> {
        if !program::is_here("chromium") {
            return None;
        }
        let profile = Folder::new();
        let mut child = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu"])
            .args(["--disable-quic", "--no-first-run", "--disable-sync"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .args(["--hide-scrollbars", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.path("").display()))
            .arg("about:blank")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = soon("the browser's port", async {
            loop {
                let line = lines.next_line().await.unwrap().expect("a browser");
                if let Some((_, address)) = line.split_once("DevTools listening on ") {
                    return address.to_owned();
                }
            }
        })
        .await;
        // Whatever it writes must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let (socket, _) = soon("the browser", connect_async(address)).await.unwrap();
        let mut browser = Self {
            socket,
            session: None,
            calls: 0,
            events: VecDeque::new(),
            _child: child,
            _profile: profile,
        };
        browser.open_page().await;
        Some(browser)
    }

    async fn open_page(&mut self) {
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}));
        let target = target.await["targetId"].take();
        let attach = json!({"targetId": target, "flatten": true});
        let session = self.call("Target.attachToTarget", attach).await;
        self.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Network", "Runtime", "Log", "Accessibility"] {
            self.call(&format!("{domain}.enable"), json!({})).await;
        }
    }

    /// Goes to `url`, to be shown as `look` says, and waits until it is loaded.
    pub(crate) async fn open(&mut self, url: &str, look: Look) {
        self.look(look).await;
        self.call("Page.navigate", json!({"url": url})).await;
        self.until("document.readyState === 'complete' && location.protocol === 'http:'")
            .await;
    }

    pub(crate) async fn look(&mut self, look: Look) {
        let size = json!({
            "width": look.width, "height": 900, "deviceScaleFactor": 1, "mobile": look.width < 600,
        });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = if look.dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", media).await;
    }

    /// The value of an expression in the page.
    pub(crate) async fn value(&mut self, expression: &str) -> Value {
        let call = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true,
        });
        let mut said = self.call("Runtime.evaluate", call).await;
        assert!(said["exceptionDetails"].is_null(), "{expression}: {said}");
        said["result"]["value"].take()
    }

    /// Waits until an expression is true in the page.
    pub(crate) async fn until(&mut self, expression: &str) {
        eventually(expression, async || {
            (self.value(expression).await == true).then_some(())
        })
        .await;
    }

    /// Waits for `patience` until an expression is true in the page.
    pub(crate) async fn until_within(&mut self, patience: Duration, expression: &str) {
        let waited = tokio::time::timeout(patience, async {
            while self.value(expression).await != true {
                tokio::time::sleep(LOOK_PERIOD).await;
            }
        });
        let waited = waited.await;
        assert!(waited.is_ok(), "{expression}: not within {patience:?}");
    }

    /// The whole page as a PNG, so many times as large as it is.
    pub(crate) async fn screenshot(&mut self, scale: f64) -> Vec<u8> {
        let size = "[document.documentElement.clientWidth, document.documentElement.scrollHeight]";
        let size = self.value(size).await;
        let clip = json!({"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": scale});
        let call = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let said = self.call("Page.captureScreenshot", call).await;
        STANDARD.decode(said["data"].as_str().unwrap()).unwrap()
    }

    /// What the page has asked for so far.
    pub(crate) fn requested(&self) -> Vec<String> {
        let asked = |event: &&Value| event["method"] == "Network.requestWillBeSent";
        let url = |event: &Value| {
            event["params"]["request"]["url"]
                .as_str()
                .map(str::to_owned)
        };
        self.events.iter().filter(asked).filter_map(url).collect()
    }

    /// What went wrong in the page so far: exceptions, blocked by the policy, not found.
    pub(crate) fn complaints(&self) -> Vec<&Value> {
        let is_complaint = |event: &&Value| {
            event["method"] == "Runtime.exceptionThrown"
                || event["method"] == "Log.entryAdded"
                || event["method"] == "Runtime.consoleAPICalled"
        };
        self.events.iter().filter(is_complaint).collect()
    }

    /// One call of the protocol. What happens meanwhile is kept.
    pub(crate) async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.calls += 1;
        let mut call = json!({"id": self.calls, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            call["sessionId"] = json!(session);
        }
        let message = Message::text(call.to_string());
        soon(method, self.socket.send(message)).await.unwrap();
        loop {
            let message = soon(method, self.socket.next()).await.unwrap().unwrap();
            let Message::Text(text) = message else {
                continue;
            };
            let mut said: Value = serde_json::from_str(&text).unwrap();
            if said["id"] == self.calls {
                assert!(said["error"].is_null(), "{method}: {said}");
                return said["result"].take();
            }
            self.events.push_back(said);
        }
    }
}
