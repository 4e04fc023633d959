//! Tests of images: the layout, and what is refused.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

/// An executable with one program header, of this type.
fn program(kind: u8) -> Vec<u8> {
    let mut program = vec![0; 128];
    program[..6].copy_from_slice(b"\x7fELF\x02\x01");
    program[32] = 64;
    program[54] = 56;
    program[56] = 1;
    program[64] = kind;
    program
}

fn contents(program: &[u8]) -> Contents<'_> {
    Contents {
        program,
        certificates: Some(b"PEM"),
        version: "0.1.0",
        name: "plimsoll:0.1.0",
        architecture: "amd64",
    }
}

/// The files of an archive, by `tar` of the system.
fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let list = tar(archive, &["--list", "--verbose", "--numeric-owner"]);
    let list = String::from_utf8(list).unwrap();
    let names = list.lines().filter(|line| line.starts_with('-'));
    let names = names.map(|line| line.split_whitespace().last().unwrap());
    let file = |name: &str| {
        (
            name.to_owned(),
            tar(archive, &["--extract", "--to-stdout", name]),
        )
    };
    names.map(file).collect()
}

fn tar(archive: &[u8], arguments: &[&str]) -> Vec<u8> {
    let mut child = Command::new("tar")
        .args(arguments)
        .args(["--file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let archive = archive.to_vec();
    // It may have seen enough before the end.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&archive)));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// The content that a descriptor names, if its size and digest are right.
fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let named = descriptor["digest"]
        .as_str()
        .unwrap()
        .strip_prefix("sha256:")
        .unwrap();
    let bytes = &files[&format!("blobs/sha256/{named}")];
    assert_eq!(descriptor["size"], bytes.len());
    assert_eq!(digest(bytes), named);
    bytes
}

#[test]
fn the_layout_is_that_of_the_specification_and_holds_together() {
    let program = program(1);
    let archive = archive(&contents(&program)).unwrap();
    let files = files(&archive);
    assert_eq!(
        json(&files["oci-layout"]),
        json!({"imageLayoutVersion": "1.0.0"})
    );
    let index = json(&files["index.json"]);
    assert_eq!(index["schemaVersion"], 2);
    let entry = &index["manifests"][0];
    assert_eq!(
        entry["platform"],
        json!({"architecture": "amd64", "os": "linux"})
    );
    let manifest = json(blob(&files, entry));
    let config = json(blob(&files, &manifest["config"]));
    let layer = blob(&files, &manifest["layers"][0]);
    assert_eq!(
        config["rootfs"]["diff_ids"],
        json!([manifest["layers"][0]["digest"]])
    );
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"], json!(["/plimsoll"]));
    assert_eq!(files.len(), 5, "no content that nobody names");
    let inside = self::files(layer);
    assert_eq!(inside["plimsoll"], program);
    assert_eq!(inside["etc/ssl/certs/ca-certificates.crt"], b"PEM");
    let list = String::from_utf8(tar(layer, &["--list", "--verbose", "--numeric-owner"])).unwrap();
    assert!(
        list.lines().next().unwrap().starts_with("-rwxr-xr-x 0/0"),
        "{list}"
    );
}

#[test]
fn the_same_input_gives_the_same_image() {
    let program = program(1);
    assert_eq!(
        archive(&contents(&program)).unwrap(),
        archive(&contents(&program)).unwrap()
    );
}

#[test]
fn what_could_not_run_in_it_is_refused() {
    let large = [program(1), vec![0; IMAGE_BYTES_MAX]].concat();
    for (program, words) in [
        (program(3), "needs a dynamic linker"),
        (vec![0; 128], "no 64-bit little-endian ELF file"),
        (vec![0; 8], "too short"),
        (program(1)[..65].to_vec(), "breaks off"),
        (large, "at most 15728640"),
    ] {
        let error = archive(&contents(&program)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
