//! What keys demand of each other.

use super::{Config, values::TlsData};

/// Keys that do not go together. The last of them that was written is to blame.
#[derive(Debug)]
pub(super) struct Fault {
    /// Their full names; a number stands for a place in an array.
    pub(super) keys: Vec<String>,
    pub(super) reason: String,
}

impl Fault {
    fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            keys: vec![key.into()],
            reason: reason.into(),
        }
    }
}

impl Config {
    pub(super) fn crosscheck(&self) -> Result<(), Fault> {
        self.check_tls_ports()?;
        self.check_implicit_ports()?;
        self.check_mark()?;
        self.check_labels()?;
        self.check_entries()
    }

    fn check_tls_ports(&self) -> Result<(), Fault> {
        let Some(ports) = &self.policy.tls_ports else {
            let reason = "\"range\" needs tls_ports, such as \"50000-50099\": the ports that the \
                          servers use for their data connections";
            return match self.policy.tls_data {
                TlsData::None => Ok(()),
                TlsData::Range => Err(Fault::new("policy.tls_data", reason)),
            };
        };
        // The first packet of a control connection must not be taken for one of a data connection.
        let common = self.control_ports.iter().find(|port| ports.contains(port));
        common.map_or(Ok(()), |port| {
            let reason = format!("the control port {port} is one of these");
            Err(Fault::new("policy.tls_ports", reason))
        })
    }

    fn check_implicit_ports(&self) -> Result<(), Fault> {
        self.check_control_ports("policy.tls_implicit_ports", &self.policy.tls_implicit_ports)
    }

    /// Refuses a port at `key` whose connections nobody follows.
    fn check_control_ports(&self, key: &str, ports: &[u16]) -> Result<(), Fault> {
        let foreign = ports
            .iter()
            .position(|port| !self.control_ports.contains(port));
        foreign.map_or(Ok(()), |place| {
            let reason = format!("{} is not one of control_ports", ports[place]);
            Err(Fault::new(format!("{key}.{place}"), reason))
        })
    }

    fn check_mark(&self) -> Result<(), Fault> {
        match self.mark.data {
            0 => Err(Fault::new("mark.data", "0 is no bit of a ct mark")),
            _ => Ok(()),
        }
    }

    fn check_labels(&self) -> Result<(), Fault> {
        let labels = [
            ("label.data", self.label.data),
            ("label.adjust", self.label.adjust),
            ("label.opaque", self.label.opaque),
        ];
        for (place, (key, bit)) in labels.into_iter().enumerate() {
            let mut others = labels[..place].iter();
            if let Some((other, _)) = others.find(|(_, others_bit)| *others_bit == bit) {
                return Err(Fault {
                    keys: vec![key.to_owned(), (*other).to_owned()],
                    reason: format!("{other} and {key} are the same bit {}", bit.number()),
                });
            }
        }
        Ok(())
    }

    fn check_entries(&self) -> Result<(), Fault> {
        let entries = self.command_policy.as_deref().unwrap_or_default();
        for (place, entry) in entries.iter().enumerate() {
            let key = format!("command_policy.{place}");
            if entries[..place]
                .iter()
                .any(|earlier| earlier.name == entry.name)
            {
                let reason = format!("another entry has the name `{}` already", entry.name);
                return Err(Fault::new(key, reason));
            }
            self.check_control_ports(&format!("{key}.control_ports"), &entry.scope.control_ports)?;
        }
        Ok(())
    }
}
