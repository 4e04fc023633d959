//! From a request to a response.

use std::io;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, TRAILER};
use http::{Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;

use super::body::Reply;
use super::hints::HintSwitch;
use super::route::Route;

/// Answers one request. Never fails: what goes wrong on purpose goes wrong in the body.
pub(super) async fn answer(
    request: Request<Incoming>,
    hints: HintSwitch,
) -> Result<Response<Reply>, io::Error> {
    let route = Route::parse(request.uri().path(), request.uri().query());
    let reply = match route {
        Route::Bytes(len) => Response::new(Reply::Fixed(len)),
        Route::Root => text(StatusCode::OK, "plimsoll-lab\n"),
        Route::Delay(delay) => {
            tokio::time::sleep(delay).await;
            text(StatusCode::OK, "late\n")
        }
        Route::Status(code) => status(code),
        Route::Echo => echo(request),
        Route::Trailers => trailers(),
        Route::Paced {
            pieces,
            gap,
            announced,
        } => Response::new(Reply::paced(pieces, gap, announced)),
        Route::Early { status, close } => early(request, status, close),
        Route::Lie(announced) => Response::new(Reply::lie(announced)),
        Route::Hang => std::future::pending().await,
        Route::Headers => headers(&request),
        Route::Hints => early_hints(&request, &hints),
        Route::Unknown => text(StatusCode::NOT_FOUND, "no such path\n"),
    };
    Ok(reply)
}

fn text(status: StatusCode, text: &'static str) -> Response<Reply> {
    let mut response = Response::new(Reply::Text(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}

fn status(code: u16) -> Response<Reply> {
    // The route admits 200–599 only, which are all statuses.
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // A 204 or 304 has no body; hyper would drop one with a warning.
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        let mut response = Response::new(Reply::Done);
        *response.status_mut() = status;
        return response;
    }
    let mut response = Response::new(Reply::Text(format!("{code}\n").into()));
    *response.status_mut() = status;
    response
}

fn echo(request: Request<Incoming>) -> Response<Reply> {
    let kind = request.headers().get(CONTENT_TYPE).cloned();
    let mut response = Response::new(Reply::Echo(request.into_body()));
    if let Some(kind) = kind {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
}

fn trailers() -> Response<Reply> {
    let mut response = Response::new(Reply::Trailers(Bytes::from_static(
        b"before the trailers\n",
    )));
    // HTTP/1.1 sends only the trailers that the head has named.
    let names = HeaderValue::from_static("x-lab-trailer, grpc-status");
    response.headers_mut().insert(TRAILER, names);
    response
}

fn early(request: Request<Incoming>, code: u16, close: bool) -> Response<Reply> {
    let mut response = status(code);
    if close {
        let value = HeaderValue::from_static("close");
        // HTTP/2 has no such field; there the stream is reset when the body is dropped.
        if request.version() < Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, value);
        }
    } else {
        // The connection can be used again only when somebody reads the rest of the request.
        tokio::spawn(async move {
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.frame().await {}
        });
    }
    response
}

fn headers(request: &Request<Incoming>) -> Response<Reply> {
    let list: Vec<[String; 2]> = request
        .headers()
        .iter()
        .map(|(name, value)| {
            [
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            ]
        })
        .collect();
    let seen = json!({
        "method": request.method().as_str(),
        "uri": request.uri().to_string(),
        "path": request.uri().path(),
        "query": request.uri().query(),
        "version": format!("{:?}", request.version()),
        "headers": list,
    });
    let mut response = Response::new(Reply::Text(seen.to_string().into()));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn early_hints(request: &Request<Incoming>, hints: &HintSwitch) -> Response<Reply> {
    if request.version() >= Version::HTTP_2 {
        return text(StatusCode::NOT_IMPLEMENTED, "103 over HTTP/1.1 only\n");
    }
    hints.arm();
    text(StatusCode::OK, "after the hints\n")
}
