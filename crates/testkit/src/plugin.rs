//! One call of one CNI plugin, as a runtime makes it: environment, configuration on stdin, one JSON document back.
//!
//! Called by tests that want a single step or a step gone wrong; whole networks go through [`crate::Network`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::lab::Lab;
use crate::namespace::Namespace;
use crate::process::{self, Output};

/// Where Debian's package containernetworking-plugins puts the reference plugins.
const REFERENCE: &str = "/usr/lib/cni";

/// The directories in which plugins are looked for, in order.
#[derive(Debug, Clone)]
pub struct Plugins {
    directories: Vec<PathBuf>,
}

impl Plugins {
    /// Ours: `WHARFLINE_BIN_DIR`, else the static release build of this workspace (`./build`).
    pub fn ours() -> Plugins {
        let built = || {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            let target = std::env::var_os("CARGO_TARGET_DIR")
                .map_or(workspace.join("target"), PathBuf::from);
            target.join(concat!(env!("WHARFLINE_TEST_TARGET"), "/release"))
        };
        let directory = std::env::var_os("WHARFLINE_BIN_DIR").map_or_else(built, PathBuf::from);
        Plugins {
            directories: vec![directory],
        }
    }

    /// The reference plugins of the distribution.
    pub fn reference() -> Plugins {
        Plugins {
            directories: vec![REFERENCE.into()],
        }
    }

    /// These, and for types that they lack the reference's.
    pub fn with_reference(mut self) -> Plugins {
        self.directories.push(REFERENCE.into());
        self
    }

    /// What CNI_PATH says.
    pub fn cni_path(&self) -> String {
        let directories = self.directories.iter().map(|d| d.display().to_string());
        directories.collect::<Vec<_>>().join(":")
    }

    /// The directory that is searched first.
    pub fn directory(&self) -> &Path {
        &self.directories[0]
    }

    /// The binary of a plugin type.
    ///
    /// # Panics
    ///
    /// If there is none: the suite needs `./build` first.
    #[track_caller]
    pub fn find(&self, kind: &str) -> PathBuf {
        let mut candidates = self.directories.iter().map(|d| d.join(kind));
        let found = candidates.find(|path| path.exists());
        found.unwrap_or_else(|| {
            panic!(
                "no plugin {kind} in {} (run ./build first)",
                self.cni_path()
            )
        })
    }
}

/// The verbs of CNI 1.1.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub enum Verb {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Verb {
    /// What CNI_COMMAND says.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Add => "ADD",
            Verb::Del => "DEL",
            Verb::Check => "CHECK",
            Verb::Gc => "GC",
            Verb::Status => "STATUS",
            Verb::Version => "VERSION",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One interface of one container.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attachment {
    /// CNI_CONTAINERID.
    pub container: String,
    /// CNI_IFNAME.
    pub ifname: String,
    /// CNI_NETNS; empty once the runtime has lost it.
    pub netns: String,
}

impl Attachment {
    /// `eth0` of a container that is called as its namespace is.
    pub fn of(namespace: &Namespace) -> Attachment {
        Attachment {
            container: namespace.name().to_owned(),
            ifname: "eth0".to_owned(),
            netns: namespace.path().to_owned(),
        }
    }

    /// The same container's interface of another name.
    pub fn named(mut self, ifname: &str) -> Attachment {
        ifname.clone_into(&mut self.ifname);
        self
    }

    /// The same after the namespace's file is gone and the runtime knows no path any more.
    pub fn without_netns(&self) -> Attachment {
        Attachment {
            netns: String::new(),
            ..self.clone()
        }
    }
}

/// One call, ready to be made (and made again).
#[derive(Debug, Clone)]
pub struct Call {
    binary: PathBuf,
    environment: Vec<(String, String)>,
    stdin: Vec<u8>,
}

impl Call {
    /// A call of plugin `kind` with nothing but CNI_COMMAND and CNI_PATH, and `stdin` as it stands.
    pub fn raw(plugins: &Plugins, kind: &str, verb: Verb, stdin: impl Into<Vec<u8>>) -> Call {
        let call = Call {
            binary: plugins.find(kind),
            environment: Vec::new(),
            stdin: stdin.into(),
        };
        call.env("CNI_COMMAND", verb.as_str())
            .env("CNI_PATH", &plugins.cni_path())
    }

    /// The call of the plugin that `config` names in `type`, for one attachment.
    pub fn new(plugins: &Plugins, verb: Verb, config: &Value, attachment: &Attachment) -> Call {
        let kind = config["type"]
            .as_str()
            .expect("a configuration with a type");
        Call::raw(plugins, kind, verb, config.to_string())
            .env("CNI_CONTAINERID", &attachment.container)
            .env("CNI_NETNS", &attachment.netns)
            .env("CNI_IFNAME", &attachment.ifname)
    }

    /// The same with an environment variable set (to the empty string too).
    pub fn env(mut self, name: &str, value: &str) -> Call {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same without an environment variable.
    pub fn without_env(mut self, name: &str) -> Call {
        self.environment.retain(|(known, _)| known != name);
        self
    }

    /// What the plugin reads.
    pub fn stdin(&self) -> &[u8] {
        &self.stdin
    }

    /// The process to be, on the lab's host. Nothing of the test's own environment goes with it but PATH, as a runtime
    /// hands it on.
    pub fn command(&self, lab: &Lab) -> Command {
        let mut command = lab.command(&self.binary);
        command
            .env_clear()
            .envs(self.environment.iter().map(|(k, v)| (k, v)));
        if let Some(path) = std::env::var_os("PATH").filter(|_| !self.sets("PATH")) {
            command.env("PATH", path);
        }
        command
    }

    fn sets(&self, name: &str) -> bool {
        self.environment.iter().any(|(known, _)| known == name)
    }

    /// Makes the call and waits for its end.
    #[track_caller]
    pub fn make(&self, lab: &Lab) -> Outcome {
        Outcome::new(self, process::run(self.command(lab), &self.stdin))
    }

    /// How messages call it: `bridge ADD c1 eth0`.
    fn title(&self) -> String {
        let value = |wanted: &str| {
            let found = self.environment.iter().find(|(name, _)| name == wanted);
            found.map_or("", |(_, value)| value.as_str())
        };
        let binary = self
            .binary
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let words = ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME"].map(value);
        format!("{binary} {}", words.join(" ").trim_end())
    }
}

/// What a call came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    call: String,
    /// The process's status and streams.
    pub output: Output,
}

impl Outcome {
    pub(crate) fn new(call: &Call, output: Output) -> Outcome {
        Outcome {
            call: call.title(),
            output,
        }
    }

    /// Whether the plugin says that it succeeded.
    pub fn succeeded(&self) -> bool {
        self.output.succeeded()
    }

    /// The one JSON document on stdout; `Null` where there is nothing at all (a DEL that succeeded).
    ///
    /// # Panics
    ///
    /// If stdout is anything but that.
    #[track_caller]
    pub fn document(&self) -> Value {
        let mut documents = serde_json::Deserializer::from_str(&self.output.stdout).into_iter();
        let first = documents.next().unwrap_or(Ok(Value::Null));
        let first = first.unwrap_or_else(|e| panic!("{self}: stdout is no JSON: {e}"));
        assert!(
            documents.next().is_none(),
            "{self}: more than one document on stdout"
        );
        first
    }

    /// The document of a call that must succeed.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!(self.succeeded(), "{self}");
        self.document()
    }

    /// The error of a call that must fail: exit status 1 and a document with code and msg (CNI SPEC, "Error").
    #[track_caller]
    pub fn error(&self) -> Value {
        assert_eq!(self.output.status.code(), Some(1), "{self}");
        let error = self.document();
        assert!(
            error["code"].is_u64() && error["msg"].is_string(),
            "{self}: not an error document"
        );
        error
    }

    /// Asserts failure with `code`, and returns msg and details in one string to look into.
    #[track_caller]
    pub fn refused(&self, code: u32) -> String {
        let error = self.error();
        assert_eq!(error["code"], json!(code), "{self}");
        told_by(&error)
    }

    /// Asserts failure with whatever code, and returns msg and details.
    #[track_caller]
    pub fn failed(&self) -> String {
        told_by(&self.error())
    }
}

fn told_by(error: &Value) -> String {
    ["msg", "details"]
        .map(|key| error[key].as_str().unwrap_or_default())
        .join(": ")
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.output)
    }
}
