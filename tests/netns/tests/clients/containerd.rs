//! containerd 1.6 through its CRI: pods with published ports over an unchanged conflist, and pods on the host's segment.

use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, CreateContainerRequest, ImageSpec, LinuxPodSandboxConfig,
    PodSandboxConfig, PodSandboxMetadata, PodSandboxStatusRequest, PortMapping,
    RemovePodSandboxRequest, RunPodSandboxRequest, StartContainerRequest, StatusRequest,
    StopPodSandboxRequest,
};
use tonic::transport::{Channel, Endpoint};
use wharfline_netns_tests::ours;
use wharfline_testkit::traffic::tcp;
use wharfline_testkit::{Outside, Process, wait_for};

use wharfline_netns_tests::machine::{ARCHIVE, IMAGE, Machine, fetches};

/// As nodes have it: the list that the project's users bring along.
const CONFLIST: &str = r#"{"cniVersion": "1.0.0", "name": "lab", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.22.0.0/16"}], [{"subnet": "fd00:22::/64"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}"#;

/// Pods on the segment of the host's uplink, whose router is theirs.
const ON_SEGMENT: &str = r#"{"cniVersion": "1.0.0", "name": "lan", "plugins": [
  {"type": "macvlan", "master": "uplink0",
   "ipam": {"type": "host-local",
            "ranges": [[{"subnet": "198.18.0.0/24", "rangeStart": "198.18.0.100", "gateway": "198.18.0.2"}],
                       [{"subnet": "2001:db8:18::/64", "rangeStart": "2001:db8:18::100", "gateway": "2001:db8:18::2"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}]}"#;

const SOCKET: &str = "/run/containerd/containerd.sock";

fn configuration() -> String {
    let plugins = ours().directory().display().to_string();
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{IMAGE}"
  # Containers of CI may not lower their own score (no CAP_SYS_RESOURCE).
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"#
    )
}

/// A machine with containerd running, and a client of its CRI.
struct Node {
    machine: Machine,
    outside: Outside,
    runtime: tokio::runtime::Runtime,
    client: RuntimeServiceClient<Channel>,
    _containerd: Process,
}

impl Node {
    fn boot(conflist: &str) -> Node {
        let machine = Machine::boot();
        let outside = machine.lab.outside();
        machine.write("/etc/cni/net.d/10-lab.conflist", conflist);
        machine.write("/run/containerd.toml", &configuration());
        let containerd = machine.start("containerd", &["containerd", "-c", "/run/containerd.toml"]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let socket = machine.lab.path(SOCKET);
        let client = wait_for("containerd to be ready", Duration::from_secs(30), || {
            let ready = runtime.block_on(ready(&socket));
            ready.map_err(|e| format!("{e}\n{}", machine.log("containerd")))
        });
        machine.run(&[
            "ctr",
            "-a",
            SOCKET,
            "-n",
            "k8s.io",
            "images",
            "import",
            "--snapshotter",
            "native",
            ARCHIVE,
        ]);
        Node {
            machine,
            outside,
            runtime,
            client,
            _containerd: containerd,
        }
    }

    /// Runs a pod of one container, the image's web server.
    fn run_pod(&mut self, name: &str, host_port: i32) -> Pod {
        let config = pod_config(name, host_port, self.machine.control_group());
        let log = |machine: &Machine| machine.log("containerd");
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
            ..Default::default()
        };
        let started = self.runtime.block_on(self.client.run_pod_sandbox(request));
        let id = started
            .unwrap_or_else(|e| panic!("{e}\n{}", log(&self.machine)))
            .into_inner()
            .pod_sandbox_id;
        let create = CreateContainerRequest {
            pod_sandbox_id: id.clone(),
            config: Some(container_config()),
            sandbox_config: Some(config),
        };
        let created = self.runtime.block_on(self.client.create_container(create));
        let container_id = created
            .unwrap_or_else(|e| panic!("{e}\n{}", log(&self.machine)))
            .into_inner()
            .container_id;
        let start = StartContainerRequest { container_id };
        let started = self.runtime.block_on(self.client.start_container(start));
        started.unwrap_or_else(|e| panic!("{e}\n{}", log(&self.machine)));
        let status = PodSandboxStatusRequest {
            pod_sandbox_id: id.clone(),
            verbose: false,
        };
        let status = self
            .runtime
            .block_on(self.client.pod_sandbox_status(status))
            .expect("the pod's status");
        let network = status
            .into_inner()
            .status
            .and_then(|s| s.network)
            .expect("the pod's network");
        let ips = [network.ip]
            .into_iter()
            .chain(network.additional_ips.into_iter().map(|ip| ip.ip));
        Pod {
            id,
            ips: ips.map(|ip| ip.parse().expect("an address")).collect(),
        }
    }

    fn stop_and_remove(&mut self, pod: &Pod) {
        let stop = StopPodSandboxRequest {
            pod_sandbox_id: pod.id.clone(),
        };
        self.runtime
            .block_on(self.client.stop_pod_sandbox(stop))
            .expect("stop the pod");
        let remove = RemovePodSandboxRequest {
            pod_sandbox_id: pod.id.clone(),
        };
        self.runtime
            .block_on(self.client.remove_pod_sandbox(remove))
            .expect("remove the pod");
    }
}

struct Pod {
    id: String,
    ips: Vec<std::net::IpAddr>,
}

async fn ready(socket: &std::path::Path) -> Result<RuntimeServiceClient<Channel>, String> {
    let socket: PathBuf = socket.to_owned();
    let connect = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move {
            tokio::net::UnixStream::connect(socket)
                .await
                .map(TokioIo::new)
        }
    });
    let endpoint = Endpoint::from_static("http://containerd");
    let channel = endpoint
        .connect_with_connector(connect)
        .await
        .map_err(|e| format!("connect: {e}"))?;
    let mut client = RuntimeServiceClient::new(channel);
    let status = client
        .status(StatusRequest { verbose: false })
        .await
        .map_err(|e| e.to_string())?;
    let conditions = status
        .into_inner()
        .status
        .map(|s| s.conditions)
        .unwrap_or_default();
    match conditions.iter().find(|c| !c.status) {
        Some(condition) => Err(format!("{}: {}", condition.reason, condition.message)),
        None => Ok(client),
    }
}

fn pod_config(name: &str, host_port: i32, cgroup_parent: String) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            namespace: "default".to_owned(),
            attempt: 0,
        }),
        hostname: name.to_owned(),
        log_directory: "/run/podlogs".to_owned(),
        port_mappings: match host_port {
            0 => Vec::new(),
            host_port => vec![PortMapping {
                container_port: 80,
                host_port,
                ..Default::default()
            }],
        },
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn container_config() -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: "web".to_owned(),
            attempt: 0,
        }),
        image: Some(ImageSpec {
            image: IMAGE.to_owned(),
            ..Default::default()
        }),
        log_path: "web.log".to_owned(),
        ..Default::default()
    }
}

#[test]
fn pods_with_published_ports_run_and_leave_nothing() {
    published_ports_of(&mut Node::boot(CONFLIST));
}

#[test]
fn pods_on_links_of_their_own_run_and_leave_nothing() {
    let routed = CONFLIST
        .replace("\"bridge\", \"bridge\": \"cni0\"", "\"ptp\"")
        .replace("\"isGateway\": true, ", "")
        .replace("\"hairpinMode\": true,", "\"mtu\": 1400,");
    assert!(routed.contains("\"ptp\""), "{routed}");
    published_ports_of(&mut Node::boot(&routed));
}

#[test]
fn pods_on_the_hosts_segment_run_and_leave_nothing() {
    let mut node = Node::boot(ON_SEGMENT);
    let first = node.run_pod("first", 0);
    node.stop_and_remove(&first);
    let warm = node.machine.networks();
    let (a, b) = (node.run_pod("a", 0), node.run_pod("b", 0));
    for pod in [&a, &b] {
        assert_eq!(pod.ips.len(), 2, "{:?}", pod.ips);
        for ip in &pod.ips {
            let page = fetches(&node.outside, tcp(*ip, 80));
            assert!(page.contains("a page from the container"), "{page}");
            node.machine.lab.host().does_not_reach(tcp(*ip, 80));
        }
    }
    node.stop_and_remove(&a);
    node.stop_and_remove(&b);
    warm.returns("the warm networks after both pods are removed", || {
        node.machine.networks()
    });
}

fn published_ports_of(node: &mut Node) {
    let first = node.run_pod("first", 8880);
    node.stop_and_remove(&first);
    let warm = node.machine.networks();

    let (a, b) = (node.run_pod("a", 8880), node.run_pod("b", 8881));
    for (pod, port) in [(&a, 8880), (&b, 8881)] {
        assert_eq!(
            pod.ips.len(),
            2,
            "one address of each family: {:?}",
            pod.ips
        );
        for ip in &pod.ips {
            assert!(
                fetches(node.machine.lab.host(), tcp(*ip, 80))
                    .contains("a page from the container")
            );
        }
        for host in [Outside::HOST_V4, Outside::HOST_V6] {
            assert!(fetches(&node.outside, tcp(host, port)).contains("a page from the container"));
        }
        assert!(
            fetches(node.machine.lab.host(), tcp([127, 0, 0, 1], port))
                .contains("a page from the container")
        );
    }
    node.stop_and_remove(&a);
    node.stop_and_remove(&b);
    warm.returns("the warm networks after both pods are removed", || {
        node.machine.networks()
    });
}
