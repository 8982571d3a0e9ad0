//! The base images of each language, and whether they are still what they were.

use base_image::{Image, ImageError, ImageStore, Origin};
use cache_key::Language;
use snaptier::{Settings, guest_image};
use vm_builder::Boot;

use super::finding::Finding;
use crate::cli::failure::chain;

/// What the folder of images holds.
#[derive(Debug)]
pub(crate) struct Images(Vec<OfLanguage>);

#[derive(Debug)]
struct OfLanguage {
    language: Language,
    /// The image that a `get` takes.
    found: Result<Option<Image>, ImageError>,
    /// A file of it, besides the disk, that is not there.
    missing: Option<String>,
}

/// The same, as far as it is judged.
enum Seen {
    Sound(String),
    Without(String),
    Unusable(String),
    None { has_recipe: bool },
}

pub(crate) async fn look(settings: &Settings) -> Images {
    let mut images = Vec::new();
    for language in Language::ALL {
        let found = match settings.image_store() {
            Ok(store) => store.find(language).await,
            Err(error) => Err(error),
        };
        let missing = found
            .as_ref()
            .ok()
            .and_then(Option::as_ref)
            .and_then(missing);
        images.push(OfLanguage {
            language,
            found,
            missing,
        });
    }
    Images(images)
}

fn missing(image: &Image) -> Option<String> {
    let Boot::Kernel { kernel, initrd, .. } = guest_image(image).boot else {
        return None;
    };
    let mut files = [Some(kernel), initrd].into_iter().flatten();
    files
        .find(|file| !file.is_file())
        .map(|file| file.display().to_string())
}

impl Images {
    fn usable(&self) -> impl Iterator<Item = &Image> {
        let whole = self.0.iter().filter(|images| images.missing.is_none());
        whole.filter_map(|images| images.found.as_ref().ok()?.as_ref())
    }

    /// Whether a `get` of any language has its image.
    pub(crate) fn has_any(&self) -> bool {
        self.usable().next().is_some()
    }

    /// The image that shows soonest whether it runs: one that was made here needs no disk for that.
    pub(crate) fn quickest(&self) -> Option<&Image> {
        let is_foreign = |image: &&Image| !matches!(image.manifest().origin, Origin::Made { .. });
        self.usable().min_by_key(is_foreign)
    }

    /// One for each language. `has_tools` is whether images can be made.
    pub(crate) fn findings(&self, has_tools: bool) -> Vec<Finding> {
        let judged = |images: &OfLanguage| judge(images.language, &images.seen(), has_tools);
        self.0.iter().map(judged).collect()
    }
}

impl OfLanguage {
    fn seen(&self) -> Seen {
        match (&self.found, &self.missing) {
            (Err(error), _) => Seen::Unusable(chain(error)),
            (Ok(Some(_)), Some(file)) => Seen::Without(file.clone()),
            (Ok(Some(image)), None) => {
                let (digest, dir) = (image.manifest().digest.short(), image.dir().display());
                Seen::Sound(format!("{digest} in `{dir}`, its disk is what it was"))
            }
            (Ok(None), _) => Seen::None {
                has_recipe: ImageStore::has_recipe(self.language),
            },
        }
    }
}

fn judge(language: Language, seen: &Seen, has_tools: bool) -> Finding {
    let check = format!("{language} image");
    let again = format!(
        "remove its folder, and make it with `snaptier image build {language}` or import it again"
    );
    match seen {
        Seen::Sound(what) => Finding::ok(check, what),
        Seen::Without(file) => Finding::failed(check, format!("`{file}` is not there"), again),
        Seen::Unusable(why) => Finding::failed(check, why, again),
        Seen::None { has_recipe: true } if has_tools => {
            Finding::ok(check, "none yet: the first `get` makes it")
        }
        Seen::None { has_recipe: true } => Finding::warning(
            check,
            "none, and none can be made",
            "install the image tools, or import one with `snaptier image import`",
        ),
        Seen::None { has_recipe: false } => Finding::warning(
            check,
            "none, and this release has no recipe for one",
            "import one with `snaptier image import` if you need it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Status, assert_judged};
    use super::*;

    #[test]
    fn a_language_is_well_when_its_image_is_whole_or_can_be_made() {
        let none = |has_recipe| Seen::None { has_recipe };
        for (seen, has_tools, status, word) in [
            (
                Seen::Sound("472e2b56".to_owned()),
                false,
                Status::Ok,
                "472e2b56",
            ),
            (none(true), true, Status::Ok, "first `get`"),
            (none(true), false, Status::Warning, "image tools"),
            (none(false), true, Status::Warning, "image import"),
            (
                Seen::Without("/i/vmlinuz".to_owned()),
                true,
                Status::Failed,
                "`/i/vmlinuz` is not there",
            ),
            (
                Seen::Unusable("it changed".to_owned()),
                true,
                Status::Failed,
                "remove its folder",
            ),
        ] {
            assert_judged(&judge(Language::Python, &seen, has_tools), status, word);
        }
    }
}
