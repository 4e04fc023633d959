//! The outcome as a drawing: requests above, replicas below.

use plimsoll_scale::simulation::{Step, Timeline};
use plotters::prelude::*;

use super::Played;

/// Width and height, in pixels.
const SIZE: (u32, u32) = (960, 520);

/// Height of letters, in pixels.
const LETTERS: u32 = 15;

/// One colour for each variant, to be told apart by those who do not see all of
/// them (Okabe and Ito, "Color universal design", 2008).
const COLORS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
];

/// Of requests, which are the same for all.
const GREY: RGBColor = RGBColor(120, 120, 120);

type Fault = DrawingAreaErrorKind<std::io::Error>;

/// Draws it, as SVG.
pub(super) fn draw(played: &[Played<'_>]) -> Result<String, Fault> {
    let mut svg = String::new();
    draw_into(&mut svg, played)?;
    Ok(svg)
}

fn draw_into(svg: &mut String, played: &[Played<'_>]) -> Result<(), Fault> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (above, below) = area.split_vertically(SIZE.1 / 3);
    let requests = played.first().map(|one| Curve {
        name: "requests at once".to_owned(),
        color: GREY,
        points: points(&one.outcome.timeline, |step| step.requests_most),
    });
    panel(&above, "Requests at once", requests.as_slice(), true)?;
    let replicas = |(one, color): (&Played<'_>, &RGBColor)| Curve {
        name: one.variant.name().to_owned(),
        color: *color,
        points: points(&one.outcome.timeline, |step| {
            step.ready + step.starting + step.draining
        }),
    };
    let curves: Vec<_> = played.iter().zip(&COLORS).map(replicas).collect();
    panel(
        &below,
        "Replicas, with those that start and drain",
        &curves,
        false,
    )?;
    area.present()
}

struct Curve {
    name: String,
    color: RGBColor,
    /// Minutes and values.
    points: Vec<(f64, f64)>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn panel(area: &Area<'_>, title: &str, curves: &[Curve], filled: bool) -> Result<(), Fault> {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let most = all().map(|point| point.1).fold(1.0, f64::max);
    let end = all().map(|point| point.0).fold(f64::MIN_POSITIVE, f64::max);
    let letters = ("sans-serif", LETTERS).into_font();
    let mut chart = ChartBuilder::on(area)
        .caption(title, letters.clone())
        .margin(10)
        .margin_right(36)
        .x_label_area_size(30)
        .y_label_area_size(54)
        .build_cartesian_2d(0.0..end, 0.0..most * 1.08)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .label_style(letters.clone())
        .x_label_formatter(&|minutes| time(*minutes, end))
        .y_label_formatter(&|value| format!("{value:.0}"))
        .y_labels(5)
        .draw()?;
    for curve in curves {
        let points = curve.points.iter().copied();
        if filled {
            let fill = curve.color.mix(0.4);
            let outline: Vec<_> = points.chain([(end, 0.0), (0.0, 0.0)]).collect();
            chart.draw_series([Polygon::new(outline, fill.filled())])?;
            continue;
        }
        let style = curve.color.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    if !filled {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .label_font(letters)
            .draw()?;
    }
    Ok(())
}

/// A time in minutes, in the unit that fits the whole.
fn time(minutes: f64, end: f64) -> String {
    if end > 180.0 {
        format!("{:.0} h", minutes / 60.0)
    } else {
        format!("{minutes:.0} min")
    }
}

fn points(timeline: &Timeline, value: fn(&Step) -> f64) -> Vec<(f64, f64)> {
    let minutes = timeline.step().as_secs_f64() / 60.0;
    let steps = timeline.steps().iter().enumerate();
    steps
        .flat_map(|(index, step)| {
            let value = value(step);
            [
                (index as f64 * minutes, value),
                ((index + 1) as f64 * minutes, value),
            ]
        })
        .collect()
}
