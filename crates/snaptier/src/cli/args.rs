#![expect(
    clippy::doc_markdown,
    reason = "these are help texts, and not Markdown"
)]

use std::env;
use std::num::NonZero;
use std::path::PathBuf;

use base_image::ImageChoice;
use bytesize::ByteSize;
use clap::builder::Resettable;
use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use vm_builder::QemuUser;
use vm_builder::network::{Allowlist, AllowlistError};

use super::exit;

/// A snapshot cache for microVMs: from a package list to a bootable disk.
///
/// A snapshot comes from the local disk, else from the remote store, else from a virtual machine that is
/// booted to install the packages.
#[derive(Debug, Parser)]
#[command(name = "snaptier", version, after_help = exit::TABLE, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// What this process was told, by its arguments and its environment. Ends the process if that is nothing to act on.
    pub(crate) fn of_process() -> Self {
        let matches = without_empty_variables(Self::command()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// An empty variable is how many switch one off.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &Arg| {
        let variable = arg.get_env().and_then(env::var_os);
        variable.is_some_and(|value| value.is_empty())
    };
    command
        .mut_args(|arg| {
            if is_empty(&arg) {
                arg.env(Resettable::Reset)
            } else {
                arg
            }
        })
        .mut_subcommands(without_empty_variables)
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where snapshots are kept [default: $XDG_CACHE_HOME/snaptier]
    #[arg(long, global = true, value_name = "DIR", env = "SNAPTIER_CACHE_DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// The most that all snapshots may take on the local disk: 500MB, 20GiB [default: no limit]
    #[arg(
        long,
        global = true,
        value_name = "SIZE",
        env = "SNAPTIER_MAX_SIZE",
        value_parser = size
    )]
    pub(crate) max_size: Option<u64>,
    /// What is to stay free on the local disk: least recently used snapshots go for it
    #[arg(
        long,
        global = true,
        value_name = "SIZE",
        env = "SNAPTIER_MIN_FREE",
        value_parser = size
    )]
    pub(crate) min_free: Option<u64>,
    /// Where base images are kept [default: $XDG_DATA_HOME/snaptier/images]
    #[arg(long, global = true, value_name = "DIR", env = "SNAPTIER_IMAGE_DIR")]
    pub(crate) image_dir: Option<PathBuf>,
    /// The base image to use, by the first 8 or more digits of its digest [default: the newest]
    #[arg(long, global = true, value_name = "DIGEST", env = "SNAPTIER_IMAGE")]
    pub(crate) image: Option<ImageChoice>,
    /// The store shared with other hosts: s3://BUCKET/PREFIX?region=…&endpoint=…,
    /// gcs://BUCKET/PREFIX?endpoint=… or file:///DIR
    #[arg(long, global = true, value_name = "URI", env = "SNAPTIER_REMOTE")]
    pub(crate) remote: Option<String>,
    /// Uploads at once
    #[arg(
        long,
        global = true,
        value_name = "N",
        env = "SNAPTIER_MAX_CONCURRENT_UPLOADS",
        default_value = "4"
    )]
    pub(crate) max_concurrent_uploads: NonZero<usize>,
    /// A host that guests may reach while they install, besides the registries of their image
    #[arg(
        long = "allow-host",
        global = true,
        value_name = "HOST[:PORT]",
        env = "SNAPTIER_ALLOW_HOSTS",
        value_delimiter = ',',
        value_parser = allowed_host
    )]
    pub(crate) allow_hosts: Vec<String>,
    /// The index that Python packages come from in guests, wherever it is: a mirror, a private one
    #[arg(long, global = true, value_name = "URL", env = "SNAPTIER_PYTHON_INDEX")]
    pub(crate) python_index: Option<String>,
    /// The registry that JavaScript packages come from in guests, likewise
    #[arg(long, global = true, value_name = "URL", env = "SNAPTIER_NPM_REGISTRY")]
    pub(crate) npm_registry: Option<String>,
    /// CA certificates that guests trust while they install [default: $SSL_CERT_FILE, or the system's]
    #[arg(long, global = true, value_name = "FILE", env = "SNAPTIER_CA_BUNDLE")]
    pub(crate) ca_bundle: Option<PathBuf>,
    /// Whose processes VMs are when root starts them: UID, UID:GID or own [default: 60987]
    #[arg(long, global = true, value_name = "USER", env = "SNAPTIER_QEMU_USER")]
    pub(crate) qemu_user: Option<QemuUser>,
    /// The most that a VM's disk may grow to [default: 16GiB]
    #[arg(
        long,
        global = true,
        value_name = "SIZE",
        env = "SNAPTIER_VM_DISK_LIMIT",
        value_parser = size
    )]
    pub(crate) vm_disk_limit: Option<u64>,
    /// The mirror that base images are made from [default: Debian's]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "SNAPTIER_DEBIAN_MIRROR"
    )]
    pub(crate) debian_mirror: Option<String>,
    /// Print JSON: answers on standard output, errors on standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no progress and no warnings
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say what is being done, and by whom; twice for more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the cache key of a package set
    Key(Request),
    /// Say what each tier would answer to a `get` and why, and what would be done then; do none of it
    ///
    /// Nothing is built, fetched, removed or marked as used. Ends with 0 when a tier would have the snapshot, and with
    /// 7 when none would.
    Explain(Request),
    /// Print the path of the snapshot with these packages, which is built if nobody has it
    Get(Request),
    /// Run a command in a throw-away virtual machine on top of that snapshot
    ///
    /// The machine has no network. The command's input, output and exit code are carried through.
    Run {
        #[command(flatten)]
        request: Request,
        /// The command and its arguments
        #[arg(last = true, required = true, value_name = "COMMAND")]
        argv: Vec<String>,
    },
    /// List the snapshots on the local disk, the most recently used first
    Ls,
    /// Remove snapshots from the local disk
    Rm {
        /// What `snaptier ls` calls them
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<String>,
    },
    /// Evict the least recently used snapshots until the rest keeps to --max-size and --min-free, and sweep what
    /// a crash left
    Gc {
        /// Print what would go, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Read snapshots on the local disk and hold them against their manifests; remove what cannot be used
    Verify {
        /// What `snaptier ls` calls them
        #[arg(value_name = "KEY", required_unless_present = "all")]
        keys: Vec<String>,
        /// Every snapshot on the local disk
        #[arg(long, conflicts_with = "keys")]
        all: bool,
    },
    /// Send snapshots on the local disk to the remote store; what is there already stays
    Push {
        /// What `snaptier ls` calls them
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<String>,
    },
    /// Bring a snapshot from the remote store to the local disk, and build nothing; print its path
    Pull(Request),
    /// Look after the remote store
    #[command(subcommand)]
    Remote(RemoteCommand),
    /// Look after the uploads that are not over
    #[command(subcommand)]
    Outbox(OutboxCommand),
    /// Print what the tiers and the builder have done in all commands with this cache directory
    Stats {
        /// Count from nothing again; what was counted is printed once more
        #[arg(long)]
        reset: bool,
    },
    /// Make and list the base images that snapshots are built on
    #[command(subcommand)]
    Image(ImageCommand),
    /// Look this host over: programs, accelerator, images, directories, remote store, and what to do about each
    ///
    /// Changes nothing. Ends with 0 when a `get` can work, and with 5 when it cannot.
    Doctor,
}

/// What is asked for. Read by `cache_key`, whose errors are one line each.
#[derive(Debug, Args)]
pub(crate) struct Request {
    /// python, javascript or raw
    pub(crate) language: String,
    /// Exactly pinned packages: requests==2.32.3, lodash@4.17.21
    #[arg(value_name = "PACKAGE")]
    pub(crate) packages: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RemoteCommand {
    /// List the snapshots in the remote store
    Ls,
    /// Print what a snapshot in the remote store says about itself
    Stat {
        /// What `snaptier remote ls` calls it
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Remove snapshots from the remote store
    Rm {
        /// What `snaptier remote ls` calls them
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<String>,
    },
    /// Fetch snapshots, check every byte of them, and keep nothing
    Verify {
        /// What `snaptier remote ls` calls them
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<String>,
    },
    /// Print the rules that have the bucket's snapshots expire, for the store's own tools
    Lifecycle {
        /// Days from an upload to its removal
        #[arg(
            long,
            value_name = "DAYS",
            env = "SNAPTIER_TTL_DAYS",
            default_value = "30"
        )]
        ttl_days: NonZero<u32>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum OutboxCommand {
    /// List the uploads that are not over, the oldest first
    Ls,
    /// Make uploads to the remote store now, however long they were to wait
    Retry {
        /// What `snaptier outbox ls` calls them [default: all]
        #[arg(value_name = "KEY")]
        keys: Vec<String>,
    },
    /// Forget uploads; the snapshots stay
    Drop {
        /// What `snaptier outbox ls` calls them
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Make the base image of a language, unless it is there already
    Build {
        /// python, javascript or raw
        language: String,
    },
    /// Make a base image of a disk that has the guest agent and the installer in it
    ///
    /// It is booted once, to see that the agent answers and the installer runs, and is the newest image of its
    /// language then.
    Import(ImportArgs),
    /// List the base images of this host
    Ls,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The language that it is for: python, javascript or raw
    #[arg(long, value_name = "LANGUAGE")]
    pub(crate) language: String,
    /// The disk: qcow2 without a backing file, or raw
    #[arg(long, value_name = "FILE")]
    pub(crate) disk: PathBuf,
    /// The kernel to boot it with [default: the disk's own, by a boot loader for a PC's BIOS]
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: Option<PathBuf>,
    /// The kernel's initial RAM disk
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub(crate) initrd: Option<PathBuf>,
    /// The kernel's command line, for instance root=/dev/vda1 console=ttyS0
    #[arg(
        long,
        value_name = "TEXT",
        requires = "kernel",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub(crate) append: String,
    /// Where the installer is in the guest, if the guest agent's PATH does not lead to it
    #[arg(long = "installer-program", value_name = "PATH")]
    pub(crate) installer_programs: Vec<String>,
}

/// A size in bytes: `1048576`, `500MB`, `20GiB`.
fn size(text: &str) -> Result<u64, String> {
    match text.parse::<ByteSize>() {
        Ok(size) => Ok(size.as_u64()),
        Err(_) => Err("write a number of bytes, or one such as 500MB or 20GiB".to_owned()),
    }
}

/// An entry of an [`Allowlist`], as it is.
fn allowed_host(text: &str) -> Result<String, AllowlistError> {
    Allowlist::new([text])?;
    Ok(text.to_owned())
}
