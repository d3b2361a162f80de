//! A gateway in several threads.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::process::{self, Process, grpcrouter, within};
use super::routes::keyless;
use super::{agent, gateway};

/// Connections that a test opens: of so many to four threads some are not the tunnel's thread's.
const CONNECTIONS: usize = 8;

#[tokio::test]
async fn whoever_dials_one_thread_of_a_gateway_is_known_to_all() {
    let (mut gateway, _, tunnel) = gateway(&["--threads", "4"]).await;
    let uri = format!("http://{tunnel}");
    let mut agents: Vec<_> = ["a", "b", "c", "d"].map(|id| agent(&uri, id)).into();
    for agent in &mut agents {
        agent.line().await;
    }
    // Each asks on a connection of its own, which may come to any thread.
    for _ in 0..CONNECTIONS {
        let list = grpcrouter(&["instances", "--gateway", &uri]).await;
        assert_eq!(list.stdout.lines().count(), 4, "{list:?}");
    }
    gateway.terminate().await;
    assert_eq!(gateway.end().await.code, Some(0), "all of them drain");
}

#[tokio::test]
async fn a_call_reaches_its_server_from_any_thread_and_every_thread_drains() {
    let upstream = process::Upstream::start().await;
    let (mut gateway, client, tunnel) = gateway(&["--threads", "4"]).await;
    let uri = format!("http://{tunnel}");
    let args = ["agent", "--gateway", &uri, "--upstream", &upstream.uri];
    let mut agent = Process::start(&[&args[..], &["--id", "a", "--service", "pkg.A"]].concat());
    agent.line().await;
    let mut calls = Vec::new();
    for _ in 0..CONNECTIONS {
        calls.push(process::call(&client, "/pkg.A/Wait").await);
        within("the call at its server", upstream.arrived.notified()).await;
    }
    gateway.terminate().await;
    gateway.log("draining").await;
    for call in calls {
        assert!(
            gateway.is_running(),
            "it waits for the calls of all threads"
        );
        upstream.finish.notify_one();
        let trailers = within("the end of a call", call).await.expect("no panic");
        assert_eq!(trailers["grpc-status"], "0", "{trailers:?}");
    }
    let end = gateway.end().await;
    assert_eq!(end.code, Some(0), "{end:?}");
}

#[tokio::test]
async fn every_thread_has_the_routes_that_were_read_last() {
    let folder = std::env::temp_dir().join(format!("grpcrouter-threads-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("routes.toml");
    let route = "[services.\"pkg.A\"]\nkey = \"site\"\n";
    std::fs::write(&file, route).expect("writes");
    let path = file.to_str().expect("text");
    let (mut gateway, client, _) = gateway(&["--threads", "4", "--config", path]).await;
    for _ in 0..CONNECTIONS {
        assert_eq!(keyless(&client).await.1, "no-instance");
    }
    std::fs::write(&file, format!("{route}missing_key = \"reject\"\n")).expect("writes");
    gateway.hang_up().await;
    gateway.log("routes reloaded").await;
    for _ in 0..CONNECTIONS {
        assert_eq!(keyless(&client).await.1, "bad-key");
    }
    std::fs::remove_dir_all(&folder).expect("is removed");
}

/// Opens a connection. None: the gateway closed it before it said a word of HTTP/2.
async fn seated(addr: &str) -> Option<TcpStream> {
    const PREFACE_AND_SETTINGS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut socket = TcpStream::connect(addr).await.expect("connects");
    socket.write_all(PREFACE_AND_SETTINGS).await.ok()?;
    let first = socket.read_u8();
    within("a word or the end", first).await.ok()?;
    Some(socket)
}

#[tokio::test]
async fn connections_are_counted_over_all_threads() {
    let more = ["--threads", "4", "--max-connections", "5"];
    let (_gateway, client, _) = gateway(&more).await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(seated(&client).await.expect("there is room"));
    }
    for _ in 0..CONNECTIONS {
        assert!(seated(&client).await.is_none(), "all five are taken");
    }
    open.pop();
    let again = async { while seated(&client).await.is_none() {} };
    within("room for the next", again).await;
}
