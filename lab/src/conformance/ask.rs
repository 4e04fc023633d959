//! One row: asked, and judged.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::app::App;
use super::rows::{Expected, Port, Row};
use super::script::Orders;
use super::wire::{self, Answer};
use super::{QUEUE_FACTOR, Targets, Verdict};

/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// How often it is tried to find the process draining. A drain that nobody means is taken back after a second.
const DRAIN_LOOKS_MAX: usize = 50;

/// How many characters of a wrong body are told.
const SHOWN_CHARS_MAX: usize = 60;

/// Requests on their way.
type Crowd = JoinSet<anyhow::Result<Answer>>;

/// Asks a row and judges what comes back.
///
/// # Errors
/// No answer, or none that is HTTP.
pub(super) async fn ask(targets: &Targets, app: &App, row: &Row) -> anyhow::Result<Verdict> {
    let to = match row.port {
        Port::Data => Some(targets.data),
        Port::Metrics => targets.metrics,
        Port::Admin => targets.admin,
    };
    let is_met = row.needs.iter().all(|need| need.is_met(&targets.setup));
    let (Some(to), true) = (to, is_met && (!row.draining || targets.admin.is_some())) else {
        return Ok(Verdict::LeftOut);
    };
    app.set_ready(row.app_ready);
    let verdict = if row.over > 0 {
        over(targets, app, row).await
    } else if row.slots_taken {
        with_slots_taken(targets, app, row).await
    } else {
        single(to, targets, app, row).await
    };
    app.let_go();
    app.set_ready(true);
    verdict
}

async fn single(
    to: SocketAddr,
    targets: &Targets,
    app: &App,
    row: &Row,
) -> anyhow::Result<Verdict> {
    let drain = match targets.admin.filter(|_| row.draining) {
        Some(admin) => Some(begin_drain(targets.data, admin).await?),
        None => None,
    };
    let before = app.reached();
    let request = row.request(row.orders(&targets.setup)?);
    let answer = in_time(wire::ask(to, &request)).await?;
    let verdict = judge(row, &answer, app, before);
    if let Some(drain) = drain {
        // Taken back a second after it was begun, so that the next row finds the process as it was.
        timeout(ANSWER_TIME_MAX, drain).await??;
    }
    Ok(verdict)
}

/// Sends more requests than there is room for. Those over are to be as expected, the others are to be served, and the
/// application is to have no more of them at once than there are slots.
async fn over(targets: &Targets, app: &App, row: &Row) -> anyhow::Result<Verdict> {
    let slots = targets.setup.concurrency.context("there is no limit")?;
    app.hold();
    let request = row.request(Some(Orders::HOLD));
    let mut crowd = crowd(
        targets.data,
        &request,
        slots * (1 + QUEUE_FACTOR) + row.over,
    );
    let before = app.reached();
    for number in 1..=row.over {
        let answer = next(&mut crowd).await;
        let answer = answer.with_context(|| format!("number {number} of those over"))?;
        // Those that are held reach the application in any case.
        let verdict = judge(row, &answer, app, before);
        if let Verdict::Failed(_) = verdict {
            return Ok(verdict);
        }
    }
    let held = app.let_go();
    while !crowd.is_empty() {
        let answer = next(&mut crowd).await.context("one that had room")?;
        ensure!(
            answer.status == 200,
            "one that had room: status {}",
            answer.status
        );
    }
    ensure!(
        held <= slots,
        "the application had {held} requests at once, and the limit is {slots}"
    );
    Ok(Verdict::Passed)
}

/// Asks while requests that the application holds have taken all slots.
async fn with_slots_taken(targets: &Targets, app: &App, row: &Row) -> anyhow::Result<Verdict> {
    let slots = targets.setup.concurrency.context("there is no limit")?;
    app.hold();
    let mut crowd = crowd(
        targets.data,
        &Row::held().request(Some(Orders::HOLD)),
        slots,
    );
    tokio::select! {
        () = app.holds(slots) => {}
        answer = next(&mut crowd) => {
            let status = answer?.status;
            bail!("a request was answered with {status} that the application should hold");
        }
    }
    let before = app.reached();
    let request = row.request(row.orders(&targets.setup)?);
    let answer = in_time(wire::ask(targets.data, &request)).await?;
    let verdict = judge(row, &answer, app, before);
    app.let_go();
    while !crowd.is_empty() {
        let status = next(&mut crowd)
            .await
            .context("one that had a slot")?
            .status;
        ensure!(status == 200, "one that had a slot: status {status}");
    }
    Ok(verdict)
}

fn crowd(to: SocketAddr, request: &str, count: usize) -> Crowd {
    let mut crowd = JoinSet::new();
    for _ in 0..count {
        let request = request.to_owned();
        crowd.spawn(async move { wire::ask(to, &request).await });
    }
    crowd
}

async fn next(crowd: &mut Crowd) -> anyhow::Result<Answer> {
    let ended = timeout(ANSWER_TIME_MAX, crowd.join_next()).await;
    ended
        .context("no answer in time")?
        .context("no request is left")??
}

async fn in_time(asked: impl Future<Output = anyhow::Result<Answer>>) -> anyhow::Result<Answer> {
    let answer = timeout(ANSWER_TIME_MAX, asked).await;
    answer.context("no answer in time")?
}

/// What comes of an answer, when `before` requests had reached the application.
fn judge(row: &Row, answer: &Answer, app: &App, before: usize) -> Verdict {
    let (reached, asked) = (app.reached() > before, app.asked());
    let Err(wrong) = check(&row.expected, answer, reached, &asked) else {
        return Verdict::Passed;
    };
    match &row.instead {
        Some(instead) if check(&instead.expected, answer, reached, &asked).is_ok() => {
            Verdict::Differs(instead.why.clone())
        }
        _ => Verdict::Failed(wrong),
    }
}

/// Asks to wait for the drain, and waits until the process knows of it.
async fn begin_drain(data: SocketAddr, admin: SocketAddr) -> anyhow::Result<JoinHandle<()>> {
    let waiting = tokio::spawn(async move {
        let head = "GET /wait-for-drain HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        // What comes of it is asked by a row of its own.
        drop(wire::ask(admin, head).await);
    });
    let probe = "GET / HTTP/1.1\r\nhost: a\r\nuser-agent: kube-probe/1\r\nk-network-probe: queue\r\nconnection: close\r\n\r\n";
    for _ in 0..DRAIN_LOOKS_MAX {
        if wire::ask(data, probe).await?.status == 503 {
            return Ok(waiting);
        }
    }
    bail!("it does not say that it drains while somebody waits for it")
}

/// Whether the answer, and what the application has seen, is as expected; else what is not.
fn check(expected: &Expected, answer: &Answer, reached: bool, asked: &str) -> Result<(), String> {
    if let Some(status) = expected.status
        && answer.status != status
    {
        return Err(format!("status {}, not {status}", answer.status));
    }
    if let Some(body) = &expected.body
        && answer.body != body.as_bytes()
    {
        let found = String::from_utf8_lossy(&answer.body);
        let mut letters = found.chars();
        let shown: String = letters.by_ref().take(SHOWN_CHARS_MAX).collect();
        let rest = if letters.next().is_some() { "..." } else { "" };
        return Err(format!("body {shown:?}{rest}, not {body:?}"));
    }
    if answer.is_broken != expected.broken.unwrap_or(false) {
        let word = if answer.is_broken {
            "breaks off"
        } else {
            "is whole"
        };
        return Err(format!("the body {word}"));
    }
    for (name, value) in &expected.answer {
        let found = wire::fields(&answer.head, name);
        if found != [value.as_str()] {
            return Err(format!("answer: {name} is {found:?}, not {value:?}"));
        }
    }
    // What the application sees or does not see, it can only see if it is reached.
    let is_seen = !expected.seen.is_empty() || !expected.unseen.is_empty();
    if let Some(wanted) = expected.reaches_app.or_else(|| is_seen.then_some(true))
        && wanted != reached
    {
        let word = if reached { "reaches" } else { "does not reach" };
        return Err(format!("it {word} the application"));
    }
    let seen = String::from_utf8_lossy(&answer.body);
    for (name, value) in &expected.seen {
        let found = wire::fields(&seen, name);
        if found != [value.as_str()] {
            return Err(format!(
                "the application sees {name} {found:?}, not {value:?}"
            ));
        }
    }
    for name in &expected.unseen {
        let found = wire::fields(&seen, name);
        if !found.is_empty() {
            return Err(format!(
                "the application sees {name} {found:?}, not nothing"
            ));
        }
    }
    for (name, start) in &expected.asked {
        let found = wire::fields(asked, name);
        if found.len() != 1 || !found[0].starts_with(start) {
            return Err(format!(
                "the application is asked with {name} {found:?}, not {start:?}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, head: &str, body: &str) -> Answer {
        Answer {
            status,
            head: head.to_owned(),
            body: body.as_bytes().to_vec(),
            is_broken: false,
        }
    }

    #[test]
    fn an_answer_is_held_to_all_that_is_expected() {
        let expected = Expected {
            status: Some(200),
            body: Some("Host: a\r\n".to_owned()),
            answer: vec![("x-a".to_owned(), "1".to_owned())],
            reaches_app: Some(true),
            seen: vec![("host".to_owned(), "a".to_owned())],
            unseen: vec!["x-b".to_owned()],
            ..Expected::default()
        };
        let good = answer(200, "X-A: 1\r\n", "Host: a\r\n");
        assert_eq!(check(&expected, &good, true, ""), Ok(()));
        for (answer, reached) in [
            (answer(503, "X-A: 1\r\n", "Host: a\r\n"), true),
            (answer(200, "X-A: 2\r\n", "Host: a\r\n"), true),
            (answer(200, "X-A: 1\r\nX-A: 1\r\n", "Host: a\r\n"), true),
            (answer(200, "X-A: 1\r\n", "Host: b\r\n"), true),
            (answer(200, "X-A: 1\r\n", "Host: a\r\n"), false),
        ] {
            assert!(
                check(&expected, &answer, reached, "").is_err(),
                "{answer:?}"
            );
        }
        let hidden = Expected {
            unseen: vec!["x-b".to_owned()],
            ..Expected::default()
        };
        assert!(check(&hidden, &answer(200, "", "x-b: 1\r\n"), true, "").is_err());
    }

    #[test]
    fn a_body_that_breaks_off_is_told_from_a_whole_one() {
        let broken = Answer {
            is_broken: true,
            ..answer(200, "", "pa")
        };
        let whole = answer(200, "", "part");
        let is = |broken| Expected {
            broken,
            ..Expected::default()
        };
        for (expected, answer, is_right) in [
            (is(None), &whole, true),
            (is(None), &broken, false),
            (is(Some(true)), &broken, true),
            (is(Some(true)), &whole, false),
        ] {
            let found = check(&expected, answer, true, "").is_ok();
            assert_eq!(found, is_right, "{expected:?} {answer:?}");
        }
    }

    #[test]
    fn the_question_of_the_implementation_is_looked_at_too() {
        let expected = Expected {
            asked: vec![("user-agent".to_owned(), "kube-probe/".to_owned())],
            ..Expected::default()
        };
        let whole = answer(200, "", "");
        let is_right = |asked: &str| check(&expected, &whole, false, asked).is_ok();
        assert!(is_right(
            "GET /ready HTTP/1.1\r\nUser-Agent: kube-probe/1.29\r\n\r\n"
        ));
        assert!(!is_right("GET /ready HTTP/1.1\r\nUser-Agent: me\r\n\r\n") && !is_right(""));
    }
}
