//! The binary as scripts use it: what it prints, how it ends.

mod local;
mod metrics;
mod process;
mod routes;
mod threads;

use std::net::TcpListener;

use process::{Process, grpcrouter, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

/// Proves: Z11
#[tokio::test]
async fn a_gateway_says_where_it_listens_and_stops_with_0() {
    let mut gateway = Process::start(&[
        "gateway",
        "--listen",
        "127.0.0.1:0",
        "--tunnel-listen",
        "127.0.0.1:0",
    ]);
    let ready = gateway.line().await;
    let [client, tunnel, bound] = parts(&ready);
    assert!(
        client.starts_with("127.0.0.1:") && !client.ends_with(":0"),
        "{ready}"
    );
    assert!(
        tunnel.starts_with("127.0.0.1:") && tunnel != client,
        "{ready}"
    );
    assert_eq!(bound, "1212416", "B with call windows grown: {ready}");
    // At once: whoever reads the line may send the signal.
    gateway.terminate().await;
    let end = gateway.end().await;
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(end.stdout, "", "nothing but the ready line");
}

#[tokio::test]
async fn one_port_for_both_is_said() {
    let (mut gateway, client, tunnel) = gateway(&[]).await;
    assert_eq!(client, tunnel);
    gateway.terminate().await;
    let end = gateway.end().await;
    assert_eq!(end.code, Some(0));
    assert!(
        end.stderr.contains("one port for clients and tunnels"),
        "{}",
        end.stderr
    );
}

#[tokio::test]
async fn an_agent_says_once_where_it_is_registered() {
    let (_gateway, _, tunnel) = gateway(&["--tunnel-listen", "127.0.0.1:0"]).await;
    let uri = format!("http://{tunnel}");
    let mut agent = agent(&uri, "site-7");
    let ready = agent.line().await;
    assert_eq!(
        ready,
        format!("ready id=site-7 gateway={uri} services=pkg.A,pkg.B")
    );
    agent.terminate().await;
    let end = agent.end().await;
    assert_eq!((end.code, &*end.stdout), (Some(0), ""), "{end:?}");
}

#[tokio::test]
async fn an_agent_that_is_hung_up_goes_on() {
    let (_gateway, _, tunnel) = gateway(&[]).await;
    let mut agent = agent(&format!("http://{tunnel}"), "a");
    agent.line().await;
    agent.hang_up().await;
    agent.log("SIGHUP: nothing to reload").await;
    agent.terminate().await;
    assert_eq!(agent.end().await.code, Some(0), "it drains as ever");
}

#[tokio::test]
async fn a_superseded_agent_ends_with_3() {
    let (_gateway, _, tunnel) = gateway(&[]).await;
    let uri = format!("http://{tunnel}");
    let mut first = agent(&uri, "a");
    first.line().await;
    let mut second = agent(&uri, "a");
    second.line().await;
    let end = first.end().await;
    assert_eq!(end.code, Some(3), "{end:?}");
    let last = end.stderr.lines().last().unwrap_or_default();
    let say = format!("error: gateway {uri}: another process took over the id `a`");
    assert_eq!(last, say);
}

#[tokio::test]
async fn a_refused_agent_ends_with_4_and_says_why() {
    let (_gateway, _, tunnel) = gateway(&[]).await;
    let uri = format!("http://{tunnel}");
    let mut agent = Process::start(&[
        "agent",
        "--gateway",
        &uri,
        "--upstream",
        NOWHERE,
        "--id",
        "a",
        "--service",
        "pkg.A",
        "--key",
        "no such key",
    ]);
    let end = agent.end().await;
    assert_eq!(end.code, Some(4), "{end:?}");
    let last = end.stderr.lines().last().unwrap_or_default();
    assert!(
        last.starts_with(&format!("error: gateway {uri} refused the registration: ")),
        "{last}"
    );
    assert_eq!(end.stdout, "");
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_2_and_one_clear_line() {
    let agent = ["agent", "--upstream", NOWHERE, "--id", "a", "--gateway"];
    let with = |last| [&agent[..], &[last]].concat();
    let listen = ["gateway", "--listen", "localhost:50999"];
    let instances = ["instances", "--gateway", "ftp://a:1"];
    let expected = "expected http://HOST:PORT or unix:PATH";
    for (args, say) in [
        (with("127.0.0.1:5"), expected),
        (with("https://a:1"), expected),
        (with("http://a"), expected),
        (instances.to_vec(), expected),
        (listen.to_vec(), "expected IP:PORT such as 127.0.0.1:50051"),
        (
            [&with(NOWHERE)[..], &["--service", "pkg/A"]].concat(),
            "expected the full name of a service",
        ),
        (
            vec![
                "agent",
                "--upstream",
                NOWHERE,
                "--gateway",
                NOWHERE,
                "--id",
                "no such id",
            ],
            "expected 1 to 128 of A-Z",
        ),
        (
            vec![
                "gateway",
                "--listen",
                "127.0.0.1:0",
                "--call-window",
                "much",
            ],
            "expected a size",
        ),
        (
            vec![
                "gateway",
                "--listen",
                "127.0.0.1:0",
                "--max-metadata",
                "64KiB",
            ],
            "the largest is 32KiB: it must fit a frame",
        ),
        (
            vec!["gateway", "--listen", "127.0.0.1:0", "--call-window", "0"],
            "the smallest is 16KiB: ",
        ),
        (
            vec![
                "gateway",
                "--listen",
                "127.0.0.1:0",
                "--client-window",
                "16KiB",
            ],
            "the smallest is 65535 bytes, 64KiB less one: HTTP/2 lets a client send so much before",
        ),
        (
            vec![
                "gateway",
                "--listen",
                "127.0.0.1:0",
                "--heartbeat-interval",
                "1ms",
            ],
            "the shortest is 100ms: ",
        ),
        (vec!["gateway"], "--listen"),
        (
            vec!["instances", "--gateway", NOWHERE, "--log", "a=b=c"],
            "--log",
        ),
    ] {
        let end = grpcrouter(&args).await;
        assert_eq!(end.code, Some(2), "{args:?}: {end:?}");
        let clear = end
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "))
            .count();
        assert_eq!(clear, 1, "{args:?}: {}", end.stderr);
        assert!(end.stderr.contains(say), "{args:?}: {}", end.stderr);
        assert_eq!(end.stdout, "");
    }
}

#[tokio::test]
async fn a_taken_port_ends_with_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let addr = taken.local_addr().expect("is bound").to_string();
    let end = grpcrouter(&["gateway", "--listen", &addr]).await;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(
        end.stderr
            .contains(&format!("error: cannot listen on {addr}: ")),
        "{}",
        end.stderr
    );
    assert_eq!(end.stdout, "", "it was never ready");
}

/// Proves: Z11
#[tokio::test]
async fn help_is_for_people() {
    let help = grpcrouter(&["gateway", "--help"]).await;
    assert_eq!(help.code, Some(0));
    for part in [
        "In-flight bound B",
        "245760",
        "--call-window-max",
        "Limits:",
    ] {
        assert!(help.stdout.contains(part), "no {part} in\n{}", help.stdout);
    }
    let help = grpcrouter(&["--help"]).await;
    for part in ["gateway", "agent", "instances", "Exit codes:"] {
        assert!(help.stdout.contains(part), "no {part} in\n{}", help.stdout);
    }
}

#[tokio::test]
async fn instances_are_listed_for_people_and_for_programs() {
    let (_gateway, client, tunnel) = gateway(&["--tunnel-listen", "127.0.0.1:0"]).await;
    let uri = format!("http://{tunnel}");
    let mut one = agent(&uri, "site-7");
    one.line().await;
    let list = grpcrouter(&["instances", "--gateway", &uri]).await;
    let expected = "site-7  pkg.A (unhealthy),pkg.B (unhealthy)  zone=x\n";
    assert_eq!((list.code, &*list.stdout), (Some(0), expected), "{list:?}");
    let list = grpcrouter(&["instances", "--gateway", &uri, "--json"]).await;
    let object: serde_json::Value = serde_json::from_str(&list.stdout).expect("one object");
    assert_eq!(object["id"], "site-7");
    assert_eq!(object["services"][0]["name"], "pkg.A");
    assert_eq!(object["labels"]["zone"], "x");
    let with = async |flags: &[&str]| {
        let asked = ["instances", "--gateway", &uri];
        grpcrouter(&[&asked[..], flags].concat()).await
    };
    let found = with(&["--health", "unhealthy", "--label", "zone=x"]).await;
    assert_eq!(found.stdout, expected, "{found:?}");
    for flags in [["--health", "healthy"], ["--label", "zone=y"]] {
        assert_eq!(with(&flags).await.stdout, "", "{flags:?}");
    }
    assert_eq!(with(&["--health", "well"]).await.code, Some(2));
    let none = grpcrouter(&["instances", "--gateway", &uri, "--service", "pkg.None"]).await;
    assert_eq!((none.code, &*none.stdout), (Some(0), ""));
    let wrong = grpcrouter(&["instances", "--gateway", &format!("http://{client}")]).await;
    assert_eq!(wrong.code, Some(1));
    assert!(
        wrong.stderr.contains("served on the tunnel port"),
        "{}",
        wrong.stderr
    );
}

#[tokio::test]
async fn a_reader_that_has_enough_ends_a_list_or_a_watch_without_a_complaint() {
    let (_gateway, _, tunnel) = gateway(&[]).await;
    let uri = format!("http://{tunnel}");
    let mut one = agent(&uri, "site-7");
    one.line().await;
    for more in [&[][..], &["--json"], &["--watch"]] {
        let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_grpcrouter"))
            .args(["instances", "--gateway", &uri])
            .args(more)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("starts");
        drop(child.stdout.take());
        let end = within("its end", child.wait_with_output())
            .await
            .expect("ends");
        let said = String::from_utf8_lossy(&end.stderr);
        assert_eq!((end.status.code(), &*said), (Some(0), ""), "{more:?}");
    }
}

#[tokio::test]
async fn a_watcher_sees_who_comes_and_goes() {
    let (_gateway, _, tunnel) = gateway(&[]).await;
    let uri = format!("http://{tunnel}");
    let mut first = agent(&uri, "first");
    first.line().await;
    let mut watch = Process::start(&["instances", "--gateway", &uri, "--watch", "--json"]);
    let event = |line: String| {
        let event: serde_json::Value = serde_json::from_str(&line).expect("an object a line");
        format!("{} {}", event["event"], event["id"]).replace('"', "")
    };
    assert_eq!(event(watch.line().await), "added first");
    let mut second = agent(&uri, "second");
    second.line().await;
    assert_eq!(event(watch.line().await), "added second");
    first.terminate().await;
    assert_eq!(event(watch.line().await), "updated first", "it drains");
    assert_eq!(event(watch.line().await), "removed first");
}

#[tokio::test]
async fn what_is_no_gateway_is_said_in_one_line() {
    for speaks in [
        &b"SSH-2.0-server\r\n"[..],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"",
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("binds");
        let uri = format!("http://{}", listener.local_addr().expect("is bound"));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                // Reads what comes, so that its answer is not lost to a reset.
                let _ = socket.read(&mut [0; 1_024]).await;
                let _ = socket.write_all(speaks).await;
            }
        });
        let mut agent = agent(&uri, "a");
        let line = agent.log(&format!("gateway {uri}: ")).await;
        assert!(
            line.contains("HTTP/2") || line.contains("gateway's tunnel port"),
            "{line}"
        );
        let end = grpcrouter(&["instances", "--gateway", &uri]).await;
        assert_eq!(end.code, Some(1), "{end:?}");
        assert_eq!(end.stderr.lines().count(), 1, "{}", end.stderr);
        assert!(
            end.stderr.starts_with(&format!("error: gateway {uri}: ")),
            "{}",
            end.stderr
        );
    }
}

#[tokio::test]
async fn a_silent_listener_is_no_gateway_either() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("binds");
    let uri = format!("http://{}", silent.local_addr().expect("is bound"));
    let end = grpcrouter(&["instances", "--gateway", &uri]).await;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert_eq!(end.stderr.lines().count(), 1, "{}", end.stderr);
}

#[tokio::test]
async fn a_gateway_that_is_told_to_stop_lets_a_running_call_finish() {
    let upstream = process::Upstream::start().await;
    let (mut gateway, client, tunnel) = gateway(&["--tunnel-listen", "127.0.0.1:0"]).await;
    let mut agent = Process::start(&[
        "agent",
        "--gateway",
        &format!("http://{tunnel}"),
        "--upstream",
        &upstream.uri,
        "--id",
        "a",
        "--service",
        "pkg.A",
    ]);
    agent.line().await;
    let call = process::call(&client, "/pkg.A/Wait").await;
    within("the call at its server", upstream.arrived.notified()).await;
    gateway.terminate().await;
    gateway.log("draining").await;
    assert!(gateway.is_running(), "it waits for the call");
    upstream.finish.notify_one();
    let trailers = within("the end of the call", call).await.expect("no panic");
    assert_eq!(trailers["grpc-status"], "0", "{trailers:?}");
    let end = gateway.end().await;
    assert_eq!(end.code, Some(0), "{end:?}");
    assert!(agent.is_running(), "it goes on looking for a gateway");
}

#[tokio::test]
async fn a_call_that_does_not_finish_in_time_is_said_with_5() {
    let upstream = process::Upstream::start().await;
    let (mut gateway, client, tunnel) = gateway(&["--drain-timeout", "100ms"]).await;
    let mut agent = Process::start(&[
        "agent",
        "--gateway",
        &format!("http://{tunnel}"),
        "--upstream",
        &upstream.uri,
        "--id",
        "a",
        "--service",
        "pkg.A",
    ]);
    agent.line().await;
    let _call = process::call(&client, "/pkg.A/Wait").await;
    within("the call at its server", upstream.arrived.notified()).await;
    gateway.terminate().await;
    let end = gateway.end().await;
    assert_eq!(end.code, Some(5), "{end:?}");
    assert!(
        end.stderr
            .contains("error: calls that did not finish within --drain-timeout: 1"),
        "{}",
        end.stderr
    );
}

#[tokio::test]
async fn an_agent_whose_call_does_not_finish_in_time_ends_with_5() {
    let (end, _gateway) = agent_drained(&["--drain-timeout", "100ms"], 1).await;
    assert_eq!(end.code, Some(5), "{end:?}");
    let said = "error: calls did not finish within 100ms";
    assert!(end.stderr.contains(said), "{}", end.stderr);
}

#[tokio::test]
async fn a_second_signal_ends_an_agent_at_once() {
    let (end, _gateway) = agent_drained(&["--drain-timeout", "60m"], 2).await;
    assert_eq!(end.code, Some(5), "{end:?}");
    assert!(end.stderr.contains("a second signal"), "{}", end.stderr);
}

/// The end of an agent that has a call without an end and is asked to stop, once or more.
async fn agent_drained(more: &[&str], signals: usize) -> (process::End, Process) {
    let upstream = process::Upstream::start().await;
    let (gateway, client, tunnel) = gateway(&[]).await;
    let uri = format!("http://{tunnel}");
    let args = ["agent", "--gateway", &uri, "--upstream", &upstream.uri];
    let args = [&args[..], &["--id", "a", "--service", "pkg.A"], more].concat();
    let mut agent = Process::start(&args);
    agent.line().await;
    let _call = process::call(&client, "/pkg.A/Wait").await;
    within("the call at its server", upstream.arrived.notified()).await;
    agent.terminate().await;
    agent.log("draining").await;
    for _ in 1..signals {
        agent.terminate().await;
    }
    (agent.end().await, gateway)
}

/// A gateway on loopback, and its two addresses.
async fn gateway(more: &[&str]) -> (Process, String, String) {
    let args = [&["gateway", "--listen", "127.0.0.1:0"], more].concat();
    let mut gateway = Process::start(&args);
    let ready = gateway.line().await;
    let [client, tunnel, _] = parts(&ready);
    (gateway, client.to_owned(), tunnel.to_owned())
}

/// Both addresses and the bound that a gateway's ready line names.
fn parts(ready: &str) -> [&str; 3] {
    let words: Vec<&str> = ready.split(' ').collect();
    let ["ready", client, tunnel, bound] = words[..] else {
        panic!("{ready}");
    };
    [("client=", client), ("tunnel=", tunnel), ("bound=", bound)]
        .map(|(name, word)| word.strip_prefix(name).expect(ready))
}

/// An agent with a server that is down.
fn agent(gateway: &str, id: &str) -> Process {
    let to = format!("--gateway {gateway} --upstream {NOWHERE}");
    let line = format!("agent {to} --id {id} --service pkg.A --service pkg.B --label zone=x");
    let args: Vec<_> = line.split(' ').collect();
    Process::start(&args)
}
