//! Medians and ratios of raw data.

use std::collections::{BTreeMap, BTreeSet};

use super::data::{Data, Part};
use super::paths;
use super::workloads::WORKLOADS;

/// The middle of what the rounds gave, and how far they are apart.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) lower: f64,
    pub(crate) median: f64,
    pub(crate) upper: f64,
    pub(crate) max: f64,
}

/// One figure of an interval.
pub(crate) type Metric = fn(&Part) -> Option<f64>;

/// What is counted, a second: calls or messages, or, where only bulk moves, its megabytes.
pub(crate) const RATE: Metric = |part| match part.bulk_mb_per_second {
    Some(mb) if part.count == 0 => Some(mb),
    _ => Some(part.per_second),
};
pub(crate) const MB: Metric = |part| Some(part.mb_per_second);
pub(crate) const BULK: Metric = |part| part.bulk_mb_per_second;
pub(crate) const P50: Metric = |part| Some(part.p50_us);
pub(crate) const P99: Metric = |part| Some(part.p99_us);
pub(crate) const P999: Metric = |part| Some(part.p999_us);

/// An interval of a workload on a path, in all rounds. Where it comes several times in a round, all of them.
type Rounds<'a> = BTreeMap<u32, Vec<&'a Part>>;

/// All that can be asked of a campaign.
pub(crate) struct Figures<'a> {
    parts: BTreeMap<(&'a str, &'a str, &'a str), Rounds<'a>>,
}

impl<'a> Figures<'a> {
    pub(crate) fn of(data: &'a Data) -> Self {
        let mut parts: BTreeMap<_, Rounds<'a>> = BTreeMap::new();
        for sample in &data.samples {
            let key = (
                sample.path.as_str(),
                sample.workload.as_str(),
                sample.part.name.as_str(),
            );
            let rounds = parts.entry(key).or_default();
            rounds.entry(sample.round).or_default().push(&sample.part);
        }
        Self { parts }
    }

    /// A figure over the rounds.
    pub(crate) fn spread(&self, at: At<'_>, metric: Metric) -> Option<Spread> {
        let values = self.by_round(at, metric);
        Spread::of(values.into_values().collect())
    }

    /// Microseconds of processor time for each call or message, of one group of processes.
    pub(crate) fn cpu_us(&self, at: At<'_>, group: &str) -> Option<Spread> {
        let of = |part: &Part| {
            let seconds = part.cpu_seconds.get(group)?;
            (part.count > 0).then(|| seconds * 1e6 / part.count as f64)
        };
        let rounds = self.parts.get(&(at.path, at.workload, at.part))?;
        let values = rounds
            .values()
            .filter_map(|parts| mean(parts.iter().filter_map(|it| of(it))));
        Spread::of(values.collect())
    }

    /// The groups of processes of a path.
    pub(crate) fn groups(&self, at: At<'_>) -> BTreeSet<&'a str> {
        let rounds = self.parts.get(&(at.path, at.workload, at.part));
        let parts = rounds.into_iter().flat_map(BTreeMap::values).flatten();
        parts
            .flat_map(|part| part.cpu_seconds.keys().map(String::as_str))
            .collect()
    }

    /// A figure as multiples of the same figure elsewhere in the same round.
    pub(crate) fn ratio(&self, at: At<'_>, to: At<'_>, metric: Metric) -> Option<Spread> {
        self.compare(at, to, metric, |value, other| {
            (other > 0.0).then(|| value / other)
        })
    }

    /// How much larger a figure is than the same figure elsewhere in the same round.
    pub(crate) fn added(&self, at: At<'_>, to: At<'_>, metric: Metric) -> Option<Spread> {
        self.compare(at, to, metric, |value, other| Some(value - other))
    }

    fn compare(
        &self,
        at: At<'_>,
        to: At<'_>,
        metric: Metric,
        how: impl Fn(f64, f64) -> Option<f64>,
    ) -> Option<Spread> {
        let others = self.by_round(to, metric);
        let values = self.by_round(at, metric).into_iter();
        let values = values.filter_map(|(round, value)| how(value, *others.get(&round)?));
        Spread::of(values.collect())
    }

    /// What the others are compared with: of both direct paths the one with the better median.
    pub(crate) fn direct<'b>(&self, workload: &'b str, part: &'b str) -> Option<At<'b>> {
        let direct = paths::ALL.iter().filter(|kind| kind.is_direct);
        let rates = direct.filter_map(|kind| {
            let at = At {
                path: kind.name,
                workload,
                part,
            };
            Some((self.spread(at, RATE)?.median, at))
        });
        rates.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, at)| at)
    }

    /// A rate as multiples of the direct one.
    pub(crate) fn to_direct(&self, at: At<'_>) -> Option<Spread> {
        self.ratio(at, self.direct(at.workload, at.part)?, RATE)
    }

    fn by_round(&self, at: At<'_>, metric: Metric) -> BTreeMap<u32, f64> {
        let rounds = self.parts.get(&(at.path, at.workload, at.part));
        let of = |(round, parts): (&u32, &Vec<&Part>)| {
            Some((*round, mean(parts.iter().filter_map(|part| metric(part)))?))
        };
        rounds.into_iter().flatten().filter_map(of).collect()
    }

    /// Pairs of an interval beside something and one alone, in the order in which they ran: each p99 beside as
    /// multiples of that alone.
    pub(crate) fn pairs(&self, path: &str, workload: &str) -> Option<(usize, Spread)> {
        let rounds = |part| self.parts.get(&(path, workload, part));
        let (alone, beside) = (rounds("alone")?, rounds("beside")?);
        let pairs = alone.iter().filter_map(|(round, alone)| {
            let pairs = alone.iter().zip(beside.get(round)?);
            Some(pairs.map(|(alone, beside)| beside.p99_us / alone.p99_us))
        });
        let ratios: Vec<f64> = pairs.flatten().collect();
        Some((ratios.len(), Spread::of(ratios)?))
    }
}

/// Which interval.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) path: &'a str,
    pub(crate) workload: &'a str,
    pub(crate) part: &'a str,
}

/// The only interval of a workload.
pub(crate) fn main<'a>(path: &'a str, workload: &'a str) -> At<'a> {
    At {
        path,
        workload,
        part: "main",
    }
}

/// The workloads that a campaign has, each with its intervals.
pub(crate) fn measured<'a>(
    figures: &Figures<'_>,
) -> impl Iterator<Item = &'a super::workloads::Workload> {
    let seen: BTreeSet<String> = figures
        .parts
        .keys()
        .map(|(_, it, _)| (*it).to_owned())
        .collect();
    WORKLOADS
        .iter()
        .filter(move |workload| seen.contains(workload.name))
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / f64::from(count))
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        Some(Self {
            min: *values.first()?,
            lower: quantile(&values, 0.25),
            median: quantile(&values, 0.5),
            upper: quantile(&values, 0.75),
            max: *values.last()?,
        })
    }
}

/// Between the two nearest values in proportion; `sorted` is not empty.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    let (below, above) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_the_nearest_values() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]).expect("there are values");
        let all = [
            spread.min,
            spread.lower,
            spread.median,
            spread.upper,
            spread.max,
        ];
        assert_eq!(all, [1.0, 1.75, 2.5, 3.25, 4.0]);
        assert!(
            Spread::of(Vec::new()).is_none(),
            "of nothing there is no median"
        );
    }
}
