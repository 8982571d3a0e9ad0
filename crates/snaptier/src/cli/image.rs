use base_image::{Image, Import, ImportedKernel, Listed, MakeOptions, Origin};
use cache_key::Language;
use indicatif::HumanBytes;
use serde_json::{Value, json};
use snaptier::import_image;
use vm_builder::Vms;

use super::args::{Global, ImageCommand, ImportArgs};
use super::console::Console;
use super::failure::Failure;
use super::table::{table, time};
use super::wiring::settings;

/// Makes, imports or lists base images.
pub(crate) async fn image(
    global: &Global,
    command: ImageCommand,
    console: &Console,
) -> Result<(), Failure> {
    let settings = settings(global)?;
    let store = settings.image_store()?;
    match command {
        ImageCommand::Build { language } => {
            let language: Language = language.parse()?;
            let options = MakeOptions {
                debian_mirror: settings.debian_mirror,
            };
            let progress = console.progress();
            let image = store.make(language, &options, progress.as_ref()).await?;
            console.answer(&image.dir().display().to_string(), &of_image(&image))?;
        }
        ImageCommand::Import(args) => {
            let vms = Vms::new(settings.vm_host());
            let programs = args.installer_programs.clone();
            let (import, progress) = (import(args)?, console.progress());
            let image = import_image(&store, &vms, &import, &programs, progress.as_ref()).await?;
            console.answer(&image.dir().display().to_string(), &of_image(&image))?;
        }
        ImageCommand::Ls => {
            let listed = store.list().await?;
            for Listed { dir, image } in &listed {
                if let Err(error) = image {
                    let error: &dyn std::error::Error = error;
                    tracing::warn!(dir = %dir.display(), error, "an image cannot be used");
                }
            }
            let images: Vec<_> = listed
                .into_iter()
                .filter_map(|listed| listed.image.ok())
                .collect();
            let json: Vec<_> = images.iter().map(of_image).collect();
            console.answer(&rows(&images), &json)?;
        }
    }
    Ok(())
}

fn import(args: ImportArgs) -> Result<Import, Failure> {
    Ok(Import {
        language: args.language.parse()?,
        disk: args.disk,
        kernel: args.kernel.map(|kernel| ImportedKernel {
            kernel,
            initrd: args.initrd,
            append: args.append,
        }),
    })
}

fn of_image(image: &Image) -> Value {
    json!({ "dir": image.dir(), "image": image.manifest() })
}

fn rows(images: &[Image]) -> String {
    let mut table = table(
        &["LANGUAGE", "DIGEST", "SIZE", "MADE", "FROM", "FOLDER"],
        &[2],
    );
    for image in images {
        let manifest = image.manifest();
        table.add_row([
            manifest.language.to_string(),
            manifest.digest.short(),
            HumanBytes(manifest.disk_bytes).to_string(),
            time(manifest.created_at),
            from(&manifest.origin),
            image.dir().display().to_string(),
        ]);
    }
    table.trim_fmt()
}

/// Where an image came from.
fn from(origin: &Origin) -> String {
    match origin {
        Origin::Made { recipe } => format!("recipe {recipe}"),
        Origin::Imported { file } => file.clone(),
    }
}
