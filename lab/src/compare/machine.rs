//! What the figures were measured on.

use std::fs;

/// One line: processor, count of processors, kernel, load of the last minute.
/// What cannot be read is left out.
pub(super) fn describe() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "Machine: {}, {processors} processors, Linux {}, load average {} before the start.",
        model(&read("/proc/cpuinfo")),
        kernel.trim(),
        load.split_ascii_whitespace().next().unwrap_or("unknown"),
    )
}

fn model(cpuinfo: &str) -> &str {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    name.map_or("unknown processor", |(_, name)| name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found() {
        assert_eq!(
            model("processor\t: 0\nmodel name\t: A 9000\nmodel name\t: B\n"),
            "A 9000"
        );
        assert_eq!(model("Processor: ARM"), "unknown processor");
    }
}
