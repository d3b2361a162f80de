//! Compiles the .proto files without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["probe.proto", "subject.proto"], ["proto"])?;
    // Their comments are specifications with lines of JSON in them, not documentation of Rust items.
    prost_build::Config::new()
        .bytes(["."])
        .btree_map(["."])
        .disable_comments(["."])
        .compile_fds(descriptors)?;
    Ok(())
}
