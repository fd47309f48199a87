//! The `CNI_` variables: which verb needs which, and what each may hold.
//! Called by `boundary.rs` first of all, before stdin is read.
//! Must never look at a variable that the verb does not need: podman's VERSION sends junk in them.

use std::ffi::OsString;
use std::path::PathBuf;

use wharfline_spec::cni::{Args, CniError, code};
use wharfline_spec::{ContainerId, IfName};

use crate::plugin::{Verb, directories};

/// Reads one environment variable.
pub type ReadVariable<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// Which verbs cannot do without which variable (CNI SPEC 1.1.0, section 2, each operation's
/// "Required environment parameters").
const REQUIRED: [(&str, &[Verb]); 4] = [
    ("CNI_CONTAINERID", &[Verb::Add, Verb::Del, Verb::Check]),
    ("CNI_NETNS", &[Verb::Add, Verb::Check]),
    ("CNI_IFNAME", &[Verb::Add, Verb::Del, Verb::Check]),
    ("CNI_PATH", &[Verb::Gc]),
];

/// What the environment says of the attachment.
#[derive(Debug)]
pub(crate) struct Who {
    pub(crate) container: ContainerId,
    pub(crate) netns: Option<PathBuf>,
    pub(crate) ifname: IfName,
    pub(crate) args: Args,
    pub(crate) args_text: String,
}

/// Reads `CNI_COMMAND`.
///
/// # Errors
/// Code 4 when it is missing or no verb.
pub(crate) fn verb(env: &ReadVariable<'_>) -> Result<Verb, CniError> {
    match text(env, "CNI_COMMAND")? {
        Some(command) => command.parse(),
        None => Err(missing(&["CNI_COMMAND"])),
    }
}

/// Reads `CNI_PATH`, and makes sure that everything that `verb` requires is there.
///
/// # Errors
/// Code 4 naming every missing variable at once.
pub(crate) fn path(env: &ReadVariable<'_>, verb: Verb) -> Result<Vec<PathBuf>, CniError> {
    let is_set = |name: &str| env(name).is_some_and(|value| !value.is_empty());
    let required = REQUIRED.iter().filter(|(_, verbs)| verbs.contains(&verb));
    let absent: Vec<&str> = required
        .map(|(name, _)| *name)
        .filter(|name| !is_set(name))
        .collect();
    if absent.is_empty() {
        Ok(directories(env("CNI_PATH")))
    } else {
        Err(missing(&absent))
    }
}

/// Reads what ADD, DEL and CHECK are about.
///
/// # Errors
/// Code 4 naming the variable whose value cannot be used.
pub(crate) fn who(env: &ReadVariable<'_>) -> Result<Who, CniError> {
    let required = |name| text(env, name)?.ok_or_else(|| missing(&[name]));
    let args_text = text(env, "CNI_ARGS")?.unwrap_or_default();
    Ok(Who {
        container: ContainerId::new(&required("CNI_CONTAINERID")?)
            .map_err(|e| invalid("CNI_CONTAINERID", &e.to_string()))?,
        netns: env("CNI_NETNS")
            .filter(|p| !p.is_empty())
            .map(PathBuf::from),
        ifname: IfName::new(&required("CNI_IFNAME")?)
            .map_err(|e| invalid("CNI_IFNAME", &e.to_string()))?,
        args: Args::parse(&args_text)?,
        args_text,
    })
}

fn text(env: &ReadVariable<'_>, name: &str) -> Result<Option<String>, CniError> {
    match env(name).map(OsString::into_string) {
        Some(Ok(value)) => Ok(Some(value).filter(|v| !v.is_empty())),
        Some(Err(value)) => Err(invalid(name, &format!("{value:?} is not UTF-8"))),
        None => Ok(None),
    }
}

/// In libcni's words, on which callers may match.
fn missing(names: &[&str]) -> CniError {
    let names = names.join(",");
    CniError::new(
        code::INVALID_ENVIRONMENT,
        format!("required env variables [{names}] missing"),
    )
}

fn invalid(name: &str, problem: &str) -> CniError {
    CniError::new(code::INVALID_ENVIRONMENT, format!("{name}: {problem}"))
}
