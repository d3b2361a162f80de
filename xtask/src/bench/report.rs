//! The whole of a campaign as a page of Markdown.

use std::fmt::Write as _;

use super::data::Data;
use super::figures::{At, BULK, Figures, MB, P50, P99, P999, RATE, Spread, measured};
use super::summary;
use super::workloads::Workload;

/// The page.
pub(crate) fn markdown(data: &Data, figures: &Figures<'_>) -> String {
    let mut page = String::from("# What a call costs: one run of `cargo xtask bench`\n\n");
    page += &about(data);
    page += "\n## Summary\n\n";
    page += &summary::markdown(data, figures);
    for workload in measured(figures) {
        let _ = writeln!(page, "\n## {}: {}\n", workload.name, workload.title);
        for part in workload.parts {
            if workload.parts.len() > 1 {
                let _ = writeln!(page, "{part}:\n");
            }
            page += &table(data, figures, workload, part);
            page += "\n";
        }
        page += &beside(data, figures, workload);
    }
    page += "\n## Memory\n\nResident, in MiB, by group of processes: idle, and with 1,000 open and idle bidi streams.\n\n";
    page += "| path | idle | 1,000 streams |\n|---|---|---|\n";
    for path in &data.paths {
        let _ = writeln!(
            page,
            "| {} | {} | {} |",
            path.name,
            summary::memory(&path.idle_kib),
            summary::memory(&path.streams_kib)
        );
    }
    if !data.figures.is_empty() {
        page += "\nOf many instances:\n\n| what | figure |\n|---|---|\n";
        for figure in &data.figures {
            let _ = writeln!(
                page,
                "| {} | {:.2} {} |",
                figure.name, figure.value, figure.unit
            );
        }
    }
    page += "\n## Command lines\n\n```sh\n";
    for path in &data.paths {
        let _ = writeln!(page, "# {}: {}", path.name, path.title);
        page += &path
            .commands
            .iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>();
    }
    page + "```\n"
}

fn about(data: &Data) -> String {
    let machine = &data.machine;
    let mut text = format!(
        "{} rounds, intervals of {} s; commit {}; {}; {} cores of {}; {}; {}. [README.md](../README.md) is the method.\n",
        data.rounds,
        data.seconds,
        machine.commit,
        machine.date,
        machine.cores,
        machine.processor,
        machine.kernel,
        machine.rustc
    );
    if !data.missing.is_empty() {
        text += "\nDid not run, and is therefore compared with nothing:\n\n";
        for missing in &data.missing {
            let _ = writeln!(text, "- {}: {}", missing.path, missing.why);
        }
    }
    if !data.failures.is_empty() {
        text += "\nFailed, and is therefore not in the tables:\n\n";
        for failure in &data.failures {
            let _ = writeln!(text, "- {failure}");
        }
    }
    text
}

fn table(data: &Data, figures: &Figures<'_>, workload: &Workload, part: &str) -> String {
    let mut rows = String::from(
        "| path | a second | [min .. max] | to direct (lower quartile) | MB/s | p50 us | p99 us | p99.9 us | CPU us each |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for path in &data.paths {
        let at = At {
            path: &path.name,
            workload: workload.name,
            part,
        };
        let Some(rate) = figures.spread(at, RATE) else {
            continue;
        };
        let show = |metric| number(figures.spread(at, metric));
        let (ratio, lower) = match figures.to_direct(at) {
            Some(ratio) => (
                format!("{:.2}x", ratio.median),
                format!("({:.2})", ratio.lower),
            ),
            None => ("-".to_owned(), String::new()),
        };
        let groups = figures.groups(at);
        let cpu: Vec<String> = groups
            .into_iter()
            .filter_map(|group| Some(format!("{group} {:.2}", figures.cpu_us(at, group)?.median)))
            .collect();
        let mb = figures.spread(at, BULK).or_else(|| figures.spread(at, MB));
        let _ = writeln!(
            rows,
            "| {} | {} | [{} .. {}] | {ratio} {lower} | {} | {} | {} | {} | {} |",
            path.name,
            short(rate.median),
            short(rate.min),
            short(rate.max),
            number(mb),
            show(P50),
            show(P99),
            show(P999),
            cpu.join(", ")
        );
    }
    rows
}

/// What of a workload beside another is more than two tables.
fn beside(data: &Data, figures: &Figures<'_>, workload: &Workload) -> String {
    let name = workload.name;
    let mut text = String::new();
    for path in &data.paths {
        let at = |part| At {
            path: &path.name,
            workload: name,
            part,
        };
        match name {
            "unary-stalled" => {
                if let Some((pairs, p99)) = figures.pairs(&path.name, name) {
                    let _ = writeln!(
                        text,
                        "- {}: p99 beside is {:.2}x of alone, quartiles {:.2} to {:.2}, in {pairs} pairs",
                        path.name, p99.median, p99.lower, p99.upper
                    );
                }
            }
            "unary-draining" => {
                let calls = figures.ratio(at("beside"), at("alone"), RATE);
                let bulk = figures.ratio(at("beside"), at("bulk"), BULK);
                if let (Some(calls), Some(bulk)) = (calls, bulk) {
                    let _ = writeln!(
                        text,
                        "- {}: calls keep {:.2} (lower quartile {:.2}) of their rate alone, the bulk stream {:.2} ({:.2})",
                        path.name, calls.median, calls.lower, bulk.median, bulk.lower
                    );
                }
            }
            _ => {}
        }
    }
    text
}

fn number(spread: Option<Spread>) -> String {
    spread.map_or("-".to_owned(), |spread| short(spread.median))
}

/// Three digits that count, with k and M.
pub(crate) fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 10_000.0 => format!("{:.1} k", v / 1e3),
        v if v >= 100.0 => format!("{v:.0}"),
        v => format!("{v:.1}"),
    }
}
