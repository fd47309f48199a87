//! Layers are there once, as long as anything uses them; names lead to one image; a killed import leaves a temporary.

use std::fs;

use serde_json::json;
use wharf_image::{Name, Root, Store, Wish, import};

use crate::support::{Archive, MEMORY, Place, Tree, chain, docker_archive};

fn layers(place: &Place) -> usize {
    Tree::of(&place.path("lib/images/layers"))
        .names()
        .iter()
        .filter(|name| !name.contains('/'))
        .count()
}

fn bring(place: &Place, name: &str, layers: &[&str]) -> wharf_image::Import {
    let layers: Vec<Vec<u8>> = layers
        .iter()
        .map(|own| Archive::new().file(own, own).bytes())
        .collect();
    let file = place.path("image.tar");
    fs::write(
        &file,
        docker_archive(&layers, json!({"Labels": {"of": name}})),
    )
    .expect("written");
    let wish = Wish {
        name: Some(Name::parse(name).expect("a name")),
        created: String::new(),
        limits: wharf_image::Limits::default(),
    };
    import(&place.store(), &file, &wish, &mut ()).expect("imported")
}

#[test]
fn a_layer_is_unpacked_once_and_freed_with_its_last_image() {
    let place = Place::new();
    let store = place.store();
    assert_eq!(bring(&place, "one", &["base", "a"]).unpacked, 2);
    assert_eq!(bring(&place, "two", &["base", "b"]).unpacked, 1);
    assert_eq!(bring(&place, "one", &["base", "a"]).unpacked, 0);
    assert_eq!(layers(&place), 3);
    let (name, freed) = store.remove("one").expect("removed");
    assert_eq!(
        (name.as_str(), freed.layers, freed.bytes),
        ("one:latest", 1, 1)
    );
    let (_, freed) = store.remove("two:latest").expect("removed");
    assert_eq!((freed.layers, freed.bytes), (2, 5));
    assert_eq!(layers(&place), 0);
    assert!(store.list().expect("listed").is_empty());
}

#[test]
fn an_image_with_two_names_stays_until_both_are_gone() {
    let place = Place::new();
    let first = bring(&place, "one", &["a"]);
    let file = place.path("image.tar");
    let wish = Wish {
        name: Some(Name::parse("registry.example:5000/other/one:2").expect("a name")),
        created: String::new(),
        limits: wharf_image::Limits::default(),
    };
    let second = import(&place.store(), &file, &wish, &mut ()).expect("imported");
    assert_eq!(first.images[0].id, second.images[0].id);
    assert_eq!(place.store().remove("one").expect("removed").1.layers, 0);
    assert_eq!(place.store().remove("one:2").expect("removed").1.layers, 1);
}

#[test]
fn a_name_given_to_another_image_frees_the_first() {
    let place = Place::new();
    bring(&place, "one", &["a"]);
    let freed = bring(&place, "one", &["b"]).freed;
    assert_eq!((freed.layers, freed.images.len()), (1, 1));
    assert_eq!(layers(&place), 1);
}

#[test]
fn an_image_of_a_container_is_kept_and_goes_with_it() {
    let place = Place::new();
    let store = place.store();
    bring(&place, "one", &["a", "b"]);
    let (root, image) = Root::create(&store, "c1", "one").expect("made");
    assert_eq!((image.name.as_str(), image.layers.len()), ("one:latest", 2));
    let refusal = chain(&store.remove("one").expect_err("it is used"));
    assert!(refusal.contains("used by container c1"), "{refusal}");
    // The name may go to another image: the layers stay.
    assert_eq!(bring(&place, "one", &["c"]).freed.layers, 0);
    assert_eq!(layers(&place), 3);
    assert_eq!(Root::of(&store, "c1").expect("read"), Some(root.clone()));
    root.remove(&store).expect("removed");
    assert_eq!(store.free().expect("freed").layers, 2);
    assert_eq!(Root::all(&store).expect("listed").len(), 0);
}

#[test]
fn a_container_has_one_root_and_an_id_that_is_no_path() {
    let place = Place::new();
    let store = place.store();
    bring(&place, "one", &["a"]);
    Root::create(&store, "c1", "one").expect("made");
    let refusal = chain(&Root::create(&store, "c1", "one").expect_err("it has one"));
    assert!(refusal.contains("root of a container already"), "{refusal}");
    for id in ["", "..", "a/b", ".x", "a\0"] {
        assert!(Root::create(&store, id, "one").is_err(), "{id:?}");
    }
}

#[test]
fn images_are_found_by_name_end_and_id_and_never_by_guess() {
    let place = Place::new();
    let store = place.store();
    let id = bring(&place, "registry.example/team/web:2", &["a"]).images[0]
        .id
        .clone();
    bring(&place, "other/web:2", &["b"]);
    let found = |wanted: &str| {
        store
            .find(wanted)
            .map(|image| image.name.to_string())
            .map_err(|error| chain(&error))
    };
    assert_eq!(
        found("team/web:2").as_deref(),
        Ok("registry.example/team/web:2")
    );
    assert_eq!(
        found(id.short()).as_deref(),
        Ok("registry.example/team/web:2")
    );
    assert_eq!(
        found(&id.to_string()).as_deref(),
        Ok("registry.example/team/web:2")
    );
    let ambiguous = found("web:2").expect_err("two are meant");
    assert!(
        ambiguous.contains("other/web:2, registry.example/team/web:2"),
        "{ambiguous}"
    );
    assert!(
        found("web")
            .expect_err("no such tag")
            .contains("there is no image")
    );
    assert!(found("../x").is_err());
}

#[test]
fn a_store_that_was_never_used_is_left_without_a_trace() {
    let place = Place::new();
    let store = Store::new(&place.path("nowhere"));
    assert!(store.list().expect("listed").is_empty());
    assert!(store.leftovers().expect("listed").is_empty());
    store.sweep().expect("swept");
    assert_eq!(store.free().expect("freed").layers, 0);
    assert!(!place.path("nowhere").exists());
}

#[test]
fn a_temporary_is_swept_once_its_process_is_gone() {
    let place = Place::new();
    let store = place.store();
    bring(&place, "one", &["a"]);
    let dead = place.path("lib/images/tmp/1-0-0");
    fs::create_dir_all(dead.join("layer-0/fs")).expect("made");
    let alive = place.path("lib/images/tmp/2-0-0");
    fs::create_dir_all(&alive).expect("made");
    let claim = fs::File::open(&alive).expect("opened");
    claim.lock().expect("locked");
    assert_eq!(
        store.leftovers().expect("listed"),
        std::slice::from_ref(&dead)
    );
    store.sweep().expect("swept");
    assert!(!dead.exists() && alive.exists());
    drop(claim);
    // The next import clears as well.
    bring(&place, "one", &["a"]);
    assert!(!alive.exists());
}

#[test]
fn two_imports_of_the_same_image_at_once_make_it_once() {
    let place = Place::new();
    let names: Vec<String> = (0..40).map(|number| format!("file-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    bring(&place, "seed", &["other"]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let layers: Vec<Vec<u8>> = names
                    .iter()
                    .map(|own| Archive::new().file(own, own).bytes())
                    .collect();
                let dir = tempfile::tempdir_in(MEMORY).expect("a folder");
                let file = dir.path().join("image.tar");
                fs::write(&file, docker_archive(&layers, json!({}))).expect("written");
                place.import(&file).expect("imported");
            });
        }
    });
    assert_eq!(layers(&place), 41);
    assert_eq!(Tree::of(&place.path("lib/images/tmp")).names(), [""; 0]);
}
