use std::num::NonZero;

use serde_json::json;

use crate::StoreKind;

/// Days after which what is left of an upload that nobody finished goes.
const UNFINISHED_DAYS: u32 = 1;

/// The lifecycle rules that have a bucket's snapshots expire `ttl_days` after they were written, and the
/// remains of unfinished uploads after a day, as JSON. `None` for a store that has no such rules.
///
/// `prefix` is that of the remote's URI. The rules touch nothing but what lies below `{prefix}/snapshots/`.
///
/// - S3: `aws s3api put-bucket-lifecycle-configuration --bucket BUCKET --lifecycle-configuration file://RULES`
/// - GCS: `gcloud storage buckets update gs://BUCKET --lifecycle-file=RULES`
///
/// Either replaces the rules that the bucket has.
#[must_use]
pub fn lifecycle(kind: StoreKind, prefix: &str, ttl_days: NonZero<u32>) -> Option<String> {
    let prefix = match prefix.trim_matches('/') {
        "" => "snapshots/".to_owned(),
        prefix => format!("{prefix}/snapshots/"),
    };
    let rules = match kind {
        StoreKind::S3 => json!({
            "Rules": [{
                "ID": format!("snaptier {prefix}"),
                "Status": "Enabled",
                "Filter": { "Prefix": prefix },
                "Expiration": { "Days": ttl_days },
                "AbortIncompleteMultipartUpload": { "DaysAfterInitiation": UNFINISHED_DAYS },
            }],
        }),
        StoreKind::Gcs => json!({
            "rule": [
                {
                    "action": { "type": "Delete" },
                    "condition": { "age": ttl_days, "matchesPrefix": [prefix] },
                },
                {
                    "action": { "type": "AbortIncompleteMultipartUpload" },
                    "condition": { "age": UNFINISHED_DAYS, "matchesPrefix": [prefix] },
                },
            ],
        }),
        StoreKind::File | StoreKind::Memory => return None,
    };
    Some(format!("{rules:#}"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn rules(kind: StoreKind, prefix: &str) -> Option<Value> {
        let days = NonZero::new(30).unwrap();
        lifecycle(kind, prefix, days).map(|rules| serde_json::from_str(&rules).unwrap())
    }

    #[test]
    fn s3_gets_one_rule_for_the_snapshots_and_the_unfinished() {
        let rules = rules(StoreKind::S3, "team/a").unwrap();
        let rule = &rules["Rules"][0];
        assert_eq!(rule["Filter"]["Prefix"], "team/a/snapshots/");
        assert_eq!(rule["Expiration"]["Days"], 30);
        assert_eq!(
            rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"],
            1
        );
    }

    #[test]
    fn gcs_gets_a_rule_for_each() {
        let rules = rules(StoreKind::Gcs, "").unwrap();
        let condition = &rules["rule"][0]["condition"];
        assert_eq!(condition["age"], 30);
        assert_eq!(condition["matchesPrefix"][0], "snapshots/");
        let second = &rules["rule"][1]["action"]["type"];
        assert_eq!(second, "AbortIncompleteMultipartUpload");
    }

    #[test]
    fn a_directory_has_no_rules() {
        assert_eq!(rules(StoreKind::File, ""), None);
        assert_eq!(rules(StoreKind::Memory, ""), None);
    }
}
