//! A crate outside of the workspace does what README.md says, in its words, and works.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const README: &str = include_str!("../README.md");

#[test]
fn a_crate_outside_of_the_workspace_works_as_the_readme_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let outside = target().join("outside");
    let app = outside.join("app");
    for folder in ["proto", "src"] {
        fs::create_dir_all(app.join(folder)).expect("a folder");
    }
    // The README has this repository beside the crate.
    let link = outside.join("grpcrouter");
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(root.canonicalize().expect("the root"), &link).expect("a link");

    write(&app.join("proto/shop.proto"), block("proto"));
    write(&app.join("build.rs"), block("rust,no_run"));
    write(&app.join("src/main.rs"), block("rust,ignore"));
    let package =
        "[package]\nname = \"app\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";
    write(
        &app.join("Cargo.toml"),
        &format!("{package}{}", block("toml")),
    );
    // The versions that are there already: nothing is downloaded.
    let lock = fs::read_to_string(root.join("Cargo.lock")).expect("the lock file");
    write(&app.join("Cargo.lock"), &lock);

    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let done = Command::new(cargo)
        .args(["run", "--quiet", "--offline"])
        .current_dir(&app)
        .env("CARGO_TARGET_DIR", outside.join("target"))
        .env("CARGO_PROFILE_DEV_DEBUG", "none")
        .env("PROTOC", "/nonexistent")
        .output()
        .expect("cargo");
    let said = String::from_utf8_lossy(&done.stdout);
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}{errors}");
    assert_eq!(
        said, "cart-7 gets tea\nAddResponse { items: 1 }\n",
        "{errors}"
    );
}

/// The first block of this language in the README.
fn block(language: &str) -> &'static str {
    let (_, rest) = README
        .split_once(&format!("```{language}\n"))
        .unwrap_or_else(|| panic!("README.md has a block of {language}"));
    rest.split_once("```").expect("its end").0
}

/// Leaves what is as it should be, so that Cargo sees no change.
fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).ok().as_deref() != Some(text) {
        fs::write(path, text).expect("written");
    }
}

/// The workspace's folder for what is built.
fn target() -> PathBuf {
    let own = Path::new(env!("CARGO_TARGET_TMPDIR"));
    own.parent().expect("it is in the target folder").to_owned()
}
