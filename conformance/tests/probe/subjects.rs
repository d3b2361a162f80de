//! How subjects start, fail and end.

use std::net::SocketAddr;
use std::time::Duration;

use grpcrouter_conformance::pb::{
    KeySource, SubjectInstance, SubjectRequest, SubjectRole, SubjectRoute, SubjectSettings,
};
use grpcrouter_conformance::probe::Script;
use grpcrouter_conformance::probe::payload::framed_message;
use grpcrouter_conformance::probe::side::{Amount, Side};
use grpcrouter_conformance::subject::Subject;

use crate::client::{Client, status_of};

/// How long a subject may take to exit.
const EXIT: Duration = Duration::from_secs(30);

/// This project's subject of a kind, with its arguments.
pub(crate) fn program(arguments: &str) -> Subject {
    Subject::program(&format!(
        "{} {arguments}",
        env!("CARGO_BIN_EXE_grpcrouter-subject")
    ))
}

/// Asks for an instance of this id.
pub(crate) fn instance(id: &str, side: &Side, gateway: &str) -> SubjectRequest {
    SubjectRequest {
        role: SubjectRole::Instance.into(),
        settings: None,
        instance: Some(SubjectInstance {
            id: id.to_owned(),
            gateways: vec![gateway.to_owned()],
            side: side.addr().to_string(),
            ..SubjectInstance::default()
        }),
    }
}

fn gateway(settings: SubjectSettings) -> SubjectRequest {
    SubjectRequest {
        role: SubjectRole::Gateway.into(),
        settings: Some(settings),
        instance: None,
    }
}

async fn refusal(subject: &Subject, asked: &SubjectRequest) -> String {
    let side = Side::listen().await.unwrap();
    let started = subject.start(asked, &side).await;
    started.expect_err("it cannot start").to_string()
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let nothing = Subject::program("/nowhere/at-all --flag");
    let asked = gateway(SubjectSettings::default());
    let said = refusal(&nothing, &asked).await;
    assert!(
        said.starts_with("subject `/nowhere/at-all --flag`: cannot be started:"),
        "{said}"
    );
    let said = refusal(&program("direct"), &asked).await;
    assert!(
        said.contains("is a Direct, and was asked for as Gateway"),
        "{said}"
    );
    let said = refusal(&program("--no-such-flag"), &asked).await;
    assert!(
        said.contains("no reply") && said.contains("unexpected argument"),
        "{said}"
    );
    let settings = SubjectSettings {
        max_metadata: 1,
        ..SubjectSettings::default()
    };
    let said = refusal(&program("gateway"), &gateway(settings)).await;
    assert!(said.contains("max_metadata: 1024 to 32768 bytes"), "{said}");
    let route = SubjectRoute {
        service: "pkg.A".to_owned(),
        key: KeySource::Header.into(),
        key_name: "Upper".to_owned(),
        ..SubjectRoute::default()
    };
    let settings = SubjectSettings {
        routes: vec![route],
        ..SubjectSettings::default()
    };
    let said = refusal(&program("gateway"), &gateway(settings)).await;
    assert!(
        said.contains("routes of pkg.A: \"Upper\" is no header"),
        "{said}"
    );
}

#[tokio::test]
async fn who_says_nothing_is_given_up_on() {
    let side = Side::listen().await.unwrap();
    let asked = gateway(SubjectSettings::default());
    // It ends when its standard input does, and replies with its request, which is none.
    let echo = Subject::program("cat").start(&asked, &side).await;
    let said = echo.expect_err("no reply").to_string();
    assert!(said.contains("no reply"), "{said}");
    let silent = Subject::program("sleep 1000");
    let limit = Duration::from_millis(50);
    let said = silent.start_within(limit, &asked, &side).await.unwrap_err();
    assert!(said.to_string().contains("no reply within 50ms"), "{said}");
    let silent = Subject::instance("sleep 1000");
    let asked = instance("i-1", &side, "127.0.0.1:1");
    let said = silent.start_within(limit, &asked, &side).await.unwrap_err();
    assert!(said.to_string().contains("no hello within 50ms"), "{said}");
    let said = Subject::instance("false").start(&asked, &side).await;
    let said = said.unwrap_err().to_string();
    assert!(
        said.contains("ended before its hello: exit status: 1"),
        "{said}"
    );
}

#[tokio::test]
async fn a_gateway_declares_its_bound_and_ends_with_its_input() {
    let side = Side::listen().await.unwrap();
    let settings = SubjectSettings {
        client_window: 70_000,
        call_window: 40_000,
        call_window_max: 40_000,
        ..SubjectSettings::default()
    };
    let started = program("gateway").start(&gateway(settings), &side).await;
    let mut gateway = started.unwrap();
    let reply = &gateway.reply;
    // Responses: the agent's window, a piece, call window, send buffer; more than for requests.
    assert_eq!(reply.bound_bytes, (64 + 32) * 1024 + 40_000 + 64 * 1024);
    assert_eq!(reply.name, "grpcrouter gateway");
    assert!(reply.honoured.iter().any(|name| name == "client_window"));
    for addr in [&reply.client_addr, &reply.tunnel_addr] {
        assert!(addr.parse::<SocketAddr>().unwrap().ip().is_loopback());
    }
    gateway.close_stdin();
    assert!(gateway.exited(EXIT).await.unwrap().success());
    assert!(
        gateway.stderr().contains("draining"),
        "{}",
        gateway.stderr()
    );
}

#[tokio::test]
async fn direct_hosts_the_probe_and_lies_where_it_is_told_to() {
    let side = Side::listen().await.unwrap();
    let mut asked = instance("d-1", &side, "");
    asked.role = SubjectRole::Direct.into();
    let started = program("direct --lie").start(&asked, &side).await;
    let mut direct = started.unwrap();
    side.hello("d-1").await.unwrap();
    let client = Client::connect(direct.reply.client_addr.parse().unwrap()).await;
    let script = Script::new().read(2).wait("told").echo(1);
    let mut call = client.call("Bidi", "lie", &script).await;
    // The lie is told before the truth comes: no counter may fall then.
    side.call("lie").waiting("told").await.unwrap();
    let made_up = Amount::new(2, 2 * 1024);
    assert_eq!(side.call("lie").counts().handed, made_up);
    side.call("lie").release("told");
    call.send(framed_message(5, 9));
    let mut answer = call.answer().await;
    assert_eq!(
        answer.message().await,
        Some(framed_message(5, 9)),
        "it was never read"
    );
    assert_eq!(answer.status().await, "0");
    side.call("lie").finished().await.unwrap();
    let counts = side.call("lie").counts();
    let all = Amount::new(3, 2 * 1024 + 9);
    assert_eq!((counts.handed, counts.taken), (all, all));
    side.drain("d-1");
    assert_eq!(side.ended("d-1").await.unwrap(), 0);
    assert!(direct.exited(EXIT).await.unwrap().success());
}

#[tokio::test]
async fn a_killed_instance_leaves_its_calls_and_its_side_channel() {
    let side = Side::listen().await.unwrap();
    let asked = gateway(SubjectSettings::default());
    let gateway = program("gateway").start(&asked, &side).await.unwrap();
    let asked = instance("i-1", &side, &gateway.reply.tunnel_addr);
    let mut first = program("instance").start(&asked, &side).await.unwrap();
    let client = Client::connect(gateway.reply.client_addr.parse().unwrap()).await;
    client.until_routed().await;
    let script = Script::new().wait("never");
    let mut call = client.call("Unary", "lost", &script).await;
    side.call("lost").started().await.unwrap();
    first.kill();
    assert!(!first.exited(EXIT).await.unwrap().success());
    assert_eq!(status_of(&call.answer().await.headers), "14");
    side.closed("i-1").await.unwrap();
    // Another process under the same id counts its runs anew.
    let _second = program("instance").start(&asked, &side).await.unwrap();
    side.hellos("i-1", 2).await.unwrap();
    client.until_routed().await;
    let mut call = client.call("Unary", "lost", &Script::new()).await;
    assert_eq!(status_of(&call.answer().await.headers), "0");
    let runs = side.call("lost").all_runs();
    assert_eq!(runs.len(), 2);
    assert_ne!(runs[0].process, runs[1].process);
    assert_eq!(side.faults(), [""; 0]);
}
