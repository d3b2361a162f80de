//! The table of the README: a line a path, this project's first, the peers below.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::data::Data;
use super::figures::{Figures, P50, P99, RATE, Spread, main};
use super::paths;
use super::report::short;

/// Rates as multiples of direct: the median, and beneath it what three rounds of four reach.
const RATES: &[(&str, &str)] = &[
    ("unary-64", "unary, 64 in flight"),
    ("unary-256", "unary, 256 in flight"),
    ("server-stream", "server stream"),
    ("client-stream", "client stream"),
    ("bidi-64", "bidi, 64 in flight"),
    ("echo-64k", "64 KiB"),
    ("echo-1m", "1 MiB"),
];

/// The table.
pub(crate) fn markdown(data: &Data, figures: &Figures<'_>) -> String {
    let mut table = String::from(
        "| path | one in flight, added p50 / p99 us | CPU us per unary call, 64 in flight |",
    );
    for (_, title) in RATES {
        let _ = write!(table, " {title} |");
    }
    table += " RSS MiB idle -> 1,000 streams |\n|---|---|---|";
    table += &"---|".repeat(RATES.len());
    table += "---|\n";
    for path in &data.paths {
        let kind = paths::ALL.iter().find(|kind| kind.name == path.name);
        let is_direct = kind.is_some_and(|kind| kind.is_direct);
        let _ = write!(
            table,
            "| {} | {} | {} |",
            path.title,
            latency(figures, &path.name, is_direct),
            cpu(figures, &path.name, is_direct)
        );
        for (workload, _) in RATES {
            let at = main(&path.name, workload);
            let rate = figures.spread(at, RATE).map(|rate| short(rate.median));
            let ratio = figures.to_direct(at).map(ratio);
            let cell = if is_direct {
                rate.map(|rate| format!("{rate}/s"))
            } else {
                ratio
            };
            let _ = write!(table, " {} |", cell.unwrap_or("-".to_owned()));
        }
        let memory = if is_direct {
            "-".to_owned()
        } else {
            format!("{} -> {}", total(&path.idle_kib), total(&path.streams_kib))
        };
        let _ = writeln!(table, " {memory} |");
    }
    for missing in &data.missing {
        let columns = " |".repeat(RATES.len() + 2);
        let _ = writeln!(
            table,
            "| {} | did not run: {}{columns}",
            missing.path, missing.why
        );
    }
    table
}

/// Median, and the lower quartile, which is what a bar is held against.
fn ratio(spread: Spread) -> String {
    format!("{:.2}x ({:.2})", spread.median, spread.lower)
}

fn latency(figures: &Figures<'_>, path: &str, is_direct: bool) -> String {
    let at = main(path, "unary-1");
    let pair = if is_direct {
        (figures.spread(at, P50), figures.spread(at, P99))
    } else {
        let Some(direct) = figures.direct("unary-1", "main") else {
            return "-".to_owned();
        };
        (
            figures.added(at, direct, P50),
            figures.added(at, direct, P99),
        )
    };
    match pair {
        (Some(p50), Some(p99)) if is_direct => {
            format!("{:.0} / {:.0} (absolute)", p50.median, p99.median)
        }
        (Some(p50), Some(p99)) => format!("{:+.0} / {:+.0}", p50.median, p99.median),
        _ => "-".to_owned(),
    }
}

/// Of what stands between client and service; of a direct path, its server.
fn cpu(figures: &Figures<'_>, path: &str, is_direct: bool) -> String {
    let at = main(path, "unary-64");
    let groups = figures.groups(at).into_iter();
    let groups = groups.filter(|group| *group != "load" && (is_direct || *group != "server"));
    let each = groups.filter_map(|group| Some((group, figures.cpu_us(at, group)?.median)));
    let each: Vec<String> = each.map(|(group, us)| format!("{group} {us:.1}")).collect();
    each.join(", ")
}

/// By group of processes, in MiB.
pub(crate) fn memory(kib: &BTreeMap<String, u64>) -> String {
    let of = |(group, kib): (&String, &u64)| format!("{group} {:.1}", *kib as f64 / 1024.0);
    kib.iter().map(of).collect::<Vec<_>>().join(", ")
}

/// Of what stands between client and service, in MiB: neither the service nor an instance that is one.
fn total(kib: &BTreeMap<String, u64>) -> String {
    let between = kib
        .iter()
        .filter(|(group, _)| !["server", "instance"].contains(&group.as_str()));
    format!(
        "{:.0}",
        between.map(|(_, kib)| *kib as f64 / 1024.0).sum::<f64>()
    )
}
