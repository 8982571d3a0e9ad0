use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cache_key::Language;
use cache_layer::{KeyLock, ProgressSink, blocking};

use crate::image::MANIFEST;
use crate::maker::{self, MakeOptions, STAGING_PREFIX};
use crate::recipe::Recipe;
use crate::{Image, ImageChoice, ImageError, Origin};

/// The folder that base images are kept in.
#[derive(Debug, Clone)]
pub struct ImageStore {
    dir: PathBuf,
    choice: Option<ImageChoice>,
}

/// A folder with an image in it, or with something that should be one.
#[derive(Debug)]
pub struct Listed {
    /// The folder.
    pub dir: PathBuf,
    /// The image, or why it cannot be used.
    pub image: Result<Image, ImageError>,
}

impl ImageStore {
    /// The images in `dir`, which need not be there yet.
    ///
    /// # Errors
    ///
    /// A relative path cannot be made absolute, because the current directory is gone.
    pub fn new(dir: impl AsRef<Path>) -> Result<Self, ImageError> {
        let dir = dir.as_ref();
        let absolute = std::path::absolute(dir).map_err(ImageError::io("find the folder", dir))?;
        Ok(Self {
            dir: absolute,
            choice: None,
        })
    }

    /// The same, of which [`find`](Self::find) gives this image.
    #[must_use]
    pub fn choosing(self, choice: Option<ImageChoice>) -> Self {
        Self { choice, ..self }
    }

    /// Where the images are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The image of `language` that was chosen; without a choice, the newest one of those that were imported
    /// and of those that this release's recipe made, if there is one.
    ///
    /// # Errors
    ///
    /// The folder cannot be read, the image in it cannot be used, or there is none such as was chosen.
    pub async fn find(&self, language: Language) -> Result<Option<Image>, ImageError> {
        let store = self.clone();
        blocking(move || match &store.choice {
            Some(choice) => store.chosen(language, choice).map(Some),
            None => store.newest(language, |origin| {
                is_current(origin, language) || matches!(origin, Origin::Imported { .. })
            }),
        })
        .await
    }

    /// The image of `language` that this release's recipe made.
    async fn find_made(&self, language: Language) -> Result<Option<Image>, ImageError> {
        let store = self.clone();
        blocking(move || store.newest(language, |origin| is_current(origin, language))).await
    }

    /// Whether this release knows how to make an image of `language`.
    #[must_use]
    pub fn has_recipe(language: Language) -> bool {
        Recipe::of(language).is_ok()
    }

    /// Every image, by folder name.
    ///
    /// # Errors
    ///
    /// The folder cannot be read. An image that cannot be used is no error here: it is listed as such.
    pub async fn list(&self) -> Result<Vec<Listed>, ImageError> {
        let store = self.clone();
        blocking(move || store.list_now()).await
    }

    /// Makes the image of `language`, unless the recipe's is there already, and gives it.
    ///
    /// Takes half a minute to a few minutes. One process at a time makes an image; another one waits
    /// and takes what the first made. Dropping the future leaves no process and no half image.
    ///
    /// # Errors
    ///
    /// A program is missing or fails, or the folder cannot be written to.
    pub async fn make(
        &self,
        language: Language,
        options: &MakeOptions,
        progress: &dyn ProgressSink,
    ) -> Result<Image, ImageError> {
        // Before anything is written: a language without a recipe is told so at once.
        Recipe::of(language)?;
        let _lock = self.lock(language).await?;
        if let Some(image) = self.find_made(language).await? {
            return Ok(image);
        }
        let dir = maker::make(&self.dir, language, options, progress).await?;
        blocking(move || Image::open(dir)).await
    }

    /// Makes this the one process that makes or imports an image of `language`, and sweeps what others left.
    pub(crate) async fn lock(&self, language: Language) -> Result<KeyLock, ImageError> {
        fs::create_dir_all(&self.dir).map_err(ImageError::io("make the folder", &self.dir))?;
        let path = self.dir.join(format!(".lock-{language}"));
        let lock = KeyLock::acquire(path.clone())
            .await
            .map_err(ImageError::io("lock", path))?;
        self.sweep(language);
        Ok(lock)
    }

    fn chosen(&self, language: Language, choice: &ImageChoice) -> Result<Image, ImageError> {
        let listed = self.list_now()?;
        let mut chosen = listed.into_iter().filter(|listed| match &listed.image {
            Ok(image) => {
                image.manifest().language == language && choice.matches(image.manifest().digest)
            }
            Err(error) => matches!(error, ImageError::Changed { expected, .. }
                if is_of(listed, language) && choice.matches(*expected)),
        });
        let chosen = chosen.next().ok_or_else(|| ImageError::NoSuchImage {
            language,
            choice: choice.clone(),
            dir: self.dir.clone(),
        })?;
        chosen.image
    }

    fn newest(
        &self,
        language: Language,
        is_candidate: impl Fn(&Origin) -> bool,
    ) -> Result<Option<Image>, ImageError> {
        let candidates = self
            .list_now()?
            .into_iter()
            .filter(|listed| match &listed.image {
                Ok(image) => {
                    let manifest = image.manifest();
                    manifest.language == language && is_candidate(&manifest.origin)
                }
                // A changed disk is no reason to make the image anew in silence.
                Err(error) => {
                    matches!(error, ImageError::Changed { .. }) && is_of(listed, language)
                }
            });
        let images = candidates
            .map(|listed| listed.image)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(images
            .into_iter()
            .max_by_key(|image| image.manifest().created_at))
    }

    fn list_now(&self) -> Result<Vec<Listed>, ImageError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(ImageError::io("read the folder", &self.dir))?,
        };
        let mut dirs = Vec::new();
        for entry in entries {
            let dir = entry
                .map_err(ImageError::io("read the folder", &self.dir))?
                .path();
            if !is_hidden(&dir) && dir.join(MANIFEST).exists() {
                dirs.push(dir);
            }
        }
        dirs.sort();
        Ok(dirs
            .into_iter()
            .map(|dir| Listed {
                image: Image::open(dir.clone()),
                dir,
            })
            .collect())
    }

    /// Removes what interrupted makings of `language` left. The caller holds its lock, so none is under way.
    fn sweep(&self, language: Language) {
        let prefix = format!("{STAGING_PREFIX}{language}-");
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        for entry in
            entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        {
            if let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!(dir = %entry.path().display(), %error, "cannot remove an unfinished image");
            }
        }
    }
}

/// Whether this release's recipe made it.
fn is_current(origin: &Origin, language: Language) -> bool {
    match (origin, Recipe::of(language)) {
        (Origin::Made { recipe }, Ok(current)) => *recipe == current.revision(),
        _ => false,
    }
}

fn is_hidden(dir: &Path) -> bool {
    dir.file_name()
        .is_none_or(|name| name.to_string_lossy().starts_with('.'))
}

fn is_of(listed: &Listed, language: Language) -> bool {
    let name = listed
        .dir
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    name.is_some_and(|name| name.starts_with(&format!("{language}-")))
}
