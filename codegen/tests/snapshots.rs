//! The generated code, as it is. CONTRIBUTING.md says how to review a change of it.

use std::fs;
use std::path::Path;

mod hint;
mod inputs;

const PROTOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/protos");

#[test]
fn routers_are_as_a_person_would_write_them() {
    let _hint = hint::Hint;
    for input in inputs::INPUTS {
        insta::assert_snapshot!(*input, routers(input));
    }
}

#[test]
fn every_file_is_an_input_and_has_a_snapshot() {
    assert_eq!(stems(PROTOS, ""), inputs::INPUTS);
    let snapshots = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots");
    assert_eq!(stems(snapshots, "snapshots__"), inputs::INPUTS);
}

/// The names of the files that begin like this, without that and their endings.
fn stems(folder: &str, prefix: &str) -> Vec<String> {
    let files = fs::read_dir(folder).expect("a folder");
    let paths = files.map(|entry| entry.expect("an entry").path());
    let mut names: Vec<_> = paths
        .filter(|path| path.is_file())
        .filter_map(|path| {
            let stem = path.file_stem()?.to_str()?;
            Some(stem.strip_prefix(prefix)?.to_owned())
        })
        .collect();
    names.sort();
    names
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
