//! What this host has of all that a `get` takes, and what to do about the rest.
//!
//! Each check looks first and judges then: the judgement is a pure function of what was seen.

mod accelerator;
mod finding;
mod images;
mod network;
mod place;
mod programs;
mod remote;

use serde_json::json;
use snaptier::Settings;

use self::finding::{Finding, Status};
use super::args::Global;
use super::console::Console;
use super::exit::Exit;
use super::failure::Failure;
use super::table::table;
use super::wiring::settings;

/// Looks this host over, prints what was found, and gives the exit code.
pub(crate) async fn doctor(global: &Global, console: &Console) -> Result<u8, Failure> {
    let findings = examine(&settings(global)?).await;
    let is_fit = findings
        .iter()
        .all(|finding| finding.status != Status::Failed);
    let json = json!({ "ok": is_fit, "checks": findings });
    console.answer(&rows(&findings), &json)?;
    Ok(if is_fit { Exit::Done } else { Exit::Host } as u8)
}

/// Every check, all at once, in the order in which they are printed.
async fn examine(settings: &Settings) -> Vec<Finding> {
    let host = settings.vm_host();
    let (qemu, qemu_img, tools, images, cache_dir, image_dir, remote, ca_bundle, proxy) = tokio::join!(
        programs::qemu(&host.qemu),
        programs::qemu_img(&host.qemu_img),
        programs::missing_tools(),
        async {
            let seen = images::look(settings).await;
            let accelerator = Box::pin(accelerator::probe(settings, &seen)).await;
            (seen, accelerator)
        },
        place::cache_dir(settings),
        place::image_dir(settings),
        Box::pin(remote::remote(settings)),
        network::ca_bundle(settings),
        network::proxy(settings),
    );
    let (images, accelerator) = images;
    let mut findings = vec![qemu, qemu_img, accelerator];
    findings.push(programs::tools(&tools, images.has_any()));
    findings.extend(images.findings(tools.is_empty()));
    findings.extend([cache_dir, image_dir, remote, ca_bundle, proxy]);
    findings
}

fn rows(findings: &[Finding]) -> String {
    let mut table = table(&["CHECK", "STATUS", "FOUND"], &[]);
    for finding in findings {
        table.add_row([
            finding.check.as_str(),
            finding.status.as_str(),
            &finding.found,
        ]);
        if let Some(remedy) = &finding.remedy {
            table.add_row(["", "", &format!("→ {remedy}")]);
        }
    }
    table.trim_fmt()
}
