//! A server of a language model, as far as starting and answering goes.
//!
//! | path | answer |
//! | --- | --- |
//! | `/health` | 503 while it loads, then 200 |
//! | `/v1/completions` | 503 while it loads, then words as events, one after the other |
//! | other | 404 |
//!
//! It listens at once, as llama.cpp's server does, or only when it has loaded, as most do.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::{Body, serve, text};

/// What is answered, word by word.
const ANSWER: &str =
    "A load line shows how deep a ship may lie in the water with all that it carries.";

/// How the model is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How long it loads.
    pub load: Duration,
    /// Bytes that it keeps in memory once loaded.
    pub memory: usize,
    /// The time between two words of an answer.
    pub word: Duration,
    /// Whether it listens while it loads, and says 503.
    pub listen_while_loading: bool,
}

/// Loads, and answers for ever.
///
/// # Errors
///
/// It cannot listen.
pub async fn run(settings: Settings) -> std::io::Result<()> {
    let loaded = Arc::new(AtomicBool::new(false));
    let weights = async {
        sleep(settings.load).await;
        // Written to, so that the pages are there.
        let weights = vec![1_u8; settings.memory];
        loaded.store(true, Ordering::Release);
        weights
    };
    let serving = async {
        let listener = TcpListener::bind(settings.listen).await?;
        let (loaded, word) = (Arc::clone(&loaded), settings.word);
        let answer = move |request: http::Request<hyper::body::Incoming>| {
            let loaded = loaded.load(Ordering::Acquire);
            let path = request.uri().path().to_owned();
            async move { answer(&path, loaded, word) }
        };
        serve(listener, answer).await
    };
    if settings.listen_while_loading {
        let (_weights, served) = tokio::join!(weights, serving);
        return served;
    }
    let _weights = weights.await;
    serving.await
}

fn answer(path: &str, loaded: bool, word: Duration) -> Response<Body> {
    match path {
        "/health" | "/v1/completions" if !loaded => {
            let loading = r#"{"status":"loading model"}"#;
            text(StatusCode::SERVICE_UNAVAILABLE, "application/json", loading)
        }
        "/health" => text(StatusCode::OK, "application/json", r#"{"status":"ok"}"#),
        "/v1/completions" => {
            let words =
                futures_util::stream::unfold(ANSWER.split(' '), move |mut words| async move {
                    let next = words.next()?;
                    sleep(word).await;
                    let event = format!("data: {{\"text\":\"{next} \"}}\n\n");
                    Some((Ok::<_, Infallible>(Frame::data(Bytes::from(event))), words))
                });
            let mut response = text(StatusCode::OK, "text/event-stream", "");
            *response.body_mut() = StreamBody::new(words).boxed_unsync();
            response
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "text/plain",
            "there is /health and /v1/completions\n",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body(path: &str, loaded: bool) -> (StatusCode, String) {
        let response = answer(path, loaded, Duration::from_millis(10));
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn it_says_that_it_loads_and_then_answers_word_by_word() {
        for path in ["/health", "/v1/completions"] {
            assert_eq!(body(path, false).await.0, StatusCode::SERVICE_UNAVAILABLE);
        }
        assert_eq!(body("/health", true).await.0, StatusCode::OK);
        assert_eq!(body("/", true).await.0, StatusCode::NOT_FOUND);
        let began = tokio::time::Instant::now();
        let (status, answer) = body("/v1/completions", true).await;
        assert_eq!(status, StatusCode::OK);
        let words = ANSWER.split(' ').count();
        assert_eq!(answer.matches("data: ").count(), words);
        assert!(
            answer.starts_with("data: {\"text\":\"A \"}\n\n"),
            "{answer}"
        );
        let count = u32::try_from(words).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(10) * count);
    }
}
