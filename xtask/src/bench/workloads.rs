//! What is run on every path, in this order.

/// One of the load program's workloads.
pub(crate) struct Workload {
    /// As the load program calls it.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Its intervals, each of them once or more.
    pub(crate) parts: &'static [&'static str],
    /// Measured with wide windows too.
    pub(crate) is_echo: bool,
}

const MAIN: &[&str] = &["main"];

const fn small(name: &'static str, title: &'static str) -> Workload {
    Workload {
        name,
        title,
        parts: MAIN,
        is_echo: false,
    }
}

pub(crate) const WORKLOADS: &[Workload] = &[
    small("unary-1", "unary 100 B, one in flight"),
    small("unary-64", "unary 100 B, 64 in flight"),
    small("unary-256", "unary 100 B, 256 in flight"),
    small("server-stream", "server stream of 1,000 x 100 B"),
    small("client-stream", "client stream of 1,000 x 100 B"),
    small("bidi-1", "bidi ping-pong, one stream"),
    small("bidi-64", "bidi ping-pong, 64 streams"),
    Workload {
        name: "echo-64k",
        title: "echo of 64 KiB",
        parts: MAIN,
        is_echo: true,
    },
    Workload {
        name: "echo-1m",
        title: "echo of 1 MiB",
        parts: MAIN,
        is_echo: true,
    },
    Workload {
        name: "unary-stalled",
        title: "unary beside a stalled 100 MB stream",
        parts: &["alone", "beside"],
        is_echo: false,
    },
    Workload {
        name: "unary-draining",
        title: "unary beside a draining bulk stream",
        parts: &["alone", "beside", "bulk"],
        is_echo: false,
    },
];
