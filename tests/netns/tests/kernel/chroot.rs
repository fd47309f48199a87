//! The binaries are static: they run where there is nothing but themselves.

use serde_json::Value;
use wharfline_netns_tests::ours;
use wharfline_testkit::{Lab, Verb};

const PLUGINS: [&str; 4] = ["bridge", "host-local", "portmap", "loopback"];

#[test]
fn every_plugin_answers_version_in_an_empty_chroot() {
    let lab = Lab::new();
    for plugin in PLUGINS {
        let binary = ours().find(plugin);
        // By a process of its own: a copy that this one still has open for writing while another test forks is "busy".
        lab.exec(&["mkdir", "-p", "/run/empty"]);
        lab.exec(&["cp", &binary.display().to_string(), "/run/empty"]);
        let script = format!(
            "CNI_COMMAND={} exec chroot /run/empty /{plugin}",
            Verb::Version
        );
        let output = lab.try_exec(&["sh", "-c", &script], r#"{"cniVersion":"1.1.0"}"#);
        assert!(output.succeeded(), "{plugin}: {output}");
        let answer: Value = serde_json::from_str(&output.stdout).expect("JSON");
        let versions = answer["supportedVersions"].as_array().expect("versions");
        let all = [
            "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
        ];
        assert!(
            all.iter().all(|v| versions.contains(&Value::from(*v))),
            "{plugin}: {answer}"
        );
    }
}
