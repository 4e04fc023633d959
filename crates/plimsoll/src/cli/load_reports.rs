//! The flags of load reports.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cpu::{CpuMeter, CpuOptions, System};
use crate::load_report::LoadReportSettings;

/// More processors than this has no machine.
const CPU_QUOTA_MAX: f64 = 65_536.0;

/// The heading of load reports in the help.
const HEADING: &str = "Load reports (beside each answer)";

#[derive(Debug, Clone, Args)]
pub(crate) struct LoadReportArgs {
    /// What answers say of the load, for whoever balances over instances
    #[arg(
        long,
        env = "PLIMSOLL_LOAD_REPORTS",
        value_name = "FORM",
        default_value = "off",
        help_heading = HEADING
    )]
    load_reports: Form,

    /// The control group whose processor time is told [default: the own]
    #[arg(long, env = "PLIMSOLL_CPU_CGROUP", value_name = "DIR", help_heading = HEADING)]
    cpu_cgroup: Option<PathBuf>,

    /// How many processors it may use [default: as its limits say]
    #[arg(long, env = "PLIMSOLL_CPU_QUOTA", value_name = "CPUS", value_parser = quota, help_heading = HEADING)]
    cpu_quota: Option<f64>,
}

/// Which fields carry the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Answers say nothing.
    Off,
    /// endpoint-load-metrics; in gRPC trailers endpoint-load-metrics-bin.
    Orca,
    /// cpu_usage, in gRPC trailers or the head.
    Kratos,
    /// Both.
    All,
}

fn quota(text: &str) -> Result<f64, String> {
    let is_sound = |quota: &f64| *quota > 0.0 && *quota <= CPU_QUOTA_MAX;
    let accepted =
        || format!("write a number of processors above 0, up to {CPU_QUOTA_MAX}, e.g. 0.5");
    text.parse().ok().filter(is_sound).ok_or_else(accepted)
}

impl LoadReportArgs {
    /// Each flag, its value, and whether that is the default.
    pub(crate) fn shown(&self) -> [(&'static str, String, bool); 3] {
        let form = self.load_reports.to_possible_value();
        let form = form.map_or_else(String::new, |form| form.get_name().to_owned());
        let group = self.cpu_cgroup.as_ref();
        let directory = group.map_or_else(String::new, |group| group.display().to_string());
        let quota = self.cpu_quota;
        let processors = quota.map_or_else(String::new, |quota| quota.to_string());
        [
            ("--load-reports", form, self.load_reports == Form::Off),
            ("--cpu-cgroup", directory, group.is_none()),
            ("--cpu-quota", processors, quota.is_none()),
        ]
    }

    /// Checks what was typed as a whole. `None` is no reports.
    pub(crate) fn resolve(self) -> Result<Option<LoadReportSettings>, String> {
        let settings = LoadReportSettings {
            orca: matches!(self.load_reports, Form::Orca | Form::All),
            kratos: matches!(self.load_reports, Form::Kratos | Form::All),
            cpu: CpuOptions {
                group: self.cpu_cgroup,
                quota: self.cpu_quota,
            },
        };
        if self.load_reports == Form::Off {
            return match settings.cpu {
                CpuOptions { group: Some(_), .. } => Err(unused("--cpu-cgroup")),
                CpuOptions { quota: Some(_), .. } => Err(unused("--cpu-quota")),
                _ => Ok(None),
            };
        }
        if let Some(directory) = &settings.cpu.group
            && !CpuMeter::check_group(&System, directory)
        {
            return Err(format!(
                "invalid value '{}' for '--cpu-cgroup': no control group; there must be a readable cpu.stat with a line \
                 usage_usec (version 2), or cpuacct.usage (version 1)",
                directory.display()
            ));
        }
        Ok(Some(settings))
    }
}

fn unused(flag: &str) -> String {
    format!(
        "{flag} is for load reports, and they are off: add --load-reports orca, kratos or all, or drop {flag}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_positive_numbers() {
        for (text, expected) in [
            ("0.5", Some(0.5)),
            ("2", Some(2.0)),
            ("65536", Some(65_536.0)),
            ("65537", None),
            ("0", None),
            ("-1", None),
            ("NaN", None),
            ("inf", None),
            ("50%", None),
            ("", None),
        ] {
            assert_eq!(quota(text).ok(), expected, "{text:?}");
        }
    }

    fn resolve(
        form: Form,
        group: Option<&str>,
        quota: Option<f64>,
    ) -> Result<Option<LoadReportSettings>, String> {
        let arguments = LoadReportArgs {
            load_reports: form,
            cpu_cgroup: group.map(PathBuf::from),
            cpu_quota: quota,
        };
        arguments.resolve()
    }

    #[test]
    fn forms_come_to_fields() {
        for (form, expected) in [
            (Form::Off, None),
            (Form::Orca, Some((true, false))),
            (Form::Kratos, Some((false, true))),
            (Form::All, Some((true, true))),
        ] {
            let settings = resolve(form, None, None).expect("sound");
            assert_eq!(
                settings.map(|settings| (settings.orca, settings.kratos)),
                expected
            );
        }
    }

    #[test]
    fn what_would_do_nothing_is_refused() {
        for (group, quota, flag) in [
            (Some("/"), None, "--cpu-cgroup"),
            (None, Some(1.0), "--cpu-quota"),
        ] {
            let refused = resolve(Form::Off, group, quota).expect_err("unused");
            assert!(refused.starts_with(flag), "{refused}");
        }
        let refused = resolve(Form::All, Some("/nowhere"), None).expect_err("no group");
        assert!(
            refused.contains("'/nowhere' for '--cpu-cgroup'"),
            "{refused}"
        );
    }
}
