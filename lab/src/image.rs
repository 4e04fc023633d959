//! A container image without a container engine: an archive in the layout of OCI's image specification 1.1.
//!
//! The image has one layer, with the program and the certificates of authorities, and nothing else: no shell, no
//! libraries. The same input gives the same bytes: no time of day is in it.

use std::io::{self, Write};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Who the program runs as: not root, and nobody that a base image knows.
pub const USER: u64 = 65_532;

/// Where the program is in the image.
pub const PROGRAM: &str = "/plimsoll";

/// Where programs look for authorities, on most systems.
pub const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The largest image, in bytes.
pub const IMAGE_BYTES_MAX: usize = 15 * 1024 * 1024;

/// What an image is made of.
#[derive(Debug, Clone)]
pub struct Contents<'a> {
    /// The program: an ELF executable that needs no library.
    pub program: &'a [u8],
    /// Authorities to trust, in PEM.
    pub certificates: Option<&'a [u8]>,
    /// The version of the program.
    pub version: &'a str,
    /// What the image is called within the archive, such as `plimsoll:0.1.0`.
    pub name: &'a str,
    /// The processor by Go's name, such as `amd64`.
    pub architecture: &'a str,
}

/// A content by its digest.
struct Blob {
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        Self {
            digest: digest(&bytes),
            bytes,
        }
    }

    fn of(value: &Value) -> Self {
        Self::new(value.to_string().into_bytes())
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({
            "mediaType": media_type,
            "digest": format!("sha256:{}", self.digest),
            "size": self.bytes.len(),
        })
    }
}

/// SHA-256 in hexadecimal.
fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The image as an archive, which `skopeo copy oci-archive:…`, `podman load` and `ctr images import` read.
///
/// # Errors
/// A program that is none or needs libraries, or an image over [`IMAGE_BYTES_MAX`].
pub fn archive(contents: &Contents<'_>) -> anyhow::Result<Vec<u8>> {
    check_program(contents.program)?;
    let layer = Blob::new(layer(contents)?);
    let config = Blob::of(&config(contents, &layer));
    let manifest = Blob::of(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
    }));
    let mut entry = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": contents.name});
    entry["platform"] = json!({"architecture": contents.architecture, "os": "linux"});
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    });
    let mut archive = Tar::new();
    let layout = json!({"imageLayoutVersion": "1.0.0"});
    archive.file("oci-layout", layout.to_string().as_bytes(), 0o644)?;
    archive.file("index.json", index.to_string().as_bytes(), 0o644)?;
    archive.directory("blobs/")?;
    archive.directory("blobs/sha256/")?;
    for blob in [&manifest, &config, &layer] {
        archive.file(&format!("blobs/sha256/{}", blob.digest), &blob.bytes, 0o644)?;
    }
    let archive = archive.finish();
    let bytes = archive.len();
    ensure!(
        bytes <= IMAGE_BYTES_MAX,
        "the image has {bytes} bytes, at most {IMAGE_BYTES_MAX} are accepted"
    );
    Ok(archive)
}

/// How the program is started, and by whom.
fn config(contents: &Contents<'_>, layer: &Blob) -> Value {
    json!({
        "architecture": contents.architecture,
        "os": "linux",
        "config": {
            "User": format!("{USER}:{USER}"),
            "WorkingDir": "/",
            "Entrypoint": [PROGRAM],
            // What Knative starts has no arguments.
            "Cmd": ["sidecar"],
            "Labels": {
                "org.opencontainers.image.title": "plimsoll",
                "org.opencontainers.image.version": contents.version,
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", layer.digest)]},
        "history": [{"created_by": "plimsoll", "comment": "one static program"}],
    })
}

fn layer(contents: &Contents<'_>) -> anyhow::Result<Vec<u8>> {
    let mut layer = Tar::new();
    layer.file(PROGRAM.trim_start_matches('/'), contents.program, 0o755)?;
    if let Some(certificates) = contents.certificates {
        for directory in ["etc/", "etc/ssl/", "etc/ssl/certs/"] {
            layer.directory(directory)?;
        }
        layer.file(CERTIFICATES.trim_start_matches('/'), certificates, 0o644)?;
    }
    Ok(layer.finish())
}

/// Refuses what could not run in an image without anything else: the program header of an interpreter is what asks for a
/// dynamic linker.
fn check_program(program: &[u8]) -> anyhow::Result<()> {
    const INTERPRETER: u32 = 3;
    let header = program
        .get(..64)
        .context("the program is too short to be one")?;
    ensure!(
        header.starts_with(b"\x7fELF\x02\x01"),
        "the program is no 64-bit little-endian ELF file"
    );
    let number = |at: usize, bytes: usize, of: &[u8]| {
        let field = of.get(at..at + bytes).context("the program breaks off")?;
        Ok::<_, anyhow::Error>(
            field
                .iter()
                .rev()
                .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)),
        )
    };
    let at = usize::try_from(number(32, 8, header)?)?;
    let (size, count) = (
        usize::try_from(number(54, 2, header)?)?,
        usize::try_from(number(56, 2, header)?)?,
    );
    for index in 0..count {
        let offset = size
            .checked_mul(index)
            .and_then(|offset| at.checked_add(offset));
        let kind = number(
            offset.context("the program's headers are nowhere")?,
            4,
            program,
        )?;
        ensure!(
            kind != u64::from(INTERPRETER),
            "the program needs a dynamic linker: build it with RUSTFLAGS=\"-C target-feature=+crt-static\" and --target"
        );
    }
    Ok(())
}

/// Writes an archive in the format of POSIX (ustar).
///
/// By hand, because it is a header of 512 bytes: the usual crate would bring more than this.
struct Tar(Vec<u8>);

impl Tar {
    const BLOCK: usize = 512;

    fn new() -> Self {
        Self(Vec::new())
    }

    fn directory(&mut self, name: &str) -> io::Result<()> {
        self.header(name, 0, 0o755, b'5')
    }

    fn file(&mut self, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        self.header(name, bytes.len(), mode, b'0')?;
        self.0.write_all(bytes)?;
        self.0.resize(self.0.len().next_multiple_of(Self::BLOCK), 0);
        Ok(())
    }

    /// Owner and group are root, the time is 1970.
    fn header(&mut self, name: &str, size: usize, mode: u32, kind: u8) -> io::Result<()> {
        let mut header = [0_u8; Self::BLOCK];
        if name.len() > 100 {
            return Err(io::Error::other(format!(
                "{name} is too long a name for an archive"
            )));
        }
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(format!("{mode:07o}\0").as_bytes());
        header[108..116].copy_from_slice(b"0000000\0");
        header[116..124].copy_from_slice(b"0000000\0");
        header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        // The sum counts its own field as blanks.
        header[148..156].copy_from_slice(b"        ");
        header[156] = kind;
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.write_all(&header)
    }

    fn finish(mut self) -> Vec<u8> {
        // Two empty blocks are the end.
        self.0.resize(self.0.len() + 2 * Self::BLOCK, 0);
        self.0
    }
}

#[cfg(test)]
mod tests;
