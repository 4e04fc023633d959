//! The dashboard in a real browser.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::Semaphore;

use crate::harness::app::{self, App};
use crate::harness::browser::{Browser, Look};
use crate::harness::gateway::Gateway;
use crate::harness::http1;

/// The number in a tile.
pub(crate) fn tile(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('#tiles div')].find((it) => it.querySelector('dt').textContent === '{name}')\
         .querySelector('dd').firstChild.textContent"
    )
}

fn url(gateway: &Gateway) -> String {
    format!("http://{}/", gateway.admin)
}

#[tokio::test]
async fn it_shows_what_runs_and_waits_and_follows_by_itself() {
    let Some(mut browser) = Browser::start().await else {
        return;
    };
    let gate = Arc::new(Semaphore::new(0));
    let app = App::gated(&gate).await;
    let gateway = Gateway::before(&[app.addr], &["--endpoint-concurrency", "1"]).await;
    browser.open(&url(&gateway), Look::DESK).await;
    browser.value("window.same = true").await;
    browser.until(&format!("{} === '0'", tile("waiting"))).await;
    let ask = || http1::once(gateway.data, http1::get("/"));
    let answers = tokio::join!(ask(), ask(), ask(), async {
        browser.until(&format!("{} === '2'", tile("waiting"))).await;
        browser.until(&format!("{} === '1'", tile("running"))).await;
        gate.add_permits(3);
    });
    assert_eq!(
        (answers.0.status, answers.1.status, answers.2.status),
        (200, 200, 200)
    );
    browser.until(&format!("{} === '0'", tile("waiting"))).await;
    browser.until(&format!("{} !== '–'", tile("p99"))).await;
    let answered = "document.querySelector('#endpoints tbody td:nth-child(6)').textContent";
    assert_eq!(browser.value(answered).await, "3");
    // A line has been drawn, in the place of the one before, and the page is still the same.
    let drawn =
        "document.querySelectorAll('#charts figure > svg polyline[stroke=\"#00000B\"]').length > 0";
    assert_eq!(browser.value(drawn).await, true);
    assert_eq!(browser.value("window.same").await, true);
}

#[tokio::test]
async fn nothing_is_asked_of_others_and_the_policy_holds() {
    let Some(mut browser) = Browser::start().await else {
        return;
    };
    let app = App::answering(app::OK).await;
    let gateway = Gateway::before(&[app.addr], &[]).await;
    browser.open(&url(&gateway), Look::DESK).await;
    let age = "document.querySelector('#head').textContent";
    let first = browser.value(age).await;
    browser.until(&format!("{age} !== {first}")).await;
    let asked = browser.requested();
    let ours = format!("http://{}/", gateway.admin);
    assert!(asked.len() >= 5, "{asked:?}");
    assert!(asked.iter().all(|url| url.starts_with(&ours)), "{asked:?}");
    assert!(
        browser.complaints().is_empty(),
        "{:?}",
        browser.complaints()
    );
    // A script that somebody got into the page would do nothing.
    let inject = "(() => { const it = document.createElement('script'); it.textContent = 'window.evil = 1'; \
                  document.body.append(it); return window.evil === undefined; })()";
    assert_eq!(browser.value(inject).await, true);
    assert_eq!(browser.complaints().len(), 1, "the policy says so");
}

#[tokio::test]
async fn it_fits_a_phone_and_can_be_read_in_light_and_dark() {
    let Some(mut browser) = Browser::start().await else {
        return;
    };
    let app = App::answering(app::OK).await;
    let dead = app::nowhere().await;
    let gateway = Gateway::before(&[app.addr, dead], &[]).await;
    for _ in 0..20 {
        assert_eq!(gateway.get("/").await.status, 200);
    }
    for look in [
        Look::DESK,
        Look::DESK.dark(),
        Look::PHONE,
        Look::PHONE.dark(),
    ] {
        browser.open(&url(&gateway), look).await;
        let overflow = "document.scrollingElement.scrollWidth - innerWidth";
        let overflow = browser.value(overflow).await.as_i64().unwrap();
        assert!(overflow <= 0, "{look:?}: {overflow} pixels too wide");
        let ground = browser
            .value("getComputedStyle(document.body).backgroundColor")
            .await;
        assert_eq!(ground == "rgb(18, 22, 26)", look.dark, "{ground}");
        let faint = browser.value(FAINT).await;
        keep(
            &format!("{}-{}", look.width, look.dark),
            &browser.screenshot(1.0).await,
        );
        assert_eq!(
            faint,
            json!([]),
            "{look:?}: too little contrast or too small"
        );
    }
}

/// Keeps a picture, for whoever wants to see what a test has seen.
fn keep(name: &str, png: &[u8]) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.png")), png).unwrap();
}

/// All text that has less contrast with what is behind it than 4.5 (WCAG 2.2, 1.4.3), or letters below 10 pixels.
const FAINT: &str = r"(() => {
  const parse = (color) => (color.match(/[\d.]+/g) ?? []).map(Number);
  const part = (value) => (value /= 255, value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const behind = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const text = texts.currentNode.textContent.trim();
    const box = element.getBoundingClientRect();
    if (text === '' || box.width === 0 || element.closest('meter') !== null) continue;
    const style = getComputedStyle(element);
    const svg = element.closest('svg');
    const scale = svg === null ? 1 : svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    const front = light(parse(svg === null ? style.color : style.fill));
    const back = light(behind(element));
    const contrast = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    const size = parseFloat(style.fontSize) * scale;
    if (contrast < 4.5 || size < 10) found.push([text, contrast, size]);
  }
  return found;
})()";

#[tokio::test]
async fn whoever_does_not_see_it_is_told_the_same() {
    let Some(mut browser) = Browser::start().await else {
        return;
    };
    let app = App::answering(app::OK).await;
    let gateway = Gateway::before(&[app.addr], &[]).await;
    browser.open(&url(&gateway), Look::DESK).await;
    let tree = browser.call("Accessibility.getFullAXTree", json!({})).await;
    let mut roles = Vec::new();
    for node in tree["nodes"].as_array().unwrap() {
        let role = node["role"]["value"].as_str().unwrap_or_default();
        let name = node["name"]["value"].as_str().unwrap_or_default();
        if node["ignored"] == true {
            continue;
        }
        roles.push(role);
        let needs_name = [
            "link",
            "button",
            "heading",
            "region",
            "columnheader",
            "rowheader",
        ];
        assert!(!needs_name.contains(&role) || !name.is_empty(), "{node}");
    }
    for role in [
        "main",
        "heading",
        "region",
        "table",
        "columnheader",
        "rowheader",
        "meter",
    ] {
        assert!(roles.contains(&role), "no {role}: {roles:?}");
    }
    assert_eq!(browser.value("document.documentElement.lang").await, "en");
    // The state is a word and a sign, and not only a colour.
    let state = "document.querySelector('#endpoints tbody td').textContent.trim()";
    assert_eq!(browser.value(state).await, "● healthy");
    // Where scripts do not run the page is whole all the same.
    let off = json!({"value": true});
    browser
        .call("Emulation.setScriptExecutionDisabled", off)
        .await;
    let page = http1::once(gateway.admin, http1::get("/")).await;
    assert!(page.text().contains("<svg") && page.text().contains("http-equiv=\"refresh\""));
}

#[tokio::test]
async fn it_pauses_and_says_when_what_it_shows_is_old() {
    let Some(mut browser) = Browser::start().await else {
        return;
    };
    let app = App::answering(app::OK).await;
    let gateway = Gateway::before(&[app.addr], &[]).await;
    browser.open(&url(&gateway), Look::PHONE).await;
    browser
        .value("document.querySelector('#pause').click()")
        .await;
    let said = "document.querySelector('#age').textContent";
    assert_eq!(browser.value(said).await, "paused");
    browser
        .value("document.querySelector('#pause').click()")
        .await;
    drop(gateway);
    browser
        .until(&format!("{said}.includes('this is what was last seen')"))
        .await;
    let stale = "document.body.classList.contains('stale')";
    assert_eq!(browser.value(stale).await, true);
}

#[tokio::test]
async fn an_unknown_service_is_told_and_its_name_is_only_text() {
    let app = App::answering(app::OK).await;
    let gateway = Gateway::before(&[app.addr], &[]).await;
    let page = gateway
        .ask("GET /?service=%3Cscript%3Ealert(1)%3C/script%3E", "")
        .await;
    assert_eq!(page.status, 404);
    assert!(page.text().contains("no service &lt;script&gt;alert(1)"));
    assert!(!page.text().contains("<script>alert"));
    let page = gateway.ask("GET /?service=default", "").await;
    assert_eq!(page.status, 200);
    let post = gateway.ask("POST /", "").await;
    assert_eq!(post.status, 405);
}
