//! What to do where a snapshot differs.

/// Says it when a test fails while this is held.
pub(crate) struct Hint;

impl Drop for Hint {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "\nis it meant? `cargo xtask codegen` takes it as it is now; then read the diff\n"
            );
        }
    }
}
