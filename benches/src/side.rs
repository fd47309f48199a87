//! The sides that a case compares: the kernel's floor, and a chain of CNI plugins, ours or the reference's.
//! Cases attach and detach containers with it, one at a time or many at once.
//! It must never let one side do its work in another's state, unless a case asks for just that.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::{Context, Result};
use crate::lab::{Container, Host, UPLINK, ip};
use crate::process::{Cost, Job, run_at_once};

/// The bridge that a floor attaches to where no plugin has made one.
const FLOOR_BRIDGE: &str = "floor0";

/// Who attaches containers, on which host.
pub(crate) struct Side {
    host: Host,
    way: Way,
}

enum Way {
    Floor { programs: Floor, shape: Shape },
    Chain(Chain),
}

/// The programs of a floor.
#[derive(Debug, Clone)]
pub(crate) struct Floor {
    /// Where they are.
    pub(crate) folder: PathBuf,
    /// What their names end with: how they are built.
    pub(crate) suffix: &'static str,
}

impl Floor {
    fn program(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{}", self.suffix))
    }
}

/// What a floor attaches containers to.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    /// A bridge of this name.
    Bridge(String),
    /// The host, which routes to each.
    Routed,
    /// The host's uplink, as links that stand on it.
    Parent,
}

/// Plugins of one directory, called one after another.
struct Chain {
    directory: PathBuf,
    plugins: Vec<Value>,
    results: HashMap<u32, Value>,
}

impl Side {
    /// A floor with a bridge of its own on a host of its own.
    pub(crate) fn floor(host: &Host, programs: &Floor) -> Result<Side> {
        host.enter()?;
        ip(&format!(
            "link add {FLOOR_BRIDGE} type bridge; link set {FLOOR_BRIDGE} up; \
             addr add 10.88.0.1/16 dev {FLOOR_BRIDGE}"
        ))?;
        Ok(Self::floor_on(host, programs, FLOOR_BRIDGE))
    }

    /// A floor of another shape, which needs nothing beforehand.
    pub(crate) fn floor_of(host: &Host, programs: &Floor, shape: Shape) -> Side {
        Side {
            host: host.clone(),
            way: Way::Floor {
                programs: programs.clone(),
                shape,
            },
        }
    }

    /// A floor in the state that plugins have made: on their host, at their bridge.
    pub(crate) fn floor_on(host: &Host, programs: &Floor, bridge: &str) -> Side {
        Self::floor_of(host, programs, Shape::Bridge(bridge.to_owned()))
    }

    /// The plugins of `directory`, by their configurations.
    pub(crate) fn chain(host: &Host, directory: &Path, plugins: Vec<Value>) -> Side {
        Side {
            host: host.clone(),
            way: Way::Chain(Chain {
                directory: directory.to_owned(),
                plugins,
                results: HashMap::new(),
            }),
        }
    }

    /// Another configuration from the next call on.
    pub(crate) fn configure(&mut self, plugins: Vec<Value>) {
        if let Way::Chain(chain) = &mut self.way {
            chain.plugins = plugins;
        }
    }

    /// Attaches a container, and tells what each process cost.
    pub(crate) fn add(&mut self, container: &Container) -> Result<Vec<Cost>> {
        self.host.enter()?;
        let costs = match &mut self.way {
            Way::Floor { programs, shape } => {
                let job = attach(programs, shape, container).prepare(0, b"")?;
                vec![job.run()?.0]
            }
            Way::Chain(chain) => chain.add(container)?,
        };
        container.require_link(true)?;
        Ok(costs)
    }

    /// Detaches it.
    pub(crate) fn del(&mut self, container: &Container) -> Result<Vec<Cost>> {
        self.host.enter()?;
        let costs = match &mut self.way {
            Way::Floor { programs, shape } => {
                vec![detach(programs, shape, container).prepare(0, b"")?.run()?.0]
            }
            Way::Chain(chain) => chain.del(container)?,
        };
        container.require_link(false)?;
        Ok(costs)
    }

    /// Attaches many at once: as many processes, all started before the first is waited for.
    pub(crate) fn add_at_once(&mut self, containers: &[Container]) -> Result<Cost> {
        self.host.enter()?;
        let mut jobs = Vec::with_capacity(containers.len());
        for (slot, container) in containers.iter().enumerate() {
            let job = match &self.way {
                Way::Floor { programs, shape } => {
                    attach(programs, shape, container).prepare(slot, b"")?
                }
                Way::Chain(chain) => {
                    chain.job(&chain.plugins[0], ("ADD", container), slot, None)?
                }
            };
            jobs.push(job);
        }
        let cost = run_at_once(&mut jobs)?;
        for (job, container) in jobs.iter().zip(containers) {
            container.require_link(true)?;
            if let Way::Chain(chain) = &mut self.way {
                chain.keep(container, &job.output()?)?;
            }
        }
        Ok(cost)
    }

    /// Detaches many at once.
    pub(crate) fn del_at_once(&mut self, containers: &[Container]) -> Result<Cost> {
        self.host.enter()?;
        let mut jobs = Vec::with_capacity(containers.len());
        for (slot, container) in containers.iter().enumerate() {
            let job = match &self.way {
                Way::Floor { programs, shape } => {
                    detach(programs, shape, container).prepare(slot, b"")?
                }
                Way::Chain(chain) => {
                    let result = chain.results.get(&container.number);
                    chain.job(&chain.plugins[0], ("DEL", container), slot, result)?
                }
            };
            jobs.push(job);
        }
        let cost = run_at_once(&mut jobs)?;
        for container in containers {
            container.require_link(false)?;
        }
        Ok(cost)
    }
}

impl Chain {
    fn add(&mut self, container: &Container) -> Result<Vec<Cost>> {
        let mut costs = Vec::new();
        let mut result = None;
        for plugin in &self.plugins {
            let job = self.job(plugin, ("ADD", container), 0, result.as_ref())?;
            let (cost, output) = job.run()?;
            costs.push(cost);
            result = Some(parse(&output)?);
        }
        self.results
            .insert(container.number, result.unwrap_or_default());
        Ok(costs)
    }

    /// Backwards, each with the result of the whole ADD, as libcni does.
    fn del(&mut self, container: &Container) -> Result<Vec<Cost>> {
        let mut costs = Vec::new();
        for plugin in self.plugins.iter().rev() {
            let result = self.results.get(&container.number);
            let job = self.job(plugin, ("DEL", container), 0, result)?;
            costs.push(job.run()?.0);
        }
        self.results.remove(&container.number);
        Ok(costs)
    }

    fn keep(&mut self, container: &Container, output: &str) -> Result<()> {
        self.results.insert(container.number, parse(output)?);
        Ok(())
    }

    fn job(
        &self,
        plugin: &Value,
        (verb, container): (&str, &Container),
        slot: usize,
        previous: Option<&Value>,
    ) -> Result<Job> {
        let mut config = plugin.clone();
        if let Some(previous) = previous {
            config["prevResult"] = previous.clone();
        }
        call(&self.directory, &config, verb, container)?
            .prepare(slot, config.to_string().as_bytes())
    }
}

/// One call of the plugin that `config` names in `type`.
pub(crate) fn call(
    directory: &Path,
    config: &Value,
    verb: &str,
    container: &Container,
) -> Result<Job> {
    let program = program(directory, config)?;
    let job = Job::new(&program, &[], &environment(directory, verb, container)?);
    Ok(job.titled(&format!("{} {verb} {}", program.display(), container.name)))
}

/// The same call made by the program `peak`, which writes to `told` how much memory it took.
pub(crate) fn call_by(
    (peak, told): (&Path, &str),
    directory: &Path,
    config: &Value,
    (verb, container): (&str, &Container),
) -> Result<Job> {
    let program = program(directory, config)?;
    let environment = environment(directory, verb, container)?;
    Ok(Job::new(peak, &[told, text(&program)?], &environment))
}

fn program(directory: &Path, config: &Value) -> Result<PathBuf> {
    let kind = config["type"].as_str();
    let kind = kind.context(|| "read the type of a plugin".to_owned())?;
    Ok(directory.join(kind))
}

fn environment<'a>(
    directory: &'a Path,
    verb: &'a str,
    container: &'a Container,
) -> Result<[(&'static str, &'a str); 5]> {
    Ok([
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", &container.name),
        ("CNI_NETNS", text(&container.netns)?),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", text(directory)?),
    ])
}

fn attach(programs: &Floor, shape: &Shape, container: &Container) -> Job {
    let netns = &*container.netns.to_string_lossy();
    let link = &*host_link(container);
    let (high, low) = (container.number / 250, container.number % 250 + 2);
    let address = format!("10.88.{high}.{low}");
    let inside = [&*address, "16", "10.88.0.1"];
    let (program, outside) = match shape {
        Shape::Bridge(bridge) => ("attach", vec![netns, link, bridge]),
        Shape::Routed => ("attach-routed", vec![netns, link]),
        Shape::Parent => ("attach-parent", vec![netns, UPLINK]),
    };
    let words = [&outside[..], &inside].concat();
    Job::new(&programs.program(program), &words, &[])
}

fn detach(programs: &Floor, shape: &Shape, container: &Container) -> Job {
    match shape {
        Shape::Bridge(_) | Shape::Routed => {
            Job::new(&programs.program("detach"), &[&host_link(container)], &[])
        }
        Shape::Parent => {
            let netns = container.netns.to_string_lossy();
            Job::new(&programs.program("detach-parent"), &[&netns], &[])
        }
    }
}

fn host_link(container: &Container) -> String {
    format!("floor-{}", container.number)
}

fn parse(output: &str) -> Result<Value> {
    serde_json::from_str(output).context(|| format!("read a result: {output}"))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .context(|| format!("the UTF-8 of {}", path.display()))
}

/// A network by the plugin bridge with addresses by host-local, as most conflists have it.
pub(crate) fn bridge(masquerade: bool) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "bench",
        "type": "bridge",
        "bridge": "bench0",
        "isGateway": true,
        "ipMasq": masquerade,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": "10.88.0.0/16"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    })
}

/// The same addresses by another plugin, which needs no bridge.
pub(crate) fn without_bridge(kind: &str) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "bench",
        "type": kind,
        "master": UPLINK,
        "ipam": bridge(false)["ipam"],
    })
}

/// The name of its bridge.
pub(crate) const BRIDGE: &str = "bench0";

/// Published ports: `count` of TCP from `first` on, to the container's port 80.
pub(crate) fn portmap(first: u16, count: u16) -> Value {
    let mapping =
        |offset| json!({"hostPort": first + offset, "containerPort": 80, "protocol": "tcp"});
    json!({
        "cniVersion": "1.0.0",
        "name": "bench",
        "type": "portmap",
        "capabilities": {"portMappings": true},
        "runtimeConfig": {"portMappings": (0..count).map(mapping).collect::<Vec<_>>()},
    })
}
