//! Routes from a file and from the command line, in the binary.

use super::gateway;
use super::process::{self, grpcrouter, within};

/// A call without a key, and without an instance: its status and its reason.
pub(crate) async fn keyless(client: &str) -> (String, String) {
    let call = process::call(client, "/pkg.A/Ask").await;
    let trailers = within("the end of the call", call).await.expect("no panic");
    let text = |name| trailers[name].to_str().expect("text").to_owned();
    (text("grpc-status"), text("grpcrouter-reason"))
}

#[tokio::test]
async fn routes_are_read_again_on_sighup_and_a_bad_file_leaves_them_as_they_are() {
    let folder = std::env::temp_dir().join(format!("grpcrouter-routes-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("routes.toml");
    let write = |text: &str| std::fs::write(&file, text).expect("writes");
    let path = file.to_str().expect("text");
    write("[services.\"pkg.A\"]\nkey = \"site\"\nmissing_key = \"reject\"\n");
    let (mut gateway, client, _) = gateway(&["--config", path]).await;
    let rejected = ("3".to_owned(), "bad-key".to_owned());
    let balanced = ("14".to_owned(), "no-instance".to_owned());
    assert_eq!(keyless(&client).await, rejected);

    write("[services.\"pkg.A\"]\nkey = \"site\"\n");
    gateway.hang_up().await;
    gateway.log("routes reloaded").await;
    assert_eq!(keyless(&client).await, balanced);

    write("[services.\"pkg.A\"]\nkey = \"site\"\nbalance = \"best\"\nmissing_key = \"reject\"\n");
    gateway.hang_up().await;
    let line = gateway.log("routes stay as they are").await;
    assert!(
        line.contains("routes.toml:3: pkg.A: balance = \"best\""),
        "{line}"
    );
    assert_eq!(keyless(&client).await, balanced);

    // A file that is wrong from the start ends it, with the same line.
    let end = grpcrouter(&["gateway", "--listen", "127.0.0.1:0", "--config", path]).await;
    assert_eq!(end.code, Some(2), "{end:?}");
    assert!(
        end.stderr.contains("routes.toml:3: pkg.A: balance"),
        "{end:?}"
    );
    std::fs::remove_dir_all(&folder).expect("is removed");
}

#[tokio::test]
async fn a_file_that_is_being_written_leaves_the_routes_as_they_are() {
    let folder = std::env::temp_dir().join(format!("grpcrouter-written-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("routes.toml");
    let path = file.to_str().expect("text");
    std::fs::write(
        &file,
        "[services.\"pkg.A\"]\nkey = \"site\"\nmissing_key = \"reject\"\n",
    )
    .expect("writes");
    let (mut gateway, client, _) = gateway(&["--config", path]).await;
    for text in ["", "[services]\n"] {
        std::fs::write(&file, text).expect("writes");
        gateway.hang_up().await;
        let line = gateway.log("routes stay as they are").await;
        assert!(line.contains("routes.toml: names no service"), "{line}");
        assert!(line.contains("rename that over it"), "{line}");
        assert_eq!(keyless(&client).await.1, "bad-key");
    }
    // A pipe that nobody writes to is not waited for.
    std::fs::remove_file(&file).expect("is removed");
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.expect("mkfifo runs").success());
    gateway.hang_up().await;
    let line = gateway.log("routes stay as they are").await;
    assert!(line.contains("expected a regular file"), "{line}");
    assert_eq!(keyless(&client).await.1, "bad-key");
    std::fs::remove_dir_all(&folder).expect("is removed");
}

#[tokio::test]
async fn a_gateway_without_a_file_goes_on_at_sighup() {
    let (mut gateway, client, _) = gateway(&["--route", "pkg.A=metadata:site,reject"]).await;
    gateway.hang_up().await;
    gateway.log("SIGHUP: nothing to reload").await;
    assert_eq!(keyless(&client).await.1, "bad-key");
    gateway.terminate().await;
    assert_eq!(gateway.end().await.code, Some(0), "it drains as ever");
}

#[tokio::test]
async fn a_route_on_the_command_line_is_stronger_than_the_default() {
    let (_gateway, client, _) = gateway(&["--route", "pkg.A=metadata:site,reject"]).await;
    assert_eq!(keyless(&client).await.1, "bad-key");
    let end = grpcrouter(&[
        "gateway",
        "--listen",
        "127.0.0.1:0",
        "--route",
        "pkg.A=pinned",
    ])
    .await;
    assert_eq!(end.code, Some(2), "{end:?}");
    assert!(end.stderr.contains("say where it stands"), "{end:?}");
}
