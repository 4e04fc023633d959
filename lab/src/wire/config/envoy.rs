//! Envoy.

use super::Setting;
use crate::compare::config::envoy;

/// The configuration.
pub(super) const FILE: &str = "envoy.yaml";

/// The list of endpoints, which it watches.
pub(super) const ENDPOINTS: &str = "endpoints.yaml";

/// No limit of its own on connections and requests: those of the default would be met by a slow backend.
const UNLIMITED: u32 = 100_000;

/// - Default: round robin, which is what it does if nothing is said; no outlier detection, no retry.
/// - Best: `LEAST_REQUEST`; outlier detection with its default thresholds, looked at once a second, for up to half of
///   the hosts; slow start of 10 s; retries on other hosts within the budget of its defaults.
/// - `per_host_thresholds` hold a backend to one connection: what is over it waits for that backend.
pub(super) fn config(setting: &Setting<'_>) -> String {
    let list = setting.dir.join(ENDPOINTS);
    let route = format!(
        "                route:
                  cluster: app
                  timeout: {timeout}
{retry}",
        timeout = seconds(setting.timeout_ms()),
        retry = retry(setting),
    );
    let cluster = format!(
        "    type: EDS
    connect_timeout: 1s
    eds_cluster_config:
      eds_config:
        resource_api_version: V3
        path_config_source: {{ path: {list} }}
    circuit_breakers:
      thresholds:
      - max_connections: {UNLIMITED}
        max_pending_requests: {UNLIMITED}
        max_requests: {UNLIMITED}
{budget}{hosts}{balance}",
        list = list.display(),
        budget = budget(setting),
        hosts = hosts(setting),
        balance = balance(setting),
    );
    // Whoever is told its endpoints must have a name.
    let node = "node: { id: lab, cluster: lab }";
    let rest = envoy::around(setting.listen, "HTTP1", &route, &cluster);
    format!("{node}\n{rest}")
}

/// The answer of a discovery service, as a file.
pub(super) fn endpoints(setting: &Setting<'_>) -> String {
    let present = setting.backends.iter().filter(|backend| backend.present);
    let hosts: String = present
        .map(|backend| {
            format!(
                "    - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }} }}\n",
                backend.port
            )
        })
        .collect();
    let count = setting.backends.iter().filter(|one| one.present).count();
    format!(
        "version_info: '{count}'
resources:
- '@type': type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
  cluster_name: app
  endpoints:
  - lb_endpoints:
{hosts}"
    )
}

fn retries_at_all(setting: &Setting<'_>) -> bool {
    setting.is_best() && setting.retries() > 0
}

fn retry(setting: &Setting<'_>) -> String {
    if !retries_at_all(setting) {
        return String::new();
    }
    let number = setting.retries();
    let per_try = seconds(setting.try_timeout_ms());
    format!(
        "                  retry_policy:
                    retry_on: 5xx,reset,connect-failure,retriable-4xx
                    num_retries: {number}
                    per_try_timeout: {per_try}
                    host_selection_retry_max_attempts: 3
                    retry_host_predicate:
                    - name: envoy.retry_host_predicates.previous_hosts
                      typed_config:
                        '@type': type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate
"
    )
}

fn budget(setting: &Setting<'_>) -> String {
    if !retries_at_all(setting) {
        return String::new();
    }
    "        retry_budget: { budget_percent: { value: 20 }, min_retry_concurrency: 3 }\n".to_owned()
}

fn hosts(setting: &Setting<'_>) -> String {
    setting.concurrency().map_or(String::new(), |limit| {
        format!("      per_host_thresholds:\n      - max_connections: {limit}\n")
    })
}

fn balance(setting: &Setting<'_>) -> String {
    if !setting.is_best() {
        return String::new();
    }
    "    lb_policy: LEAST_REQUEST
    least_request_lb_config:
      slow_start_config: { slow_start_window: 10s }
    outlier_detection:
      interval: 1s
      max_ejection_percent: 50
      enforcing_failure_percentage: 100
"
    .to_owned()
}

fn seconds(ms: u64) -> String {
    format!("{}s", ms as f64 / 1000.0)
}
