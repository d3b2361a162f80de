//! No input is left out: what is generated is what is compiled and called.

use std::collections::BTreeSet;

/// The services are told from their generated modules in the package's file.
#[test]
fn every_service_of_every_input_is_called() {
    let calls = include_str!("calls/inputs.rs");
    let library = include_str!("../src/lib.rs");
    let listed = library.split_once("inputs! {").expect("the list").1;
    let listed = listed.split_once('}').expect("its end").0;
    let listed: Vec<_> = listed.split_whitespace().collect();
    let protos = concat!(env!("CARGO_MANIFEST_DIR"), "/../protos");
    let files = std::fs::read_dir(protos).expect("a folder");
    let paths = files.map(|entry| entry.expect("an entry").path());
    let mut inputs: Vec<_> = paths
        .filter(|path| path.is_file())
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    inputs.sort();
    assert_eq!(listed, inputs);
    let out = std::path::Path::new(env!("OUT_DIR"));
    let mut generated = BTreeSet::new();
    for input in &inputs {
        for entry in std::fs::read_dir(out.join(input)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_none_or(|it| it != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(path).expect("a file");
            for line in text.lines() {
                let router = line.trim().strip_prefix("pub struct ");
                let router = router.and_then(|it| it.strip_suffix("Router {"));
                if let Some(service) = router {
                    generated.insert(format!("::{service}Router, "));
                }
            }
        }
    }
    assert!(generated.len() > inputs.len());
    // A service without methods has nothing to call.
    assert!(generated.remove("::NothingRouter, "));
    for router in &generated {
        assert!(calls.contains(router.as_str()), "nobody calls {router}");
    }
}
