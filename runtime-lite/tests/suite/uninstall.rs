//! `wharf uninstall`: no trace of wharf or of the plugins is left, and nothing of anybody else is taken.

use serde_json::json;

use crate::images::import;
use crate::networks::end;
use crate::support::Host;

#[test]
fn an_uninstalled_host_is_as_it_was() {
    let host = Host::new();
    let before = host.world();
    host.wharf(&["network", "create", "web"]).ok();
    host.run(&["--network", "web", "-p", "8080:80"], &["true"])
        .ok();
    host.run(&["--network", "none"], &["true"]).ok();
    import(
        &host,
        "base",
        json!({"Cmd": ["true"], "Volumes": {"/data": {}}}),
    );
    host.wharf(&["run", "--rm", "--network", "none", "base"])
        .ok();
    let used = host.world();
    let plan = host.wharf(&["uninstall", "--dry-run"]).ok();
    assert!(plan.contains("would remove network web"), "{plan}");
    assert!(plan.contains("would remove /run/wharfline"), "{plan}");
    let after = host.world();
    assert!(
        used.difference(&after).is_empty(),
        "{}",
        used.difference(&after)
    );
    host.wharf(&["uninstall"]).ok();
    before.returns("nothing to be left", || host.world());
}

#[test]
fn it_refuses_while_a_container_lives() {
    let host = Host::new();
    let process = host.start("alive", &["--network", "none"], &["sleep", "1000"]);
    host.wharf(&["uninstall"]).refused(1, "still in use");
    assert!(host.container("alive").is_some());
    end(&host, process);
    host.wharf(&["uninstall"]).ok();
}
