//! What each language's base image is made of.
//!
//! | script in `guest/` | where and when it runs |
//! | --- | --- |
//! | `kernel.sh` | on the new root: unpacks the kernel, makes the initial RAM disk |
//! | `initrd-init.sh` | in the guest: process 1 of the initial RAM disk |
//! | `init.sh` | in the guest: process 1 of the root disk |
//! | `shutdown.sh` | in the guest: what the agent calls to power off |
//! | `uv.sh` | on the new root: Python's installer, and the hosts that it fetches from |
//! | `bun.sh` | on the new root: JavaScript's runtime and installer, and the hosts that it fetches from |
//! | `system.sh` | on the new root: puts the guest's scripts in place and tidies up |
//! | `disk.sh` | on the host: turns the new root into a qcow2 disk |
//!
//! # Why Bun
//!
//! It was held against Node with npm, two installations of each in one guest without KVM (QEMU 7.2, two processors,
//! 1 GiB), the registry some milliseconds away:
//!
//! | | `disk.qcow2` | `lodash@4.17.21` | `express@4.19.2`, 70 packages |
//! | --- | --- | --- | --- |
//! | Bun 1.4.5 | 261 MB | 2.1 s, 1.0 s | 6.5 s, 6.4 s |
//! | Node 24.21.0, npm 11.21.2, both from the registry | 298 MB | 18.4 s, 7.3 s | 27.4 s, 12.6 s |
//! | Node 18.20.4, npm 9.2.0, both from Debian | 466 MB | 12.1 s, 9.2 s | 38.7 s, 39.9 s |
//!
//! Bun's binary is the runtime as well. The baseline build runs on processors without AVX2; in the pinned release it
//! is the very file that the ordinary package has.

use cache_key::Language;

use crate::ImageError;
use crate::manifest::Installer;

/// How a base image is made. Two hosts with one recipe and the same package versions make the same disk.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    /// Debian packages, besides the minimal system.
    pub(crate) packages: Vec<&'static str>,
    /// Scripts that run on the new root, in order.
    pub(crate) hooks: Vec<&'static str>,
    /// What the scripts read from their environment.
    pub(crate) variables: Vec<(&'static str, &'static str)>,
    /// What installs packages in the guest.
    pub(crate) installer: Option<Installer>,
}

/// The distribution's release.
pub(crate) const SUITE: &str = "bookworm";
/// What turns the unpacked root into a disk.
pub(crate) const DISK: &str = include_str!("guest/disk.sh");
/// The kernel's command line: no console noise, and no precautions against a guest that attacks itself.
pub(crate) const APPEND: &str =
    "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable no_timer_check";
/// No file of the image is newer than this: 2025-01-01.
pub(crate) const EPOCH: &str = "1735689600";

const UV_VERSION: &str = "0.13.9";

const BUN_VERSION: &str = "1.4.4";

impl Recipe {
    pub(crate) fn of(language: Language) -> Result<Self, ImageError> {
        let mut recipe = Self {
            packages: vec!["busybox-static", "ca-certificates", "qemu-guest-agent"],
            hooks: vec![include_str!("guest/kernel.sh")],
            variables: vec![
                ("KERNEL_PACKAGE", kernel_package()?),
                ("INITRD_INIT", include_str!("guest/initrd-init.sh")),
                ("INIT", include_str!("guest/init.sh")),
                ("SHUTDOWN", include_str!("guest/shutdown.sh")),
                ("EPOCH", EPOCH),
                ("DISK_BYTES", "8589934592"),
                ("DISK_UUID", "5e1f0c5a-0d4e-4c2e-9a57-736e61707469"),
            ],
            installer: None,
        };
        match language {
            Language::Python => recipe.add_uv(),
            Language::Javascript => recipe.add_bun()?,
            Language::Raw => {}
            _ => return Err(ImageError::NoRecipe { language }),
        }
        recipe.hooks.push(include_str!("guest/system.sh"));
        Ok(recipe)
    }

    /// Names the recipe by its contents, so that an image made by another one is told apart.
    pub(crate) fn revision(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let variables = self
            .variables
            .iter()
            .flat_map(|(name, value)| [*name, *value]);
        let texts = self
            .packages
            .iter()
            .chain(&self.hooks)
            .copied()
            .chain(variables);
        for text in texts.chain([SUITE, DISK, APPEND]) {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }

    fn add_uv(&mut self) {
        self.packages.extend(["python3", "python3-venv"]);
        self.hooks.push(include_str!("guest/uv.sh"));
        self.variables.push(("UV_VERSION", UV_VERSION));
        self.installer = Some(Installer::Uv {
            program: "/opt/installer/bin/uv".to_owned(),
            python: "/opt/venv/bin/python3".to_owned(),
            version: UV_VERSION.to_owned(),
        });
    }

    fn add_bun(&mut self) -> Result<(), ImageError> {
        self.hooks.push(include_str!("guest/bun.sh"));
        self.variables.push(("BUN_VERSION", BUN_VERSION));
        self.variables.push(("BUN_SHA256", bun_sha256()?));
        self.installer = Some(Installer::Bun {
            program: "/opt/installer/bin/bun".to_owned(),
            folder: "/opt/packages".to_owned(),
            version: BUN_VERSION.to_owned(),
        });
        Ok(())
    }
}

/// The digest of `bin/bun` in `@oven/bun-linux-x64-baseline` and `@oven/bun-linux-aarch64`, as Bun's makers publish
/// them in the pinned version.
fn bun_sha256() -> Result<&'static str, ImageError> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("10702245766b225e70bbf6235fd6b47214fd94b4760d00ffaed8ab0df57ac235"),
        "aarch64" => Ok("354c2b049c716aca07b2e5cddb887928ac58950675d1258bb6312083917793b6"),
        architecture => Err(ImageError::NoKernel { architecture }),
    }
}

fn kernel_package() -> Result<&'static str, ImageError> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("linux-image-cloud-amd64"),
        "aarch64" => Ok("linux-image-cloud-arm64"),
        architecture => Err(ImageError::NoKernel { architecture }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_in_any_part_of_a_recipe_is_another_revision() {
        let recipe = Recipe::of(Language::Raw).unwrap();
        assert_eq!(
            recipe.revision(),
            Recipe::of(Language::Raw).unwrap().revision()
        );
        let mut other = recipe.clone();
        other.packages.push("hello");
        assert_ne!(other.revision(), recipe.revision());
        let mut other = recipe.clone();
        other.variables.push(("A", "b"));
        assert_ne!(other.revision(), recipe.revision());
        assert_ne!(
            Recipe::of(Language::Python).unwrap().revision(),
            recipe.revision()
        );
    }

    #[test]
    fn every_language_has_a_recipe_and_all_but_raw_an_installer() {
        for language in Language::ALL {
            let recipe = Recipe::of(language).unwrap();
            assert_eq!(recipe.installer.is_some(), language != Language::Raw);
        }
    }
}
