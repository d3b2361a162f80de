//! A gateway's figures in the text format of Prometheus.

use std::fmt::Error;

use grpcrouter::Metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, NoLabelSet,
    prometheus_text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

pub(super) use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

/// gRPC's status codes by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// What a scrape gets.
pub(super) fn of(metrics: Metrics) -> String {
    let mut registry = Registry::with_prefix("grpcrouter");
    registry.register_collector(Box::new(Figures(metrics)));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).expect("a string takes all of it");
    text
}

#[derive(Debug)]
struct Figures(Metrics);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        self.calls(&mut encoder)?;
        self.peers(&mut encoder)?;
        self.tunnels(&mut encoder)
    }
}

impl Figures {
    fn calls(&self, to: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let Self(metrics) = self;
        let open = metrics.calls.iter();
        let open = open.map(|(service, calls)| ([("service", service.as_str())], calls.open));
        gauges(to, "calls_open", "Calls that are open", open)?;
        let ended = metrics.calls.iter().flat_map(|(service, calls)| {
            let ended = CODES
                .iter()
                .zip(calls.ended)
                .filter(|(_, count)| *count > 0);
            ended.map(|(code, count)| ([("service", service.as_str()), ("code", code)], count))
        });
        counters(to, "calls", "Calls that ended, by gRPC status code", ended)?;
        let refused = metrics.http_refusals.iter();
        let refused = refused.map(|(status, count)| ([("status", status.to_string())], *count));
        let what = "Requests that were no gRPC calls, by HTTP status";
        counters(to, "http_refusals", what, refused)?;
        let waiting = metrics.waiting_calls as u64;
        gauge(
            to,
            "calls_waiting",
            "Calls that wait for an instance",
            waiting,
        )?;
        let what = "Calls whose request waits for its instance to read";
        gauge(to, "calls_stalled", what, metrics.stalled_calls)?;
        let what = "Time that requests waited for their instances to read, over all calls";
        let seconds = metrics.stalled_time.as_secs_f64();
        counter(to, "call_stall_seconds", what, &seconds)?;
        let queues = [
            (
                [("direction", "request")],
                metrics.request_queue_bytes as u64,
            ),
            (
                [("direction", "response")],
                metrics.response_queue_bytes as u64,
            ),
        ];
        gauges(to, "queue_bytes", "Bytes that wait in tunnels", queues)
    }

    fn peers(&self, to: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let Self(metrics) = self;
        let connections = metrics.connections as u64;
        gauge(
            to,
            "connections_open",
            "Connections on all ports",
            connections,
        )?;
        gauge(
            to,
            "tunnels_open",
            "Tunnels that are open",
            metrics.tunnels as u64,
        )?;
        let instances = metrics.instances as u64;
        gauge(to, "instances", "Instances that are registered", instances)?;
        let what = "Registrations at a process's first attempt";
        counter(to, "registrations", what, &metrics.registrations)?;
        let what = "Registrations at a later attempt of a process";
        counter(to, "reconnects", what, &metrics.reconnects)?;
        let refused = metrics.refused_registrations.iter();
        let refused = refused.map(|(reason, count)| ([("reason", *reason)], *count));
        let what = "Registrations that were refused, by reason";
        counters(to, "registrations_refused", what, refused)?;
        let draining = u64::from(metrics.draining);
        gauge(
            to,
            "draining",
            "1 while the gateway drains, else 0",
            draining,
        )
    }

    fn tunnels(&self, to: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let Self(metrics) = self;
        let bytes = [
            ([("direction", "received")], metrics.tunnel_received_bytes),
            ([("direction", "sent")], metrics.tunnel_sent_bytes),
        ];
        counters(to, "tunnel_bytes", "Bytes of all frames on tunnels", bytes)?;
        let mut ranges: Vec<_> = metrics
            .heartbeat_rtts
            .iter()
            .map(|(bound, count)| (bound.as_secs_f64(), *count))
            .collect();
        let within: u64 = ranges.iter().map(|(_, count)| count).sum();
        let count = metrics.heartbeat_rtt_count;
        ranges.push((f64::INFINITY, count - within));
        let (name, what) = ("heartbeat_rtt_seconds", "Round trips of heartbeats");
        let mut metric = to.encode_descriptor(name, what, None, MetricType::Histogram)?;
        let sum = metrics.heartbeat_rtt_sum.as_secs_f64();
        metric.encode_histogram::<NoLabelSet>(sum, count, &ranges, None)
    }
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, what: &str, value: u64) -> Result<(), Error> {
    let mut metric = to.encode_descriptor(name, what, None, MetricType::Gauge)?;
    metric.encode_gauge(&value)
}

fn gauges<L: EncodeLabelSet>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    what: &str,
    values: impl IntoIterator<Item = (L, impl EncodeGaugeValue)>,
) -> Result<(), Error> {
    let mut metric = to.encode_descriptor(name, what, None, MetricType::Gauge)?;
    for (labels, value) in values {
        metric.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

fn counter(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    what: &str,
    value: &impl EncodeCounterValue,
) -> Result<(), Error> {
    let mut metric = to.encode_descriptor(name, what, None, MetricType::Counter)?;
    metric.encode_counter::<NoLabelSet, _, f64>(value, None)
}

fn counters<L: EncodeLabelSet>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    what: &str,
    values: impl IntoIterator<Item = (L, impl EncodeCounterValue)>,
) -> Result<(), Error> {
    let mut metric = to.encode_descriptor(name, what, None, MetricType::Counter)?;
    for (labels, value) in values {
        let mut metric = metric.encode_family(&labels)?;
        metric.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_in_the_words_of_prometheus() {
        let mut metrics = Metrics::default();
        let calls = metrics.calls.entry("pkg.A".to_owned()).or_default();
        (calls.open, calls.ended[0], calls.ended[14]) = (2, 40, 1);
        metrics.http_refusals.insert(415, 3);
        metrics.refused_registrations.insert("stale-epoch", 1);
        metrics.stalled_time = std::time::Duration::from_millis(1_500);
        let ms = std::time::Duration::from_millis;
        metrics.heartbeat_rtts = vec![(ms(1), 7), (ms(10), 2)];
        metrics.heartbeat_rtt_count = 10;
        metrics.heartbeat_rtt_sum = ms(50);
        insta::assert_snapshot!(of(metrics));
    }
}
