//! The dashboard of `plimsoll run`: idle, a burst, scaled, and nothing again.
//!
//! With `PLIMSOLL_SCREENSHOTS=FOLDER` the pictures go there, which is what `just screenshots` does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::dashboard::tile;
use crate::harness::browser::{Browser, Look};
use crate::run::{Running, ask};

/// The most bytes of a picture in the documentation.
const PICTURE_BYTES_MAX: usize = 150 * 1024;

/// How large the pictures are, of the page's own size: small enough for a document, and still to be read.
const SCALE: f64 = 0.8;

/// As wide as a column of text, so that it can be read there.
const LOOK: Look = Look {
    width: 960,
    dark: false,
};

async fn picture(browser: &mut Browser, name: &str) {
    let folder = std::env::var_os("PLIMSOLL_SCREENSHOTS").map(PathBuf::from);
    let own = || Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    let folder = folder.unwrap_or_else(own);
    std::fs::create_dir_all(&folder).unwrap();
    let png = browser.screenshot(SCALE).await;
    assert!(png.len() < PICTURE_BYTES_MAX, "{name}: {} bytes", png.len());
    std::fs::write(folder.join(format!("{name}.png")), png).unwrap();
}

#[tokio::test]
async fn it_shows_the_way_from_nothing_to_many_and_back() {
    let Some(mut browser) = Browser::start().await else {
        return;
    };
    let flags = ["--concurrency", "2", "--max", "4", "--window", "6s"];
    let Some(running) = Running::start(&flags).await else {
        return;
    };
    let program = &running.program;
    browser
        .open(&format!("http://{}/", program.admin), LOOK)
        .await;
    let number = |name: &str| format!("Number({})", tile(name));
    browser
        .until(&format!("{} === 0", number("replicas ready")))
        .await;
    picture(&mut browser, "1-idle").await;

    let asked: Vec<_> = (0..24).map(|_| ask(program.data, "/sleep/2")).collect();
    browser.until(&format!("{} > 0", number("waiting"))).await;
    picture(&mut browser, "2-burst").await;
    browser
        .until(&format!("{} === 4", number("replicas ready")))
        .await;
    let states = "[...document.querySelectorAll('#replicas tbody tr')].length";
    browser.until(&format!("{states} === 4")).await;
    // Some have been answered, so that there is a latency.
    browser
        .until(&format!("parseFloat({}) > 0", tile("p50")))
        .await;
    picture(&mut browser, "3-scaled").await;
    browser.look(Look::PHONE.dark()).await;
    picture(&mut browser, "phone").await;
    browser.look(LOOK).await;
    for answer in asked {
        assert_eq!(crate::run::answered(answer).await.status, 200);
    }

    let rest = Duration::from_secs(60);
    let none = format!("{} === 0", number("replicas ready"));
    browser.until_within(rest, &none).await;
    // The charts are a second behind.
    let keys = "[...document.querySelectorAll('figcaption li')]";
    let is_none = "(it) => /^\\s*ready\\s*0\\s*$/.test(it.textContent)";
    browser.until(&format!("{keys}.some({is_none})")).await;
    picture(&mut browser, "4-zero").await;
    let told = "document.querySelector('#told').textContent";
    let told = browser.value(told).await;
    let told = told.as_str().unwrap();
    assert!(
        told.contains("0 replicas") && told.contains("4 replicas"),
        "{told}"
    );
    let charts =
        "[...document.querySelectorAll('h3')].map((it) => it.textContent).includes('Replicas')";
    assert_eq!(browser.value(charts).await, true);
    assert!(
        browser.complaints().is_empty(),
        "{:?}",
        browser.complaints()
    );
}
