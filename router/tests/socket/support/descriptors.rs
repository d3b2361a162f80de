//! Sets of descriptors, and a client that asks for them.

use bytes::Bytes;
use http::Request;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto, ServiceDescriptorProto,
};
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{
    ExtensionRequest, ServerReflectionRequest, ServerReflectionResponse,
};

use super::client::{Client, Exchange};

/// The set of `test.Probe`: `probe.proto`, and `NAME.proto`, which it imports, with `test.Message` and an
/// extension of it. Sets of different names are different sets.
pub(crate) fn probe_set(name: &str) -> Bytes {
    let common = format!("{name}.proto");
    let of_message = ".test.Message".to_owned();
    let method = MethodDescriptorProto {
        name: Some("Echo".to_owned()),
        input_type: Some(of_message.clone()),
        output_type: Some(of_message.clone()),
        ..MethodDescriptorProto::default()
    };
    let service = ServiceDescriptorProto {
        name: Some("Probe".to_owned()),
        method: vec![method],
        ..ServiceDescriptorProto::default()
    };
    let extension = FieldDescriptorProto {
        name: Some("colour".to_owned()),
        number: Some(100),
        label: Some(Label::Optional.into()),
        r#type: Some(Type::String.into()),
        extendee: Some(of_message),
        ..FieldDescriptorProto::default()
    };
    let package = Some("test".to_owned());
    let probe = FileDescriptorProto {
        name: Some("probe.proto".to_owned()),
        package: package.clone(),
        dependency: vec![common.clone()],
        service: vec![service],
        ..FileDescriptorProto::default()
    };
    let message = DescriptorProto {
        name: Some("Message".to_owned()),
        ..DescriptorProto::default()
    };
    let common = FileDescriptorProto {
        name: Some(common),
        package,
        message_type: vec![message],
        extension: vec![extension],
        ..FileDescriptorProto::default()
    };
    let set = FileDescriptorSet {
        file: vec![common, probe],
    };
    set.encode_to_vec().into()
}

/// A client of reflection, on one stream.
pub(crate) struct Reflection(Exchange);

/// What reflection said, in short.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    Services(Vec<String>),
    /// Names of files.
    Files(Vec<String>),
    Numbers(String, Vec<i32>),
    /// A code.
    Error(i32),
}

pub(crate) const NOT_FOUND: Said = Said::Error(5);

impl Reflection {
    /// A stream of the service in this version, to the gateway or to an instance.
    pub(crate) async fn open(client: &Client, version: &str, instance: Option<&str>) -> Self {
        let service = format!("grpc.reflection.{version}.ServerReflection");
        let mut request = Request::post(format!("http://gw/{service}/ServerReflectionInfo"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(instance) = instance {
            request = request.header("grpcrouter-instance", instance);
        }
        let mut call = client.open(request.body(()).expect("a request")).await;
        call.head().await;
        Self(call)
    }

    pub(crate) async fn services(&mut self) -> Said {
        self.ask(MessageRequest::ListServices(String::new())).await
    }

    pub(crate) async fn symbol(&mut self, name: &str) -> Said {
        self.ask(MessageRequest::FileContainingSymbol(name.to_owned()))
            .await
    }

    pub(crate) async fn file(&mut self, name: &str) -> Said {
        self.ask(MessageRequest::FileByFilename(name.to_owned()))
            .await
    }

    pub(crate) async fn extension(&mut self, containing: &str, extension_number: i32) -> Said {
        let containing_type = containing.to_owned();
        let asked = ExtensionRequest {
            containing_type,
            extension_number,
        };
        self.ask(MessageRequest::FileContainingExtension(asked))
            .await
    }

    pub(crate) async fn numbers(&mut self, name: &str) -> Said {
        self.ask(MessageRequest::AllExtensionNumbersOfType(name.to_owned()))
            .await
    }

    pub(crate) fn half_close(&mut self) {
        self.0.half_close();
    }

    /// Ends once the answer has: its trailers.
    pub(crate) async fn end(mut self) -> http::HeaderMap {
        while self.0.message().await.is_some() {}
        self.0.trailers().await
    }

    /// v1alpha has the same messages under other names.
    async fn ask(&mut self, question: MessageRequest) -> Said {
        let request = ServerReflectionRequest {
            host: "gw".to_owned(),
            message_request: Some(question),
        };
        self.0.send(&request.encode_to_vec()).await;
        let message = self.0.message().await.expect("the stream goes on");
        let response = ServerReflectionResponse::decode(message).expect("a message");
        assert_eq!(response.original_request, Some(request));
        match response.message_response.expect("an answer") {
            MessageResponse::ListServicesResponse(list) => {
                Said::Services(list.service.into_iter().map(|s| s.name).collect())
            }
            MessageResponse::FileDescriptorResponse(files) => {
                let files = files.file_descriptor_proto.into_iter();
                Said::Files(files.map(|file| name_of(&file)).collect())
            }
            MessageResponse::AllExtensionNumbersResponse(numbers) => {
                Said::Numbers(numbers.base_type_name, numbers.extension_number)
            }
            MessageResponse::ErrorResponse(error) => Said::Error(error.error_code),
        }
    }
}

fn name_of(file: &[u8]) -> String {
    let file = FileDescriptorProto::decode(file).expect("a file");
    file.name.expect("a name")
}

pub(crate) fn services(names: &[&str]) -> Said {
    Said::Services(names.iter().map(|&name| name.to_owned()).collect())
}

pub(crate) fn files(names: &[&str]) -> Said {
    Said::Files(names.iter().map(|&name| name.to_owned()).collect())
}
