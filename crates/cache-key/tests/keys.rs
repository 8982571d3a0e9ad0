//! What a key says, what it does not, and that the keys of old releases stay what they were.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use cache_key::{
    BaseImage, CacheKey, CanonicalSpec, DiskFormat, ImageDigest, KeyVersion, Language, PackageSet,
    SnapshotSpec,
};
use proptest::prelude::*;
use serde::Deserialize;

fn image(seed: u8) -> BaseImage {
    BaseImage::new(
        "/images/disk.qcow2",
        DiskFormat::Qcow2,
        ImageDigest::from_bytes([seed; 32]),
    )
}

fn key(seed: u8, language: Language, words: &[&str]) -> String {
    SnapshotSpec::new(image(seed), PackageSet::parse(language, words).unwrap())
        .key()
        .to_string()
}

#[test]
fn seed_01_a_key_has_four_parts_split_at_dashes_the_third_of_8_and_the_fourth_of_16_characters() {
    let key = key(0x1a, Language::Python, &["requests==2.32.3"]);
    let parts: Vec<_> = key.split('-').collect();
    let [language, version, image, packages] = parts.as_slice() else {
        panic!("{key}")
    };
    assert_eq!((*language, image.len(), packages.len()), ("python", 8, 16));
    assert_eq!(*image, "1a1a1a1a");
    assert_eq!(*version, KeyVersion::CURRENT.to_string());
}

#[test]
fn seed_02_the_fourth_part_of_a_key_of_no_packages_is_base() {
    for language in Language::ALL {
        assert!(key(1, language, &[]).ends_with("-01010101-base"));
    }
}

#[test]
fn seed_03_another_language_another_package_set_or_another_base_image_gives_another_key() {
    let one = key(1, Language::Python, &["requests==2.32.3"]);
    assert_eq!(one, key(1, Language::Python, &["requests==2.32.3"]));
    assert_ne!(one, key(2, Language::Python, &["requests==2.32.3"]));
    assert_ne!(one, key(1, Language::Python, &["requests==2.32.4"]));
    assert_ne!(
        one,
        key(1, Language::Python, &["requests==2.32.3", "idna==3.7"])
    );
    assert_ne!(key(1, Language::Python, &[]), key(1, Language::Raw, &[]));
}

#[test]
fn seed_03_package_order_does_not_matter_and_the_same_spec_has_the_same_key() {
    assert_eq!(
        key(1, Language::Python, &["requests==2.32.3", "idna==3.7"]),
        key(1, Language::Python, &["idna==3.7", "requests==2.32.3"]),
    );
}

#[test]
fn where_a_host_has_its_base_image_is_no_part_of_what_it_is() {
    let there = BaseImage::new("/elsewhere/disk", DiskFormat::Qcow2, image(1).digest());
    assert_eq!(there, image(1));
    assert_ne!(image(2), image(1));
}

#[test]
fn a_canonical_spec_reads_back_from_its_json_and_refuses_what_is_not_pinned() {
    let packages = PackageSet::parse(Language::Python, ["Requests == 2.32.3"]).unwrap();
    let spec = SnapshotSpec::new(image(0xab), packages).canonical();
    let json = serde_json::to_string(&spec).unwrap();
    let digest = "ab".repeat(32);
    assert_eq!(
        json,
        format!(
            r#"{{"language":"python","base_image":"{digest}","packages":["requests==2.32.3"]}}"#
        )
    );
    assert_eq!(serde_json::from_str::<CanonicalSpec>(&json).unwrap(), spec);
    serde_json::from_str::<CanonicalSpec>(&json.replace("==2.32.3", ">=2")).unwrap_err();
}

#[test]
fn keys_tell_what_they_have_in_common() {
    let parse = |text: &str| text.parse::<CacheKey>().unwrap();
    let key = parse("python-v0.1-1a2b3c4d-9f86d081884c7d65");
    for (other, packages, base_image) in [
        ("python-v0.1-1a2b3c4d-9f86d081884c7d65", true, true),
        ("python-v0.2-1a2b3c4d-9f86d081884c7d65", true, true),
        ("python-v0.1-00000000-9f86d081884c7d65", true, false),
        ("python-v0.1-1a2b3c4d-base", false, true),
        ("javascript-v0.1-1a2b3c4d-9f86d081884c7d65", false, false),
    ] {
        let other = parse(other);
        let common = (other.has_packages_of(&key), other.has_base_image_of(&key));
        assert_eq!(common, (packages, base_image), "{other}");
    }
}

/// The keys of the release that wrote them, made by another implementation of CRC-64/XZ. A change in how a set is encoded would lose every cache.
#[test]
fn golden_keys_stay_what_they_are() {
    #[derive(Deserialize)]
    struct Golden {
        spec: CanonicalSpec,
        key: CacheKey,
    }

    let goldens: Vec<Golden> =
        serde_json::from_str(include_str!("../../../fixtures/keys/golden.json")).unwrap();
    assert!(goldens.len() >= 6);
    for Golden { spec, key } in goldens {
        assert_eq!(spec.key().in_version(key.version()), key);
    }
}

fn name() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[A-Za-z0-9]([A-Za-z0-9._-]{0,10}[A-Za-z0-9])?").unwrap()
}

fn version() -> impl Strategy<Value = String> {
    proptest::string::string_regex("([1-9]!)?(0|[1-9][0-9]{0,3})(\\.(0|[1-9][0-9]{0,2})){0,3}((a|b|rc)[1-9])?(\\.post[1-9])?(\\+local\\.[1-9])?").unwrap()
}

fn requirements() -> impl Strategy<Value = Vec<(String, String)>> {
    proptest::collection::btree_map(name(), version(), 0..6).prop_map(|set| {
        // Spellings of one name would be one package in two versions.
        let spelt = |name: &str| {
            PackageSet::parse(Language::Python, [format!("{name}==1")])
                .unwrap()
                .to_string()
        };
        let mut seen = std::collections::BTreeSet::new();
        set.into_iter()
            .filter(|(name, _)| seen.insert(spelt(name)))
            .collect()
    })
}

fn parse(requirements: &[(String, String)]) -> PackageSet {
    let words = requirements
        .iter()
        .map(|(name, version)| format!("{name}=={version}"));
    PackageSet::parse(Language::Python, words).unwrap()
}

/// The same name in another case and with other separators.
fn respelt(name: &str) -> String {
    name.to_uppercase()
        .replace(['-', '.'], "_")
        .replace('_', "-_.")
}

proptest! {
    #[test]
    fn order_case_and_spelling_of_names_do_not_matter(mut set in requirements()) {
        let first = parse(&set);
        set.reverse();
        for (name, _) in &mut set {
            *name = respelt(name);
        }
        prop_assert_eq!(parse(&set), first);
    }

    #[test]
    fn different_sets_have_different_texts_and_different_keys(one in requirements(), two in requirements()) {
        let (one, two) = (parse(&one), parse(&two));
        let key = |set: &PackageSet| SnapshotSpec::new(image(1), set.clone()).key();
        prop_assert_eq!(one == two, one.to_string() == two.to_string());
        prop_assert_eq!(one == two, key(&one) == key(&two));
    }

    #[test]
    fn a_canonical_set_reads_back_as_itself(set in requirements()) {
        let set = parse(&set);
        prop_assert_eq!(PackageSet::parse(Language::Python, set.iter()), Ok(set.clone()));
    }

    #[test]
    fn a_printed_key_reads_back_as_itself(set in requirements(), digest: [u8; 32], major: u16, minor: u16) {
        let image = BaseImage::new("/i", DiskFormat::Raw, ImageDigest::from_bytes(digest));
        let key = SnapshotSpec::new(image, parse(&set)).key().in_version(KeyVersion { major, minor });
        prop_assert_eq!(key.to_string().parse::<CacheKey>(), Ok(key));
    }

    #[test]
    fn an_image_digest_reads_back_as_itself(bytes: [u8; 32]) {
        let digest = ImageDigest::from_bytes(bytes);
        prop_assert_eq!(digest.to_string().parse::<ImageDigest>(), Ok(digest));
    }

    #[test]
    fn no_key_leaves_its_directory(text in "(python|raw|javascript|)-?v?[0-9./+v-]{0,8}-[0-9a-fA-F/.+]{0,9}-([0-9a-f/.+-]{16}|base|\\.\\.)[-/.]?") {
        if let Ok(key) = text.parse::<CacheKey>() {
            let text = key.to_string();
            prop_assert!(text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-')));
            prop_assert!(!text.contains("..") && text.starts_with(|c: char| c.is_ascii_lowercase()));
            let path = std::path::Path::new(&text);
            prop_assert_eq!(path.file_name().and_then(|name| name.to_str()), Some(text.as_str()));
        }
    }

    #[test]
    fn no_word_panics_and_none_that_an_installer_would_take_for_an_option_gets_through(word in "\\PC{0,24}|-{0,2}[a-z]{0,6}(==|@)[0-9.]{0,5}") {
        for language in Language::ALL {
            if let Ok(set) = PackageSet::parse(language, [&word]) {
                prop_assert!(set.iter().all(|text| !text.starts_with('-') && !text.contains(char::is_whitespace)));
            } else {
                let error = PackageSet::parse(language, [&word]).unwrap_err().to_string();
                prop_assert_eq!(error.lines().count(), 1, "{}", error);
            }
        }
    }
}
