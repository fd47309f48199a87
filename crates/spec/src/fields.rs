//! Reads keys of a JSON object one by one, so that a refusal names the key by its whole path.
//! Used by every configuration parser: CNI configurations, results, capabilities, plugins' own keys.
//! Must never ignore a value of the wrong type.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};

/// A key whose value cannot be used.
///
/// The text is `path.of.the.key: what is wrong with it`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct BadField {
    /// Path of the key from the top of the document: `ipam.ranges[0][1].subnet`.
    pub key: String,
    /// What is wrong with its value.
    pub problem: String,
}

impl BadField {
    /// A refusal of `key` because of `problem`.
    pub fn new(key: impl Into<String>, problem: impl Into<String>) -> BadField {
        BadField {
            key: key.into(),
            problem: problem.into(),
        }
    }
}

/// A JSON object with the path at which it stands.
///
/// Keys are found without regard to ASCII case (the exact spelling first), because the reference
/// plugins decode with Go's encoding/json and runtimes rely on it: containerd sends `HostPort` where
/// the convention says `hostPort`. A `null` counts as an absent key, as it does there.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    at: String,
}

impl<'a> Fields<'a> {
    /// The object at the top of a document.
    #[must_use]
    pub fn root(map: &'a Map<String, Value>) -> Fields<'a> {
        Fields {
            map,
            at: String::new(),
        }
    }

    /// The object `map`, which stands at the path `at`.
    #[must_use]
    pub fn below(map: &'a Map<String, Value>, at: impl Into<String>) -> Fields<'a> {
        Fields { map, at: at.into() }
    }

    /// The object `value`, which stands at the path `at`.
    ///
    /// # Errors
    /// [`BadField`] when the value is not an object.
    pub fn of(value: &'a Value, at: impl Into<String>) -> Result<Fields<'a>, BadField> {
        let at = at.into();
        match value {
            Value::Object(map) => Ok(Fields { map, at }),
            other => Err(mismatch(at, "an object", other)),
        }
    }

    /// The object itself.
    #[must_use]
    pub fn map(&self) -> &'a Map<String, Value> {
        self.map
    }

    /// The whole path of `key` below this object.
    #[must_use]
    pub fn path(&self, key: &str) -> String {
        if self.at.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.at)
        }
    }

    /// A refusal of `key` below this object.
    pub fn bad(&self, key: &str, problem: impl Into<String>) -> BadField {
        BadField::new(self.path(key), problem)
    }

    /// The value of `key`; `None` when absent or null.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        let found = self.map.get(key).or_else(|| {
            self.map
                .iter()
                .find(|(k, _)| k.eq_ignore_ascii_case(key))
                .map(|(_, v)| v)
        });
        found.filter(|v| !v.is_null())
    }

    /// A string, the empty one included.
    ///
    /// # Errors
    /// [`BadField`] when the value is not a string.
    pub fn str(&self, key: &str) -> Result<Option<&'a str>, BadField> {
        self.typed(key, "a string", Value::as_str)
    }

    /// A string; the empty one counts as absent, as an unset Go string does.
    ///
    /// # Errors
    /// [`BadField`] when the value is not a string.
    pub fn text(&self, key: &str) -> Result<Option<String>, BadField> {
        Ok(self.str(key)?.filter(|s| !s.is_empty()).map(str::to_owned))
    }

    /// A string that holds a `T`; the empty one counts as absent.
    ///
    /// # Errors
    /// [`BadField`] when the value is not a string or `T` refuses it.
    pub fn parsed<T>(&self, key: &str) -> Result<Option<T>, BadField>
    where
        T: FromStr,
        T::Err: Display,
    {
        let Some(text) = self.str(key)?.filter(|s| !s.is_empty()) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(e) => Err(self.bad(key, format!("{text:?}: {e}"))),
        }
    }

    /// A truth value.
    ///
    /// # Errors
    /// [`BadField`] when the value is neither true nor false.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, BadField> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// A whole number that is not negative and fits `T`.
    ///
    /// # Errors
    /// [`BadField`] when the value is something else, or too large.
    pub fn number<T: TryFrom<u64>>(&self, key: &str) -> Result<Option<T>, BadField> {
        let Some(n) = self.typed(key, "a whole number, 0 or more", Value::as_u64)? else {
            return Ok(None);
        };
        T::try_from(n)
            .map(Some)
            .map_err(|_| self.bad(key, format!("{n} is too large")))
    }

    /// An object.
    ///
    /// # Errors
    /// [`BadField`] when the value is not an object.
    pub fn object(&self, key: &str) -> Result<Option<Fields<'a>>, BadField> {
        self.get(key)
            .map(|v| Fields::of(v, self.path(key)))
            .transpose()
    }

    /// The elements of a list, each with its path; empty when the key is absent.
    ///
    /// # Errors
    /// [`BadField`] when the value is not a list.
    pub fn list(&self, key: &str) -> Result<Vec<(String, &'a Value)>, BadField> {
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(value) => elements(value, &self.path(key)),
        }
    }

    /// A list of strings; empty when the key is absent.
    ///
    /// # Errors
    /// [`BadField`] when the value is not a list, or an element not a string.
    pub fn strings(&self, key: &str) -> Result<Vec<String>, BadField> {
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(value) => strings(value, &self.path(key)),
        }
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, BadField> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => Err(mismatch(self.path(key), expected, value)),
        }
    }
}

/// The elements of the list `value`, which stands at the path `at`, each with its own path.
///
/// # Errors
/// [`BadField`] when the value is not a list.
pub fn elements<'a>(value: &'a Value, at: &str) -> Result<Vec<(String, &'a Value)>, BadField> {
    match value {
        Value::Array(items) => Ok(items
            .iter()
            .enumerate()
            .map(|(i, item)| (format!("{at}[{i}]"), item))
            .collect()),
        other => Err(mismatch(at, "a list", other)),
    }
}

/// The list of strings `value`, which stands at the path `at`.
///
/// # Errors
/// [`BadField`] when the value is not a list, or an element not a string.
pub fn strings(value: &Value, at: &str) -> Result<Vec<String>, BadField> {
    let read = |(at, item): (String, &Value)| match item.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(mismatch(at, "a string", item)),
    };
    elements(value, at)?.into_iter().map(read).collect()
}

/// Longest piece of a refused value that an error repeats, in characters.
const QUOTE_MAX: usize = 60;

fn mismatch(at: impl Into<String>, expected: &str, found: &Value) -> BadField {
    let at = at.into();
    let at = if at.is_empty() {
        "the document".to_owned()
    } else {
        at
    };
    let mut text = found.to_string();
    if text.chars().count() > QUOTE_MAX {
        text = text.chars().take(QUOTE_MAX).collect::<String>() + "...";
    }
    BadField::new(at, format!("expected {expected}, found {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_wrong_type_is_refused_by_its_whole_path() {
        let doc = json!({"ipam": {"ranges": [{"subnet": 5}]}});
        let ipam = Fields::of(&doc, "")
            .unwrap()
            .object("ipam")
            .unwrap()
            .unwrap();
        let (at, first) = ipam.list("ranges").unwrap().remove(0);
        let error = Fields::of(first, at).unwrap().str("subnet").unwrap_err();
        assert_eq!(
            error.to_string(),
            "ipam.ranges[0].subnet: expected a string, found 5"
        );
    }

    #[test]
    fn keys_are_found_in_go_case_and_the_exact_spelling_wins() {
        let doc = json!({"HostPort": 1, "hostport": 2, "hostPort": 3, "gone": null});
        let fields = Fields::of(&doc, "").unwrap();
        assert_eq!(fields.number::<u16>("hostPort").unwrap(), Some(3));
        assert_eq!(fields.number::<u16>("HOSTPORT").unwrap(), Some(1));
        assert!(fields.get("gone").is_none());
    }

    #[test]
    fn numbers_must_fit() {
        let doc = json!({"a": 65536, "b": -1, "c": 1.5, "d": "7"});
        let fields = Fields::of(&doc, "").unwrap();
        assert_eq!(
            fields.number::<u16>("a").unwrap_err().to_string(),
            "a: 65536 is too large"
        );
        for key in ["b", "c", "d"] {
            assert!(fields.number::<u16>(key).is_err(), "{key}");
        }
    }

    #[test]
    fn a_long_value_is_cut_in_the_message() {
        let doc = json!({"name": ["é".repeat(500)]});
        let error = Fields::of(&doc, "").unwrap().str("name").unwrap_err();
        assert!(error.problem.chars().count() < 120, "{error}");
    }
}
