//! Routers for protoc and buf: a `CodeGeneratorRequest` on stdin, its response on stdout.

use std::io::{Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("protoc-gen-grpcrouter: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut request = Vec::new();
    std::io::stdin().lock().read_to_end(&mut request)?;
    let response = grpcrouter_build::plugin::respond(&request)?;
    std::io::stdout().lock().write_all(&response)?;
    Ok(())
}
