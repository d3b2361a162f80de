//! What is refused, and in which words: one line for each thing to mend.

use std::fs;

use prost::Message;
use prost_types::compiler::CodeGeneratorResponse;

mod hint;
mod request;

/// Files that cannot be, each with what is wrong in its own words. `S` and `M` are the options of the
/// service and of the method.
const CASES: &[(&str, &str)] = &[
    (
        "no such strategy",
        r#"service A { S = { strategy: COOKIE_BASED }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "no such option",
        r#"service A { S = { cookie: "x" }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "no such balancing of a method",
        "service A {\n  rpc Get(Q) returns (Q) {\n    M = { balancing: RANDOM };\n  }\n}",
    ),
    (
        "a number for a name",
        r#"service A { S = { routing_key: 1 }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "no such number of a strategy",
        r#"service A { S = { strategy: 9, routing_key: "k", missing_key: -1 }; rpc Get(Q) returns (Q) { M = { balancing: PINNED }; } }"#,
    ),
    (
        "no such number of a method's balancing",
        r#"service A { rpc Get(Q) returns (Q) { M = { balancing: 4 }; } }"#,
    ),
    (
        "no such message",
        r#"service A { rpc Get(Q) returns (R); }"#,
    ),
    (
        "a metadata key of HTTP alone",
        r#"service A { S = { routing_key: "Instance-Id" }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "a metadata key of gRPC's own",
        r#"service A { S = { routing_key: "grpc-timeout" }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "no header's name",
        r#"service A { S = { strategy: HEADER_BASED, routing_key: ":path" }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "no header",
        r#"service A { S = { strategy: HEADER_BASED }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "a prefix that ends with /",
        r#"service A { S = { path_prefix: "/api/" }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "a prefix of a method",
        r#"service A { rpc Get(Q) returns (Q) { M = { path_prefix: "/api" }; } }"#,
    ),
    (
        "a key in no path",
        r#"service A { S = { strategy: PATH_BASED, routing_key: "id" }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "another service's options",
        r#"service A { S = { service: "B" }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "pinned by nothing",
        r#"service A { S = { balancing: PINNED }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "hashed by nothing",
        r#"service A { rpc Get(Q) returns (Q) { M = { balancing: CONSISTENT_HASH }; } }"#,
    ),
    (
        "every call rejected",
        r#"service A { S = { missing_key: REJECT }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "keys for nobody",
        r#"service A { S = { routing_key: "k", balancing: ROUND_ROBIN, keys: "a" }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "keys without a key",
        r#"service A { S = { keys: "a" }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "a key twice",
        r#"service A { S = { routing_key: "k", keys: ["a", "a"] }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "an empty key",
        r#"service A { S = { routing_key: "k", keys: "" }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "no time for the key",
        r#"service A { S = { strategy: FIELD_BASED, routing_key: "text", key_timeout_ms: 0 }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "no such field",
        r#"service A { S = { strategy: FIELD_BASED, routing_key: "id" }; rpc Get(Q) returns (Q); rpc Also(Q) returns (Q); }"#,
    ),
    (
        "no field at all",
        r#"service A { S = { strategy: FIELD_BASED }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "a field of an empty message",
        r#"message E {} service A { S = { strategy: FIELD_BASED, routing_key: "id" }; rpc Get(E) returns (Q); }"#,
    ),
    (
        "a repeated field",
        r#"service A { S = { strategy: FIELD_BASED, routing_key: "many" }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "a message",
        r#"service A { S = { strategy: FIELD_BASED, routing_key: "inner" }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "a map",
        r#"service A { S = { strategy: FIELD_BASED, routing_key: "map" }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "two marks",
        "message Two {\n  string a = 1 [(grpcrouter.v1.routing_key) = true];\n  string b = 2 [(grpcrouter.v1.routing_key) = true];\n}\nservice A { rpc Get(Two) returns (Q); }",
    ),
    (
        "a marked message",
        "message Bad {\n  Q q = 1 [(grpcrouter.v1.routing_key) = true];\n}\nservice A { rpc Get(Bad) returns (Q); }",
    ),
    (
        "a mark and another name",
        "message One {\n  string a = 1 [(grpcrouter.v1.routing_key) = true];\n  string b = 2;\n}\nservice A { rpc Get(One) returns (Q) { M = { routing_key: \"b\" }; } }",
    ),
    (
        "both sides may wait",
        r#"service A { S = { strategy: FIELD_BASED, routing_key: "text" }; rpc Get(stream Q) returns (stream Q); }"#,
    ),
    (
        "methods of one name",
        "service A {\n  rpc Type(Q) returns (Q);\n  rpc type_(Q) returns (Q);\n}",
    ),
    (
        "the router's own name",
        r#"service A { rpc Client(Q) returns (Q); }"#,
    ),
    (
        "the client's own name",
        r#"service A { rpc Connect(Q) returns (Q); }"#,
    ),
    (
        "services of one module",
        "service HttpCache { rpc Get(Q) returns (Q); }\nservice HTTPCache { rpc Get(Q) returns (Q); }",
    ),
    (
        "a message's module",
        "message ARouter { message Inner {} }\nservice A { rpc Get(Q) returns (Q); }",
    ),
    (
        "a message's module, in prost's way of writing it",
        "message DBServer { oneof of { string a = 1; } }\nservice DB { rpc Get(Q) returns (Q); }",
    ),
    (
        "a message's module, two letters",
        "message ABServer { oneof of { string a = 1; } }\nservice AB { rpc Get(Q) returns (Q); }",
    ),
    (
        "a message's module, with its own _",
        "message A_Server { enum Of { NONE = 0; } }\nservice A { rpc Get(Q) returns (Q); }",
    ),
    (
        "a message's module, all capitals",
        "message HTTPRouter { message Inner {} }\nservice HTTP { rpc Get(Q) returns (Q); }",
    ),
    (
        "a method and its service",
        "service GetSvc { rpc Get(Q) returns (Q); }",
    ),
    (
        "a service that tonic's server would take for something else",
        "service Poll {\n  rpc Get(Q) returns (Q);\n}\nservice option { rpc Get(Q) returns (Q); }",
    ),
    (
        "one at once, though more depends on it",
        r#"service A { S = { strategy: FIELD_BASED, routing_key: "id", balancing: CONSISTENT_HASH, missing_key: REJECT }; rpc Get(Q) returns (Q); }"#,
    ),
    (
        "two at once",
        r#"service A { S = { service: "B", path_prefix: "api" }; rpc Get(Q) returns (Q); }"#,
    ),
];

const MESSAGE: &str = "message Q { string text = 1; repeated string many = 2; Q inner = 3; map<string, string> map = 4; }";

#[test]
fn what_is_wrong_is_said_in_a_line_with_its_place() {
    let _hint = hint::Hint;
    let mut said = String::new();
    for (name, text) in CASES {
        let error = compile(text).expect_err(name);
        for line in error.lines() {
            assert!(line.starts_with("case.proto:"), "{name}: {line}");
        }
        said.push_str(&format!("{name}\n  {}\n", error.replace('\n', "\n  ")));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn what_is_missing_is_said_with_where_it_is_looked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let proto = folder.path().join("case.proto");
    let said = |text: &str| {
        fs::write(&proto, format!("syntax = \"proto3\";\n{text}\n")).expect("written");
        let done = grpcrouter_build::configure()
            .out_dir(folder.path())
            .emit_rerun_if_changed(false)
            .compile_protos(&[&proto], &[folder.path()]);
        done.expect_err(text).to_string()
    };
    assert_eq!(
        said("import \"other/v1/other.proto\";"),
        format!(
            "case.proto:2:1: import 'other/v1/other.proto' not found; expected it in one of the include \
             folders: {}",
            folder.path().display()
        )
    );
    assert_eq!(
        said(
            "message Q {}\nservice A {\n  option (grpcrouter.v1.routes_to) = {};\n  rpc Get(Q) returns (Q);\n}"
        ),
        "case.proto:4:3: A: name 'grpcrouter.v1.routes_to' is not defined; expected import \
         \"grpcrouter/v1/options.proto\""
    );
    let missing = folder.path().join("proto/missing.proto");
    let error = grpcrouter_build::configure()
        .out_dir(folder.path())
        .compile_protos(&[&missing], &[folder.path()])
        .expect_err("it is not there");
    let line = format!("{}: no such file", missing.display());
    assert_eq!(error.to_string(), line);
}

/// As where a generator is older than the options that its user has.
#[test]
fn options_of_another_version_are_refused() {
    let own = include_str!("../../proto/grpcrouter/v1/options.proto");
    let more = own.replace(
        "optional uint32 key_timeout_ms = 9;",
        "optional uint32 key_timeout_ms = 9; optional bool newer = 10;",
    );
    let other = own.replace(
        "optional string routing_key = 2",
        "optional bool routing_key = 2",
    );
    let none = own.replace("method_routes_to = 50002", "routes = 50002");
    let method = "service A { S = { path_prefix: \"/x\" }; rpc Get(Q) returns (Q) { M = { newer: true }; } }";
    let service = "service A { S = { routing_key: true }; rpc Get(Q) returns (Q); }";
    let nobody = "service A { rpc Get(Q) returns (Q); }";
    let what = "the options are of another version of grpcrouter/v1/options.proto; expected the file that \
                comes with this generator";
    for (options, text, place) in [
        (more, method, "case.proto:5: p.v1.A/Get: "),
        (other, service, "case.proto:5: p.v1.A: "),
        (none, nobody, ""),
    ] {
        assert_eq!(plugin(&options, text), Some(format!("{place}{what}")));
    }
    assert_eq!(plugin(own, nobody), None);
}

/// What looks like two modules of one name.
#[test]
fn messages_without_a_module_are_no_reason_to_refuse() {
    let map =
        "message ARouter { map<string, string> m = 1; }\nservice A { rpc Get(Q) returns (Q); }";
    assert_eq!(compile(map), Ok(()));
    let case =
        "message AbCServer { oneof of { string a = 1; } }\nservice ABC { rpc Get(Q) returns (Q); }";
    assert_eq!(compile(case), Ok(()));
    let text =
        case_of("message ARouter { message Inner {} }\nservice A { rpc Get(Q) returns (Q); }");
    let folder = tempfile::tempdir().expect("a folder");
    let proto = folder.path().join("case.proto");
    fs::write(&proto, text).expect("written");
    let elsewhere = grpcrouter_build::configure()
        .out_dir(folder.path())
        .emit_rerun_if_changed(false)
        .extern_path(".p.v1.ARouter", "crate::elsewhere::ARouter")
        .compile_protos(&[&proto], &[folder.path()]);
    assert!(elsewhere.is_ok(), "{elsewhere:?}");
}

#[test]
fn names_that_servers_alone_have_are_taken_where_servers_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let proto = folder.path().join("case.proto");
    let text =
        "service GetSvc { rpc Get(Q) returns (Q); } service Poll { rpc Get(Q) returns (Q); }";
    fs::write(&proto, case_of(text)).expect("written");
    let done = grpcrouter_build::configure()
        .out_dir(folder.path())
        .emit_rerun_if_changed(false)
        .build_server(false)
        .compile_protos(&[&proto], &[folder.path()]);
    assert!(done.is_ok(), "{done:?}");
}

/// The plugin's error of a file, under these options.
fn plugin(options: &str, text: &str) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let imported = folder.path().join("grpcrouter/v1");
    fs::create_dir_all(&imported).expect("a folder");
    fs::write(imported.join("options.proto"), options).expect("written");
    fs::write(folder.path().join("case.proto"), case_of(text)).expect("written");
    let mut compiler = protox::Compiler::new([folder.path()]).expect("a folder");
    compiler.include_imports(true).include_source_info(true);
    let compiled = compiler.open_file("case.proto").expect("it compiles");
    let request = request::encode("case.proto", "", &compiled.encode_file_descriptor_set());
    let response = grpcrouter_build::plugin::respond(&request).expect("a response");
    CodeGeneratorResponse::decode(&response[..])
        .expect("a response")
        .error
}

#[test]
fn no_promise_is_asked_for_where_the_key_decides_nothing() {
    let service = |options: &str| {
        let by_text = "strategy: FIELD_BASED, routing_key: \"text\", ";
        let method = "rpc Get(stream Q) returns (stream Q);";
        compile(&format!(
            "service A {{ S = {{ {by_text}{options} }}; {method} }}"
        ))
    };
    assert_eq!(service("balancing: ROUND_ROBIN"), Ok(()));
    assert_eq!(service("balancing: LEAST_LOADED"), Ok(()));
    for needed in [
        "balancing: CONSISTENT_HASH",
        "balancing: ROUND_ROBIN, missing_key: REJECT",
    ] {
        let said = service(needed).expect_err(needed);
        assert!(said.contains("client_speaks_first: true"), "{said}");
    }
}

#[test]
fn nothing_is_written_where_something_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let proto = folder.path().join("case.proto");
    let text = "syntax = \"proto3\"; message Q {} service A { rpc New(Q) returns (Q); }";
    fs::write(&proto, text).expect("written");
    let result = grpcrouter_build::configure()
        .out_dir(folder.path())
        .compile_protos(&[&proto], &[folder.path()]);
    assert!(result.is_err());
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = grpcrouter_build::configure()
        .out_dir(".")
        .compile_protos(&["nowhere/none.proto"], &["nowhere"])
        .expect_err("no such file");
    assert!(error.to_string().contains("none.proto"), "{error}");
    assert_eq!(format!("{error:?}"), error.to_string(), "as main prints it");
}

/// The error of a file.
fn compile(text: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let proto = folder.path().join("case.proto");
    fs::write(&proto, case_of(text)).expect("written");
    grpcrouter_build::configure()
        .out_dir(folder.path())
        .emit_rerun_if_changed(false)
        .compile_protos(&[&proto], &[folder.path()])
        .map_err(|error| error.to_string())
}

/// The whole file of a case, which begins at its fifth line.
fn case_of(text: &str) -> String {
    let text = text
        .replace(" S = ", " option (grpcrouter.v1.routes_to) = ")
        .replace(" M = ", " option (grpcrouter.v1.method_routes_to) = ");
    let header = "syntax = \"proto3\";\npackage p.v1;\nimport \"grpcrouter/v1/options.proto\";";
    format!("{header}\n{MESSAGE}\n{text}\n")
}
