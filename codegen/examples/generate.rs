//! Generates code into a folder, where no build script is wanted:
//! `generate OUT_DIR INCLUDE FILE [PROTO=RUST]...`, the last as `extern_path`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = |what: &str| args.next().ok_or(format!("expected {what}"));
    let (out_dir, include, file) = (next("OUT_DIR")?, next("INCLUDE")?, next("FILE")?);
    let mut builder = grpcrouter_build::configure()
        .out_dir(out_dir)
        .emit_rerun_if_changed(false);
    for arg in args {
        let (proto, rust) = arg.split_once('=').ok_or("expected PROTO=RUST")?;
        builder = builder.extern_path(proto, rust);
    }
    Ok(builder.compile_protos(&[file], &[include])?)
}
