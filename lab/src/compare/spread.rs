//! A few measurements of one thing: the median, and how far they lie apart.

/// Median, least and greatest of some measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of the values; `None` if there are none: no data is not zero. O(n log n).
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let half = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[half - 1], sorted[half])
        } else {
            sorted[half]
        };
        Some(Self { median, min, max })
    }

    /// `median (min–max)`, each with so many decimals; the median alone if all are written alike.
    pub fn show(&self, decimals: usize) -> String {
        let write = |value: f64| format!("{value:.decimals$}");
        let (median, min, max) = (write(self.median), write(self.min), write(self.max));
        if min == max {
            median
        } else {
            format!("{median} ({min}–{max})")
        }
    }
}

/// [`Spread::show`], or a dash where there is no data.
pub fn show(spread: Option<Spread>, decimals: usize) -> String {
    spread.map_or_else(|| "–".into(), |spread| spread.show(decimals))
}

/// The median alone, or a dash where there is no data.
pub fn show_median(spread: Option<Spread>, decimals: usize) -> String {
    spread.map_or_else(
        || "–".into(),
        |spread| format!("{:.decimals$}", spread.median),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[]), None);
        let table: [(&[f64], f64, f64, f64); 4] = [
            (&[3.0], 3.0, 3.0, 3.0),
            (&[3.0, 1.0], 2.0, 1.0, 3.0),
            (&[9.0, 1.0, 2.0], 2.0, 1.0, 9.0),
            (&[-1.0, 4.0, 2.0, 100.0], 3.0, -1.0, 100.0),
        ];
        for (values, median, min, max) in table {
            assert_eq!(
                spread(values),
                Some(Spread { median, min, max }),
                "{values:?}"
            );
        }
    }

    #[test]
    fn what_does_not_spread_is_one_number() {
        assert_eq!(show(Spread::of([1.24, 1.16]), 1), "1.2");
        assert_eq!(show(Spread::of([1.0, 2.0, 4.0]), 1), "2.0 (1.0–4.0)");
        assert_eq!(show(None, 1), "–");
        assert_eq!(show_median(Spread::of([1.0, 2.0, 4.0]), 1), "2.0");
        assert_eq!(show_median(None, 1), "–");
    }
}
