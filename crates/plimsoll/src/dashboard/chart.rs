//! Lines and areas over the last ten minutes, as SVG.
//!
//! `plotters` knows colours and no classes, and the page has two sets of colours. So a colour here is a name
//! ([`Paint`]), and the style sheet says what each looks like in light and in dark.

use plotters::prelude::*;

use super::history::{POINTS, SECONDS_MAX};

/// Units of a chart. The page shows two of them as one pixel of the style sheet, so that lines are fine.
const SIZE: (u32, u32) = (720, 260);

/// Minutes that a chart may show, if no more are known.
const SPANS: [f64; 3] = [1.0, 2.0, 5.0];

/// Units of a chart in a table.
const SPARK_SIZE: (u32, u32) = (320, 44);

/// Height of letters. `plotters` takes it for the height of the whole font, which is a quarter more.
const LETTERS: u32 = 27;

/// What something is drawn with. The number stands in the style sheet too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Grid = 1,
    Axis = 2,
    Label = 3,
    Running = 11,
    Waiting = 12,
    Half = 13,
    NineOfTen = 14,
    NinetyNine = 15,
    Requests = 16,
    Failed = 17,
    Desired = 18,
    Ready = 19,
    Starting = 20,
}

/// One line of a chart.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    pub(crate) paint: Paint,
    /// [`POINTS`] values, the oldest first; where there is none, there is a gap.
    pub(crate) values: Vec<Option<f32>>,
    /// Where an area begins that is filled up to the line; `None` is a line alone.
    pub(crate) floor: Option<Vec<Option<f32>>>,
    /// Whether values hold until the next, as counts of things do.
    pub(crate) steps: bool,
}

/// How the values of a chart are written at its axis.
pub(crate) type Unit = fn(f64) -> String;

/// What is wrong with a chart. It is shown in its place.
type Fault = DrawingAreaErrorKind<std::io::Error>;

// === impl Paint ===

impl Paint {
    /// The name of the paint, as a colour.
    pub(crate) const fn color(self) -> RGBColor {
        RGBColor(0, 0, self as u8)
    }
}

/// Draws `curves`, the last on top. The axis goes from 0 to at least `least`.
pub(crate) fn draw(curves: &[Curve], least: f64, unit: Unit) -> String {
    let mut svg = String::new();
    let drawn = draw_into(&mut svg, curves, least, unit);
    debug_assert!(drawn.is_ok(), "{drawn:?}");
    // The text beside the chart says what it shows.
    svg.replacen("<svg ", "<svg aria-hidden=\"true\" focusable=\"false\" ", 1)
}

/// Draws one curve alone, small and without axes.
pub(crate) fn spark(curve: &Curve) -> String {
    let mut svg = String::new();
    let drawn = spark_into(&mut svg, curve);
    debug_assert!(drawn.is_ok(), "{drawn:?}");
    svg.replacen(
        "<svg ",
        "<svg class=\"spark\" aria-hidden=\"true\" focusable=\"false\" ",
        1,
    )
}

fn spark_into(svg: &mut String, curve: &Curve) -> Result<(), Fault> {
    let values = curve.values.iter().flatten();
    let most = values.fold(0.0, |most, &value| value.max(most));
    let minutes = f64::from(SECONDS_MAX) / 60.0;
    let area = SVGBackend::with_string(svg, SPARK_SIZE).into_drawing_area();
    let top = f64::from(most).max(f64::EPSILON);
    let mut chart = ChartBuilder::on(&area)
        .margin(3)
        .build_cartesian_2d(-minutes..0.0, 0.0..top)?;
    for run in curve.runs() {
        let line = run.iter().map(|&(x, y, _)| (x, y));
        chart.draw_series(LineSeries::new(line, curve.paint.color().stroke_width(2)))?;
    }
    area.present()
}

fn draw_into(svg: &mut String, curves: &[Curve], least: f64, unit: Unit) -> Result<(), Fault> {
    let values = curves.iter().flat_map(|curve| &curve.values);
    let most = values.flatten().fold(0.0, |most, &value| value.max(most));
    let top = rounded_up(f64::from(most).max(least));
    let minutes = span(curves);

    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin_top(14)
        .margin_right(24)
        .x_label_area_size(34)
        .y_label_area_size(96)
        .build_cartesian_2d(-minutes..0.0, 0.0..top)?;
    let letters = ("sans-serif", LETTERS).into_font();
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(Paint::Grid.color())
        .axis_style(Paint::Axis.color())
        .label_style(letters.color(&Paint::Label.color()))
        .x_labels(6)
        .y_labels(3)
        .x_label_formatter(&|minute| ago(*minute))
        .y_label_formatter(&|value| unit(*value))
        .draw()?;
    for curve in curves {
        for run in curve.runs() {
            let line = run.iter().map(|&(x, y, _)| (x, y));
            let style = curve.paint.color().stroke_width(3);
            if curve.floor.is_some() {
                let below = run.iter().rev().map(|&(x, _, floor)| (x, floor));
                let outline: Vec<_> = line.clone().chain(below).collect();
                let fill = curve.paint.color().mix(0.25).filled();
                chart.draw_series([Polygon::new(outline, fill)])?;
            }
            chart.draw_series(LineSeries::new(line, style))?;
        }
    }
    area.present()
}

impl Curve {
    /// The parts without gaps: minutes from now, value, and where the area begins.
    fn runs(&self) -> Vec<Vec<(f64, f64, f64)>> {
        let mut runs = vec![Vec::new()];
        for (index, value) in self.values.iter().enumerate() {
            let Some(run) = runs.last_mut() else {
                return runs;
            };
            let Some(value) = value.map(f64::from) else {
                if !run.is_empty() {
                    runs.push(Vec::new());
                }
                continue;
            };
            let floor = self.floor.as_ref().and_then(|floor| floor[index]);
            let floor = floor.map_or(0.0, f64::from);
            let x = minutes_of(index);
            if let Some(&(_, before, floor)) = run.last().filter(|_| self.steps)
                && before != value
            {
                run.push((x, before, floor));
            }
            run.push((x, value, floor));
        }
        runs.retain(|run| !run.is_empty());
        runs.iter().map(|run| thinned(run)).collect()
    }
}

/// Without the points between two that are as high: most of most charts is level.
fn thinned(run: &[(f64, f64, f64)]) -> Vec<(f64, f64, f64)> {
    let is_needed = |index: usize| {
        let height = |index: usize| (run[index].1, run[index].2);
        index == 0
            || index + 1 == run.len()
            || height(index) != height(index - 1)
            || height(index) != height(index + 1)
    };
    let needed = (0..run.len()).filter(|&index| is_needed(index));
    needed.map(|index| run[index]).collect()
}

/// Where a point is, in minutes from now.
fn minutes_of(index: usize) -> f64 {
    let last = f64::from(POINTS - 1);
    (index as f64 - last) / last * f64::from(SECONDS_MAX) / 60.0
}

/// How many minutes are shown: not many more than are known.
fn span(curves: &[Curve]) -> f64 {
    let first = |curve: &Curve| curve.values.iter().position(Option::is_some);
    let known = curves.iter().filter_map(first).min();
    let known = known.map_or(0.0, |first| -minutes_of(first));
    let all = f64::from(SECONDS_MAX) / 60.0;
    SPANS.into_iter().find(|span| *span >= known).unwrap_or(all)
}

fn ago(minute: f64) -> String {
    if minute > -0.01 {
        "now".to_owned()
    } else if minute > -0.99 {
        format!("\u{2212}{:.0} s", -minute * 60.0)
    } else {
        format!("\u{2212}{:.0} min", -minute)
    }
}

/// The next of 1, 2, 3, 4, 5, 6, 8 and 10, times a power of ten: an axis that does not tremble.
fn rounded_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0];
    // What an area's line covers must not stick to the top, but for a hair.
    let enough = |step: &&f64| **step * power >= value * 0.999_999;
    steps.iter().find(enough).map_or(10.0, |step| *step) * power
}

/// `3`, `0.5`, `1200`.
pub(crate) fn plain(value: f64) -> String {
    let rounded = (value * 1e3).round() / 1e3;
    format!("{rounded}")
}

/// `20 ms`, `1.5 s`.
pub(crate) fn time(seconds: f64) -> String {
    if seconds >= 1.0 || seconds == 0.0 {
        format!("{} s", plain(seconds))
    } else {
        format!("{} ms", plain(seconds * 1e3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(values: &[Option<f32>], steps: bool) -> Curve {
        let mut all = vec![None; POINTS as usize - values.len()];
        all.extend(values);
        Curve {
            paint: Paint::Running,
            values: all,
            floor: None,
            steps,
        }
    }

    fn heights(curve: &Curve) -> Vec<Vec<f64>> {
        let height = |run: Vec<(f64, f64, f64)>| run.iter().map(|point| point.1).collect();
        curve.runs().into_iter().map(height).collect()
    }

    #[test]
    fn what_is_not_known_is_a_gap() {
        let values = [Some(1.0), Some(2.0), None, None, Some(3.0)];
        assert_eq!(heights(&curve(&values, false)), [vec![1.0, 2.0], vec![3.0]]);
        assert!(heights(&curve(&[], false)).is_empty());
    }

    #[test]
    fn counts_go_up_in_steps_and_level_parts_are_two_points() {
        let values = [1.0, 1.0, 1.0, 1.0, 3.0, 3.0].map(Some);
        assert_eq!(heights(&curve(&values, true)), [[1.0, 1.0, 3.0, 3.0]]);
        assert_eq!(heights(&curve(&values, false)), [[1.0, 1.0, 3.0, 3.0]]);
        let runs = curve(&values, true).runs();
        assert_eq!(runs[0][1].0, runs[0][2].0, "the step is upright");
        assert_eq!(runs[0][3].0, 0.0, "the newest is now");
    }

    #[test]
    fn the_axis_ends_at_a_round_number_that_is_high_enough() {
        for (most, top) in [
            (1.0, 1.0),
            (1.1, 2.0),
            (7.0, 8.0),
            (9.0, 10.0),
            (0.031, 0.04),
            (1_200.0, 2_000.0),
        ] {
            assert!((rounded_up(most) - top).abs() < top * 1e-9, "{most}");
        }
    }

    #[test]
    fn a_chart_has_a_line_for_each_curve_and_no_style_of_its_own() {
        let mut area = curve(&[Some(1.0), Some(2.0)], false);
        area.floor = Some(vec![Some(0.0); POINTS as usize]);
        let svg = draw(&[area, curve(&[Some(3.0), Some(1.0)], true)], 1.0, plain);
        assert_eq!(svg.matches("stroke=\"#00000B\"").count(), 2, "{svg}");
        assert_eq!(svg.matches("fill=\"#00000B\"").count(), 1, "{svg}");
        assert!(svg.contains("now") && svg.contains("\u{2212}1 min"));
        assert!(!svg.contains("style="), "the policy forbids it");
        assert!(svg.starts_with("<svg aria-hidden"));
    }

    #[test]
    fn a_process_that_has_just_begun_shows_a_minute_and_later_ten() {
        for (points, minutes) in [(0, 1.0), (30, 1.0), (32, 2.0), (140, 5.0), (300, 10.0)] {
            let curve = curve(&vec![Some(1.0); points], false);
            assert_eq!(span(&[curve]), minutes, "{points}");
        }
        assert_eq!(ago(-0.5), "\u{2212}30 s");
    }

    #[test]
    fn times_have_the_unit_that_reads_best() {
        for (seconds, text) in [
            (0.0, "0 s"),
            (0.02, "20 ms"),
            (1.5, "1.5 s"),
            (0.0005, "0.5 ms"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }
}
