//! Collects the descriptors of the upstream server's services, by reflection.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use tokio::time::timeout;
use tonic::Status;

use super::reflect::{Answer, Question, Version, ask};
use super::upstream::Upstream;

/// The longest set that is collected, in bytes: what gateways take by default.
const SET_MAX: usize = 4 * 1024 * 1024;
/// How often the server is asked for what the files of the last answer import.
const ROUNDS_MAX: usize = 32;

/// Questions at once: each may be answered with a file and all that it imports.
const BATCH: usize = 16;

/// What of a `FileDescriptorProto` is looked at.
#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, repeated, tag = "3")]
    imports: Vec<String>,
}

/// An encoded `FileDescriptorSet` with the files of these services and all that they import; none where the
/// server describes none of them. Fails with why there is none.
pub(super) async fn collect(
    upstream: &Upstream,
    services: &[String],
    limit: Duration,
) -> Result<Option<Bytes>, String> {
    let services: Vec<_> = services.iter().filter(|name| *name != "*").collect();
    if services.is_empty() {
        return Ok(None);
    }
    let all = async {
        let mut failed = None;
        for version in Version::ALL {
            match from(version, upstream, &services).await {
                Ok(files) => return Ok(encode(&files)),
                // The older version may know more; what the newer one said counts.
                Err(status) => failed = failed.or(Some(status)),
            }
        }
        Err(failed.map_or_else(String::new, |status| status.message().to_owned()))
    };
    let collected = timeout(limit, all).await;
    collected.map_err(|_| format!("not collected within {limit:?}"))?
}

/// The files by name, so that equal servers give equal sets.
async fn from(
    version: Version,
    upstream: &Upstream,
    services: &[&String],
) -> Result<BTreeMap<String, Bytes>, Status> {
    let mut files = BTreeMap::new();
    let mut asked = BTreeSet::new();
    let symbol = |name: &&String| Question::Symbol((*name).clone());
    let mut questions: Vec<_> = services.iter().map(symbol).collect();
    let mut bytes = 0;
    for _ in 0..ROUNDS_MAX {
        let mut imports = BTreeSet::new();
        while !questions.is_empty() {
            let rest = questions.split_off(questions.len().min(BATCH));
            for body in described(ask(version, upstream, questions).await?) {
                let file = File::decode(body.clone())
                    .map_err(|_| Status::data_loss("a descriptor does not decode"))?;
                if files.contains_key(&file.name) {
                    continue;
                }
                imports.extend(file.imports);
                bytes += body.len();
                if bytes > SET_MAX {
                    let message = format!("they are longer than {SET_MAX} bytes");
                    return Err(Status::resource_exhausted(message));
                }
                files.insert(file.name, body);
            }
            questions = rest;
        }
        let unknown = imports.into_iter().filter(|name| !files.contains_key(name));
        let unknown: Vec<_> = unknown.filter(|name| asked.insert(name.clone())).collect();
        if unknown.is_empty() {
            break;
        }
        questions = unknown.into_iter().map(Question::File).collect();
    }
    Ok(files)
}

fn described(answers: Vec<Answer>) -> impl Iterator<Item = Bytes> {
    let files = answers.into_iter().filter_map(|answer| match answer {
        Answer::Files(files) => Some(files),
        _ => None,
    });
    files.flatten()
}

fn encode(files: &BTreeMap<String, Bytes>) -> Option<Bytes> {
    let mut set = BytesMut::new();
    for body in files.values() {
        encode_key(1, WireType::LengthDelimited, &mut set);
        encode_varint(body.len() as u64, &mut set);
        set.extend_from_slice(body);
    }
    (!set.is_empty()).then(|| set.freeze())
}
