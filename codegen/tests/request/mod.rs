//! What protoc or buf ask a plugin.

use prost::Message;
use prost_types::compiler::CodeGeneratorRequest;

/// A request for the code of one file of these descriptors, an encoded `FileDescriptorSet`.
pub(crate) fn encode(file: &str, parameter: &str, descriptors: &[u8]) -> Vec<u8> {
    let mut request = CodeGeneratorRequest {
        file_to_generate: vec![file.to_owned()],
        parameter: Some(parameter.to_owned()),
        ..CodeGeneratorRequest::default()
    }
    .encode_to_vec();
    // A set of files is the same field as in a request, but for its number: decoding it would lose the
    // options.
    let file = RawFiles::decode(descriptors).expect("a set of files").file;
    let files = RawFilesOfRequest { file };
    files.encode(&mut request).expect("a vector grows");
    request
}

#[derive(prost::Message)]
struct RawFiles {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

#[derive(prost::Message)]
struct RawFilesOfRequest {
    #[prost(bytes = "vec", repeated, tag = "15")]
    file: Vec<Vec<u8>>,
}
