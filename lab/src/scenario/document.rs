//! Results in a document: what a program has measured stands between two marks, and the rest is prose.

use std::path::Path;

use anyhow::{Context, ensure};

use super::{Outcomes, plot, table};

/// The width of a line of prose.
const COLUMNS: usize = 110;

/// Writes the results into `balancing.md` of the folder, and the pictures into its folder `balancing`.
///
/// # Errors
///
/// If the document has no place for them (the lines `<!-- NAME -->` and `<!-- end of NAME -->`), or a file cannot be
/// written.
pub fn write(folder: &Path, name: &str, all: &[Outcomes], how: &str) -> anyhow::Result<()> {
    let mut results = format!("{}\n{how}\n", table(all));
    for outcomes in all {
        results.push_str(&section(outcomes, suffix(name)));
    }
    let pictures = folder.join("balancing");
    std::fs::create_dir_all(&pictures)?;
    for outcomes in all {
        let file = format!("{}{}.svg", outcomes.scenario.name, suffix(name));
        std::fs::write(pictures.join(file), plot(outcomes))?;
    }
    put(folder, name, &results)
}

/// Puts results between the marks of their name in `balancing.md` of the folder.
///
/// # Errors
///
/// If the marks (the lines `<!-- NAME -->` and `<!-- end of NAME -->`) are not there, or the file cannot be written.
pub fn put(folder: &Path, name: &str, results: &str) -> anyhow::Result<()> {
    let path = folder.join("balancing.md");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let text = replaced(&text, name, results).with_context(|| path.display().to_string())?;
    std::fs::write(&path, text)?;
    Ok(())
}

/// Pictures of the simulation have the plain names.
fn suffix(name: &str) -> &str {
    match name {
        "simulation" => "",
        other => other,
    }
}

/// One scenario with its picture.
fn section(outcomes: &Outcomes, suffix: &str) -> String {
    let scenario = &outcomes.scenario;
    format!(
        "\n### {}: {}\n\n{}\n\n![Latencies of {}](balancing/{}{suffix}.svg)\n",
        scenario.id,
        scenario.title,
        folded(&format!("{} (After {}.)", scenario.about, scenario.origin)),
        scenario.id,
        scenario.name,
    )
}

/// Prose in lines that fit on a screen.
fn folded(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines
            .last_mut()
            .filter(|line| line.len() + word.len() < COLUMNS);
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

fn replaced(text: &str, name: &str, results: &str) -> anyhow::Result<String> {
    let (begin, end) = (
        format!("<!-- {name} -->\n"),
        format!("<!-- end of {name} -->"),
    );
    let from = text.find(&begin).map(|place| place + begin.len());
    let to = text.find(&end);
    let (Some(from), Some(to)) = (from, to) else {
        anyhow::bail!("the lines `{}` and `{end}` must be there", begin.trim_end());
    };
    ensure!(from <= to, "`{end}` comes before `{}`", begin.trim_end());
    Ok(format!("{}\n{results}\n{}", &text[..from], &text[to..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_folded_at_words() {
        let text = "word ".repeat(50);
        let lines = folded(&text);
        assert!(
            lines
                .lines()
                .all(|line| line.len() <= COLUMNS && line.starts_with("word"))
        );
        assert_eq!(lines.split_whitespace().count(), 50);
    }

    #[test]
    fn results_replace_what_stood_between_the_marks() {
        let text = "before\n<!-- x -->\nold\n<!-- end of x -->\nafter\n";
        let new = replaced(text, "x", "new\n").unwrap();
        assert_eq!(
            new,
            "before\n<!-- x -->\n\nnew\n\n<!-- end of x -->\nafter\n"
        );
        assert_eq!(replaced(&new, "x", "new\n").unwrap(), new);
        let error = replaced(text, "y", "new").unwrap_err();
        assert!(error.to_string().contains("<!-- y -->"), "{error}");
    }
}
