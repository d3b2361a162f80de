//! The conformance suite's command line.

fn main() {
    for entry in grpcrouter_conformance::catalogue::all() {
        println!("{:<6} {:<9} {}", entry.id, entry.profile(), entry.title);
    }
}
