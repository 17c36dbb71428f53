//! What an operator may decide: the TOML configuration, read, checked and given its defaults.
//!
//! [`keys`](TABLES) declares every key. An unknown key is an error, and every error says file,
//! line, column and reason on one line. What has come out of [`Config::parse`] needs no further
//! check.

mod addresses;
mod config_error;
mod crosscheck;
mod keys;
mod policy_entries;
mod values;

use std::{fs, ops::RangeInclusive, path::Path, sync::LazyLock};

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue, Deserializer},
};

pub use addresses::{PublicMap, SourceNetwork, SourceNetworks};
pub use config_error::ConfigError;
pub use keys::{
    Config, ExpectationKeys, Key, KeyTable, LimitKeys, LogKeys, NatKeys, PolicyKeys, ProcessKeys,
    RestartKeys, TABLES, TakenBy,
};
pub use policy_entries::PolicyEntries;
pub use values::{
    AbsolutePath, AtOnce, BackendChoice, Bounded, ByteRate, ControlPorts, Count, List, LogFormat,
    MemorySize, NatPorts, Queues, ServerDirectory, Timeout, TlsData, TlsPorts, User,
};

use crosscheck::Fault;

/// All keys that have a default, with it.
static DEFAULTS: LazyLock<String> = LazyLock::new(|| {
    let with_default = |key: &Key| Some(format!("{} = {}\n", key.name, key.default?));
    keys().filter_map(with_default).collect()
});

/// All keys.
fn keys() -> impl Iterator<Item = &'static Key> {
    TABLES.iter().flat_map(|table| table.keys)
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or [`Config::parse`] refuses it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let bytes = fs::read(path).map_err(|source| ConfigError::unreadable(&name, &source))?;
        String::from_utf8(bytes).map_or_else(
            |error| {
                let (text, at) = (
                    String::from_utf8_lossy(error.as_bytes()),
                    error.utf8_error(),
                );
                let reason = "not UTF-8, which TOML must be";
                Err(ConfigError::wrong(&name, &text, at.valid_up_to(), reason))
            },
            |text| Self::parse(&text, &name),
        )
    }

    /// Checks the text of a configuration; `file_name` is for the error message only.
    ///
    /// # Errors
    /// It is not TOML, has an unknown key, or a value that makes no sense.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, ConfigError> {
        let wrong = |at, reason: &str| ConfigError::wrong(file_name, text, at, reason);
        let refused =
            |error: toml::de::Error| wrong(error.span().unwrap_or_default().start, error.message());
        let written = DeTable::parse(text).map_err(refused)?;
        if let Some((place, reason)) = moved_key(written.get_ref()) {
            return Err(wrong(place, &reason));
        }
        let defaults = DeTable::parse(&DEFAULTS).map_err(refused)?;
        let mut whole = written.clone();
        complete(whole.get_mut(), defaults.into_inner());
        let config = Self::deserialize(Deserializer::from(whole)).map_err(refused)?;
        config.crosscheck().map_err(|Fault { keys, reason }| {
            let places = keys
                .iter()
                .filter_map(|key| place_of(written.get_ref(), key));
            wrong(places.max().unwrap_or_default(), &reason)
        })?;
        Ok(config)
    }

    /// Puts back what only a restart can change, and names the keys that it has put back.
    pub fn keep_what_needs_a_restart(&mut self, running: &Self) -> Vec<&'static str> {
        keys()
            .filter(|key| key.taken_by == TakenBy::Restart && (key.keep)(running, self))
            .map(|key| key.name)
            .collect()
    }

    /// The keys whose values are less strict than the defaults, and what that means.
    pub fn weakened_defaults(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let default = Self::default();
        keys()
            .filter(move |key| (key.is_weaker)(self, &default))
            .filter_map(|key| Some((key.name, key.warning?)))
    }
}

impl PolicyKeys {
    /// The ports to which encrypted sessions may have data connections, if any.
    #[must_use]
    pub fn granted_ports(&self) -> Option<&RangeInclusive<u16>> {
        let ports = self.tls_ports.as_deref();
        ports.filter(|_| self.tls_data == TlsData::Range)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::parse("", "the defaults").expect("each declared default is one of its key's values")
    }
}

/// Gives a document the keys that it lacks.
fn complete<'i>(written: &mut DeTable<'i>, defaults: DeTable<'i>) {
    for (key, default) in defaults {
        let there = written.get_mut(&**key.get_ref());
        match (there.map(Spanned::get_mut), default.get_ref()) {
            (None, _) => {
                written.insert(key, default);
            }
            (Some(DeValue::Table(written)), DeValue::Table(defaults)) => {
                complete(written, defaults.clone());
            }
            (Some(_), _) => {}
        }
    }
}

/// Keys of earlier versions, whose values mean nothing any more, and the keys of today.
const MOVED: [(&str, &str); 2] = [
    ("mark.adjust", "label.adjust"),
    ("mark.opaque", "label.opaque"),
];

/// The first such key, where it stands, and what to write instead.
fn moved_key(document: &DeTable<'_>) -> Option<(usize, String)> {
    MOVED.into_iter().find_map(|(old, new)| {
        let reason = format!(
            "{old} is {new} now: the number of a bit of the ct label, 0 to 127. Take {old} out"
        );
        Some((place_of(document, old)?, reason))
    })
}

/// Where the value of a key stands, such as `mark.data` or `policy.tls_implicit_ports.1`.
fn place_of(document: &DeTable<'_>, key: &str) -> Option<usize> {
    let mut names = key.split('.');
    let first = document.get(names.next()?)?;
    let value = names.try_fold(first, |value, name| match name.parse::<usize>() {
        Ok(place) => value.get_ref().get(place),
        Err(_) => value.get_ref().get(name),
    });
    value.map(|value| value.span().start)
}

#[cfg(test)]
mod tests;
