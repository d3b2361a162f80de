//! The services of the inputs, with the methods that each has.

use prost_types::{Any, Timestamp};

service! {
    plain: grpcrouter_build_compiled::plain::plain::v1, plain_server::Plain, plain_router::PlainRouter, PlainInstance, "k" {
        unary unary(Ask) -> Answer;
        server_streaming server_streaming(Ask) -> Answer as ServerStreamingStream;
        client_streaming client_streaming(Ask) -> Answer;
        bidirectional bidirectional(Ask) -> Answer as BidirectionalStream;
    }
}

service! {
    myservice: grpcrouter_build_compiled::myservice::myservice::v1, my_service_server::MyService, my_service_router::MyServiceRouter, MyServiceInstance, "k" {
        unary method1(Method1Request) -> Method1Response;
        server_streaming method2(Method2Request) -> Method2Response as Method2Stream;
        client_streaming method3(Method3Request) -> Method3Response;
        bidirectional stream_method(StreamMethodRequest) -> StreamMethodResponse as StreamMethodStream;
    }
}

service! {
    by_metadata: grpcrouter_build_compiled::strategies::strategies::v1, by_metadata_server::ByMetadata, by_metadata_router::ByMetadataRouter, ByMetadataInstance, "k" {
        unary call(Ask) -> Answer;
    }
}

service! {
    by_header: grpcrouter_build_compiled::strategies::strategies::v1, by_header_server::ByHeader, by_header_router::ByHeaderRouter, ByHeaderInstance, "k" {
        unary call(Ask) -> Answer;
    }
}

service! {
    by_authority: grpcrouter_build_compiled::strategies::strategies::v1, by_authority_server::ByAuthority, by_authority_router::ByAuthorityRouter, ByAuthorityInstance, "k" {
        unary call(Ask) -> Answer;
    }
}

service! {
    by_path: grpcrouter_build_compiled::strategies::strategies::v1, by_path_server::ByPath, by_path_router::ByPathRouter, ByPathInstance, "k" {
        unary call(Ask) -> Answer;
    }
}

service! {
    by_service: grpcrouter_build_compiled::strategies::strategies::v1, by_service_server::ByService, by_service_router::ByServiceRouter, ByServiceInstance, "k" {
        unary call(Ask) -> Answer;
    }
}

service! {
    by_method: grpcrouter_build_compiled::strategies::strategies::v1, by_method_server::ByMethod, by_method_router::ByMethodRouter, ByMethodInstance, "k" {
        unary call(Ask) -> Answer;
    }
}

service! {
    by_field: grpcrouter_build_compiled::strategies::strategies::v1, by_field_server::ByField, by_field_router::ByFieldRouter, ByFieldInstance, "k" {
        unary unary(Ask) -> Answer;
        server_streaming server_streaming(Ask) -> Answer as ServerStreamingStream;
        client_streaming client_streaming(Ask) -> Answer;
        bidirectional bidirectional(Ask) -> Answer as BidirectionalStream;
    }
}

service! {
    by_mark: grpcrouter_build_compiled::strategies::strategies::v1, by_mark_server::ByMark, by_mark_router::ByMarkRouter, ByMarkInstance, "k" {
        unary int32(Number) -> Answer;
        unary r#enum(Coloured) -> Answer;
        unary one_of(Either) -> Answer;
    }
}

service! {
    overrides: grpcrouter_build_compiled::overrides::overrides::v1, carts_server::Carts, carts_router::CartsRouter, CartsInstance, "7" {
        unary as_the_service(Ask) -> Answer;
        server_streaming other_key(Ask) -> Answer as OtherKeyStream;
        client_streaming other_balance(Ask) -> Answer;
        bidirectional by_load(Ask) -> Answer as ByLoadStream;
        unary in_turn(Ask) -> Answer;
        unary without_key(Ask) -> Answer;
        unary without_mark(Marked) -> Answer;
        unary by_path(Ask) -> Answer;
        unary by_field(Ask) -> Answer;
    }
}

service! {
    keywords: grpcrouter_build_compiled::keywords::keywords::r#type::v1, self__server::Self_, self__router::Self_Router, Self_Instance, "k" {
        unary r#type(Match) -> Box;
        server_streaming r#move(Match) -> Box as MoveStream;
        client_streaming self_(Match) -> Box;
        bidirectional r#async(Match) -> Box as asyncStream;
    }
}

service! {
    capitals: grpcrouter_build_compiled::keywords::keywords::r#type::v1, http_cache2_go_server::HttpCache2Go, http_cache2_go_router::HttpCache2GoRouter, HttpCache2GoInstance, "k" {
        unary get_all(Match) -> Box;
    }
}

service! {
    service_called_service: grpcrouter_build_compiled::keywords::keywords::r#type::v1, service_server::Service, service_router::ServiceRouter, ServiceInstance, "k" {
        unary into_routes(Match) -> Box;
        unary default(Match) -> Box;
    }
}

service! {
    service_called_gateway: grpcrouter_build_compiled::keywords::keywords::r#type::v1, gateway_server::Gateway, gateway_router::GatewayRouter, GatewayInstance, "k" {
        unary start(Match) -> Box;
    }
}

service! {
    nested: grpcrouter_build_compiled::nested::nested::v1, nested_server::Nested, nested_router::NestedRouter, NestedInstance, "k" {
        unary inner(outer::Inner) -> outer::inner::Deep;
        server_streaming deep(outer::inner::Deep) -> crate::inputs::imported::Answer as DeepStream;
        client_streaming imported(crate::inputs::imported::Ask) -> crate::inputs::imported::Answer;
        bidirectional imported_nested(crate::inputs::imported::ask::Nested) -> crate::inputs::imported::ask::Nested as ImportedNestedStream;
    }
}

use grpcrouter_build_compiled::nested::shared::v1 as imported;

service! {
    externs: grpcrouter_build_compiled::externs::externs::v1, externs_server::Externs, externs_router::ExternsRouter, ExternsInstance, "k" {
        unary unary(crate::inputs::elsewhere::Ask) -> crate::inputs::elsewhere::Answer;
        bidirectional streaming(crate::inputs::elsewhere::ask::Nested) -> crate::inputs::elsewhere::Answer as StreamingStream;
    }
}

use grpcrouter_build_compiled::shared_types::v1 as elsewhere;

service! {
    wellknown: grpcrouter_build_compiled::wellknown::wellknown::v1, well_known_server::WellKnown, well_known_router::WellKnownRouter, WellKnownInstance, "k" {
        unary nothing(()) -> ();
        server_streaming time(crate::inputs::Timestamp) -> crate::inputs::Timestamp as TimeStream;
        client_streaming anything(crate::inputs::Any) -> crate::inputs::Any;
        bidirectional text(String) -> String as TextStream;
        unary number(i32) -> i32;
        unary bytes(Vec<u8>) -> Vec<u8>;
        unary fields(Fields) -> Fields;
    }
}

service! {
    #[allow(deprecated)]
    comments: grpcrouter_build_compiled::comments::comments::v1, commented_server::Commented, commented_router::CommentedRouter, CommentedInstance, "k" {
        unary block(Ask) -> Answer;
        server_streaming old(Ask) -> Answer as OldStream;
        client_streaming bare(Ask) -> Answer;
        bidirectional old_message(OldAsk) -> Answer as OldMessageStream;
    }
}

service! {
    #[allow(deprecated)]
    old_service: grpcrouter_build_compiled::comments::comments::v1, old_service_server::OldService, old_service_router::OldServiceRouter, OldServiceInstance, "k" {
        unary call(Ask) -> Answer;
    }
}

service! {
    nopackage: grpcrouter_build_compiled::nopackage, no_package_server::NoPackage, no_package_router::NoPackageRouter, NoPackageInstance, "k" {
        unary unary(NoPackageAsk) -> NoPackageAnswer;
        bidirectional bidirectional(NoPackageAsk) -> NoPackageAnswer as BidirectionalStream;
    }
}

service! {
    proto2: grpcrouter_build_compiled::proto2::proto2::v1, proto2_server::Proto2, proto2_router::Proto2Router, Proto2Instance, "k" {
        unary unary(Ask) -> Answer;
    }
}
