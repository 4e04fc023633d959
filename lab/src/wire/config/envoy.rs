//! Envoy.

use super::Setting;

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
    let Setting { listen, dir, .. } = setting;
    let list = dir.join(ENDPOINTS);
    format!(
        "node: {{ id: lab, cluster: lab }}
static_resources:
  listeners:
  - name: in
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {listen} }} }}
    tcp_backlog_size: 4096
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          codec_type: HTTP1
          stream_idle_timeout: 0s
          route_config:
            virtual_hosts:
            - name: all
              domains: ['*']
              routes:
              - match: {{ prefix: / }}
                route:
                  cluster: app
                  timeout: {timeout}
{retry}          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              '@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: app
    type: EDS
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
        timeout = seconds(setting.timeout_ms()),
        list = list.display(),
        retry = retry(setting),
        budget = budget(setting),
        hosts = hosts(setting),
        balance = balance(setting),
    )
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
