//! Who may import whom, held against what cargo says.

use std::collections::{BTreeSet, HashMap};

use cargo_metadata::{DependencyKind, Metadata, PackageId};

use crate::Done;
use crate::cargo::metadata;

/// What a crate of the workspace may import of it, in its tests too, and what it must not pull in from
/// outside, however indirectly.
struct Rule {
    name: &'static str,
    imports: &'static [&'static str],
    never: &'static [&'static str],
}

const CONTRACT: &[&str] = &["cache-key", "cache-layer"];
/// Who reads or makes disks needs to know what one looks like.
const BACKEND: &[&str] = &["cache-key", "cache-layer", "qcow2-header"];

/// The tests of the remote tier are held against real stores.
const L3_REMOTE: &[&str] = &["cache-key", "cache-layer", "qcow2-header", "store-testkit"];

/// Nothing but tests may import it, those of any crate.
const ONLY_FOR_TESTS: &str = "cache-layer-testkit";

const RULES: &[Rule] = &[
    rule(
        "cache-key",
        &[],
        &["tokio", "opendal", "qapi", "qcow2-header"],
    ),
    rule("qcow2-header", &[], &["tokio", "opendal", "qapi"]),
    rule("cache-layer", &["cache-key"], &["opendal", "qapi"]),
    rule("l2-disk", BACKEND, &["opendal", "qapi"]),
    rule("l3-remote", L3_REMOTE, &["qapi"]),
    // An example, which nobody imports.
    rule("http-layer", BACKEND, &["opendal", "qapi"]),
    rule("vm-builder", BACKEND, &["opendal"]),
    rule("base-image", BACKEND, &["opendal", "qapi"]),
    rule("hierarchy", CONTRACT, &["opendal", "qapi", "metrics"]),
    rule(
        "snaptier",
        &[
            "base-image",
            "cache-key",
            "cache-layer",
            "hierarchy",
            "l2-disk",
            "l3-remote",
            "store-testkit",
            "vm-builder",
        ],
        // Those who want them turn on a feature.
        &["metrics", "metrics-exporter-prometheus"],
    ),
    rule(
        ONLY_FOR_TESTS,
        BACKEND,
        &["opendal", "qapi", "qcow2-header"],
    ),
    // Tests of any crate may use it, and chores too.
    rule("store-testkit", &[], &["tokio", "opendal", "qapi"]),
    // Chores use the command, as anybody would.
    rule("xtask", &["store-testkit"], &["tokio", "opendal", "qapi"]),
];

const fn rule(
    name: &'static str,
    imports: &'static [&'static str],
    never: &'static [&'static str],
) -> Rule {
    Rule {
        name,
        imports,
        never,
    }
}

#[expect(clippy::print_stdout, reason = "it is what a command line is for")]
pub(crate) fn arrows() -> Done {
    let faults = faults(&metadata()?);
    if faults.is_empty() {
        println!("{} crates, every arrow points the right way", RULES.len());
        return Ok(());
    }
    Err(faults.join("\n       ").into())
}

fn faults(metadata: &Metadata) -> Vec<String> {
    let members = metadata.workspace_packages();
    let names: BTreeSet<_> = members.iter().map(|member| member.name.as_str()).collect();
    let mut faults = Vec::new();
    for rule in RULES.iter().filter(|rule| !names.contains(rule.name)) {
        faults.push(format!(
            "there is a rule for {}, and no such crate",
            rule.name
        ));
    }
    for member in members {
        let name = member.name.as_str();
        let Some(rule) = RULES.iter().find(|rule| rule.name == name) else {
            faults.push(format!("say in xtask/src/arrows.rs what {name} may import"));
            continue;
        };
        for dependency in &member.dependencies {
            let import = dependency.name.as_str();
            let is_right = match import {
                ONLY_FOR_TESTS => dependency.kind == DependencyKind::Development,
                _ => rule.imports.contains(&import),
            };
            if names.contains(import) && !is_right {
                faults.push(format!("{name} imports {import}"));
            }
        }
        let pulled = pulled_in(metadata, &member.id);
        for banned in rule.never.iter().filter(|banned| pulled.contains(*banned)) {
            faults.push(format!("{name} pulls in {banned}"));
        }
    }
    faults
}

/// The names of all that a crate's users compile with it.
fn pulled_in<'a>(metadata: &'a Metadata, root: &PackageId) -> BTreeSet<&'a str> {
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    let nodes: HashMap<_, _> = nodes.map(|node| (&node.id, node)).collect();
    let mut seen = BTreeSet::new();
    let mut next = vec![root];
    while let Some(id) = next.pop() {
        let dependencies = nodes.get(id).into_iter().flat_map(|node| &node.deps);
        for dependency in dependencies {
            let is_normal =
                |kind: &cargo_metadata::DepKindInfo| kind.kind == DependencyKind::Normal;
            if dependency.dep_kinds.iter().any(is_normal) && seen.insert(&dependency.pkg) {
                next.push(&dependency.pkg);
            }
        }
    }
    let packages = metadata.packages.iter();
    packages
        .filter(|package| seen.contains(&package.id))
        .map(|package| package.name.as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_arrow_points_the_right_way() {
        assert_eq!(
            faults(&metadata().expect("cargo is there")),
            [] as [&str; 0]
        );
    }

    #[test]
    fn whoever_imports_what_is_for_tests_or_is_an_example_is_told() {
        let mut metadata = metadata().expect("cargo is there");
        let member = |package: &&mut cargo_metadata::Package| package.name.as_str() == "l2-disk";
        let l2_disk = metadata.packages.iter_mut().find(member);
        let imports = &mut l2_disk.expect("it is a member").dependencies;
        let of_tests = imports.iter_mut().find(|of| of.name == ONLY_FOR_TESTS);
        let of_tests = of_tests.expect("its tests use it");
        let mut example = of_tests.clone();
        example.name = "http-layer".to_owned();
        of_tests.kind = DependencyKind::Normal;
        imports.push(example);
        assert_eq!(
            faults(&metadata),
            [
                "l2-disk imports cache-layer-testkit",
                "l2-disk imports http-layer",
            ]
        );
    }

    #[test]
    fn what_a_crate_pulls_in_is_found_however_indirect() {
        let metadata = metadata().expect("cargo is there");
        let of = |name: &str| {
            let member = metadata
                .workspace_packages()
                .into_iter()
                .find(|member| member.name == name);
            pulled_in(&metadata, &member.expect("it is a member").id)
        };
        // Both by way of other crates only.
        assert!(of("snaptier").contains("opendal") && of("snaptier").contains("qapi"));
        assert!(!of("cache-key").contains("tokio"));
    }
}
