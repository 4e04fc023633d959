//! What the code must agree on with ARCHITECTURE.md.

use crate::tokens;
use crate::tree::{File, Finding};

/// Permissions for unsafe code in a file that `document` does not name.
pub(crate) fn unlisted_unsafe(file: &File, document: Option<&str>) -> Vec<Finding> {
    if document.is_some_and(|text| text.contains(&file.path)) {
        return Vec::new();
    }
    let permits = |attribute: &proc_macro2::TokenStream| {
        let paths = tokens::paths(attribute.clone());
        let named = |name: &str| paths.iter().any(|path| path.segments == [name]);
        named("unsafe_code") && (named("allow") || named("expect") || named("warn"))
    };
    let attributes = tokens::attributes(tokens::parse(&file.path, &file.text));
    attributes
        .into_iter()
        .filter(|(attribute, _)| permits(attribute))
        .map(|(_, line)| {
            let wrong = "permits unsafe code and ARCHITECTURE.md does not name the file";
            Finding::new(
                &file.path,
                line,
                wrong,
                "say there why it must, or do without",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_that_no_document_names_is_found() {
        for source in [
            "#![allow(unsafe_code)]",
            "#[allow(missing_docs, unsafe_code, reason = \"x\")]\nfn f() {}",
            "mod m { #[expect(unsafe_code)] fn f() {} }",
            "#[cfg_attr(unix, allow(unsafe_code))] fn f() {}",
        ] {
            let file = File::new("crates/a/src/b.rs", source);
            assert_eq!(unlisted_unsafe(&file, None).len(), 1, "{source}");
            assert_eq!(
                unlisted_unsafe(&file, Some("crates/a/src/c.rs")).len(),
                1,
                "{source}"
            );
            assert_eq!(
                unlisted_unsafe(&file, Some("see `crates/a/src/b.rs`")),
                [],
                "{source}"
            );
        }
    }

    #[test]
    fn a_file_without_permission_needs_no_document() {
        let file = File::new(
            "a.rs",
            "// allow(unsafe_code)\n#![deny(unsafe_code)]\nfn f() {}",
        );
        assert_eq!(unlisted_unsafe(&file, None), []);
    }
}
