//! Changes of an image's configuration, as `wharf commit --change` takes them: the instructions of a Dockerfile that say
//! what a container gets (docs.docker.com, Dockerfile reference). `commit` applies them.
//! It must never run or expand anything: `$NAME` stays as it is.

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The command, in place of the image's.
    Cmd(Vec<String>),
    /// The entrypoint, in place of the image's.
    Entrypoint(Vec<String>),
    /// A variable more, or another value of one.
    Env(String, String),
    /// All variables, `NAME=VALUE` each, in place of the image's.
    Environment(Vec<String>),
    /// The user; empty for root.
    User(String),
    /// Where the command begins; below the image's if it is relative.
    Workdir(String),
    /// A port more, as `80/tcp`.
    Expose(String),
    /// A volume more.
    Volume(String),
    /// A label more, or another value of one.
    Label(String, String),
    /// The signal that stops the container.
    StopSignal(String),
}

impl Change {
    /// Reads instructions, in their order. An ENTRYPOINT takes the image's command away, unless a CMD came before it
    /// (Docker's rule).
    ///
    /// # Errors
    /// An instruction is none of those that change what a container gets, or its words are not of its form.
    pub fn parse_all<'a>(instructions: impl IntoIterator<Item = &'a str>) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        for instruction in instructions {
            let parsed = parse(instruction)?;
            let has_command = changes.iter().any(|made| matches!(made, Change::Cmd(_)));
            if matches!(parsed.as_slice(), [Change::Entrypoint(_)]) && !has_command {
                changes.push(Change::Cmd(Vec::new()));
            }
            changes.extend(parsed);
        }
        Ok(changes)
    }

    /// Makes the change in `config`, the object of that name in an image's configuration.
    pub(crate) fn apply(&self, config: &mut Map<String, Value>) {
        let mut set = |key: &str, value: Value| drop(config.insert(key.to_owned(), value));
        match self {
            Change::Cmd(words) => set("Cmd", json!(words)),
            Change::Entrypoint(words) => set("Entrypoint", json!(words)),
            Change::Environment(all) => set("Env", json!(all)),
            Change::User(user) => set("User", json!(user)),
            Change::StopSignal(signal) => set("StopSignal", json!(signal)),
            Change::Workdir(path) => {
                let now = config.get("WorkingDir").and_then(Value::as_str);
                let joined = std::path::Path::new(now.unwrap_or("/")).join(path);
                config.insert("WorkingDir".to_owned(), json!(joined));
            }
            Change::Env(name, value) => {
                let all = config.get("Env").and_then(Value::as_array).cloned();
                let mut all = all.unwrap_or_default();
                let is_it = |other: &Value| {
                    let other = other.as_str().unwrap_or_default();
                    other.split('=').next() == Some(name)
                };
                let variable = json!(format!("{name}={value}"));
                match all.iter_mut().find(|other| is_it(other)) {
                    Some(known) => *known = variable,
                    None => all.push(variable),
                }
                config.insert("Env".to_owned(), Value::Array(all));
            }
            Change::Expose(port) => insert(config, "ExposedPorts", port, json!({})),
            Change::Volume(path) => insert(config, "Volumes", path, json!({})),
            Change::Label(name, value) => insert(config, "Labels", name, json!(value)),
        }
    }
}

/// Puts a key into an object of the configuration, which may be missing or `null`.
fn insert(config: &mut Map<String, Value>, object: &str, key: &str, value: Value) {
    let object = config.entry(object).or_insert_with(|| json!({}));
    if !object.is_object() {
        *object = json!({});
    }
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

fn parse(instruction: &str) -> Result<Vec<Change>> {
    let refuse = |problem: &str| Error::malformed(format!("change {instruction:?}"), problem);
    let instruction = instruction.trim();
    let (word, rest) = instruction
        .split_once(char::is_whitespace)
        .ok_or_else(|| refuse("is not an instruction and its words"))?;
    let rest = rest.trim();
    let one = |made: Change| Ok(vec![made]);
    match word.to_ascii_uppercase().as_str() {
        "CMD" => one(Change::Cmd(command(rest))),
        "ENTRYPOINT" => one(Change::Entrypoint(command(rest))),
        "USER" => one(Change::User(rest.to_owned())),
        "WORKDIR" => one(Change::Workdir(rest.to_owned())),
        "STOPSIGNAL" => one(Change::StopSignal(rest.to_owned())),
        "ENV" => pairs(rest, Change::Env).ok_or_else(|| refuse("has no NAME=VALUE")),
        "LABEL" => pairs(rest, Change::Label).ok_or_else(|| refuse("has no NAME=VALUE")),
        "EXPOSE" => {
            let ports = rest.split_whitespace().map(port);
            let ports: Option<Vec<Change>> = ports.collect();
            ports.ok_or_else(|| refuse("has a word that is not PORT[-PORT][/tcp|/udp|/sctp]"))
        }
        "VOLUME" => {
            let paths = list(rest).unwrap_or_else(|| words(rest));
            match paths.iter().all(|path| path.starts_with('/')) {
                true => Ok(paths.into_iter().map(Change::Volume).collect()),
                false => Err(refuse("has a path that does not begin with a slash")),
            }
        }
        _ => Err(refuse(
            "is none of CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR",
        )),
    }
}

/// A JSON list of words, or a line for the shell.
fn command(text: &str) -> Vec<String> {
    list(text).unwrap_or_else(|| ["/bin/sh", "-c", text].map(str::to_owned).to_vec())
}

fn list(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

/// `NAME=VALUE ...`, or the old form `NAME the rest`.
fn pairs(text: &str, make: fn(String, String) -> Change) -> Option<Vec<Change>> {
    let words = words(text);
    if !words.first()?.contains('=') {
        let (name, value) = text.split_once(char::is_whitespace)?;
        return Some(vec![make(name.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Some(make(name.to_owned(), value.to_owned())),
        _ => None,
    };
    words.iter().map(pair).collect()
}

/// Words with quotes and backslashes, as in a Dockerfile.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        match next {
            '\\' if quote != Some('\'') => {
                word.get_or_insert_default().extend(rest.next());
            }
            '"' | '\'' if quote.is_none() => {
                quote = Some(next);
                word.get_or_insert_default();
            }
            _ if quote == Some(next) => quote = None,
            _ if next.is_whitespace() && quote.is_none() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(next),
        }
    }
    words.extend(word);
    words
}

fn port(given: &str) -> Option<Change> {
    let (ports, protocol) = given.split_once('/').unwrap_or((given, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    let known = ["tcp", "udp", "sctp"].contains(&protocol);
    (known && first > 0 && first <= last).then(|| Change::Expose(format!("{ports}/{protocol}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(before: Value, instructions: &[&str]) -> Value {
        let changes = Change::parse_all(instructions.iter().copied()).expect("changes");
        let mut config = before.as_object().cloned().expect("an object");
        changes.iter().for_each(|change| change.apply(&mut config));
        Value::Object(config)
    }

    #[test]
    fn instructions_change_what_a_dockerfiles_would() {
        let before = json!({"Env": ["A=1", "PATH=/bin"], "Cmd": ["old"], "WorkingDir": "/srv", "Labels": null});
        let after = applied(
            before,
            &[
                r#"CMD ["run", "it"]"#,
                "entrypoint  exec /start",
                r#"ENV A="x y" B=z\ 1"#,
                "ENV OLD the form",
                "EXPOSE 80 53/udp 8000-8010",
                "VOLUME /a /b",
                r#"VOLUME ["/c d"]"#,
                "LABEL tier=db 'a b'=c",
                "USER web:www",
                "WORKDIR sub",
                "STOPSIGNAL SIGINT",
            ],
        );
        assert_eq!(
            after,
            json!({"Env": ["A=x y", "PATH=/bin", "B=z 1", "OLD=the form"], "Cmd": ["run", "it"],
                "WorkingDir": "/srv/sub", "Labels": {"tier": "db", "a b": "c"},
                "Entrypoint": ["/bin/sh", "-c", "exec /start"],
                "ExposedPorts": {"80/tcp": {}, "53/udp": {}, "8000-8010/tcp": {}},
                "Volumes": {"/a": {}, "/b": {}, "/c d": {}}, "User": "web:www", "StopSignal": "SIGINT"})
        );
    }

    #[test]
    fn an_entrypoint_takes_the_command_away_unless_one_came_before() {
        let before = || json!({"Cmd": ["old"]});
        let after = applied(before(), &[r#"ENTRYPOINT ["e"]"#]);
        assert_eq!(after["Cmd"], json!([]));
        let after = applied(before(), &[r#"CMD ["c"]"#, r#"ENTRYPOINT ["e"]"#]);
        assert_eq!(after["Cmd"], json!(["c"]));
    }

    #[test]
    fn what_is_no_such_instruction_is_refused() {
        for wrong in [
            "CMD",
            "RUN true",
            "ENV",
            "ENV A",
            "LABEL a=b =c",
            "EXPOSE x",
            "EXPOSE 0",
            "EXPOSE 9-8",
            "EXPOSE 80/icmp",
            "VOLUME data",
            "FROM scratch",
        ] {
            assert!(Change::parse_all([wrong]).is_err(), "{wrong}");
        }
    }
}
