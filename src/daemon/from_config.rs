//! Derives the settings of the core and the parameters of the table from the configuration.

use std::{ops::RangeInclusive, sync::Arc};

use super::config::Config;
use crate::{
    proto::{budget::Limits, command_policy::CommandPolicy, flow::Settings, ftps::TlsSettings},
    ruleset::{Backend, Params, QueueStatement},
};

/// The settings of the core.
pub(crate) fn settings_of(config: &Config) -> Settings {
    Settings {
        expectation_timeout: *config.expectation.timeout,
        max_per_session: config.expectation.max_per_session.get() as usize,
        unproven_servers: config.policy.unproven_servers.to_vec(),
        privileged_ports: config.policy.privileged_ports.to_vec(),
        third_party_data: config.policy.third_party_data.to_vec(),
        unsolicited_replies: config.policy.unsolicited_replies.to_vec(),
        after_epsv_all: config.policy.after_epsv_all.to_vec(),
        command_policy: Arc::new(command_policy_of(config)),
        limits: limits_of(config),
        ports: RangeInclusive::clone(&config.nat.ports),
        public: config.nat.public.addresses(),
        data_sources: config.policy.data_sources.to_vec(),
        tls: tls_of(config),
    }
}

fn command_policy_of(config: &Config) -> CommandPolicy {
    let entries = config.command_policy.as_deref().unwrap_or_default();
    let directory = config.policy.login_directory.as_deref();
    CommandPolicy::new(entries.to_vec()).with_login_directory(directory.cloned())
}

/// The limits of one worker.
fn limits_of(config: &Config) -> Limits {
    let limits = &config.limits;
    Limits {
        session_commands: limits.session_commands.get(),
        session_bytes: *limits.session_bytes,
        session_openings: limits.session_openings.get(),
        host_commands: limits.host_commands.get(),
        host_bytes: *limits.host_bytes,
        host_openings: limits.host_openings.get(),
        host_sessions: limits.host_sessions.get(),
        memory: *limits.memory / config.queue.len().max(1),
    }
}

fn tls_of(config: &Config) -> TlsSettings {
    let policy = &config.policy;
    TlsSettings {
        ports: policy.granted_ports().cloned(),
        at_once: policy.tls_at_once.get() as usize,
        servers: policy.tls_servers.to_vec(),
        implicit_ports: policy.tls_implicit_ports.to_vec(),
    }
}

/// The parameters of the table.
#[must_use]
pub(crate) fn params_of(
    config: &Config,
    queue_statement: QueueStatement,
    backend: Backend,
) -> Params {
    Params {
        control_ports: config.control_ports.to_vec(),
        queues: RangeInclusive::clone(&config.queue),
        when_absent: config.when_absent,
        marks: config.mark,
        labels: config.label,
        queue_statement,
        backend,
        tls_ports: config.policy.granted_ports().cloned(),
        data_sources: config.policy.data_sources.to_vec(),
    }
}
