//! `--format`: a text with `{{.Field.Of.Field}}` in it, for each object of a list.
//! `ps`, `inspect` and `stats` print with it.
//! It must never be a language: whoever wants more has `--json`.

use serde_json::Value;

use crate::error::{Error, Result};

/// The text with each field replaced by its value in `object`; keys are looked for without regard to case.
pub(crate) fn fill(template: &str, object: &Value) -> Result<String> {
    if template == "json" || template == "{{json .}}" {
        return Ok(object.to_string());
    }
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (field, after) = after.split_once("}}").ok_or_else(|| refuse(template))?;
        text.push_str(&unescaped(before));
        text.push_str(&value(field.trim(), object).ok_or_else(|| refuse(field))?);
        rest = after;
    }
    text.push_str(&unescaped(rest));
    Ok(text)
}

fn refuse(given: &str) -> Error {
    Error::BadValue {
        given: given.to_owned(),
        rule: "is not a field like {{.State}} or {{json .Labels}}",
    }
}

fn unescaped(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

fn value(field: &str, object: &Value) -> Option<String> {
    let (as_json, path) = match field.strip_prefix("json ") {
        Some(path) => (true, path.trim()),
        None => (false, field),
    };
    let mut found = object;
    for key in path
        .strip_prefix('.')?
        .split('.')
        .filter(|key| !key.is_empty())
    {
        found = match found {
            Value::Object(fields) => {
                let mut fields = fields.iter();
                fields.find(|(name, _)| name.eq_ignore_ascii_case(key))?.1
            }
            Value::Array(items) => items.get(key.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(match found {
        Value::String(text) if !as_json => text.clone(),
        Value::Null if !as_json => String::new(),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_replaced_by_their_values() {
        let object = json!({"ID": "a", "State": {"Pid": 7, "Names": ["x"]}, "None": null});
        let filled = |template| fill(template, &object).ok();
        assert_eq!(
            filled("{{.ID}}\\t{{ .state.pid }}"),
            Some("a\t7".to_owned())
        );
        assert_eq!(filled("{{.State.Names.0}}"), Some("x".to_owned()));
        assert_eq!(filled("{{json .ID}}|{{.None}}"), Some("\"a\"|".to_owned()));
        for wrong in ["{{.Nothing}}", "{{ID}}", "{{.ID"] {
            assert_eq!(filled(wrong), None, "{wrong}");
        }
    }
}
