//! What an agent says of the server that it is for.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::NOWHERE;
use super::process::Process;

#[tokio::test]
async fn an_agent_says_why_its_server_cannot_be_called() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let other = format!("http://{}", listener.local_addr().expect("is bound"));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            // Reads what comes, so that its answer is not lost to a reset.
            let _ = socket.read(&mut [0; 1_024]).await;
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let cases = [
        (&*other, "does not speak HTTP/2: "),
        (NOWHERE, "cannot connect: "),
    ];
    for (upstream, why) in cases {
        let agent = ["agent", "--gateway", NOWHERE, "--id", "a", "--upstream"];
        let mut agent = Process::start(&[&agent[..], &[upstream]].concat());
        let line = agent.log("; waiting for it").await;
        assert!(
            line.contains(&format!("upstream {upstream}: {why}")),
            "{line}"
        );
    }
}
