//! The command line of `serve`: the socket, and what the plugin itself wants to know.
//! A plugin's `main` calls it when its first argument is `serve`.
//! It must never guess: an option that it does not know is refused by name.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Whose command line it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Name of the binary.
    pub name: &'static str,
    /// What dockerd calls the plugin.
    pub plugin: &'static str,
    /// Options beside the socket.
    pub options: &'static [OwnOption],
}

/// The options, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    program: Program,
    socket: PathBuf,
    metrics: Option<Endpoint>,
    /// Options of the plugin's own, in their order.
    own: Vec<(&'static str, String)>,
}

/// Where somebody may connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket at an absolute path.
    Unix(PathBuf),
    /// An address and port of TCP.
    Tcp(SocketAddr),
}

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// To serve.
    Serve(Arguments),
    /// How to be called; the text is on `--help`.
    Help(String),
}

/// An option of the plugin's own: its name with the dashes, and a line that says what its value is.
pub type OwnOption = (&'static str, &'static str);

impl Arguments {
    /// Reads what follows the word `serve`.
    ///
    /// # Errors
    /// A text that names the argument.
    pub fn parse(
        program: Program,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Asked, String> {
        let mut given = Self {
            program,
            socket: default_socket(program.plugin),
            metrics: None,
            own: Vec::new(),
        };
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            let argument = text(argument)?;
            if matches!(argument.as_str(), "-h" | "--help") {
                return Ok(Asked::Help(help(&program)));
            }
            let (option, value) = match argument.split_once('=') {
                Some((option, value)) => (option.to_owned(), Some(value.to_owned())),
                None => (argument, None),
            };
            let mut value = || match value.clone() {
                Some(value) => Ok(value),
                None => rest
                    .next()
                    .ok_or_else(|| format!("{option}: its value is missing"))
                    .and_then(text),
            };
            given.take(&option, &mut value)?;
        }
        if !given.socket.is_absolute() {
            let socket = given.socket.display();
            return Err(format!("--socket: {socket} is not absolute"));
        }
        Ok(Asked::Serve(given))
    }

    fn take(
        &mut self,
        option: &str,
        value: &mut dyn FnMut() -> Result<String, String>,
    ) -> Result<(), String> {
        let mut own = self.program.options.iter().map(|(known, _)| *known);
        match option {
            "--socket" => self.socket = PathBuf::from(value()?),
            "--metrics-socket" => self.metrics = Some(Endpoint::parse(option, &value()?)?),
            _ => match own.find(|known| *known == option) {
                Some(known) => self.own.push((known, value()?)),
                None => return Err(format!("{option}: no such option (see --help)")),
            },
        }
        Ok(())
    }

    /// Name of the binary.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.program.name
    }

    /// Path of the socket; without effect where one is inherited.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where Prometheus reads the metrics from, if anywhere.
    #[must_use]
    pub fn metrics(&self) -> Option<&Endpoint> {
        self.metrics.as_ref()
    }

    /// Every value that an option of the plugin's own was given.
    pub fn values<'a>(&'a self, option: &'a str) -> impl Iterator<Item = &'a str> {
        let of_option = move |(name, _): &&(&str, String)| *name == option;
        self.own
            .iter()
            .filter(of_option)
            .map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

impl Endpoint {
    fn parse(option: &str, text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            format!("{option}: {text} is neither an absolute path nor an address with a port")
        })
    }
}

fn text(argument: OsString) -> Result<String, String> {
    argument
        .into_string()
        .map_err(|bytes| format!("{}: is no text", bytes.display()))
}

/// Where dockerd looks for a plugin of this name (docs.docker.com, "Docker Plugin API", "Plugin discovery").
fn default_socket(plugin: &str) -> PathBuf {
    PathBuf::from(format!("/run/docker/plugins/{plugin}.sock"))
}

fn help(program: &Program) -> String {
    let (name, known) = (program.name, program.options);
    let default = default_socket(program.plugin);
    let mut text = format!(
        "Serves Docker's plugin protocol until SIGTERM.\n\n\
         Usage: {name} serve [--socket PATH] [--metrics-socket WHERE]{}\n\n\
         \x20 --socket PATH     the unix socket, {} unless said;\n\
         \x20                   a socket that systemd passes (LISTEN_FDS) goes before it\n\
         \x20 --metrics-socket WHERE\n\
         \x20                   where Prometheus reads /metrics: a path, or ADDRESS:PORT; nowhere unless said\n",
        if known.is_empty() { "" } else { " [OPTIONS]" },
        default.display(),
    );
    for (option, meaning) in known {
        text += &format!("  {option:<17} {meaning}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Asked, String> {
        let program = Program {
            name: "host-local",
            plugin: "wharf-ipam",
            options: &[("--pool", "a prefix")],
        };
        Arguments::parse(program, arguments.iter().map(OsString::from))
    }

    #[test]
    fn options_are_read_in_both_forms() {
        let asked = parse(&["--socket=/run/a.sock", "--pool", "10.0.0.0/8", "--pool=x"]);
        let Ok(Asked::Serve(arguments)) = asked else {
            panic!("{asked:?}");
        };
        assert_eq!(arguments.socket(), Path::new("/run/a.sock"));
        assert_eq!(arguments.metrics(), None);
        let pools: Vec<_> = arguments.values("--pool").collect();
        assert_eq!(pools, ["10.0.0.0/8", "x"]);
    }

    #[test]
    fn metrics_are_at_a_path_or_an_address() {
        let metrics = |value: &str| match parse(&["--metrics-socket", value]) {
            Ok(Asked::Serve(arguments)) => arguments.metrics().cloned(),
            other => panic!("{other:?}"),
        };
        let path = Endpoint::Unix(PathBuf::from("/run/m.sock"));
        assert_eq!(metrics("/run/m.sock"), Some(path));
        let address = "[::1]:9300".parse().expect("an address");
        assert_eq!(metrics("[::1]:9300"), Some(Endpoint::Tcp(address)));
    }

    #[test]
    fn what_is_unknown_or_lacks_its_value_is_refused_by_name() {
        for (bad, word) in [
            (&["--sock", "/x"][..], "--sock"),
            (&["--socket"], "--socket"),
            (&["--socket", "relative"], "relative"),
            (&["more"], "more"),
            (&["--metrics-socket", "relative"], "relative"),
        ] {
            let error = parse(bad).expect_err("refused");
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn help_names_every_option() {
        let Ok(Asked::Help(text)) = parse(&["--help"]) else {
            panic!("no help");
        };
        assert!(text.contains("--socket PATH") && text.contains("--pool"));
        assert!(text.contains("/run/docker/plugins/wharf-ipam.sock"));
    }
}
