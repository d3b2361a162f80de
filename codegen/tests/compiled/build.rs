//! Generates code for every input of the snapshots, each in a folder of its own.

use std::path::Path;

#[path = "../inputs/mod.rs"]
mod inputs;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = std::env::var("OUT_DIR")?;
    for input in inputs::INPUTS {
        let folder = Path::new(&out).join(input);
        std::fs::create_dir_all(&folder)?;
        inputs::configure(input)
            .out_dir(&folder)
            .include_file("mod.rs")
            .compile_protos(&[format!("{input}.proto")], &["../protos"])?;
    }
    // Where the input `externs` finds its types.
    grpcrouter_build::configure().compile_protos(&["shared/shared.proto"], &["../protos"])?;
    Ok(())
}
