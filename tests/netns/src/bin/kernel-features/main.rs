//! The cases that need what not every kernel has, as one program: run on the machine's kernel and, by `tests/vm/run`, on
//! Debian's in an emulated machine, where starting processes is slow.
//!
//! A case whose features are missing here is reported as ignored, with their names, if the kernel is known to lack them;
//! else it fails.

mod cifs;
mod dockerd;
mod sctp;
mod smoke;
mod sub_interfaces;
mod vlan;
mod volumes;

use libtest_mimic::{Arguments, Failed, Trial};
use wharfline_testkit::Feature;

/// A named test with what it needs.
struct Case {
    name: &'static str,
    needs: &'static [Feature],
    run: fn(),
}

impl Case {
    fn trial(self, missing: &[Feature]) -> Trial {
        let lacking: Vec<Feature> = self
            .needs
            .iter()
            .copied()
            .filter(|f| missing.contains(f))
            .collect();
        let names: Vec<String> = lacking.iter().map(Feature::to_string).collect();
        let kind = if lacking.is_empty() {
            String::new()
        } else {
            format!("kernel lacks {}", names.join(" "))
        };
        let excused = !lacking.is_empty()
            && lacking
                .iter()
                .all(|f| f.is_known_to_be_absent() || !in_ci());
        let complaint = kind.clone();
        let run = move || {
            if !complaint.is_empty() {
                return Err(Failed::from(format!(
                    "{complaint}, which is not on the list of known absences"
                )));
            }
            (self.run)();
            Ok(())
        };
        Trial::test(self.name, run)
            .with_kind(kind)
            .with_ignored_flag(excused)
    }
}

fn in_ci() -> bool {
    std::env::var_os("CI").is_some()
}

fn main() {
    let arguments = Arguments::from_args();
    let all = [
        Feature::BridgeVlanFiltering,
        Feature::VlanLink,
        Feature::IpvlanLink,
        Feature::Sctp,
        Feature::ProjectQuota,
        Feature::Nfs,
        Feature::Cifs,
    ];
    let missing: Vec<Feature> = all
        .into_iter()
        .filter(|feature| !feature.is_here())
        .collect();
    let cases = smoke::CASES
        .into_iter()
        .chain(vlan::CASES)
        .chain(sctp::CASES)
        .chain(sub_interfaces::CASES)
        .chain(dockerd::CASES)
        .chain(volumes::CASES)
        .chain(cifs::CASES);
    let trials = cases.map(|case| case.trial(&missing)).collect();
    libtest_mimic::run(&arguments, trials).exit();
}
