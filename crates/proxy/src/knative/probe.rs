//! Which requests are probes, and what they are answered.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body;
use plimsoll_meter::Clock;
use plimsoll_wire::Answer;

use crate::body::ResponseBody;
use crate::connection::ClientConnection;
use crate::knative::{Readiness, Treatment};
use crate::observe::{Observed, RequestEnd};

const K_NETWORK_PROBE: HeaderName = HeaderName::from_static("k-network-probe");
const K_NETWORK_HASH: HeaderName = HeaderName::from_static("k-network-hash");
const K_KUBELET_PROBE: HeaderName = HeaderName::from_static("k-kubelet-probe");

/// How the `User-Agent` of those begins who ask whether the pod is ready.
const AGENTS: [&[u8]; 3] = [
    b"kube-probe/",
    b"Knative-Activator-Probe",
    b"Knative-Autoscaling-Probe",
];

/// The `K-Network-Probe` by which readiness is asked for, and the body that says yes.
const QUEUE: &str = "queue";

/// The `K-Network-Probe` by which an ingress asks whether a route leads here.
const PROBE: &[u8] = b"probe";

/// A probe, as far as it can be answered without waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Is the pod ready? The application has to be asked.
    Readiness,
    /// Does this route lead here? The answer is the hash that came with it.
    Network(HeaderValue),
    /// No, or not like this.
    Refused(StatusCode, Cow<'static, str>),
}

/// A probe that is being answered, among what its connection has in flight.
#[derive(Debug)]
pub(crate) struct UnderWay {
    connection: Rc<ClientConnection>,
    observed: Option<Box<dyn Observed>>,
    status: StatusCode,
    /// Of the answer's body.
    bytes: u64,
}

/// What is said of a client that left before it was answered, as in access logs.
const CLIENT_GONE: u16 = 499;

impl UnderWay {
    pub(crate) fn begin(
        connection: &Rc<ClientConnection>,
        observed: Option<Box<dyn Observed>>,
    ) -> Self {
        connection.request_began();
        Self {
            connection: Rc::clone(connection),
            observed,
            status: StatusCode::from_u16(CLIENT_GONE).unwrap_or_default(),
            bytes: 0,
        }
    }

    /// It ends with `answer`.
    pub(crate) fn end(mut self, answer: Response<ResponseBody>) -> Response<ResponseBody> {
        self.status = answer.status();
        self.bytes = answer.body().size_hint().lower();
        answer
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.connection.request_ended();
        if let Some(observed) = self.observed.take() {
            let status = self.status.as_u16();
            observed.ended(&RequestEnd {
                // In the application's place.
                answer: match status {
                    CLIENT_GONE => Answer::ClientGone,
                    status => Answer::from_app(status),
                },
                error: None,
                status,
                request_bytes: 0,
                response_bytes: self.bytes,
                running_since: None,
                ended: self.connection.worker().shared.clock.now(),
            });
        }
    }
}

/// Whether this `User-Agent` asks for readiness.
pub(crate) fn is_probe_agent(agent: &HeaderValue) -> bool {
    AGENTS
        .iter()
        .any(|begin| agent.as_bytes().starts_with(begin))
}

/// What becomes of a request with these fields. Path and method do not matter.
pub(crate) fn treatment(headers: &HeaderMap, is_draining: bool) -> Treatment {
    // Of a field that is there more than once, the first counts; an empty one is none.
    let field = |name: HeaderName| headers.get(name).filter(|value| !value.is_empty());
    let asks_readiness = headers.get(USER_AGENT).is_some_and(is_probe_agent);
    let network = field(K_NETWORK_PROBE);
    if asks_readiness || network.is_some_and(|value| value == PROBE) {
        let hash = || field(K_NETWORK_HASH).cloned();
        Treatment::Answered(Probe::of(asks_readiness, network, hash, is_draining))
    } else if field(K_KUBELET_PROBE).is_some() {
        Treatment::Bypass
    } else {
        Treatment::Traffic
    }
}

impl Probe {
    fn of(
        asks_readiness: bool,
        network: Option<&HeaderValue>,
        hash: impl FnOnce() -> Option<HeaderValue>,
        is_draining: bool,
    ) -> Self {
        if is_draining {
            return Self::Refused(
                StatusCode::SERVICE_UNAVAILABLE,
                Cow::Borrowed("shutting down\n"),
            );
        }
        if !asks_readiness {
            return hash().map_or_else(Self::without_hash, Self::Network);
        }
        if network.is_some_and(|value| value == QUEUE) {
            return Self::Readiness;
        }
        let value = network.map_or(Cow::Borrowed(""), |value| {
            String::from_utf8_lossy(value.as_bytes())
        });
        let text = format!("unexpected probe header value: {value}\n");
        Self::Refused(StatusCode::BAD_REQUEST, Cow::Owned(text))
    }

    fn without_hash() -> Self {
        let text = "a probe request must contain a non-empty \"K-Network-Hash\" header\n";
        Self::Refused(StatusCode::BAD_REQUEST, Cow::Borrowed(text))
    }

    /// Asks the application if need be, and says what came of it.
    pub(crate) async fn answer(self, readiness: Option<&Readiness>) -> Response<ResponseBody> {
        match self {
            Self::Readiness => {
                let is_ready = match readiness {
                    None => true,
                    Some(readiness) => readiness.check().await,
                };
                if is_ready {
                    let text = HeaderValue::from_static("text/plain; charset=utf-8");
                    answer(StatusCode::OK, QUEUE.into(), [(CONTENT_TYPE, text)])
                } else {
                    answer(StatusCode::SERVICE_UNAVAILABLE, Bytes::new(), [])
                }
            }
            Self::Network(hash) => answer(StatusCode::OK, Bytes::new(), [(K_NETWORK_HASH, hash)]),
            Self::Refused(status, text) => {
                let fields = [
                    (
                        CONTENT_TYPE,
                        HeaderValue::from_static("text/plain; charset=utf-8"),
                    ),
                    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
                ];
                answer(status, text.into_owned().into(), fields)
            }
        }
    }
}

fn answer<const FIELDS: usize>(
    status: StatusCode,
    body: Bytes,
    fields: [(HeaderName, HeaderValue); FIELDS],
) -> Response<ResponseBody> {
    let length = body.len();
    let mut response = Response::new(ResponseBody::local(body));
    *response.status_mut() = status;
    response.headers_mut().extend(fields);
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    type Field = (&'static str, &'static str);

    const HASH: Field = ("k-network-hash", "h");
    const DRAINING: &str = "503 shutting down\n";

    const fn network(value: &'static str) -> Field {
        ("k-network-probe", value)
    }

    const fn kubelet(value: &'static str) -> Field {
        ("k-kubelet-probe", value)
    }

    /// The table of the contract, its first half: whether draining, and what becomes of the request.
    #[test]
    fn each_row_of_the_table_of_probes_for_agents_that_ask_for_readiness() {
        let unexpected = |value: &str| format!("400 unexpected probe header value: {value}\n");
        for agent in [
            "kube-probe/1.29",
            "Knative-Activator-Probe",
            "Knative-Autoscaling-Probe/1",
        ] {
            let rows = [
                (vec![], true, DRAINING.to_owned()),
                (vec![network("queue")], true, DRAINING.to_owned()),
                (vec![network("queue")], false, "ready?".to_owned()),
                (vec![], false, unexpected("")),
                (vec![network("")], false, unexpected("")),
                (vec![network("probe")], false, unexpected("probe")),
                (vec![network("probe"), HASH], false, unexpected("probe")),
                (vec![network("test-probe")], false, unexpected("test-probe")),
                (
                    vec![network("queue"), network("other")],
                    false,
                    "ready?".to_owned(),
                ),
                (vec![kubelet("x")], false, unexpected("")),
            ];
            for (fields, is_draining, expected) in rows {
                assert_eq!(
                    outcome(Some(agent), &fields, is_draining),
                    expected,
                    "{agent} {fields:?}"
                );
            }
        }
    }

    /// The second half.
    #[test]
    fn each_row_of_the_table_of_probes_for_everybody_else() {
        let no_hash = "400 a probe request must contain a non-empty \"K-Network-Hash\" header\n";
        for agent in [
            None,
            Some("curl/8"),
            Some("Kube-Probe/1"),
            Some("Knative-Ingress-Probe"),
            Some("kube-probe"),
        ] {
            let rows = [
                (vec![network("probe")], false, no_hash),
                (
                    vec![network("probe"), ("k-network-hash", "")],
                    false,
                    no_hash,
                ),
                (vec![network("probe"), HASH], false, "200 h"),
                (vec![network("probe"), HASH], true, DRAINING),
                (vec![network("probe")], true, DRAINING),
                (vec![network("probe"), HASH, kubelet("x")], false, "200 h"),
                (vec![network("queue")], false, "traffic"),
                (vec![network("queue")], true, "traffic"),
                (vec![network("Probe"), HASH], false, "traffic"),
                (vec![network("")], false, "traffic"),
                (vec![], true, "traffic"),
                (vec![kubelet("x")], false, "bypass"),
                (vec![kubelet("x")], true, "bypass"),
                (vec![kubelet("x"), network("queue")], false, "bypass"),
                (vec![kubelet("")], false, "traffic"),
            ];
            for (fields, is_draining, expected) in rows {
                assert_eq!(
                    outcome(agent, &fields, is_draining),
                    expected,
                    "{agent:?} {fields:?}"
                );
            }
        }
    }

    fn outcome(
        agent: Option<&'static str>,
        fields: &[(&'static str, &'static str)],
        is_draining: bool,
    ) -> String {
        let mut headers = HeaderMap::new();
        if let Some(agent) = agent {
            headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        }
        for (name, value) in fields {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        match treatment(&headers, is_draining) {
            Treatment::Traffic => "traffic".to_owned(),
            Treatment::Bypass => "bypass".to_owned(),
            Treatment::Answered(Probe::Readiness) => "ready?".to_owned(),
            Treatment::Answered(Probe::Network(hash)) => format!("200 {}", hash.to_str().unwrap()),
            Treatment::Answered(Probe::Refused(status, text)) => {
                format!("{} {text}", status.as_u16())
            }
        }
    }
}
