//! Certificates, keys and names that cannot be used: each mistake is told with the file it is in.

use std::path::Path;

use plimsoll_proxy::{ClientTls, ClientTlsConfig, Identity, Trust};

use super::authority::{Authority, file};

/// What the mistake is told as, with `CHAIN` and `KEY` for the files.
fn mistake(chain: &str, key: &str) -> String {
    let (chain, key) = (file(chain), file(key));
    let error = Identity::from_pem_files(&chain, &key).unwrap_err();
    (error.to_string())
        .replace(chain.to_str().unwrap(), "CHAIN")
        .replace(key.to_str().unwrap(), "KEY")
}

#[test]
fn a_mistake_in_a_certificate_or_key_is_told_with_its_file() {
    let authority = Authority::new();
    let (one, other) = (authority.issue(&["a"]), authority.issue(&["a"]));
    let block = |kind: &str, base64: &str| {
        format!("-----BEGIN {kind}-----\n{base64}\n-----END {kind}-----\n")
    };
    let unreadable = block("CERTIFICATE", "AAAA");
    let encrypted = block("ENCRYPTED PRIVATE KEY", "AAAA");
    let unusable = block("PRIVATE KEY", "AAAA");
    let cut = &one.chain_pem[..one.chain_pem.len() - 30];
    for (chain, key, told) in [
        (
            "",
            &*one.key_pem,
            "CHAIN holds no certificate: it needs at least one block `BEGIN CERTIFICATE`",
        ),
        (
            &*one.key_pem,
            &*one.key_pem,
            "CHAIN holds no certificate: it needs at least one block `BEGIN CERTIFICATE`",
        ),
        (
            cut,
            &*one.key_pem,
            "CHAIN is not valid PEM: `-----END CERTIFICATE-----` is missing",
        ),
        (
            &*unreadable,
            &*one.key_pem,
            "certificate 1 in CHAIN cannot be used: BadEncoding",
        ),
        (
            &*one.chain_pem,
            &*one.chain_pem,
            "KEY holds no private key: it needs a block `BEGIN PRIVATE KEY`, `BEGIN EC PRIVATE KEY` or `BEGIN RSA PRIVATE KEY`",
        ),
        (
            &*one.chain_pem,
            &*encrypted,
            "the private key in KEY is encrypted: store it without a passphrase",
        ),
        (
            &*one.chain_pem,
            &*other.key_pem,
            "the private key in KEY does not belong to the first certificate in CHAIN",
        ),
    ] {
        assert_eq!(mistake(chain, key), told);
    }
    let told = mistake(&one.chain_pem, &unusable);
    assert!(
        told.starts_with("the private key in KEY cannot be used: "),
        "{told}"
    );
}

#[test]
fn chain_and_key_may_be_in_one_file() {
    let issued = Authority::new().issue(&["a"]);
    let both = file(&format!("{}{}", issued.key_pem, issued.chain_pem));
    Identity::from_pem_files(&both, &both).unwrap();
}

#[test]
fn a_file_that_is_not_there_or_is_no_pem_file_is_told() {
    let missing = Path::new("/nonexistent/tls.crt");
    let error = Identity::from_pem_files(missing, missing)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("cannot read /nonexistent/tls.crt: No such file"),
        "{error}"
    );
    let endless = Path::new("/dev/zero");
    let error = Identity::from_pem_files(endless, endless)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "/dev/zero is larger than 4194304 bytes: is it a PEM file?"
    );
}

/// What the mistake is told as, with `ROOTS` for the file.
fn client_mistake(roots: &str, server_name: Option<&str>) -> String {
    let roots = file(roots);
    let error = ClientTls::new(&ClientTlsConfig {
        trust: Trust::File(roots.clone()),
        server_name: server_name.map(str::to_owned),
        identity: None,
    });
    let error = error.unwrap_err().to_string();
    error.replace(roots.to_str().unwrap(), "ROOTS")
}

#[test]
fn a_mistake_in_whom_to_trust_is_told() {
    let good = Authority::new().pem;
    let second = format!("{good}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for (roots, name, told) in [
        (
            "",
            None,
            "ROOTS holds no certificate: it needs at least one block `BEGIN CERTIFICATE`",
        ),
        (
            &*second,
            None,
            "certificate 2 in ROOTS cannot be used: BadEncoding",
        ),
        (
            &*good,
            Some("not a name"),
            "`not a name` is neither a host name nor an IP address",
        ),
        (
            &*good,
            Some("a:443"),
            "`a:443` is neither a host name nor an IP address",
        ),
        (
            &*good,
            Some(""),
            "`` is neither a host name nor an IP address",
        ),
    ] {
        assert_eq!(client_mistake(roots, name), told);
    }
}

/// Without a network nobody can be verified, but the store can be read.
#[test]
fn the_systems_authorities_are_found_or_their_absence_is_told() {
    match ClientTls::new(&ClientTlsConfig::default()) {
        Ok(_) => {}
        Err(error) => {
            let error = error.to_string();
            assert!(
                error.starts_with("the system has no CA certificates ("),
                "{error}"
            );
        }
    }
}
