//! The commands that ask a running Plimsoll: `status`, `why`, `top`, `scale`, `stop` and `start`.
//!
//! All of it goes through the API of the admin port ([`client`]), as any script could do it. What comes back is read
//! into [`answers`], and the rest are functions from those to text, no wider than a terminal of 80 columns. With
//! `--json` the API's own words are written instead.

mod answers;
mod client;
mod status;
mod text;
mod top;
mod why;

use std::net::SocketAddr;

use anyhow::anyhow;

use self::answers::{Decisions, Endpoints, Events, Service, Services};
use self::client::Client;
use crate::cli::{self, AskSettings, Fault, Question};
use crate::dashboard::Query;

/// Asks, and tells what was said.
pub(crate) fn run(settings: AskSettings) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::Runtime(anyhow!("cannot start: {error}")))?;
    let AskSettings {
        admin,
        json,
        question,
    } = settings;
    let client = Client::new(admin);
    let told = runtime.block_on(async {
        match question {
            Question::Status => status(&client, admin, json).await.map(Some),
            Question::Why { service, last } => why(&client, &service, last, json).await.map(Some),
            Question::Top { service, plain } => {
                top::run(&client, admin, service.as_deref(), plain).await?;
                Ok(None)
            }
            Question::Scale { service, replicas } => {
                let body = format!("{{\"replicas\": {replicas}}}");
                change(&client, &service, "scale", &body, json)
                    .await
                    .map(Some)
            }
            Question::Stop { service } => {
                change(&client, &service, "stop", "", json).await.map(Some)
            }
            Question::Start { service } => {
                change(&client, &service, "start", "", json).await.map(Some)
            }
        }
    })?;
    told.map_or(Ok(()), |text| cli::print(&text))
}

async fn status(client: &Client, admin: SocketAddr, json: bool) -> anyhow::Result<String> {
    if json {
        return client.text("/api/v1/services").await;
    }
    let head = client.get("/api/v1/status").await?;
    let Services { services } = client.get("/api/v1/services").await?;
    let Endpoints { endpoints } = client.get("/api/v1/endpoints").await?;
    Ok(status::render(admin, &head, &services, &endpoints))
}

async fn why(client: &Client, name: &str, last: usize, json: bool) -> anyhow::Result<String> {
    let service = one(client, name).await?;
    let path = format!("/api/v1/services/{}/decisions?limit={last}", Query(name));
    if service.scale.is_some() {
        if json {
            return client.text(&path).await;
        }
        let decisions: Decisions = client.get(&path).await?;
        return Ok(why::decisions(&service, &decisions.decisions));
    }
    let query = format!("?service={}", Query(name));
    if json {
        return client.text(&format!("/api/v1/endpoints{query}")).await;
    }
    let Endpoints { endpoints } = client.get(&format!("/api/v1/endpoints{query}")).await?;
    let Events { events } = client.get(&format!("/api/v1/events{query}")).await?;
    let shown = &events[..events.len().min(last)];
    Ok(why::endpoints(&service, &endpoints, shown))
}

/// The service of that name.
async fn one(client: &Client, name: &str) -> anyhow::Result<Service> {
    let Services { services } = client.get("/api/v1/services").await?;
    let names: Vec<String> = services.iter().map(|it| it.name.clone()).collect();
    let found = services.into_iter().find(|it| it.name == name);
    found.ok_or_else(|| {
        anyhow!(
            "there is no service {name}; there are: {}",
            text::listed(&names)
        )
    })
}

/// Tells the service something, and what has become of it.
async fn change(
    client: &Client,
    name: &str,
    what: &str,
    body: &str,
    json: bool,
) -> anyhow::Result<String> {
    let service = one(client, name).await?;
    if service.scale.is_none() {
        return Err(anyhow!(
            "service {name} has fixed endpoints: nothing is started or stopped for it; \
             services of `plimsoll run` can be scaled, and endpoints drained by the API"
        ));
    }
    let path = format!("/api/v1/services/{}/{what}", Query(name));
    let text = client.post(&path, body).await?;
    if json {
        return Ok(text);
    }
    let service: Service = client::read(&path, &text)?;
    Ok(why::changed(&service))
}
