//! Processes of the binary, and a server and a client for them.

use std::future::Future;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// The most that any event may take; only a failure uses it up.
const LIMIT: Duration = Duration::from_secs(30);

/// Waits for an event, and fails with its name when it does not come.
pub(crate) async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, event).await {
        Ok(value) => value,
        Err(_) => panic!("waited {LIMIT:?} in vain: {what}"),
    }
}

/// A running process; it is killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    logged: String,
}

/// How a process ended, and what it had said that nobody read.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the binary to its end.
pub(crate) async fn grpcrouter(args: &[&str]) -> End {
    Process::start(args).end().await
}

impl Process {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_grpcrouter"))
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("starts");
        let stdout = BufReader::new(child.stdout.take().expect("is piped"));
        let stderr = BufReader::new(child.stderr.take().expect("is piped"));
        Self {
            child,
            stdout,
            stderr,
            logged: String::new(),
        }
    }

    /// The next line of its standard output.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line);
        within("a line", read).await.expect("reads");
        if line.is_empty() {
            let end = self.end().await;
            panic!("it ended instead: {end:?}");
        }
        line.trim_end().to_owned()
    }

    /// The next line of its log that contains this.
    pub(crate) async fn log(&mut self, part: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.stderr.read_line(&mut line);
            let n = within(&format!("`{part}` in the log"), read)
                .await
                .expect("reads");
            assert!(n > 0, "it ended without `{part}`:\n{}", self.logged);
            self.logged += &line;
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Sends SIGTERM.
    pub(crate) async fn terminate(&mut self) {
        self.signal("-TERM").await;
    }

    /// Sends SIGHUP.
    pub(crate) async fn hang_up(&mut self) {
        self.signal("-HUP").await;
    }

    async fn signal(&mut self, signal: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let kill = Command::new("kill").args([signal, &id]).status();
        assert!(kill.await.expect("kill").success());
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    pub(crate) async fn end(&mut self) -> End {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let ended = async {
            let read = tokio::join!(
                self.stdout.read_to_string(&mut stdout),
                self.stderr.read_to_string(&mut stderr)
            );
            read.0.and(read.1).expect("text");
            self.child.wait().await.expect("a child")
        };
        let status = within("the end of a process", ended).await;
        End {
            code: status.code(),
            stdout,
            stderr: std::mem::take(&mut self.logged) + &stderr,
        }
    }
}

/// A gRPC server whose calls end when the test says so.
pub(crate) struct Upstream {
    pub(crate) uri: String,
    /// A call of `/pkg.A/Wait` has come.
    pub(crate) arrived: Arc<Notify>,
    /// Ends one.
    pub(crate) finish: Arc<Notify>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let uri = format!("http://{}", listener.local_addr().expect("is bound"));
        let (arrived, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell, wait) = (arrived.clone(), finish.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (tell, wait) = (tell.clone(), wait.clone());
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(socket).await else {
                        return;
                    };
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let (tell, wait) = (tell.clone(), wait.clone());
                        tokio::spawn(async move {
                            let waits = request.uri().path() == "/pkg.A/Wait";
                            if waits {
                                tell.notify_one();
                                wait.notified().await;
                            }
                            let status = if waits { "0" } else { "12" };
                            let response = Response::builder()
                                .header("content-type", "application/grpc")
                                .header("grpc-status", status)
                                .body(());
                            let _ = respond.send_response(response.expect("a response"), true);
                        });
                    }
                });
            }
        });
        Self {
            uri,
            arrived,
            finish,
        }
    }
}

/// Begins a call without a message; its trailers come when it ends.
pub(crate) async fn call(addr: &str, path: &str) -> JoinHandle<HeaderMap> {
    let socket = TcpStream::connect(addr).await.expect("connects");
    let (requests, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = Request::post(format!("http://{addr}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    let mut requests: h2::client::SendRequest<bytes::Bytes> =
        requests.ready().await.expect("is ready");
    let (response, _) = requests.send_request(request, true).expect("a request");
    // The request handle stays with the call, or the connection would close after it.
    tokio::spawn(async move {
        let _requests = requests;
        response.await.expect("a response").into_parts().0.headers
    })
}
