//! What `--metrics` serves.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::process::{self, Process, grpcrouter, within};

/// A gateway in two threads, its three addresses.
async fn gateway() -> (Process, [String; 3]) {
    let any = "127.0.0.1:0";
    let ports = ["--listen", any, "--tunnel-listen", any, "--metrics", any];
    let mut gateway = Process::start(&[&["gateway", "--threads", "2"], &ports[..]].concat());
    let ready = gateway.line().await;
    let words: BTreeMap<_, _> = ready
        .split(' ')
        .filter_map(|word| word.split_once('='))
        .collect();
    let addrs = ["client", "tunnel", "metrics"].map(|name| words[name].to_owned());
    (gateway, addrs)
}

/// The answer to one request of HTTP/1.1: its head and its body.
async fn ask(addr: &str, line: &str) -> (String, String) {
    let answer = async {
        let mut socket = TcpStream::connect(addr).await?;
        let request = format!("{line} HTTP/1.1\r\nhost: {addr}\r\n\r\n");
        socket.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = within("an answer", answer).await.expect("HTTP");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_ascii_lowercase(), body.to_owned())
}

/// The figures by name and labels.
async fn figures(addr: &str) -> BTreeMap<String, f64> {
    let (head, body) = ask(addr, "GET /metrics").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    let figures = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').expect("a value");
        (name.to_owned(), value.parse().expect("a number"))
    });
    figures.collect()
}

#[tokio::test]
async fn calls_of_all_threads_are_counted_and_can_be_fetched_while_it_drains() {
    const CALLS: usize = 8;
    let upstream = process::Upstream::start().await;
    let (mut gateway, [client, tunnel, metrics]) = gateway().await;
    let uri = format!("http://{tunnel}");
    let args = ["agent", "--gateway", &uri, "--upstream", &upstream.uri];
    let mut agent = Process::start(&[&args[..], &["--id", "a", "--service", "pkg.A"]].concat());
    agent.line().await;
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        calls.push(process::call(&client, "/pkg.A/Wait").await);
        within("the call at its server", upstream.arrived.notified()).await;
    }
    let open = "grpcrouter_calls_open{service=\"pkg.A\"}";
    let begun = figures(&metrics).await;
    assert_eq!(begun[open], CALLS as f64, "{begun:?}");
    assert_eq!(begun["grpcrouter_instances"], 1.0);
    assert_eq!(begun["grpcrouter_registrations_total"], 1.0);
    assert_eq!(begun["grpcrouter_draining"], 0.0);
    gateway.terminate().await;
    gateway.log("draining").await;
    assert_eq!(figures(&metrics).await["grpcrouter_draining"], 1.0);
    // They end in the order in which they came.
    for call in calls.drain(..CALLS - 1) {
        upstream.finish.notify_one();
        within("the end of a call", call).await.expect("no panic");
    }
    let ended = "grpcrouter_calls_total{service=\"pkg.A\",code=\"OK\"}";
    let end = async {
        // A call is over for its client a moment before it is for the gateway.
        while figures(&metrics).await.get(ended) != Some(&(CALLS as f64 - 1.0)) {}
    };
    within("all but one are over", end).await;
    assert_eq!(figures(&metrics).await[open], 1.0);
    upstream.finish.notify_one();
    assert_eq!(gateway.end().await.code, Some(0));
}

#[tokio::test]
async fn what_is_asked_wrongly_gets_a_line_that_says_how() {
    let (_gateway, [_, _, metrics]) = gateway().await;
    let (head, body) = ask(&metrics, "GET /").await;
    assert!(head.starts_with("http/1.1 404 "), "{head}");
    assert_eq!(body, "the metrics are at /metrics\n");
    let (head, _) = ask(&metrics, "POST /metrics").await;
    assert!(head.starts_with("http/1.1 405 "), "{head}");
    assert!(head.contains("allow: get, head"), "{head}");
    let (head, body) = ask(&metrics, "HEAD /metrics").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(body, "");
}

#[tokio::test]
async fn who_only_connects_keeps_nobody_else_out_for_good() {
    let (_gateway, [_, _, metrics]) = gateway().await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(TcpStream::connect(&metrics).await.expect("connects"));
    }
    assert!(!figures(&metrics).await.is_empty());
}

#[tokio::test]
async fn a_taken_port_for_metrics_ends_with_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let addr = taken.local_addr().expect("is bound").to_string();
    let end = grpcrouter(&["gateway", "--listen", "127.0.0.1:0", "--metrics", &addr]).await;
    assert_eq!(end.code, Some(1), "{end:?}");
    let say = format!("error: cannot listen on {addr}: ");
    assert!(end.stderr.contains(&say), "{end:?}");
}
