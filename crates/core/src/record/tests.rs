//! Records on disk: what is written comes back, and what we do not know is passed over, never lost.

use serde_json::json;
use tempfile::TempDir;

use super::*;

const PLUGIN: &str = "bridge";

fn key(container: &str) -> AttachmentKey {
    AttachmentKey {
        network: NetworkName::new("lab").expect("a name"),
        container: ContainerId::new(container).expect("an id"),
        ifname: IfName::new("eth0").expect("a name"),
    }
}

fn record(container: &str) -> Record {
    let key = key(container);
    let ifname = key.host_end(0).to_string();
    Record {
        version: Record::VERSION,
        plugin: PLUGIN.to_owned(),
        network: key.network.clone(),
        container: key.container.clone(),
        ifname: key.ifname.clone(),
        id: key.id(),
        netns: "/run/netns/none".into(),
        netns_id: SandboxId { dev: 4, ino: 7 },
        salt: 2,
        labels: json!({"app": "web"}).as_object().cloned().expect("labels"),
        addresses: vec!["10.88.0.7/16".parse().expect("an address")],
        own: vec![
            Target::Link {
                name: key.host_end(2),
                mac: key.host_mac(),
            },
            elements(&[&ifname]),
        ],
    }
}

fn elements(names: &[&str]) -> Target {
    Target::Elements {
        elements: names
            .iter()
            .map(|ifname| Element::Guarded {
                ifname: (*ifname).to_owned(),
            })
            .collect(),
    }
}

fn state() -> (TempDir, HostState) {
    let run = tempfile::tempdir().expect("a folder");
    let state = HostState::of(run.path(), 1);
    (run, state)
}

fn lab() -> NetworkName {
    NetworkName::new("lab").expect("a name")
}

#[test]
fn what_is_written_is_read() {
    let (_run, state) = state();
    let record = record("c1");
    record.write(&state).expect("written");
    assert_eq!(
        Record::read(&state, PLUGIN, &key("c1")).expect("read"),
        Some(record.clone())
    );
    assert_eq!(
        Record::all(&state).expect("listed"),
        std::slice::from_ref(&record)
    );
    assert_eq!(record.key(), key("c1"));
    assert_eq!(record.elements().len(), 1);
    assert!(!record.netns_lives());
    Record::remove(&state, PLUGIN, &key("c1")).expect("removed");
    Record::remove(&state, PLUGIN, &key("c1")).expect("removed a second time");
    assert!(!Record::any(&state, PLUGIN, &lab()).expect("asked"));
}

#[test]
fn the_form_on_disk_is_that_of_version_1() {
    // Records of a running node outlive an update of the binaries: a change here is a migration.
    let text = serde_json::to_string(&record("c1")).expect("JSON");
    assert_eq!(
        text,
        concat!(
            r#"{"version":1,"plugin":"bridge","network":"lab","container":"c1","ifname":"eth0","id":3968033084,"#,
            r#""netns":"/run/netns/none","netns_id":{"dev":4,"ino":7},"salt":2,"labels":{"app":"web"},"#,
            r#""addresses":["10.88.0.7/16"],"own":[{"target":"link","name":"wlHOSTEND2","mac":"0a:59:ec:83:61:3c"},"#,
            r#"{"target":"elements","elements":[{"guarded":{"ifname":"wlgbskack71v0s"}}]}]}"#
        )
        .replace("wlHOSTEND2", key("c1").host_end(2).as_str())
    );
}

#[test]
fn a_record_of_another_version_is_passed_over_and_stays() {
    let (_run, state) = state();
    let mut later = record("c2");
    later.version = Record::VERSION + 1;
    later.write(&state).expect("written");
    record("c1").write(&state).expect("written");
    let known = Record::of_network(&state, PLUGIN, &lab()).expect("listed");
    assert_eq!(known, [record("c1")]);
    assert!(state.record(PLUGIN, &key("c2")).exists());
}

#[test]
fn a_record_that_does_not_parse_counts_as_none() {
    let (_run, state) = state();
    record("c1").write(&state).expect("written");
    fs::write(state.record(PLUGIN, &key("c1")), "{\"version\":1,").expect("cut short");
    assert_eq!(
        Record::read(&state, PLUGIN, &key("c1")).expect("read"),
        None
    );
    assert_eq!(Record::all(&state).expect("listed"), []);
}

#[test]
fn a_note_takes_up_what_it_lacks_and_nothing_twice() {
    let mut note = SharedNote::default();
    assert!(note.include(&[elements(&["a"]), Target::LetThrough]));
    assert!(!note.include(&[Target::LetThrough, elements(&["a"])]));
    assert!(note.include(&[elements(&["a", "b"])]));
    assert_eq!(note.targets.len(), 3);
    assert_eq!(note.elements().len(), 3);
}

#[test]
fn a_networks_note_is_not_a_record_and_goes_with_its_folder() {
    let (_run, state) = state();
    let note = SharedNote {
        targets: vec![Target::LetThrough],
        ..SharedNote::default()
    };
    note.write(&state, PLUGIN, &lab()).expect("written");
    assert!(!Record::any(&state, PLUGIN, &lab()).expect("asked"));
    assert_eq!(
        SharedNote::read(&state, PLUGIN, &lab()).expect("read"),
        note
    );
    assert_eq!(
        SharedNote::of_others(&state, PLUGIN, &lab()).expect("listed"),
        []
    );
    let other = NetworkName::new("other").expect("a name");
    assert_eq!(
        SharedNote::of_others(&state, PLUGIN, &other).expect("listed"),
        [note]
    );
    SharedNote::remove(&state, PLUGIN, &lab()).expect("removed");
    assert!(!state.records(PLUGIN, &lab()).exists());
}

#[test]
fn a_note_of_a_network_with_attachments_leaves_them_their_folder() {
    let (_run, state) = state();
    record("c1").write(&state).expect("written");
    SharedNote::remove(&state, PLUGIN, &lab()).expect("removed");
    assert!(Record::any(&state, PLUGIN, &lab()).expect("asked"));
}
