//! Images of the user's own: disks that were made from that of our Python image, as anybody's might be.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base_image::{ImageStore, Import, ImportedKernel};
use cache_key::Language;
use cache_layer::NoProgress;
use serde_json::Value;
use snaptier::{ImportError, import_image};
use tempfile::TempDir;
use vm_builder::{TimeOuts, VmHost, Vms};

use crate::host::{Host, Said, javascript_image, python_image};

/// As our own images have it, but for the noise, which is what tells where a guest got to.
pub(crate) const APPEND: &str = "console=ttyS0 panic=-1 tsc=reliable no_timer_check";

/// The folder of our Python image.
pub(crate) fn ours() -> PathBuf {
    of_language(python_image(), "python")
}

fn of_language(images: &Path, language: &str) -> PathBuf {
    let folders = images.read_dir().unwrap();
    let mut folders = folders.map(|folder| folder.unwrap().path());
    let python = folders.find(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with(&format!("{language}-"))
    });
    python.unwrap()
}

/// A place for disks and images.
struct Desk {
    dir: TempDir,
    host: Host,
}

impl Desk {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            host: Host::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn images(&self) -> PathBuf {
        self.path("images")
    }

    fn says(&self, args: &[&str]) -> Said {
        Said::of(self.host.snaptier_with_images(&self.images(), args))
    }

    fn json(&self, args: &[&str]) -> Value {
        let said = self.says(&[args, &["--json"]].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
        serde_json::from_str(&said.stdout).unwrap()
    }

    /// Imports the disk of our image in the folder `ours` with its own kernel. Gives what is said of the new image, and
    /// of ours.
    fn import(&self, language: &str, ours: &Path) -> (Value, Value) {
        let [disk, kernel, initrd] =
            ["disk.qcow2", "vmlinuz", "initrd.img"].map(|name| ours.join(name));
        let mut imported = self.json(&[
            "image",
            "import",
            "--language",
            language,
            "--disk",
            text(&disk),
            "--kernel",
            text(&kernel),
            "--initrd",
            text(&initrd),
            "--append",
            APPEND,
        ]);
        let made = fs::read(ours.join("image.json")).unwrap();
        (
            imported["image"].take(),
            serde_json::from_slice(&made).unwrap(),
        )
    }

    /// The disk of our image as a raw one, changed by these commands of `debugfs`.
    fn raw_disk(&self, edits: &[&str]) -> PathBuf {
        let (disk, raw) = (ours().join("disk.qcow2"), self.path("disk.raw"));
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "qcow2", "-O", "raw"]);
        succeed(convert.arg(disk).arg(&raw));
        for edit in edits {
            let mut debugfs = Command::new("debugfs");
            debugfs.env("PATH", with_system_programs());
            succeed(debugfs.args(["-w", "-R", edit]).arg(&raw));
        }
        raw
    }

    /// What is left in the folder of images.
    fn folders(&self) -> Vec<String> {
        let entries = self.images().read_dir().into_iter().flatten();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

fn with_system_programs() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap())
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Has a BIOS boot `disk`, an ext4 file system from its first byte on: GRUB's first sector goes where ext4 leaves
/// room for one, the rest of it after the end.
fn make_bootable(disk: &Path, append: &str) {
    const SECTOR: u64 = 512;
    let dir = tempfile::tempdir().unwrap();
    let script = format!("linux (hd0)/boot/vmlinuz {append}\ninitrd (hd0)/boot/initrd.img\nboot\n");
    let (config, core) = (dir.path().join("grub.cfg"), dir.path().join("core.img"));
    fs::write(&config, script).unwrap();
    let mut image = Command::new("grub-mkimage");
    image.args(["-O", "i386-pc", "-p", "/boot", "-c"]);
    image.arg(&config).arg("-o").arg(&core);
    succeed(image.args(["biosdisk", "ext2", "linux"]));

    let mut first = fs::read("/usr/lib/grub/i386-pc/boot.img").unwrap();
    let mut core = fs::read(core).unwrap();
    let file = File::options().write(true).open(disk).unwrap();
    let end = file.metadata().unwrap().len();
    let sector = end / SECTOR;
    // Where GRUB's first sector finds the second, and that one the rest: `kernel_sector` in its `boot.S`, the first
    // entry of the list of blocks in its `diskboot.S`.
    first[0x5c..0x64].copy_from_slice(&sector.to_le_bytes());
    core[500..508].copy_from_slice(&(sector + 1).to_le_bytes());
    core.resize(core.len().next_multiple_of(1 << 20), 0);
    file.write_all_at(&first, 0).unwrap();
    file.write_all_at(&core, end).unwrap();
}

const VERSION: &str = "import idna; print(idna.__version__)";

#[test]
fn a_disk_with_its_own_kernel_is_imported_and_builds_and_runs() {
    let desk = Desk::new();
    let ours = ours();
    // The guest says of itself what the recipe knew when the image was made.
    let (image, made) = desk.import("python", &ours);
    for known in [
        "digest",
        "installer",
        "registry_hosts",
        "architecture",
        "disk_bytes",
    ] {
        assert_eq!(image[known], made[known], "{known}");
    }
    assert_eq!(image["origin"]["kind"], "imported");
    assert_eq!(image["boot"]["append"], APPEND);
    let listed = desk.says(&["image", "ls"]);
    assert!(
        listed.answer().contains(text(&ours.join("disk.qcow2"))),
        "{listed:?}"
    );

    let built = desk.json(&["get", "python", "idna==3.7"]);
    assert_eq!(built["source"], "built");
    let run = [
        "-q",
        "run",
        "python",
        "idna==3.7",
        "--",
        "python3",
        "-c",
        VERSION,
    ];
    assert_eq!(desk.says(&run).answer(), "3.7");
}

#[test]
fn a_disk_for_javascript_is_imported_with_what_its_installer_says_of_itself() {
    let desk = Desk::new();
    let ours = of_language(javascript_image(), "javascript");
    let (image, made) = desk.import("javascript", &ours);
    for known in ["digest", "registry_hosts"] {
        assert_eq!(image[known], made[known], "{known}");
    }
    for known in ["kind", "folder", "version"] {
        assert_eq!(
            image["installer"][known], made["installer"][known],
            "{known}"
        );
    }
    let script = "console.log(require('lodash').VERSION)";
    let run = [
        "-q",
        "run",
        "javascript",
        "lodash@4.17.21",
        "--",
        "node",
        "-e",
        script,
    ];
    assert_eq!(desk.says(&run).answer(), "4.17.21");
}

#[test]
fn a_disk_without_a_kernel_boots_by_firmware_and_one_of_several_images_can_be_chosen() {
    let desk = Desk::new();
    let ours = ours();
    let write = |name: &str| format!("write {} /boot/{name}", text(&ours.join(name)));
    let raw = desk.raw_disk(&[&write("vmlinuz"), &write("initrd.img")]);
    make_bootable(&raw, APPEND);
    let import = |more: &[&str]| {
        let import = ["image", "import", "--language", "python", "--disk"];
        desk.json(&[&import, more].concat())["image"].clone()
    };
    let [disk, kernel, initrd] =
        ["disk.qcow2", "vmlinuz", "initrd.img"].map(|name| ours.join(name));
    let by_kernel = import(&[
        text(&disk),
        "--kernel",
        text(&kernel),
        "--initrd",
        text(&initrd),
        "--append",
        APPEND,
    ]);
    let by_firmware = import(&[text(&raw)]);
    assert_eq!(by_firmware["boot"]["kind"], "firmware");

    let key = |more: &[&str]| {
        let said = desk.says(&[more, &["key", "python"]].concat());
        said.answer().to_owned()
    };
    let short = |image: &Value| image["digest"].as_str().unwrap()[..8].to_owned();
    let (first, newest) = (short(&by_kernel), short(&by_firmware));
    assert!(key(&[]).contains(&newest));
    assert!(key(&["--image", &first]).contains(&first));
    assert!(key(&["--image", &newest]).contains(&newest));
    let absent = desk.says(&["--image", "00000000", "get", "python"]);
    assert_eq!(absent.code, Some(2), "{absent:?}");
    assert!(absent.stderr.contains("`00000000`"), "{absent:?}");

    let run = ["-q", "run", "python", "idna==3.7", "--", "python3", "-c"];
    let and_how = format!("{VERSION}; print(open('/proc/cmdline').read())");
    let said = desk.says(&[&run[..], &[&and_how]].concat());
    let (version, command_line) = said.answer().split_once('\n').unwrap();
    assert_eq!(version, "3.7");
    // As GRUB hands it over, and QEMU never does.
    assert!(
        command_line.starts_with("BOOT_IMAGE=(hd0)/boot/vmlinuz "),
        "{command_line}"
    );
}

#[test]
fn what_is_no_disk_or_not_a_whole_one_is_refused_with_a_remedy_and_leaves_nothing() {
    let desk = Desk::new();
    let (notes, overlay) = (desk.path("notes.txt"), desk.path("overlay.qcow2"));
    fs::write(&notes, "not a disk\n".repeat(1000)).unwrap();
    let mut create = Command::new("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"]);
    succeed(create.arg(ours().join("disk.qcow2")).arg(&overlay));
    for (disk, remedy) in [
        (&notes, "name a disk's file"),
        (&overlay, "qemu-img convert -O qcow2"),
    ] {
        let said = desk.says(&[
            "image",
            "import",
            "--language",
            "python",
            "--disk",
            text(disk),
        ]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(
            said.stderr.contains(text(disk)) && said.stderr.contains(remedy),
            "{said:?}"
        );
        assert_eq!(desk.folders(), [] as [&str; 0]);
    }
}

#[test]
fn an_image_without_an_installer_is_refused_with_what_it_lacks() {
    let desk = Desk::new();
    let raw = desk.raw_disk(&["rm /opt/installer/bin/uv"]);
    let ours = ours();
    let (kernel, initrd) = (ours.join("vmlinuz"), ours.join("initrd.img"));
    let said = desk.says(&[
        "image",
        "import",
        "--language",
        "python",
        "--disk",
        text(&raw),
        "--kernel",
        text(&kernel),
        "--initrd",
        text(&initrd),
        "--append",
        APPEND,
        "--installer-program",
        "/opt/nowhere/uv",
    ]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.stderr.contains("there is no `uv` in it")
            && said.stderr.contains("--installer-program"),
        "{said:?}"
    );
    assert_eq!(desk.folders(), [] as [&str; 0]);
}

#[tokio::test]
async fn an_image_without_an_agent_is_refused_with_the_last_that_its_console_said() {
    let desk = Desk::new();
    let raw = desk.raw_disk(&["rm /usr/sbin/qemu-ga"]);
    let ours = ours();
    let import = Import {
        language: Language::Python,
        disk: raw,
        kernel: Some(ImportedKernel {
            kernel: ours.join("vmlinuz"),
            initrd: Some(ours.join("initrd.img")),
            append: APPEND.to_owned(),
        }),
    };
    // Enough for a guest to get where it would start its agent.
    let time_outs = TimeOuts {
        boot: Duration::from_secs(30),
        ..TimeOuts::default()
    };
    let vms = Vms::new(VmHost {
        time_outs,
        ..VmHost::default()
    });
    let store = ImageStore::new(desk.images()).unwrap();
    let refused = import_image(&store, &vms, &import, &[], &NoProgress).await;
    let ImportError::Guest(error) = refused.unwrap_err() else {
        panic!("it got no further than its files");
    };
    assert!(
        error.remedy().unwrap().contains("qemu-guest-agent"),
        "{error}"
    );
    let console = error.output().unwrap();
    assert!(console.contains("qemu-ga: not found"), "{console}");
    assert_eq!(desk.folders(), [] as [&str; 0]);
}
