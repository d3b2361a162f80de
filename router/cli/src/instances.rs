//! `grpcrouter instances`.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use grpcrouter::Target;
use grpcrouter_proto::v1::instance_event::Kind;
use grpcrouter_proto::v1::router_client::RouterClient;
use grpcrouter_proto::v1::{
    HealthStatus, Instance, ListInstancesRequest, ServiceInfo, WatchInstancesRequest,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{Failure, args};

/// Show who is registered with a gateway.
#[derive(Debug, Args)]
pub(crate) struct InstancesArgs {
    /// A gateway's tunnel port, as http://HOST:PORT or unix:PATH.
    #[arg(long, value_name = "URI")]
    gateway: Target,
    /// Only instances that offer this service.
    #[arg(long, value_name = "NAME", default_value = "")]
    service: String,
    /// Only instances of this health: of the service, if one is given, else as a whole.
    #[arg(long, value_name = "HEALTH", value_parser = health)]
    health: Option<HealthStatus>,
    /// Only instances with this label. Several: all of them.
    #[arg(long, value_name = "K=V", value_parser = args::label)]
    label: Vec<(String, String)>,
    /// Go on showing what changes.
    #[arg(long)]
    watch: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// How long a gateway may take to be reached, and to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The longest list that is taken, in bytes: 100,000 instances with a few dozen services each.
const LIST_MAX: usize = 256 * 1024 * 1024;

/// Lists or watches.
pub(crate) async fn run(args: InstancesArgs) -> Result<(), Failure> {
    let InstancesArgs {
        gateway,
        service,
        health,
        label,
        watch,
        json,
    } = args;
    let health = health.unwrap_or_default().into();
    let labels = label.into_iter().collect();
    let failed = |what: &str| Failure::new(1, format!("gateway {gateway}: {what}"));
    let cannot = "cannot connect; is it running, and is this its tunnel port?";
    let connected = timeout(ANSWER_LIMIT, RouterClient::connect(gateway.to_string())).await;
    let mut client = match connected {
        Ok(connected) => connected
            .map_err(|_| failed(cannot))?
            .max_decoding_message_size(LIST_MAX),
        Err(_) => return Err(failed(cannot)),
    };
    let silent = || {
        failed(&format!(
            "no answer within {ANSWER_LIMIT:?}; is it a gateway?"
        ))
    };
    if !watch {
        let request = ListInstancesRequest {
            service,
            health,
            labels,
        };
        let list = timeout(ANSWER_LIMIT, client.list_instances(request)).await;
        let list = list
            .map_err(|_| silent())?
            .map_err(|s| failed(s.message()))?;
        for instance in list.into_inner().instances {
            if !show(json, "", &instance)? {
                break;
            }
        }
        return Ok(());
    }
    let request = WatchInstancesRequest {
        service,
        health,
        labels,
    };
    let events = timeout(ANSWER_LIMIT, client.watch_instances(request)).await;
    let events = events
        .map_err(|_| silent())?
        .map_err(|s| failed(s.message()))?;
    let mut events = events.into_inner();
    while let Some(event) = events.message().await.map_err(|s| failed(s.message()))? {
        let kind = match event.kind() {
            Kind::Added => "added",
            Kind::Updated => "updated",
            Kind::Removed => "removed",
            Kind::SnapshotEnd | Kind::Unspecified => continue,
        };
        if let Some(instance) = &event.instance
            && !show(json, kind, instance)?
        {
            break;
        }
    }
    Ok(())
}

/// A health, as `grpcrouter instances` shows it.
fn health(text: &str) -> Result<HealthStatus, String> {
    let known = HealthStatus::from_str_name(&text.to_uppercase());
    known
        .filter(|health| *health != HealthStatus::Unknown)
        .ok_or_else(|| "expected healthy, unhealthy, starting or stopping".to_owned())
}

/// Prints an instance. Whether anybody still reads: `head` and the like stop when they have enough.
fn show(as_json: bool, kind: &str, instance: &Instance) -> io::Result<bool> {
    let shown = if as_json {
        object(kind, instance).to_string()
    } else {
        text(kind, instance)
    };
    match writeln!(io::stdout(), "{shown}") {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

fn text(kind: &str, instance: &Instance) -> String {
    let services: Vec<_> = instance.services.iter().map(line).collect();
    let labels: Vec<_> = instance
        .labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    let mut words = vec![instance.instance_id.clone(), services.join(",")];
    if !kind.is_empty() {
        words.insert(0, kind.to_owned());
    }
    words.extend(labels);
    if instance.draining {
        words.push("draining".to_owned());
    }
    words.join("  ")
}

fn line(service: &ServiceInfo) -> String {
    match service.health() {
        HealthStatus::Healthy | HealthStatus::Unknown => service.name.clone(),
        health => format!("{} ({})", service.name, health.as_str_name().to_lowercase()),
    }
}

fn object(kind: &str, instance: &Instance) -> Value {
    let services: Vec<_> = instance
        .services
        .iter()
        .map(|s| json!({"name": s.name, "health": s.health().as_str_name()}))
        .collect();
    let mut object = json!({
        "id": instance.instance_id,
        "services": services,
        "keys": instance.keys,
        "labels": instance.labels,
        "weight": instance.weight,
        "version": instance.version,
        "draining": instance.draining,
    });
    if !kind.is_empty() {
        object["event"] = kind.into();
    }
    object
}
