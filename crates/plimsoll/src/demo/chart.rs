//! Bars and columns, drawn with eighths of a character.

/// Nothing to eight eighths, from the bottom.
const COLUMN: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Nothing to eight eighths, from the left.
const BAR: [char; 9] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// A bar over `width` columns, `part` of it full (0 to 1). More than nothing is never drawn as nothing.
pub(crate) fn bar(part: f64, width: usize) -> String {
    let eighths = eighths(part, width);
    (0..width)
        .map(|column| BAR[eighths.saturating_sub(column * 8).min(8)])
        .collect()
}

/// One cell for each of `slots`, the first `in_use` of them full, in at most `width` columns, with gaps between
/// them if there is room. At most `width` slots.
pub(crate) fn cells(in_use: usize, slots: usize, width: usize) -> (String, String) {
    let pitch = (width / slots.max(1)).max(1);
    let (body, gap) = if pitch > 1 { (pitch - 1, 1) } else { (1, 0) };
    let cells = |count: usize, cell: &str| {
        format!("{}{}", cell.repeat(body), " ".repeat(gap)).repeat(count)
    };
    let in_use = in_use.min(slots);
    (cells(in_use, "█"), cells(slots - in_use, "░"))
}

/// The character of a column in row `row` (0 is the lowest) of a chart of `rows` rows, if `part` (0 to 1) of its
/// height is full. More than nothing is never drawn as nothing.
pub(crate) fn column(part: f64, row: usize, rows: usize) -> char {
    COLUMN[eighths(part, rows).saturating_sub(row * 8).min(8)]
}

/// `part` of `cells` characters, in eighths of a character.
fn eighths(part: f64, cells: usize) -> usize {
    let most = cells * 8;
    if part > 0.0 {
        // Not negative, and bounded above.
        ((part * most as f64).round() as usize).clamp(1, most)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_part() {
        for (part, expected) in [
            (0.0, "    "),
            (0.001, "▏   "),
            (0.5, "██  "),
            (0.53125, "██▏ "),
            (0.999, "████"),
            (1.0, "████"),
            (7.0, "████"),
            (-1.0, "    "),
            (f64::NAN, "    "),
        ] {
            assert_eq!(bar(part, 4), expected, "{part}");
        }
    }

    #[test]
    fn columns_fill_from_the_lowest_row() {
        let stack = |part| [0, 1, 2].map(|row| column(part, row, 3));
        assert_eq!(stack(0.0), [' ', ' ', ' ']);
        assert_eq!(stack(0.01), ['▁', ' ', ' ']);
        assert_eq!(stack(0.5), ['█', '▄', ' ']);
        assert_eq!(stack(1.0), ['█', '█', '█']);
    }

    #[test]
    fn every_slot_has_a_cell_and_all_fit() {
        for slots in 1..=32 {
            for in_use in 0..=slots {
                let (full, free) = cells(in_use, slots, 40);
                let line = format!("{full}{free}");
                assert!(line.chars().count() <= 40, "{slots}: {line}");
                let count =
                    |text: &str, cell| text.split(' ').filter(|part| part.contains(cell)).count();
                if slots <= 20 {
                    assert_eq!(
                        (count(&full, '█'), count(&free, '░')),
                        (in_use, slots - in_use)
                    );
                } else {
                    assert_eq!(
                        (full.chars().count(), free.chars().count()),
                        (in_use, slots - in_use)
                    );
                }
            }
        }
        assert_eq!(cells(1, 3, 9), ("██ ".to_owned(), "░░ ░░ ".to_owned()));
        assert_eq!(cells(9, 2, 4), ("█ █ ".to_owned(), String::new()));
    }
}
