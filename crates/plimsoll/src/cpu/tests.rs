//! Whole systems, as tables of files.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::*;

/// A system that exists in memory only. Clones share it.
#[derive(Debug, Clone, Default)]
struct Machine(Rc<RefCell<BTreeMap<PathBuf, String>>>);

impl Machine {
    fn with(files: &[(&str, &str)]) -> Self {
        let machine = Self::default();
        for (path, text) in files {
            machine.write(path, text);
        }
        machine
    }

    fn write(&self, path: &str, text: &str) {
        self.0.borrow_mut().insert(path.into(), text.to_owned());
    }

    fn remove(&self, path: &str) {
        self.0.borrow_mut().remove(Path::new(path));
    }
}

impl Files for Machine {
    fn read(&self, path: &Path) -> Option<String> {
        self.0.borrow().get(path).cloned()
    }

    fn processors(&self) -> u32 {
        8
    }
}

fn meter(machine: &Machine) -> CpuMeter<Machine> {
    CpuMeter::new(machine.clone(), CpuOptions::default(), at(0))
}

fn at(millis: u64) -> Tick {
    Tick::from_nanos(millis * 1_000_000)
}

const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

/// A service in a slice: the slice is limited to two processors, the service to four.
fn systemd() -> Machine {
    Machine::with(&[
        ("/proc/self/cgroup", "0::/system.slice/app.service\n"),
        ("/proc/self/mountinfo", V2_MOUNT),
        (
            "/sys/fs/cgroup/system.slice/app.service/cpu.stat",
            "usage_usec 1000\n",
        ),
        (
            "/sys/fs/cgroup/system.slice/app.service/cpu.max",
            "400000 100000\n",
        ),
        ("/sys/fs/cgroup/system.slice/cpu.max", "200000 100000\n"),
        // Of the whole machine: not what is looked for.
        ("/sys/fs/cgroup/cpu.stat", "usage_usec 77777777\n"),
    ])
}

/// What is found: where, and how many processors are allowed.
fn found(machine: &Machine) -> (String, f64) {
    let meter = meter(machine);
    (meter.source(), meter.allowed())
}

fn assert_found(machine: &Machine, directory: &str, allowed: f64) {
    assert_eq!(found(machine), (directory.to_owned(), allowed));
}

#[test]
fn version_2_on_a_host_has_the_own_path_and_the_least_limit_above() {
    assert_found(&systemd(), "/sys/fs/cgroup/system.slice/app.service", 2.0);
}

#[test]
fn version_2_without_limits_allows_the_processors_of_the_process() {
    let machine = systemd();
    machine.write("/sys/fs/cgroup/system.slice/cpu.max", "max 100000\n");
    machine.remove("/sys/fs/cgroup/system.slice/app.service/cpu.max");
    assert_found(&machine, "/sys/fs/cgroup/system.slice/app.service", 8.0);
    machine.write("/sys/fs/cgroup/system.slice/cpu.max", "1600000 100000\n");
    assert_found(&machine, "/sys/fs/cgroup/system.slice/app.service", 8.0);
}

#[test]
fn version_2_in_a_container_with_a_name_space_is_at_the_mount() {
    let machine = Machine::with(&[
        ("/proc/self/cgroup", "0::/\n"),
        ("/proc/self/mountinfo", V2_MOUNT),
        ("/sys/fs/cgroup/cpu.stat", "usage_usec 1000\nuser_usec 1\n"),
        ("/sys/fs/cgroup/cpu.max", "50000 100000\n"),
    ]);
    assert_found(&machine, "/sys/fs/cgroup", 0.5);
}

#[test]
fn version_2_in_a_container_without_a_name_space_is_under_the_mount() {
    // The runtime has mounted the container's part only.
    let machine = Machine::with(&[
        ("/proc/self/cgroup", "0::/kubepods/pod1/c1/worker\n"),
        (
            "/proc/self/mountinfo",
            "30 23 0:26 /kubepods/pod1/c1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
        ),
        ("/sys/fs/cgroup/worker/cpu.stat", "usage_usec 1000\n"),
        ("/sys/fs/cgroup/cpu.max", "150000 100000\n"),
    ]);
    assert_found(&machine, "/sys/fs/cgroup/worker", 1.5);
}

#[test]
fn a_mount_of_another_part_is_taken_for_the_own_group() {
    for root in ["/../../..", "/docker/other"] {
        let mountinfo = format!("30 23 0:26 {root} /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
        let machine = Machine::with(&[
            ("/proc/self/cgroup", "0::/docker/c1\n"),
            ("/proc/self/mountinfo", &mountinfo),
            ("/sys/fs/cgroup/cpu.stat", "usage_usec 1000\n"),
            ("/sys/fs/cgroup/cpu.max", "150000 100000\n"),
        ]);
        assert_found(&machine, "/sys/fs/cgroup", 1.5);
    }
}

#[test]
fn of_several_mounts_the_one_that_shows_most_is_taken() {
    let machine = systemd();
    let narrow = "29 23 0:26 /system.slice/app.service /mnt/own rw - cgroup2 cgroup2 rw\n";
    machine.write("/proc/self/mountinfo", &format!("{narrow}{V2_MOUNT}"));
    machine.write("/mnt/own/cpu.stat", "usage_usec 1000\n");
    assert_found(&machine, "/sys/fs/cgroup/system.slice/app.service", 2.0);
}

const V1_MOUNTS: &str = "\
33 25 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:15 - cgroup cgroup rw,cpu,cpuacct\n\
34 25 0:31 / /sys/fs/cgroup/memory rw shared:16 - cgroup cgroup rw,memory\n";

fn version_1() -> Machine {
    let group = "/sys/fs/cgroup/cpu,cpuacct/system.slice/app.service";
    let machine = Machine::with(&[
        (
            "/proc/self/cgroup",
            "4:memory:/elsewhere\n3:cpu,cpuacct:/system.slice/app.service\n1:name=systemd:/s\n",
        ),
        ("/proc/self/mountinfo", V1_MOUNTS),
        (
            "/sys/fs/cgroup/cpu,cpuacct/system.slice/cpu.cfs_quota_us",
            "150000\n",
        ),
        (
            "/sys/fs/cgroup/cpu,cpuacct/system.slice/cpu.cfs_period_us",
            "100000\n",
        ),
    ]);
    for (name, text) in [
        ("cgroup.procs", "1\n"),
        ("cpuacct.usage", "1000000\n"),
        ("cpu.cfs_quota_us", "-1\n"),
        ("cpu.cfs_period_us", "100000\n"),
    ] {
        machine.write(&format!("{group}/{name}"), text);
    }
    machine
}

#[test]
fn version_1_has_the_own_path_and_the_least_limit_above() {
    let group = "/sys/fs/cgroup/cpu,cpuacct/system.slice/app.service";
    assert_found(&version_1(), group, 1.5);
}

#[test]
fn version_1_in_a_container_is_at_the_mount() {
    let mounts = "33 25 0:30 /docker/c1 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n";
    let machine = Machine::with(&[
        ("/proc/self/cgroup", "3:cpuacct,cpu:/docker/c1\n"),
        ("/proc/self/mountinfo", mounts),
        ("/sys/fs/cgroup/cpu/cgroup.procs", "1\n"),
        ("/sys/fs/cgroup/cpu/cpuacct.usage", "1000000\n"),
        ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "20000\n"),
        ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
    ]);
    assert_found(&machine, "/sys/fs/cgroup/cpu", 0.2);
}

#[test]
fn beside_each_other_the_version_that_has_the_controller_counts() {
    // Version 2 is there for systemd only; it counts processor time all the same.
    let unified = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    let machine = version_1();
    let mounts = format!("{unified}{V1_MOUNTS}");
    machine.write("/proc/self/mountinfo", &mounts);
    machine.write(
        "/proc/self/cgroup",
        "3:cpu,cpuacct:/system.slice/app.service\n0::/system.slice/app.service\n",
    );
    machine.write(
        "/sys/fs/cgroup/unified/system.slice/app.service/cpu.stat",
        "usage_usec 5\n",
    );
    let group = "/sys/fs/cgroup/cpu,cpuacct/system.slice/app.service";
    assert_found(&machine, group, 1.5);

    // And with the processor in version 2, and something else in version 1.
    let machine = systemd();
    let memory = "34 25 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    machine.write("/proc/self/mountinfo", &format!("{memory}{V2_MOUNT}"));
    machine.write(
        "/proc/self/cgroup",
        "4:memory:/m\n0::/system.slice/app.service\n",
    );
    assert_found(&machine, "/sys/fs/cgroup/system.slice/app.service", 2.0);
}

const STAT: &str = "cpu  100 0 0 900 0 0 0 0 0 0\ncpu0 1\ncpu1 1\ncpu2 1\ncpu3 1\nintr 1\n";

#[test]
fn without_groups_it_is_the_machine() {
    let stat = ("/proc/stat", STAT);
    let cgroup = ("/proc/self/cgroup", "0::/\n");
    let mounts = ("/proc/self/mountinfo", V2_MOUNT);
    for files in [
        vec![stat],
        vec![stat, cgroup],
        vec![stat, mounts],
        // A group that counts nothing.
        vec![stat, cgroup, mounts],
        vec![stat, ("/proc/self/cgroup", "\u{0}\n::::\n"), mounts],
        vec![stat, cgroup, ("/proc/self/mountinfo", "- - -\ncgroup2\n")],
    ] {
        assert_found(&Machine::with(&files), "the whole machine", 4.0);
    }
    assert_eq!(meter(&Machine::default()).sample(at(0)), None);
}

#[test]
fn a_named_group_is_read_in_place_of_the_own() {
    let machine = systemd();
    let pod = "/sys/fs/cgroup/kubepods/pod1";
    for (path, text) in [
        ("/sys/fs/cgroup/cgroup.procs", "1\n"),
        ("/sys/fs/cgroup/kubepods/cgroup.procs", ""),
        ("/sys/fs/cgroup/kubepods/cpuset.cpus.effective", "0-5\n"),
        ("/sys/fs/cgroup/kubepods/pod1/cgroup.procs", ""),
        ("/sys/fs/cgroup/kubepods/pod1/cpu.stat", "usage_usec 9\n"),
    ] {
        machine.write(path, text);
    }
    let named = |quota| {
        let options = CpuOptions {
            group: Some(pod.into()),
            quota,
        };
        let meter = CpuMeter::new(machine.clone(), options, at(0));
        (meter.source(), meter.allowed())
    };
    assert_eq!(named(None), (pod.to_owned(), 6.0));
    machine.write("/sys/fs/cgroup/kubepods/cpu.max", "300000 100000");
    assert_eq!(named(None), (pod.to_owned(), 3.0));
    assert_eq!(named(Some(0.75)), (pod.to_owned(), 0.75));
    assert!(CpuMeter::check_group(&machine, Path::new(pod)));
    assert!(!CpuMeter::check_group(
        &machine,
        Path::new("/sys/fs/cgroup/other")
    ));
    assert!(!CpuMeter::check_group(&machine, Path::new("/")));
}

#[test]
fn load_is_what_was_used_of_what_is_allowed() {
    let machine = systemd();
    let mut meter = meter(&machine);
    let counter = "/sys/fs/cgroup/system.slice/app.service/cpu.stat";
    let used = |micros: u64| machine.write(counter, &format!("usage_usec {micros}\n"));
    used(1_000_000);
    assert_eq!(meter.sample(at(0)), None, "one reading says nothing");
    used(1_250_000);
    // One of two processors.
    assert_eq!(meter.sample(at(250)), Some(0.5));
    used(2_000_000);
    // Three of two, for a quarter of a second: the average follows.
    let load = meter.sample(at(500)).expect("two samples");
    assert!((0.95..1.15).contains(&load), "{load}");
    for step in 1..=16 {
        used(2_000_000 + step * 750_000);
        meter.sample(at(500 + step * 250));
    }
    let load = meter.average.mean().expect("samples");
    assert!((1.45..=1.5).contains(&load), "{load}");
}

#[test]
fn an_overload_is_seen_within_two_seconds() {
    let machine = systemd();
    let mut meter = meter(&machine);
    let counter = "/sys/fs/cgroup/system.slice/app.service/cpu.stat";
    let mut used = 0;
    let mut crossed = None;
    for step in 0..80_u64 {
        // Idle for ten seconds, then both processors.
        used += if step > 40 { 500_000 } else { 0 };
        machine.write(counter, &format!("usage_usec {used}\n"));
        let load = meter.sample(at(step * 250));
        if load.is_some_and(|load| load > 0.8) {
            crossed.get_or_insert((step - 40) * 250);
        }
    }
    let crossed = crossed.expect("it is seen");
    assert!(crossed <= 2_000, "{crossed} ms");
}

#[test]
fn limits_and_paths_are_looked_up_again() {
    let machine = systemd();
    let mut meter = meter(&machine);
    meter.sample(at(0));
    machine.write("/sys/fs/cgroup/system.slice/cpu.max", "100000 100000\n");
    meter.sample(at(4_999));
    assert_eq!(meter.allowed(), 2.0);
    meter.sample(at(5_000));
    assert_eq!(meter.allowed(), 1.0);

    // Moved to another group: what was measured in the old one is forgotten.
    machine.write("/proc/self/cgroup", "0::/other\n");
    machine.write("/sys/fs/cgroup/other/cpu.stat", "usage_usec 1\n");
    assert_eq!(meter.sample(at(10_000)), None);
    assert_eq!(meter.source(), "/sys/fs/cgroup/other");
}

#[test]
fn what_cannot_be_read_is_not_known_until_it_can_be() {
    let machine = systemd();
    let mut meter = meter(&machine);
    let counter = "/sys/fs/cgroup/system.slice/app.service/cpu.stat";
    meter.sample(at(0));
    assert_eq!(meter.sample(at(250)), Some(0.0));
    machine.write(counter, "usage_usec lots\n");
    assert_eq!(meter.sample(at(500)), None);
    machine.write(counter, "usage_usec 5000\n");
    assert_eq!(meter.sample(at(750)), None, "one reading says nothing");
    assert_eq!(meter.sample(at(1_000)), Some(0.0));
    // A counter that goes back makes no sample, and loses none.
    machine.write(counter, "usage_usec 1\n");
    assert_eq!(meter.sample(at(1_250)), Some(0.0));
    machine.write(counter, "usage_usec 500001\n");
    assert!(meter.sample(at(1_500)).is_some_and(|load| load > 0.0));
}

#[test]
fn this_machine_says_something() {
    let mut meter = CpuMeter::new(System, CpuOptions::default(), at(0));
    assert!(meter.allowed() > 0.0);
    meter.sample(at(0));
    // Whatever its processors do in the meantime: the time of the samples is ours.
    let load = meter.sample(at(1_000));
    assert!(
        load.is_none_or(|load| load.is_finite() && load >= 0.0),
        "{load:?}"
    );
}
