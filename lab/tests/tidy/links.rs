//! Links between documents: every relative one must lead to a file, and its anchor to a heading.

use crate::tree::{File, Finding, Tree};

/// Relative links of a Markdown file that lead nowhere.
pub(crate) fn broken(file: &File, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in prose(&file.text) {
        for target in targets(&line) {
            if let Err(wrong) = check(file, &target, tree) {
                let right = "link to what exists";
                findings.push(Finding::new(&file.path, number, wrong, right));
            }
        }
    }
    findings
}

fn check(file: &File, target: &str, tree: &Tree) -> Result<(), String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() {
        file.path.clone()
    } else {
        resolve(&file.path, path)
            .ok_or_else(|| format!("`{target}` leads out of the repository"))?
    };
    if !path.is_empty() && !tree.exists(&path) {
        return Err(format!("`{target}` leads to {path}, which does not exist"));
    }
    match tree.get(&path) {
        Some(page) if !anchor.is_empty() && page.extension() == "md" => {
            let found = headings(&page.text).iter().any(|heading| heading == anchor);
            let wrong = || format!("{path} has no heading with the anchor `{anchor}`");
            found.then_some(()).ok_or_else(wrong)
        }
        _ => Ok(()),
    }
}

/// `path` as seen from the folder of `from`, or `None` above the root.
fn resolve(from: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
    {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    Some(parts.join("/"))
}

/// The lines outside fenced code, with what is between backquotes taken out.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push((
                index + 1,
                line.split('`').step_by(2).collect::<Vec<_>>().join("`"),
            ));
        }
    }
    lines
}

/// The targets of `](…)`, `[name]: …`, `src="…"` and `href="…"`.
fn targets(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (opening, closing) in [("](", ')'), ("src=\"", '"'), ("href=\"", '"')] {
        for part in line.split(opening).skip(1) {
            let target = part.split(closing).next().unwrap_or("");
            found.extend(target.split_whitespace().next().map(str::to_owned));
        }
    }
    if let Some((_, target)) = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]: "))
    {
        found.extend(target.split_whitespace().next().map(str::to_owned));
    }
    found
}

/// The anchors of a page: headings in small letters, blanks as hyphens, other signs left out.
fn headings(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut anchors = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if !fenced && line.starts_with('#') {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let keep = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
            anchors.push(
                title
                    .chars()
                    .filter(keep)
                    .collect::<String>()
                    .replace(' ', "-"),
            );
        }
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        let tree = Tree::of(&[
            (
                "README.md",
                "# The Name, twice!\n```\n# not a heading\n```\n",
            ),
            ("docs/a.md", "## One\n"),
            (path, text),
        ]);
        broken(&File::new(path, text), &tree).len()
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for text in [
            "[x](gone.md)",
            "[x](a.md) and [y](../gone/)",
            "![x](../gone.png \"title\")",
            "[x]: gone.md",
            "<img src=\"gone.svg\">",
            "[x](a.md#two)",
            "[x](#nothing)",
            "[x](../README.md#not-a-heading)",
            "[x](../../out.md)",
        ] {
            assert_eq!(found("docs/b.md", text), 1, "{text}");
        }
    }

    #[test]
    fn links_that_lead_somewhere_and_code_are_left_alone() {
        for text in [
            "[x](a.md) [y](../README.md#the-name-twice) [z](./a.md#one)",
            "[x](https://example.org/gone.md) [y](mailto:a@example.org)",
            "# Here\n[x](#here) [y](../docs/) [z](..)",
            "`[x](gone.md)`\n```\n[x](gone.md)\n```\n",
        ] {
            assert_eq!(found("docs/b.md", text), 0, "{text}");
        }
    }
}
