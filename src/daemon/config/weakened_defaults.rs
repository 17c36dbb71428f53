//! What of a configuration is less strict than the defaults.

use super::Config;
use crate::proto::budget::Limits;

/// A key that weakens a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeakenedDefault {
    /// Its full name.
    pub key: &'static str,
    /// What that means.
    pub means: &'static str,
}

impl Config {
    /// The keys that weaken a default.
    #[must_use]
    pub fn weakened_defaults(&self) -> Vec<WeakenedDefault> {
        let opened = self.weakened_for_hosts();
        let encrypted = self.weakened_for_encrypted();
        let raised = self.raised_limits();
        let kept = self.kept_privileges();
        opened.chain(encrypted).chain(raised).chain(kept).collect()
    }

    fn weakened_for_hosts(&self) -> impl Iterator<Item = WeakenedDefault> {
        let policy = &self.policy;
        [
            ("expectation.early_servers", &self.expectation.early_servers),
            ("policy.unproven_servers", &policy.unproven_servers),
            ("policy.privileged_ports", &policy.privileged_ports),
            ("policy.third_party_data", &policy.third_party_data),
            ("policy.unsolicited_replies", &policy.unsolicited_replies),
            ("policy.after_epsv_all", &policy.after_epsv_all),
        ]
        .into_iter()
        .filter(|(_, networks)| !networks.is_empty())
        .map(|(key, _)| WeakenedDefault {
            key,
            means: "opens more than FTP needs, for the hosts it names",
        })
    }

    fn weakened_for_encrypted(&self) -> impl Iterator<Item = WeakenedDefault> {
        let tls = &self.policy.tls;
        let data = tls.ports.iter().map(|_| WeakenedDefault {
            key: "policy.tls_data",
            means: "lets in, for encrypted sessions, data connections that nobody has announced readably",
        });
        let implicit = tls.implicit_ports.first().map(|_| WeakenedDefault {
            key: "policy.tls_implicit_ports",
            means: "lets sessions on these ports begin where no rule can read them",
        });
        data.chain(implicit)
    }

    fn raised_limits(&self) -> impl Iterator<Item = WeakenedDefault> {
        let (limits, default) = (self.limits, Limits::default());
        [
            (
                "limits.session_commands",
                limits.session_commands,
                default.session_commands,
            ),
            (
                "limits.session_bytes",
                limits.session_bytes,
                default.session_bytes,
            ),
            (
                "limits.session_openings",
                limits.session_openings,
                default.session_openings,
            ),
            (
                "limits.host_commands",
                limits.host_commands,
                default.host_commands,
            ),
            ("limits.host_bytes", limits.host_bytes, default.host_bytes),
            (
                "limits.host_openings",
                limits.host_openings,
                default.host_openings,
            ),
            (
                "limits.host_sessions",
                limits.host_sessions,
                default.host_sessions,
            ),
        ]
        .into_iter()
        .filter(|(_, limit, default)| limit > default)
        .map(|(key, ..)| WeakenedDefault {
            key,
            means: "lets one client take more of the gateway than any is known to need",
        })
    }

    fn kept_privileges(&self) -> impl Iterator<Item = WeakenedDefault> {
        [
            ("process.seccomp", self.process.seccomp),
            ("process.landlock", self.process.landlock),
        ]
        .into_iter()
        .filter(|(_, is_given_up)| !is_given_up)
        .map(|(key, _)| WeakenedDefault {
            key,
            means: "leaves the daemon more than it needs",
        })
    }
}
