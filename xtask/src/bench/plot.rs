//! The plot: rates of each path as multiples of direct, as plain SVG. A library for plots would be many times as long
//! as this file in dependencies.

use std::fmt::Write as _;

use super::figures::{Figures, Spread, main, measured};
use super::paths;

/// One colour a path, told apart also by those who see fewer colours.
const COLOURS: &[&str] = &[
    "#0072b2", "#56b4e9", "#009e73", "#d55e00", "#e69f00", "#cc79a7", "#7f7f7f", "#b09030",
];
const LEFT: f64 = 60.0;
const TOP: f64 = 70.0;
const HEIGHT: f64 = 300.0;
const BAR: f64 = 13.0;
const GAP: f64 = 26.0;

/// Bars in a group a workload: the median, with a line from the lower to the upper quartile.
pub(crate) fn svg(figures: &Figures<'_>) -> String {
    let workloads: Vec<_> = measured(figures)
        .filter(|it| it.parts == ["main"])
        .collect();
    let shown = |path: &str| {
        let mut ratios = workloads.iter();
        ratios.any(|it| figures.to_direct(main(path, it.name)).is_some())
    };
    let kinds: Vec<_> = paths::ALL
        .iter()
        .filter(|kind| !kind.is_direct && shown(kind.name))
        .collect();
    let group = kinds.len() as f64 * BAR + GAP;
    let width = LEFT + group * workloads.len() as f64 + 20.0;
    let ratio = |kind: &paths::Kind, workload: &str| figures.to_direct(main(kind.name, workload));
    let pairs = kinds
        .iter()
        .flat_map(|kind| workloads.iter().map(move |it| (kind, it)));
    let highest = pairs.filter_map(|(kind, it)| Some(ratio(kind, it.name)?.upper));
    let top = (highest.fold(1.0, f64::max) * 5.0).ceil() / 5.0;
    let y = |value: f64| TOP + HEIGHT * (1.0 - value / top);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        TOP + HEIGHT + 50.0
    );
    text(
        &mut svg,
        LEFT,
        20.0,
        "start",
        "Throughput as multiples of a direct connection; lines: quartiles of the rounds",
    );
    let mut x = LEFT;
    for (kind, colour) in kinds.iter().zip(COLOURS.iter().cycle()) {
        rect(&mut svg, (x, 34.0), (10.0, 10.0), colour);
        text(&mut svg, x + 14.0, 44.0, "start", kind.name);
        x += 30.0 + 7.5 * kind.name.len() as f64;
    }
    for step in 0..=(top * 5.0).round() as u32 {
        let value = f64::from(step) / 5.0;
        let stroke = if step == 5 { "black" } else { "#dddddd" };
        line(&mut svg, (LEFT, y(value)), (width - 20.0, y(value)), stroke);
        text(
            &mut svg,
            LEFT - 6.0,
            y(value) + 4.0,
            "end",
            &format!("{value:.1}x"),
        );
    }
    for (index, workload) in workloads.iter().enumerate() {
        let start = LEFT + GAP / 2.0 + group * index as f64;
        for (place, (kind, colour)) in kinds.iter().zip(COLOURS.iter().cycle()).enumerate() {
            if let Some(Spread {
                lower,
                median,
                upper,
                ..
            }) = ratio(kind, workload.name)
            {
                let x = start + BAR * place as f64;
                rect(
                    &mut svg,
                    (x, y(median)),
                    (BAR - 2.0, y(0.0) - y(median)),
                    colour,
                );
                let middle = x + (BAR - 2.0) / 2.0;
                line(&mut svg, (middle, y(lower)), (middle, y(upper)), "black");
            }
        }
        let middle = start + (group - GAP) / 2.0;
        text(
            &mut svg,
            middle,
            TOP + HEIGHT + 20.0,
            "middle",
            workload.name,
        );
    }
    svg + "</svg>\n"
}

fn rect(svg: &mut String, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
    );
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), stroke: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{stroke}\"/>"
    );
}

/// `text` must need no escaping: all of it stands in this program.
fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}
