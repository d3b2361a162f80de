//! The generated code, as it is. CONTRIBUTING.md says how to review a change of it.

use std::fs;
use std::path::Path;

mod inputs;

const PROTOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/protos");

#[test]
fn routers_are_as_a_person_would_write_them() {
    for input in inputs::INPUTS {
        insta::assert_snapshot!(*input, routers(input));
    }
}

#[test]
fn every_file_is_an_input() {
    let files = fs::read_dir(PROTOS).expect("the inputs");
    let mut names: Vec<_> = files
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .map(|path| {
            path.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    assert_eq!(names, inputs::INPUTS);
}

/// What is generated for an input, without what prost and tonic do.
fn routers(input: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    inputs::configure(input)
        .out_dir(folder.path())
        .emit_rerun_if_changed(false)
        .compile_protos(&[format!("{input}.proto")], &[PROTOS])
        .unwrap_or_else(|error| panic!("{error}"));
    let packages = files(folder.path(), "rs");
    let with_routers = packages
        .iter()
        .filter_map(|text| text.split_once("pub const FILE_DESCRIPTOR_SET"));
    let routers: Vec<_> = with_routers
        .map(|(_, rest)| rest.split_once(";\n").expect("an item").1)
        .collect();
    assert_eq!(routers.len(), 1, "one package of {input} has services");
    assert_eq!(files(folder.path(), "bin").len(), 1, "and descriptors");
    routers.concat()
}

/// The texts of the files with this ending.
fn files(folder: &Path, ending: &str) -> Vec<String> {
    let paths = fs::read_dir(folder).expect("a folder");
    paths
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|it| it == ending))
        .map(|path| String::from_utf8_lossy(&fs::read(path).expect("a file")).into_owned())
        .collect()
}
