//! What a careless gateway does: a control for cases about the side of clients, where no mutant of the tunnel reaches.

use grpcrouter_proto::v1::Metadata;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::relay::Status;
use crate::tunnel::metadata::size;

/// It takes any content type, so that this is what it takes them for.
pub(super) const CONTENT_TYPE: &str = "application/grpc";

/// What belongs to gateways and instances is answered to clients.
pub(super) fn answers(path: &str) -> Option<Status> {
    path.starts_with("/grpcrouter.v1.Router/")
        .then_some(Status {
            code: 0,
            reason: "careless",
        })
}

/// A path without its empty segments, as if it had been meant so.
pub(super) fn tidied(path: &str) -> String {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    segments.fold(String::new(), |path, segment| path + "/" + segment)
}

/// A list is cut where it is too long, and nobody is told.
pub(super) fn cut(list: &mut Vec<Metadata>, most: usize) {
    while size(list) > most {
        // What clients add stands behind what calls begin with, mostly.
        list.pop();
    }
}

/// Where nobody is there, nothing was found.
pub(super) fn nobody(status: Status) -> Status {
    const NOT_FOUND: u32 = 5;
    match status.reason {
        "no-instance" => Status {
            code: NOT_FOUND,
            ..status
        },
        _ => status,
    }
}

/// A handler's initial metadata pass as they are, a status among them too.
pub(super) fn forged(list: &[Metadata], headers: &mut HeaderMap) {
    for entry in list.iter().filter(|entry| entry.key.starts_with("grpc-")) {
        let name = HeaderName::from_bytes(entry.key.as_bytes());
        let value = HeaderValue::from_bytes(&entry.value);
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.insert(name, value);
        }
    }
}
