//! The directions in which the crates may import each other (see the design's section "The house").

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Who may import whom, of this workspace's crates. What is not listed imports none of them.
const ALLOWED: [(&str, &[&str]); 16] = [
    ("wharfline-kernel", &["wharfline-spec"]),
    ("wharfline-core", &["wharfline-spec", "wharfline-kernel"]),
    (
        "wharfline-ipam",
        &["wharfline-spec", "wharfline-kernel", "wharfline-core"],
    ),
    (
        "wharfline-cni",
        &["wharfline-spec", "wharfline-kernel", "wharfline-core"],
    ),
    (
        "wharfline-docker",
        &["wharfline-spec", "wharfline-kernel", "wharfline-core"],
    ),
    ("wharfline-bridge", BELOW_PLUGINS),
    ("wharfline-macvlan", BELOW_PLUGINS),
    ("wharfline-host-local", BELOW_PLUGINS),
    ("wharfline-portmap", BELOW_PLUGINS),
    ("wharfline-loopback", BELOW_PLUGINS),
    (
        "wharfline-volume-local",
        &[
            "wharfline-spec",
            "wharfline-kernel",
            "wharfline-core",
            "wharfline-docker",
            "wharfline-backup",
        ],
    ),
    // The runtime reaches plugins by exec only; it links no driver.
    (
        "wharf",
        &[
            "wharfline-spec",
            "wharfline-cni",
            "wharf-image",
            "wharf-protocol",
        ],
    ),
    ("wharf-shim", &["wharfline-spec", "wharf-protocol"]),
    ("wharfline-backup", &[]),
    (
        "wharfline-netns-tests",
        &["wharfline-spec", "wharfline-cni", "wharfline-testkit"],
    ),
    (
        "wharfline-benches",
        &["wharfline-spec", "wharfline-ipam", "wharfline-testkit"],
    ),
];

const BELOW_PLUGINS: &[&str] = &[
    "wharfline-spec",
    "wharfline-kernel",
    "wharfline-core",
    "wharfline-ipam",
    "wharfline-cni",
    "wharfline-docker",
];

/// Package name to the workspace packages that it imports, by kind of dependency.
fn imports(metadata: &Value) -> BTreeMap<String, Vec<(String, bool)>> {
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |package: &Value| package["name"].as_str().expect("a name").to_owned();
    let ours: Vec<String> = packages.iter().map(name).collect();
    let of = |package: &Value| {
        let all = package["dependencies"].as_array().expect("dependencies");
        let wanted = all.iter().filter(|d| ours.contains(&name(d)));
        wanted.map(|d| (name(d), d["kind"] == "dev")).collect()
    };
    packages
        .iter()
        .map(|package| (name(package), of(package)))
        .collect()
}

fn workspace() -> BTreeMap<String, Vec<(String, bool)>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = [
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--offline",
    ];
    let output = Command::new(cargo)
        .args(arguments)
        .output()
        .expect("run cargo metadata");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    imports(&serde_json::from_slice(&output.stdout).expect("JSON from cargo"))
}

#[test]
fn crates_import_only_downwards() {
    let allowed: BTreeMap<_, _> = ALLOWED.into_iter().collect();
    for (package, imports) in workspace() {
        let allowed = allowed.get(package.as_str()).copied().unwrap_or_default();
        for (import, for_tests) in imports {
            let fine =
                allowed.contains(&import.as_str()) || (for_tests && import == "wharfline-testkit");
            assert!(fine, "{package} must not import {import}");
        }
    }
}

#[test]
fn every_rule_is_about_a_package_that_exists() {
    let packages = workspace();
    for (package, imports) in ALLOWED {
        assert!(packages.contains_key(package), "no package {package}");
        for import in imports {
            assert!(packages.contains_key(*import), "no package {import}");
        }
    }
}
