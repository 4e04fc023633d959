//! Small scenarios for tests.

use super::Scenario;

/// Ten seconds of ten requests a second, whose clients wait a second. `backends` and `faults` are elements of the lists
/// of those names.
///
/// # Panics
///
/// If that makes no scenario.
pub(crate) fn example(backends: &str, faults: &str) -> Scenario {
    let text = format!(
        r#"
        id = "X"
        title = "t"
        origin = "o"
        about = "a"
        seconds = 10
        arrivals = {{ process = "constant", per_second = 10 }}
        client = {{ timeout_ms = 1000 }}
        backends = [{backends}]
        faults = [{faults}]
        goals = [{{ metric = "success", least = 1.0 }}]
        "#
    );
    Scenario::parse(&text).expect("a test knows what makes a scenario")
}
