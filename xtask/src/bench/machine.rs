//! What it was measured on.

use std::fs::read_to_string;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::shell;
use crate::workspace::Workspace;

/// What a reader must know of where figures come from.
#[derive(Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    /// What was built, with a `+` where files differed from it.
    pub(crate) commit: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
}

impl Machine {
    /// Whether the commit alone says what was built, so that anyone can build it again.
    pub(crate) fn can_be_repeated(&self) -> bool {
        !self.commit.ends_with('+')
    }

    pub(crate) fn read(workspace: &Workspace) -> Self {
        let said = |program: &str, args: &[&str]| {
            let mut command = Command::new(program);
            let text = shell::output(command.current_dir(&workspace.root).args(args));
            text.map_or("unknown".to_owned(), |text| text.trim().to_owned())
        };
        let info = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split_once(':'));
        let changed = !said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
        let commit = said("git", &["rev-parse", "--short=12", "HEAD"]);
        Self {
            date: said("date", &["-u", "+%Y-%m-%d"]),
            commit: format!("{commit}{}", if changed { "+" } else { "" }),
            processor: model.map_or("unknown".to_owned(), |(_, name)| name.trim().to_owned()),
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            kernel: said("uname", &["-sr"]),
            rustc: said("rustc", &["--version"]),
        }
    }
}
