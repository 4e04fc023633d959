//! What the figures were measured on.

use std::fs;

/// One line: processor, count of processors, kernel, load of the last minute.
/// What cannot be read is left out.
pub(crate) fn describe() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let cpuinfo = read("/proc/cpuinfo");
    format!(
        "Machine: {}, {} processors, Linux {}, load average {} before the start.",
        model(&cpuinfo),
        processors(&cpuinfo),
        kernel.trim(),
        load.split_ascii_whitespace().next().unwrap_or("unknown"),
    )
}

fn model(cpuinfo: &str) -> &str {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    name.map_or("unknown processor", |(_, name)| name.trim())
}

/// All of the machine: this thread may be confined to one of them.
fn processors(cpuinfo: &str) -> usize {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found() {
        let two = "processor\t: 0\nmodel name\t: A\nprocessor\t: 1\nmodel name\t: A\n";
        assert_eq!((model(two), processors(two)), ("A", 2));
        assert_eq!(
            model("processor\t: 0\nmodel name\t: A 9000\nmodel name\t: B\n"),
            "A 9000"
        );
        assert_eq!(model("Processor: ARM"), "unknown processor");
    }
}
