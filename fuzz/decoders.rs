//! What must hold of each decoder for any bytes: it answers, and what it read it writes and reads again.
//! Called by the fuzz targets (targets/) and by `crates/spec/tests/decoders.rs`.
//! Must never expect an input to be valid, nor print.

#![allow(dead_code, reason = "each fuzz target uses one of them")]

use wharfline_spec::cni::{Args, CniError, CniResult, ConfList, NetConf, Version};

/// A plugin's configuration from stdin, with every capability argument in it.
pub(crate) fn net_conf(bytes: &[u8]) {
    let strict = NetConf::parse(bytes);
    let on_del = NetConf::parse_for_del(bytes);
    if let Err(error) = &strict {
        assert!([1, 6, 7].contains(&error.code), "{error}");
    }
    let Ok((conf, problem)) = on_del else {
        assert!(strict.is_err(), "DEL refuses what ADD takes");
        return;
    };
    assert_eq!(
        strict.is_err(),
        problem.is_some(),
        "DEL passes over prevResult and nothing else"
    );
    let runtime = &conf.runtime_config;
    let _ = (
        runtime.port_mappings(),
        runtime.ip_ranges(),
        runtime.ips(),
        runtime.mac(),
    );
    let _ = (
        runtime.bandwidth(),
        runtime.dns(),
        runtime.aliases(conf.name.as_str()),
    );
    let _ = (
        conf.ipam_type(),
        conf.cni_args(),
        conf.lists_valid_attachments(),
    );
}

/// A result, or prevResult, of any version.
pub(crate) fn cni_result(bytes: &[u8]) {
    let Ok(document) = serde_json::from_slice(bytes) else {
        return;
    };
    let _ = CniError::from_json(&document);
    let Ok(result) = CniResult::from_json(&document) else {
        return;
    };
    for version in Version::ALL {
        let written = result.to_json(version);
        let read = CniResult::from_json(&written);
        let again = read.as_ref().map(|read| read.to_json(version));
        assert_eq!(again.as_ref(), Ok(&written), "{version}");
        assert!(version < Version::NEWEST || read.as_ref() == Ok(&result));
    }
}

/// A network configuration list, or a single plugin's file.
pub(crate) fn conflist(bytes: &[u8]) {
    for read in [ConfList::parse(bytes), ConfList::parse_single(bytes)] {
        match read {
            Ok(list) => assert!(list.plugins.iter().all(|p| !p.plugin_type.is_empty())),
            Err(error) => assert!([1, 6, 7].contains(&error.code), "{error}"),
        }
    }
}

/// The variable CNI_ARGS.
pub(crate) fn cni_args(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(args) = Args::parse(text) else { return };
    assert!(args.iter().all(|(key, _)| args.get(key).is_some()));
    let keys: Vec<&str> = args.iter().map(|(key, _)| key).collect();
    assert_eq!(args.permit_only(&keys), Ok(()));
}
