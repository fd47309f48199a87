//! The variable `CNI_ARGS`: `KEY=value` pairs separated by semicolons.
//! Read by plugins for the conventional keys (`IP`, `MAC`, `IgnoreUnknown`) and kept for labels.
//! Must never decide which keys a plugin knows: each plugin names its own.

use super::{CniError, code};

/// The pairs of `CNI_ARGS` in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Args {
    pairs: Vec<(String, String)>,
    ignore_unknown: bool,
}

/// The key that permits keys unknown to the plugin (CONVENTIONS.md, "CNI_ARGS").
const IGNORE_UNKNOWN: &str = "IgnoreUnknown";

impl Args {
    /// Reads `K=V;K=V`. Empty pairs are passed over; a value may hold further `=`.
    ///
    /// # Errors
    /// Code 4 naming the pair that has no `=` or no key, or an `IgnoreUnknown` that is no truth value.
    pub fn parse(text: &str) -> Result<Args, CniError> {
        let mut args = Args::default();
        for pair in text.split(';').filter(|p| !p.is_empty()) {
            match pair.split_once('=') {
                Some((key, value)) if !key.is_empty() => {
                    if key == IGNORE_UNKNOWN {
                        args.ignore_unknown = truth(value)?;
                    }
                    args.pairs.push((key.to_owned(), value.to_owned()));
                }
                _ => return Err(bad(format!("CNI_ARGS: the pair {pair:?} is not KEY=VALUE"))),
            }
        }
        Ok(args)
    }

    /// The value of `key`; of a repeated key the last one, as the reference has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs
            .iter()
            .rev()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// All pairs in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Whether the caller permits keys that the plugin does not know.
    #[must_use]
    pub fn ignore_unknown(&self) -> bool {
        self.ignore_unknown
    }

    /// Refuses keys outside `known` unless the caller said `IgnoreUnknown=1`.
    ///
    /// # Errors
    /// Code 4 naming every unknown key.
    pub fn permit_only(&self, known: &[&str]) -> Result<(), CniError> {
        if self.ignore_unknown {
            return Ok(());
        }
        let is_known = |key: &str| key == IGNORE_UNKNOWN || known.contains(&key);
        let unknown: Vec<&str> = self
            .iter()
            .map(|(k, _)| k)
            .filter(|k| !is_known(k))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let keys = unknown.join(", ");
        Err(bad(format!(
            "CNI_ARGS: unknown keys {keys} (IgnoreUnknown=1 would permit them)"
        )))
    }
}

fn truth(value: &str) -> Result<bool, CniError> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(bad(format!(
            "CNI_ARGS: {IGNORE_UNKNOWN}={value:?} is neither true nor false"
        ))),
    }
}

fn bad(msg: String) -> CniError {
    CniError::new(code::INVALID_ENVIRONMENT, msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_in_any_order() {
        let args = Args::parse("K8S_POD_NAME=pod1;IgnoreUnknown=1;IP=10.0.0.5;MAC=").unwrap();
        assert!(args.ignore_unknown());
        assert_eq!(args.get("K8S_POD_NAME"), Some("pod1"));
        assert_eq!(args.get("MAC"), Some(""));
        assert_eq!(args.get("ip"), None);
        assert!(args.permit_only(&[]).is_ok());
    }

    #[test]
    fn unknown_keys_need_permission() {
        let args = Args::parse("IP=10.0.0.5;A=1;B=2").unwrap();
        let error = args.permit_only(&["IP"]).unwrap_err();
        assert_eq!(error.code, 4);
        assert!(error.msg.contains("A, B"), "{error}");
        assert!(Args::parse("").unwrap().permit_only(&[]).is_ok());
    }

    #[test]
    fn a_pair_without_a_key_or_a_sign_is_refused() {
        for text in ["IP", "=x", "A=1;B", "IgnoreUnknown=maybe"] {
            assert_eq!(Args::parse(text).unwrap_err().code, 4, "{text}");
        }
        assert_eq!(Args::parse(";A=b=c;").unwrap().get("A"), Some("b=c"));
    }
}
