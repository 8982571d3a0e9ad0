//! What a build takes, phase by phase, beside what it cannot do without.
//!
//! Each line on standard output is a JSON object, times in seconds. For each run: the phases of a build; a `bare` QEMU
//! with the same options, started by hand, until its guest's agent answers, and from asking it to power off
//! until it has; the installer's own time, and that of flushing what it wrote, by the guest's clock. The last
//! line has the medians.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]
#![expect(clippy::print_stdout, reason = "it is what a bench is for")]

mod bare;
mod phases;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cache_key::{Language, PackageSet, SnapshotSpec};
use cache_layer::{NoProgress, SnapshotBuilder, Staging};
use serde_json::{Value, json};
use snaptier::{Settings, SnapshotCache, guest_image};
use vm_builder::network::Allowlist;
use vm_builder::{
    Accelerator, GuestCommand, GuestImage, InstallerKind, OutputStream, VmBuilder, VmHost, Vms,
};

use bare::Bare;
use phases::Phases;

const RUNS: usize = 7;
const PACKAGE: &str = "requests==2.32.3";

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let images = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    let settings = Settings::in_dirs(dir.path(), images).unwrap();
    let host = VmHost {
        upstream: settings.upstream.clone(),
        ca_bundle: settings.ca_bundle.clone(),
        ..VmHost::default()
    };
    let cache = SnapshotCache::builder().settings(settings).build().unwrap();
    let made = cache.image(Language::Python).await.unwrap();
    let image = guest_image(&made);
    let vms = Vms::new(host.clone());
    let probed = vms.probe(&image, dir.path()).await.unwrap();
    let accelerator = probed.accelerator;
    let staging = Staging::open(dir.path()).unwrap();
    let spec = |packages| SnapshotSpec::new(image.base.clone(), packages);
    let empty = spec(PackageSet::empty(Language::Python));
    let packages = spec(PackageSet::parse(Language::Python, [PACKAGE]).unwrap());
    let phases = Arc::new(Phases::default());
    let builder = VmBuilder::new(vms.clone(), [image.clone()]).with_progress(phases.clone());
    let base = builder.build(&empty, &staging).await.unwrap();

    let mut runs = Vec::new();
    for _ in 0..RUNS {
        // First: it has the accelerator probed, which is done once and is no part of a build.
        let (install, flush) =
            installer(&vms, &image, &base, &staging, host.ca_bundle.as_deref()).await;
        let bare = Bare::start(&host, accelerator, &image, &dir.path().join("bare"));
        let bare_boot = bare.agent_answered_after();
        let bare_power_off = bare.power_off();
        let began = Instant::now();
        drop(builder.build(&packages, &staging).await.unwrap());
        let total = began.elapsed();
        let mut run = phases.take(began, total);
        run["bare_boot_s"] = json!(bare_boot.as_secs_f64());
        run["bare_power_off_s"] = json!(bare_power_off.as_secs_f64());
        run["installer_s"] = json!(install);
        run["flush_s"] = json!(flush);
        println!("{run}");
        runs.push(run);
    }
    println!("{}", medians(&runs, accelerator));
}

/// The median of each figure, and how the figures stand to each other in the same run.
fn medians(runs: &[Value], accelerator: Accelerator) -> Value {
    let of = |figure: &dyn Fn(&Value) -> f64| {
        let mut values: Vec<_> = runs.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let figure = |run: &Value, name: &str| run[name].as_f64().unwrap();
    let mut medians = json!({
        "medians_of": runs.len(),
        "accelerator": accelerator.to_string(),
        "package": PACKAGE,
    });
    for name in runs[0].as_object().unwrap().keys() {
        medians[name] = json!(of(&|run| figure(run, name)));
    }
    let parts = ["bare_boot_s", "installer_s", "flush_s", "bare_power_off_s"];
    medians["build_ratio"] = json!(of(&|run| {
        let parts: f64 = parts.iter().map(|part| figure(run, part)).sum();
        figure(run, "total_s") / parts
    }));
    medians["boot_ratio"] = json!(of(&|run| figure(run, "boot_s") / figure(run, "bare_boot_s")));
    medians
}

/// What the installer takes by the guest's own clock, and what flushing takes then.
async fn installer(
    vms: &Vms,
    image: &GuestImage,
    base: &cache_layer::Snapshot,
    staging: &Staging,
    ca_bundle: Option<&Path>,
) -> (f64, f64) {
    let Some(InstallerKind::Uv { program, python }) = &image.installer else {
        panic!("the image has another installer: {image:?}");
    };
    let script = format!(
        "cat >/run/ca.pem; [ -s /run/ca.pem ] && export SSL_CERT_FILE=/run/ca.pem
        export UV_CACHE_DIR=/opt/installer-cache UV_NO_CONFIG=1 UV_NO_PROGRESS=1 UV_PYTHON_DOWNLOADS=never
        began=$(date +%s%N)
        {program} pip install --python {python} --link-mode hardlink -- {PACKAGE} >&2 || exit
        installed=$(date +%s%N); sync; flushed=$(date +%s%N)
        echo $((installed - began)) $((flushed - installed))"
    );
    let bundle = match ca_bundle {
        Some(path) => std::fs::read(path).unwrap(),
        None => Vec::new(),
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let command = GuestCommand {
        argv: ["sh", "-c", &script].map(str::to_owned).into(),
        network: Some(Allowlist::new(&image.registry_hosts).unwrap()),
        input: Some(&mut bundle.as_slice()),
        output: &mut |stream, bytes| {
            match stream {
                OutputStream::Stdout => out.extend_from_slice(bytes),
                OutputStream::Stderr => err.extend_from_slice(bytes),
            }
            Ok(())
        },
    };
    let exit = vms
        .run(image, base, staging, &NoProgress, command)
        .await
        .unwrap();
    assert!(exit.is_success(), "{}", String::from_utf8_lossy(&err));
    let out = String::from_utf8(out).unwrap();
    let mut seconds = out
        .split_whitespace()
        .map(|nanos| nanos.parse::<f64>().unwrap() / 1e9);
    (seconds.next().unwrap(), seconds.next().unwrap())
}
