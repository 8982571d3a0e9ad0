use opendal::services::{Fs, Gcs, Memory, S3};
use opendal::{Builder, Operator};

use crate::S3Keys;

/// What a remote tier's URI names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Store {
    S3 {
        bucket: String,
        prefix: String,
        region: Option<String>,
        endpoint: Option<String>,
        style: Style,
        keys: Option<S3Keys>,
    },
    Gcs {
        bucket: String,
        prefix: String,
        endpoint: Option<String>,
    },
    File {
        dir: String,
    },
    Memory,
}

/// Where the bucket's name stands in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Style {
    /// `https://ENDPOINT/BUCKET/…`
    #[default]
    Path,
    /// `https://BUCKET.ENDPOINT/…`
    VirtualHost,
}

/// The kinds of stores, by what they can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreKind {
    /// S3 and whatever speaks it.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// A directory.
    File,
    /// This process's memory.
    Memory,
}

impl Store {
    pub(crate) fn kind(&self) -> StoreKind {
        match self {
            Self::S3 { .. } => StoreKind::S3,
            Self::Gcs { .. } => StoreKind::Gcs,
            Self::File { .. } => StoreKind::File,
            Self::Memory => StoreKind::Memory,
        }
    }

    pub(crate) fn bucket(&self) -> Option<&str> {
        match self {
            Self::S3 { bucket, .. } | Self::Gcs { bucket, .. } => Some(bucket),
            Self::File { .. } | Self::Memory => None,
        }
    }

    pub(crate) fn prefix(&self) -> &str {
        match self {
            Self::S3 { prefix, .. } | Self::Gcs { prefix, .. } => prefix,
            Self::File { .. } | Self::Memory => "",
        }
    }

    /// The store, with no patience yet.
    pub(crate) fn operator(&self) -> opendal::Result<Operator> {
        opendal::install_default();
        match self {
            Self::S3 {
                bucket,
                prefix,
                region,
                endpoint,
                style,
                keys,
            } => {
                let s3 = S3::default().bucket(bucket).root(prefix);
                let s3 = at(s3, region.as_deref(), endpoint.as_deref(), *style);
                finish(match keys {
                    Some(keys) => signed_by(s3, keys),
                    None => s3,
                })
            }
            Self::Gcs {
                bucket,
                prefix,
                endpoint,
            } => finish(gcs(bucket, prefix, endpoint.as_deref())),
            // Written aside and renamed, on the same file system.
            Self::File { dir } => finish(
                Fs::default()
                    .root(dir)
                    .atomic_write_dir(&format!("{dir}/.staging")),
            ),
            Self::Memory => finish(Memory::default()),
        }
    }
}

fn finish(builder: impl Builder) -> opendal::Result<Operator> {
    Operator::new(builder)
}

fn at(mut s3: S3, region: Option<&str>, endpoint: Option<&str>, style: Style) -> S3 {
    if let Some(endpoint) = endpoint {
        s3 = s3.endpoint(endpoint);
    }
    if style == Style::VirtualHost {
        s3 = s3.enable_virtual_host_style();
    }
    let from_environment = || {
        ["AWS_REGION", "AWS_DEFAULT_REGION"]
            .iter()
            .find_map(|name| std::env::var(name).ok())
    };
    match region.map(str::to_owned).or_else(from_environment) {
        Some(region) => s3.region(&region),
        // A server of one's own has one region, and signs with any name for it.
        None if endpoint.is_some() => s3.region("us-east-1"),
        None => s3,
    }
}

fn signed_by(s3: S3, keys: &S3Keys) -> S3 {
    let s3 = s3
        .access_key_id(&keys.access)
        .secret_access_key(&keys.secret)
        .disable_config_load()
        .disable_ec2_metadata();
    match &keys.session_token {
        Some(token) => s3.session_token(token),
        None => s3,
    }
}

fn gcs(bucket: &str, prefix: &str, endpoint: Option<&str>) -> Gcs {
    let gcs = Gcs::default().bucket(bucket).root(prefix);
    match endpoint {
        // An emulator asks for no credentials, and there are none to be found for it.
        Some(endpoint) => gcs
            .endpoint(endpoint)
            .skip_signature()
            .disable_vm_metadata()
            .disable_config_load(),
        None => gcs,
    }
}
