//! What a builder can be told beside files and folders.

use std::fs;
use std::path::Path;

use grpcrouter_build::Builder;
use prost_reflect::DescriptorPool;

const PROTOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/protos");

#[test]
fn descriptors_keep_their_options_and_bring_their_imports() {
    let folder = tempfile::tempdir().expect("a folder");
    let all = folder.path().join("all.bin");
    generate("nested", folder.path(), |it| {
        it.file_descriptor_set_path(&all)
    });
    for file in [all, folder.path().join("nested.v1.descriptors.bin")] {
        let set = fs::read(file).expect("descriptors");
        let pool = DescriptorPool::decode(&set[..]).expect("nothing is missing");
        let ask = pool
            .get_message_by_name("shared.v1.Ask")
            .expect("an import");
        let key = ask.get_field_by_name("key").expect("its key");
        let option = pool.get_extension_by_name("grpcrouter.v1.routing_key");
        let option = option.expect("the options' own file");
        assert!(key.options().has_extension(&option));
        let mut files = pool.file_descriptor_protos();
        assert!(
            files.all(|file| file.source_code_info.is_none()),
            "no comments"
        );
    }
}

#[test]
fn packages_have_their_own_descriptors() {
    let folder = tempfile::tempdir().expect("a folder");
    grpcrouter_build::configure()
        .out_dir(folder.path())
        .emit_rerun_if_changed(false)
        .compile_protos(&["plain.proto", "nested.proto"], &[PROTOS])
        .expect("two packages");
    let set = fs::read(folder.path().join("plain.v1.descriptors.bin")).expect("descriptors");
    let pool = DescriptorPool::decode(&set[..]).expect("a set");
    let names: Vec<_> = pool.files().map(|file| file.name().to_owned()).collect();
    assert_eq!(names, ["plain.proto"]);
}

#[test]
fn the_order_of_the_files_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| {
        let text =
            format!("syntax = \"proto3\"; package p; message {name}M {{}} service {name} {{}}");
        let path = folder.path().join(format!("{name}.proto"));
        fs::write(&path, text).expect("written");
        path
    };
    let files = [file("A"), file("C")];
    let compile = |files: [&Path; 2]| {
        grpcrouter_build::configure()
            .out_dir(folder.path())
            .emit_rerun_if_changed(false)
            .compile_protos(&files, &[folder.path()])
            .unwrap_or_else(|error| panic!("{error}"));
        fs::read_to_string(folder.path().join("p.rs")).expect("the package")
    };
    let text = compile([&files[0], &files[1]]);
    assert_eq!(text, compile([&files[1], &files[0]]));
    assert!(text.contains("ARouter") && text.contains("CRouter"));
}

#[test]
fn descriptors_can_be_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = generate("plain", folder.path(), |it| it.descriptors(false));
    assert!(text.contains("PlainInstance") && !text.contains("FILE_DESCRIPTOR_SET"));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn clients_and_servers_can_be_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let without_client = generate("plain", folder.path(), |it| it.build_client(false));
    assert!(!without_client.contains("PlainClient") && without_client.contains("PlainInstance"));
    let without_server = generate("plain", folder.path(), |it| it.build_server(false));
    assert!(without_server.contains("PlainClient") && !without_server.contains("PlainInstance"));
    let router = generate("plain", folder.path(), |it| {
        it.build_client(false).build_server(false)
    });
    assert!(router.contains("PlainRouter") && !router.contains("PlainClient"));
}

#[test]
fn prost_is_told_what_it_can_be_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = generate("plain", folder.path(), |it| {
        it.type_attribute("plain.v1.Ask", "#[derive(Ord)]")
            .field_attribute("plain.v1.Answer.text", "#[doc = \"marked\"]")
            .include_file("mod.rs")
            .prost(|config| {
                config.skip_debug(["plain.v1.Ask"]);
            })
    });
    for word in ["#[derive(Ord)]", "marked"] {
        assert!(text.contains(word), "{word}");
    }
    let include = fs::read_to_string(folder.path().join("mod.rs")).expect("the file of includes");
    assert!(include.contains("pub mod plain {"), "{include}");
}

#[test]
fn a_method_is_called_connect_where_clients_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let proto = folder.path().join("phone.proto");
    let text = "syntax = \"proto3\"; message Q {} service Phone { rpc Connect(Q) returns (Q); }";
    fs::write(&proto, text).expect("written");
    let compile = |transport| {
        grpcrouter_build::configure()
            .out_dir(folder.path())
            .emit_rerun_if_changed(false)
            .build_transport(transport)
            .compile_protos(&[&proto], &[folder.path()])
    };
    assert!(compile(true).is_err());
    assert!(compile(false).is_ok());
}

#[test]
fn well_known_types_can_be_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = generate("wellknown", folder.path(), |it| {
        it.compile_well_known_types(true)
            .extern_path(".google.protobuf", "::elsewhere")
    });
    assert!(text.contains("::elsewhere::Timestamp") && !text.contains("prost_types"));
}

/// The text of the package of an input.
fn generate(input: &str, folder: &Path, change: impl FnOnce(Builder) -> Builder) -> String {
    let builder = grpcrouter_build::configure()
        .out_dir(folder)
        .emit_rerun_if_changed(false);
    change(builder)
        .compile_protos(&[format!("{input}.proto")], &[PROTOS])
        .unwrap_or_else(|error| panic!("{error}"));
    fs::read_to_string(folder.join(format!("{input}.v1.rs"))).expect("the package")
}
