//! An instance has every method of its service.

use grpcrouter_build_compiled::strategies::strategies::v1::by_metadata_router::ByMetadataInstance;
use grpcrouter_build_compiled::strategies::strategies::v1::by_metadata_server::ByMetadata;

struct Unfinished;

impl ByMetadata for Unfinished {}

fn main() {
    let _ = ByMetadataInstance::new(Unfinished);
}
