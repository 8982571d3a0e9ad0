use base_image::{Image, ImageStore};
use cache_key::{Language, PackageSet, SnapshotSpec};
use cache_layer::{CacheLayer, Explanation, LayerError};
use l2_disk::DiskLayer;
use serde_json::{Value, json};
use snaptier::Settings;

use super::args::{Global, Request};
use super::console::Console;
use super::exit::Exit;
use super::failure::{Failure, chain};
use super::table::table;
use super::wiring::{packages, remote_store, settings};

/// Says what a `get` would do, and does none of it. Gives the exit code.
pub(crate) async fn explain(
    global: &Global,
    request: &Request,
    console: &Console,
) -> Result<u8, Failure> {
    let packages = packages(request)?;
    let settings = settings(global)?;
    let image = settings.image_store()?.find(packages.language()).await?;
    let explained = match image {
        Some(image) => over(&image, packages, &settings, console).await?,
        None => without_image(packages),
    };
    console.answer(&explained.text(), &explained.json())?;
    Ok(match explained.answering() {
        Some(_) => Exit::Done as u8,
        None => Exit::Absent as u8,
    })
}

/// What a `get` would do.
struct Explained {
    packages: PackageSet,
    /// `None` without a base image, whose digest is a part of the key.
    spec: Option<SnapshotSpec>,
    /// In the order in which they are asked.
    tiers: Vec<Tier>,
}

struct Tier {
    name: &'static str,
    /// With it, where it keeps things.
    full_name: String,
    answer: Result<Explanation, LayerError>,
}

async fn over(
    image: &Image,
    packages: PackageSet,
    settings: &Settings,
    console: &Console,
) -> Result<Explained, Failure> {
    let spec = SnapshotSpec::new(image.base_image(), packages.clone());
    let disk = DiskLayer::only_to_look(&settings.cache_dir)?;
    let answer = disk.explain(&spec).await;
    let mut tiers = vec![Tier::new(&disk, answer)];
    if settings.remote.is_some() {
        let remote = remote_store(settings, console)?;
        let answer = remote.explain(&spec).await;
        tiers.push(Tier::new(&remote, answer));
    }
    Ok(Explained {
        packages,
        spec: Some(spec),
        tiers,
    })
}

fn without_image(packages: PackageSet) -> Explained {
    Explained {
        packages,
        spec: None,
        tiers: Vec::new(),
    }
}

impl Explained {
    /// The first tier that would have it.
    fn answering(&self) -> Option<&Tier> {
        self.tiers.iter().find(|tier| tier.is_hit())
    }

    fn text(&self) -> String {
        let (key, base) = match &self.spec {
            Some(spec) => {
                let base = spec.base_image();
                let base = format!("{} {}", base.digest(), base.path().display());
                (spec.key().to_string(), base)
            }
            None => (
                "not known without a base image".to_owned(),
                "none".to_owned(),
            ),
        };
        let packages = match self.packages.is_empty() {
            true => "none".to_owned(),
            false => self.packages.to_string(),
        };
        let mut lines = vec![
            format!("key       {key}"),
            format!("language  {}", self.packages.language()),
            format!("packages  {packages}"),
            format!("base      {base}"),
            String::new(),
        ];
        if !self.tiers.is_empty() {
            let mut table = table(&["TIER", "ANSWER", "WHY"], &[]);
            for tier in &self.tiers {
                table.add_row([tier.full_name.as_str(), tier.answer(), &tier.why()]);
            }
            lines.extend([table.trim_fmt(), String::new()]);
        }
        lines.push(format!("next      {}", self.next().1));
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let spec = self.spec.as_ref();
        let base = spec.map(SnapshotSpec::base_image);
        let (next, why) = self.next();
        json!({
            "key": spec.map(SnapshotSpec::key),
            "language": self.packages.language(),
            "packages": self.packages.iter().collect::<Vec<_>>(),
            "base_image": base.map(|base| json!({ "digest": base.digest(), "path": base.path() })),
            "tiers": self.tiers.iter().map(Tier::json).collect::<Vec<_>>(),
            "next": { "action": next, "why": why },
        })
    }

    /// What a `get` would do then: its name, and in words.
    fn next(&self) -> (&'static str, String) {
        let language = self.packages.language();
        match (self.answering(), &self.spec) {
            (Some(tier), _) if self.tiers.first().is_some_and(Tier::is_hit) => {
                ("answer", format!("it would be answered from {}", tier.name))
            }
            (Some(tier), _) => (
                "fetch",
                format!(
                    "it would be fetched from {} and kept on the local disk",
                    tier.name
                ),
            ),
            (None, Some(_)) => (
                "build",
                "it would be built by vm-builder; its base image is there".to_owned(),
            ),
            (None, None) if ImageStore::has_recipe(language) => (
                "make-image",
                "the base image would be made first, and then the tiers asked by the key that it gives"
                    .to_owned(),
            ),
            (None, None) => ("fail", no_image(language)),
        }
    }
}

fn no_image(language: Language) -> String {
    format!(
        "it would fail: there is no base image for {language} and no recipe for one; `snaptier image import` makes one of a disk"
    )
}

impl Tier {
    fn new(layer: &dyn CacheLayer, answer: Result<Explanation, LayerError>) -> Self {
        Self {
            name: layer.name(),
            full_name: layer.to_string(),
            answer,
        }
    }

    fn is_hit(&self) -> bool {
        self.answer.as_ref().is_ok_and(Explanation::is_hit)
    }

    fn answer(&self) -> &'static str {
        match &self.answer {
            Ok(explanation) if explanation.is_hit() => "hit",
            Ok(_) => "miss",
            Err(_) => "error",
        }
    }

    /// A short name for scripts; `None` for a hit.
    fn reason(&self) -> Option<&'static str> {
        match &self.answer {
            Ok(explanation) => explanation.reason(),
            Err(error) => Some(error.kind().as_str()),
        }
    }

    fn why(&self) -> String {
        match &self.answer {
            Ok(explanation) => explanation.to_string(),
            Err(error) => format!("{}: failed to {}", error.kind().as_str(), chain(error)),
        }
    }

    fn json(&self) -> Value {
        let near = self.answer.as_ref().ok().and_then(Explanation::near);
        json!({
            "tier": self.name,
            "name": self.full_name,
            "answer": self.answer(),
            "reason": self.reason(),
            "why": self.why(),
            "near": near,
        })
    }
}
