//! The MAC that a user asks for: three places, the most deliberate first.
//! The faces of plugins whose interfaces have a MAC of their own call it.
//! It must never take an address that no single interface can have.

use macaddr::MacAddr6;
use wharfline_spec::cni::{Args, CniError, unicast_mac};

use crate::plugin::Request;

/// The capability wins over `args.cni.mac`, that over CNI_ARGS.
///
/// # Errors
/// Code 7 for what is no MAC of one interface.
pub fn requested(request: &Request) -> Result<Option<MacAddr6>, CniError> {
    if let Some(text) = request.conf.runtime_config.mac()?.filter(|t| !t.is_empty()) {
        return unicast("runtimeConfig.mac", &text).map(Some);
    }
    if let Some(args) = request.conf.cni_args()?
        && let Some(text) = args.text("mac")?
    {
        return unicast("args.cni.mac", &text).map(Some);
    }
    from_cni_args(&request.args)
}

fn from_cni_args(args: &Args) -> Result<Option<MacAddr6>, CniError> {
    match args.get("MAC").filter(|text| !text.is_empty()) {
        Some(text) => unicast("CNI_ARGS: MAC", text).map(Some),
        None => Ok(None),
    }
}

/// An interface's own address; `key` is where the user wrote it.
///
/// # Errors
/// Code 7 for any other.
pub fn unicast(key: &str, text: &str) -> Result<MacAddr6, CniError> {
    unicast_mac(text).map_err(|why| CniError::invalid_config(format!("{key}: {text:?} {why}")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wharfline_spec::cni::NetConf;
    use wharfline_spec::names::{ContainerId, IfName};

    use super::*;
    use crate::plugin::Verb;

    fn conf(keys: &Value) -> NetConf {
        let mut whole = json!({"cniVersion": "1.0.0", "name": "lab", "type": "bridge"});
        let fields = whole.as_object_mut().expect("an object");
        fields.extend(keys.as_object().expect("keys").clone());
        NetConf::parse(whole.to_string().as_bytes()).expect("a configuration")
    }

    fn request(keys: &Value, args: &str) -> Request {
        Request {
            verb: Verb::Add,
            conf: conf(keys),
            container: ContainerId::new("c1").expect("an id"),
            netns: None,
            ifname: IfName::new("eth0").expect("a name"),
            args: Args::parse(args).expect("pairs"),
            args_text: args.to_owned(),
            path: Vec::new(),
        }
    }

    fn mac_of(keys: Value, args: &str) -> Option<String> {
        requested(&request(&keys, args))
            .expect("a MAC or none")
            .map(wharfline_spec::cni::mac_text)
    }

    #[test]
    fn a_mac_comes_from_the_capability_then_from_args_then_from_cni_args() {
        let capability = json!({"mac": "c2:00:00:00:00:01"});
        let args = json!({"cni": {"mac": "c2:00:00:00:00:02"}});
        let pairs = "IgnoreUnknown=1;MAC=c2:00:00:00:00:03";
        let told = |mac: &str| Some(mac.to_owned());
        assert_eq!(
            mac_of(json!({"runtimeConfig": capability, "args": args}), pairs),
            told("c2:00:00:00:00:01")
        );
        assert_eq!(
            mac_of(json!({"runtimeConfig": {"mac": ""}, "args": args}), pairs),
            told("c2:00:00:00:00:02")
        );
        assert_eq!(mac_of(json!({}), pairs), told("c2:00:00:00:00:03"));
        assert_eq!(mac_of(json!({}), "IgnoreUnknown=1"), None);
    }

    #[test]
    fn a_mac_that_no_interface_can_have_is_refused_by_its_source() {
        for wrong in [
            "",
            "c2",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "zz:00:00:00:00:01",
        ] {
            let given = json!({"args": {"cni": {"mac": wrong}}});
            match requested(&request(&given, "")) {
                Ok(none) => assert!(wrong.is_empty() && none.is_none()),
                Err(error) => assert!(
                    error.code == 7 && error.msg.contains("args.cni.mac"),
                    "{}",
                    error.msg
                ),
            }
        }
        let error = requested(&request(&json!({"runtimeConfig": {"mac": "x"}}), ""));
        assert!(
            error
                .expect_err("refused")
                .msg
                .contains("runtimeConfig.mac")
        );
        let error = requested(&request(&json!({}), "MAC=x")).expect_err("refused");
        assert!(error.msg.contains("CNI_ARGS"), "{}", error.msg);
    }
}
