//! `lab image`.

use std::path::PathBuf;

use anyhow::Context;
use plimsoll_lab::image::{Contents, archive};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The program: static, for Linux on this machine's processor.
    #[arg(long, value_name = "FILE")]
    program: PathBuf,
    /// Authorities that the image trusts, in PEM; none if left out.
    #[arg(long, value_name = "FILE")]
    certificates: Option<PathBuf>,
    /// What the image is called.
    #[arg(long, value_name = "NAME:TAG", default_value = concat!("plimsoll:", env!("CARGO_PKG_VERSION")))]
    name: String,
    /// Where the archive is written.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<String> {
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let program = read(&self.program)?;
        let certificates = self.certificates.as_ref().map(read).transpose()?;
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let archive = archive(&Contents {
            program: &program,
            certificates: certificates.as_deref(),
            version: env!("CARGO_PKG_VERSION"),
            name: &self.name,
            architecture,
        })?;
        std::fs::write(&self.output, &archive)
            .with_context(|| format!("cannot write {}", self.output.display()))?;
        Ok(format!(
            "{}: {} for {architecture}, {} bytes",
            self.output.display(),
            self.name,
            archive.len()
        ))
    }
}
