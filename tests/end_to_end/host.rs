//! A host of a test's own: an empty cache, and the base image that all tests share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

#[derive(Debug)]
pub(crate) struct Host {
    dir: tempfile::TempDir,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn cache_dir(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// A remote store that outlives the cache.
    pub(crate) fn remote(&self) -> String {
        format!("file://{}", self.dir.path().join("remote").display())
    }

    /// The command line with this host's cache and a base image.
    pub(crate) fn snaptier(&self, args: &[&str]) -> Command {
        self.snaptier_with_images(python_image(), args)
    }

    /// The command line with this host's cache and the images in `image_dir`.
    pub(crate) fn snaptier_with_images(&self, image_dir: &Path, args: &[&str]) -> Command {
        let mut command = bare_snaptier(args);
        command
            .env("SNAPTIER_CACHE_DIR", self.cache_dir())
            .env("SNAPTIER_IMAGE_DIR", image_dir);
        command
    }

    pub(crate) fn says(&self, args: &[&str]) -> Said {
        Said::of(self.snaptier(args))
    }

    /// The answer of a command that succeeds, as JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let said = self.says(&[args, &["--json"]].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
        serde_json::from_str(&said.stdout).unwrap()
    }

    /// The entries of the cache, without what is its own business.
    pub(crate) fn entries(&self) -> Vec<String> {
        names(&self.cache_dir())
            .into_iter()
            .filter(|name| !name.starts_with('.'))
            .collect()
    }

    /// What is in staging, in any process's directory.
    pub(crate) fn staged(&self) -> Vec<String> {
        names(&self.cache_dir().join(".staging"))
    }

    /// The processes of this host's virtual machines: those that have a file in its cache directory open.
    pub(crate) fn machines(&self) -> Vec<u32> {
        machines_in(self.dir.path())
    }
}

/// The QEMU processes that have a file below `dir` open.
fn machines_in(dir: &Path) -> Vec<u32> {
    let has_open = |process: &u32| {
        let files = fs::read_dir(format!("/proc/{process}/fd"));
        let mut files = files.into_iter().flatten().flatten();
        files.any(|file| fs::read_link(file.path()).is_ok_and(|file| file.starts_with(dir)))
    };
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|process| process.unwrap().file_name().to_str()?.parse().ok())
        .filter(|process| {
            let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
            name.starts_with("qemu-system") && has_open(process)
        })
        .collect()
}

impl Said {
    pub(crate) fn of(mut command: Command) -> Self {
        command.stdin(Stdio::null()).output().unwrap().into()
    }

    /// The path, or whatever else was the answer, of a command that succeeded.
    pub(crate) fn answer(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout.strip_suffix('\n').unwrap()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The command line with none of its settings in the environment.
fn bare_snaptier(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snaptier"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("SNAPTIER_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

/// The image directory with a Python image in it, made on first use and kept from run to run.
pub(crate) fn python_image() -> &'static Path {
    static IMAGES: OnceLock<PathBuf> = OnceLock::new();
    IMAGES.get_or_init(|| image_dir_with("python"))
}

/// The same directory, with a JavaScript image in it too.
pub(crate) fn javascript_image() -> &'static Path {
    static IMAGES: OnceLock<PathBuf> = OnceLock::new();
    IMAGES.get_or_init(|| image_dir_with("javascript"))
}

fn image_dir_with(language: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    let mut build = bare_snaptier(&["image", "build", language]);
    build.env("SNAPTIER_IMAGE_DIR", &dir);
    let said = Said::of(build);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    dir
}

fn names(dir: &Path) -> Vec<String> {
    let entries = dir.read_dir().into_iter().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
