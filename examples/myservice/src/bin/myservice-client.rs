//! An ordinary tonic client of `MyService`: a call of each kind through the router, and directly, and
//! whether both answered alike.

use std::process::ExitCode;

use clap::Parser;
use grpcrouter_myservice::pb::my_service_client::MyServiceClient;
use grpcrouter_myservice::pb::{
    Method1Request, Method2Request, Method3Request, StreamMethodRequest,
};
use grpcrouter_myservice::process::{Result, exit, line};
use tokio_stream::StreamExt;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

/// Makes all four kinds of call through a router, and directly, and compares the answers.
#[derive(Parser)]
struct Args {
    /// The router's client port.
    #[arg(long, value_name = "URI")]
    target: String,
    /// The same service without a router, to compare with.
    #[arg(long, value_name = "URI")]
    direct: Option<String>,
    /// The instance that is to answer: the key `instanceid` in the metadata.
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit(run(Args::parse()).await)
}

async fn run(args: Args) -> Result<()> {
    let routed = answers(&args.target, args.instance.as_deref()).await?;
    for (line, instance) in &routed {
        println!("{line}   from {instance}");
        if args
            .instance
            .as_ref()
            .is_some_and(|asked| asked != instance)
        {
            return Err(format!("{instance} answered a call for another instance").into());
        }
    }
    let Some(direct) = &args.direct else {
        return Ok(());
    };
    let direct = answers(direct, None).await?;
    if !direct
        .iter()
        .map(|(line, _)| line)
        .eq(routed.iter().map(|(line, _)| line))
    {
        return Err(format!("routed and direct answers differ: {routed:?} and {direct:?}").into());
    }
    println!("the direct answers are the same");
    Ok(())
}

/// A call of each kind: what was answered, and by whom.
async fn answers(uri: &str, instance: Option<&str>) -> Result<Vec<(String, String)>> {
    let connected = MyServiceClient::connect(uri.to_owned()).await;
    let mut client =
        connected.map_err(|error| format!("cannot connect to {uri}: {}", line(&error)))?;
    let key: Option<MetadataValue<Ascii>> = instance.map(str::parse).transpose()?;
    let mut all = Vec::new();

    let request = Method1Request {
        data: "hello".into(),
        value: 7,
    };
    let answer = client
        .method1(keyed(request, key.as_ref()))
        .await?
        .into_inner();
    all.push((
        format!("Method1       {}", answer.result),
        answer.instance_id,
    ));

    let items = ["one", "two", "three"].map(String::from).to_vec();
    let request = keyed(Method2Request { items }, key.as_ref());
    let mut stream = client.method2(request).await?.into_inner();
    while let Some(answer) = stream.message().await? {
        let line = format!("Method2       {} -> {}", answer.item, answer.result);
        all.push((line, answer.instance_id));
    }

    let batch = (1..=3).map(|batch_id| Method3Request {
        data: "x".repeat(10),
        batch_id,
    });
    let request = keyed(tokio_stream::iter(batch), key.as_ref());
    let answer = client.method3(request).await?.into_inner();
    all.push((
        format!("Method3       {}", answer.summary),
        answer.instance_id,
    ));

    stream_method(&mut client, key.as_ref(), &mut all).await?;
    Ok(all)
}

/// Each message is sent after the answer to the one before it.
async fn stream_method(
    client: &mut MyServiceClient<Channel>,
    key: Option<&MetadataValue<Ascii>>,
    all: &mut Vec<(String, String)>,
) -> Result<()> {
    let (send, requests) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut stream = client
        .stream_method(keyed(requests, key))
        .await?
        .into_inner();
    for sequence in 1..=3 {
        let message = format!("ping {sequence}");
        send.send(StreamMethodRequest { message, sequence }).await?;
        let answer = stream.next().await.ok_or("StreamMethod ended early")??;
        let line = format!("StreamMethod  {} {}", answer.response, answer.sequence);
        all.push((line, answer.instance_id));
    }
    drop(send);
    match stream.next().await {
        None => Ok(()),
        Some(more) => Err(format!("StreamMethod answered once too often: {more:?}").into()),
    }
}

fn keyed<T>(message: T, key: Option<&MetadataValue<Ascii>>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(key) = key {
        request.metadata_mut().insert("instanceid", key.clone());
    }
    request
}
