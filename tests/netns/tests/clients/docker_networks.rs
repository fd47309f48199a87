//! dockerd 20.10 with our drivers: networks, addresses and published ports of `docker run`, as its users know them.

use wharfline_netns_tests::ours;
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Outside, World};

use wharfline_netns_tests::docker_host::{DockerHost, PAGE, PLUGINS, page};
use wharfline_netns_tests::machine::{IMAGE, fetches};

#[test]
fn containers_on_our_network_are_reached_as_on_dockers_own() {
    let host = DockerHost::boot();
    let before = host.warm_up();

    host.network(
        "net1",
        &[
            "--ipv6",
            "--subnet",
            "10.77.0.0/24",
            "--subnet",
            "fd00:77::/64",
        ],
    );
    host.run("web", "net1", &["-p", "8080:80"]);
    host.run("client", "net1", &[]);
    assert_eq!(host.v4("web", "net1"), "10.77.0.2");
    // From outside by both families, from the host, from a neighbour, and by name.
    for address in [Outside::HOST_V4, Outside::HOST_V6] {
        assert!(fetches(&host.outside, tcp(address, 8080)).contains(PAGE));
    }
    assert!(
        fetches(
            host.machine.lab.host(),
            tcp(std::net::Ipv4Addr::LOCALHOST, 8080)
        )
        .contains(PAGE)
    );
    host.reaches("client", "http://10.77.0.2/page");
    host.reaches("client", &format!("http://{}:8080/page", Outside::HOST_V4));
    host.reaches("web", &format!("http://{}:8080/page", Outside::HOST_V4));
    let named = host.docker(&["exec", "client", "busybox", "nslookup", "web"]);
    assert!(named.contains("10.77.0.2"), "{named}");
    // Unpublished ports are nobody's business outside.
    host.outside.learns_route_to("10.77.0.0/24");
    host.outside.does_not_reach(tcp([10, 77, 0, 2], 80));

    // `wharf` shows it as it shows CNI's, by the names that dockerd knows.
    let wharf = ours().directory().join("wharf").display().to_string();
    let wharf = |words: &[&str]| host.machine.run(&[&[&*wharf, "network"], words].concat());
    assert!(wharf(&["ls"]).contains("net1 "), "{}", wharf(&["ls"]));
    let shown = wharf(&["inspect", "net1", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let connections = shown["connections"].as_array().expect("a list");
    let web = connections.iter().find(|one| one["name"] == "web");
    let web = web.unwrap_or_else(|| panic!("no web in {shown:#}"));
    assert_eq!(
        web["container"],
        host.docker(&["inspect", "-f", "{{.Id}}", "web"])
    );
    assert_eq!(web["addresses"][0], "10.77.0.2/24");
    assert_eq!(web["ports"][0], "8080:80/tcp");
    let veth = web["hostSide"][1].as_str().expect("a link");
    assert!(
        host.machine
            .run(&["ip", "link", "show", veth])
            .contains("master wh-")
    );

    host.docker(&["restart", "-t", "1", "web"]);
    host.docker(&["stop", "-t", "1", "web"]);
    host.docker(&["start", "web"]);
    assert!(fetches(&host.outside, tcp(Outside::HOST_V4, 8080)).contains(PAGE));
    host.docker(&["rm", "-f", "web", "client"]);
    host.docker(&["network", "rm", "net1"]);
    before.returns("the host is as before", || host.world());
}

#[test]
fn networks_are_apart_and_a_running_container_joins_and_leaves() {
    let host = DockerHost::boot();
    let before = host.warm_up();
    host.network("a", &["--subnet", "10.77.1.0/24"]);
    host.network("b", &["--subnet", "10.77.2.0/24"]);
    host.run("web", "a", &["-p", "8080:80"]);
    host.run("other", "b", &[]);
    host.run("dockers", "bridge", &[]);
    let web = page(&host.v4("web", "a"));
    let dockers = page(&host.v4("dockers", "bridge"));
    // What is published is everybody's, what is not is the network's own.
    host.reaches("other", &format!("http://{}:8080/page", Outside::HOST_V4));
    host.reaches("dockers", &format!("http://{}:8080/page", Outside::HOST_V4));
    for stranger in ["other", "dockers"] {
        host.never_reaches(stranger, &web);
    }
    host.never_reaches("other", &dockers);

    host.docker(&["network", "connect", "a", "other"]);
    host.reaches("other", &web);
    host.reaches("web", &page(&host.v4("other", "a")));
    host.docker(&["network", "disconnect", "a", "other"]);
    host.never_reaches("other", &web);
    host.reaches("other", &format!("http://{}:8080/page", Outside::HOST_V4));

    host.docker(&["rm", "-f", "web", "other", "dockers"]);
    host.docker(&["network", "rm", "a", "b"]);
    before.returns("the host is as before", || host.world());
}

#[test]
fn options_of_a_network_do_what_they_say() {
    let host = DockerHost::boot();
    let _far = host.outside.serves(tcp(Outside::FAR_V4, 80));
    let far = |container: &str| host.gets_anything(container, &page(&Outside::FAR_V4.to_string()));
    host.network("plain", &[]);
    host.run("plain", "plain", &[]);
    assert!(far("plain"), "masqueraded to the outside");

    host.network("inner", &["--internal"]);
    host.run("inner1", "inner", &["-p", "8081:80"]);
    host.run("inner2", "inner", &[]);
    host.reaches("inner2", &page(&host.v4("inner1", "inner")));
    assert!(!far("inner1"), "an internal network has no way out");
    host.outside.does_not_reach(tcp(Outside::HOST_V4, 8081));

    host.network(
        "secluded",
        &["-o", "com.docker.network.bridge.enable_icc=false"],
    );
    host.run("alone1", "secluded", &[]);
    host.run("alone2", "secluded", &[]);
    assert!(far("alone1"), "seclusion does not shut the way out");
    host.never_reaches("alone2", &page(&host.v4("alone1", "secluded")));

    let routed = [
        "--ipv6",
        "--subnet",
        "10.77.3.0/24",
        "--subnet",
        "fd00:77:3::/64",
        "-o",
        "com.docker.network.bridge.gateway_mode_ipv6=routed",
        "-o",
        "com.docker.network.driver.mtu=1400",
        "-o",
        "com.docker.network.container_iface_prefix=net",
    ];
    host.network("routed", &routed);
    host.run("routed", "routed", &["-p", "8082:80"]);
    host.outside.learns_route_to("fd00:77:3::/64");
    let address = host.address("routed", "routed", "GlobalIPv6Address");
    let address: std::net::IpAddr = address.parse().expect("an address");
    assert!(
        fetches(&host.outside, tcp(address, 80)).contains(PAGE),
        "at its own address"
    );
    assert!(
        fetches(&host.outside, tcp(Outside::HOST_V4, 8082)).contains(PAGE),
        "IPv4 is translated"
    );
    let link = host.docker(&["exec", "routed", "busybox", "ip", "link", "show", "net0"]);
    assert!(link.contains("mtu 1400"), "{link}");

    // Ports that nobody named are somewhere, and nobody else gets them.
    host.run("random", "plain", &["-p", "80"]);
    let port = host.published_port("random");
    assert!(fetches(&host.outside, tcp(Outside::HOST_V4, port)).contains(PAGE));
    let taken = format!("{port}:80");
    let told = host.fails(&["run", "-d", "--network", "plain", "-p", &taken, IMAGE]);
    assert!(
        told.contains(&port.to_string()) && told.contains("in use"),
        "{told}"
    );

    let ours = [
        "network",
        "create",
        "-d",
        "wharf-bridge",
        "-o",
        "colour=red",
        "bad",
    ];
    let told = host.fails(&ours);
    assert!(told.contains("option colour is not known"), "{told}");
}

#[test]
fn what_is_killed_comes_back_with_all_that_it_had() {
    let mut host = DockerHost::boot();
    let before = host.warm_up();
    host.network("net1", &["--subnet", "10.77.1.0/24"]);
    host.run("web", "net1", &["-p", "8080:80", "--restart", "always"]);
    let serves =
        |host: &DockerHost| fetches(&host.outside, tcp(Outside::HOST_V4, 8080)).contains(PAGE);
    assert!(serves(&host));

    // The plugins alone: nothing of what runs is touched, and the next call finds all that there was.
    host.kill(&PLUGINS);
    assert!(serves(&host));
    host.start_plugins();
    host.run("second", "net1", &[]);
    assert_ne!(host.v4("second", "net1"), host.v4("web", "net1"));
    host.reaches("second", &page(&host.v4("web", "net1")));
    host.docker(&["rm", "-f", "second"]);

    // dockerd and the plugins at once: what should run runs again, at an address and with its port.
    host.kill_all_and_restart("web");
    assert!(serves(&host));
    let endpoints = host
        .world()
        .objects("file /run/wharfline/")
        .filter(|f| f.contains("@wc"))
        .count();
    assert_eq!(
        endpoints,
        2,
        "one link and its ports: {:?}",
        host.machine.log("bridge")
    );
    host.docker(&["rm", "-f", "web"]);
    host.docker(&["network", "rm", "net1"]);
    before.returns("the host is as before", || host.world());
}

#[test]
fn with_live_restore_containers_run_on_while_dockerd_and_plugins_restart() {
    let mut host = DockerHost::with(&["--live-restore"]);
    let before = host.warm_up();
    host.network("net1", &["--subnet", "10.77.1.0/24"]);
    host.run("web", "net1", &["-p", "8080:80"]);
    let page = |host: &DockerHost| fetches(&host.outside, tcp(Outside::HOST_V4, 8080));
    assert!(page(&host).contains(PAGE));
    let started = host.docker(&["inspect", "-f", "{{.State.StartedAt}}", "web"]);

    host.machine.signal("TERM", &["dockerd"]);
    host.kill(&PLUGINS);
    host.docker_is_gone();
    assert!(page(&host).contains(PAGE), "with nobody there");
    host.start_plugins();
    host.start_dockerd();
    assert!(page(&host).contains(PAGE));
    assert_eq!(
        host.docker(&["inspect", "-f", "{{.State.StartedAt}}", "web"]),
        started
    );
    host.run("second", "net1", &[]);
    assert_eq!(host.v4("second", "net1"), "10.77.1.3");
    host.docker(&["rm", "-f", "web", "second"]);
    host.docker(&["network", "rm", "net1"]);
    // dockerd itself puts its jumps in another order when it starts again.
    let ours = |world: World| world.without("host nft ip filter chain FORWARD rule");
    ours(before).returns("the host is as before", || ours(host.world()));
}

/// Three services on two networks of our drivers, one of them internal.
const COMPOSITION: &str = r#"
version: "2.4"
services:
  web:
    image: docker.io/library/busybox:test
    networks: [front, back]
    ports: ["8080:80"]
  app:
    image: docker.io/library/busybox:test
    networks: [back]
  store:
    image: docker.io/library/busybox:test
    networks: [back]
networks:
  front:
    driver: wharf-bridge
    ipam: {driver: wharf-ipam}
  back:
    driver: wharf-bridge
    internal: true
    ipam: {driver: wharf-ipam}
"#;

#[test]
fn compose_brings_services_up_scales_them_and_takes_them_down() {
    let host = DockerHost::boot();
    let before = host.warm_up();
    host.machine
        .write("/run/compose/docker-compose.yml", COMPOSITION);
    let compose = |arguments: &[&str]| {
        let command = [
            "docker-compose",
            "-H",
            "unix:///run/docker.sock",
            "--project-directory",
            "/run/compose",
            "-f",
            "/run/compose/docker-compose.yml",
            "-p",
            "shop",
        ];
        host.machine.run(&[&command[..], arguments].concat())
    };
    compose(&["up", "-d"]);
    assert!(fetches(&host.outside, tcp(Outside::HOST_V4, 8080)).contains(PAGE));
    let named = host.docker(&["exec", "shop_web_1", "busybox", "nslookup", "store"]);
    assert!(
        named.contains(&host.v4("shop_store_1", "shop_back")),
        "{named}"
    );
    host.reaches("shop_web_1", &page(&host.v4("shop_store_1", "shop_back")));

    compose(&["up", "-d", "--scale", "app=3"]);
    let addresses = ["shop_app_1", "shop_app_2", "shop_app_3"].map(|app| host.v4(app, "shop_back"));
    for address in &addresses {
        host.reaches("shop_web_1", &page(address));
        assert_eq!(
            addresses.iter().filter(|other| *other == address).count(),
            1
        );
    }
    compose(&["down", "-t", "1"]);
    before.returns("the host is as before", || host.world());
}
