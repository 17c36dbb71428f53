//! Every key of the configuration, declared once: its type, its default, its meaning, whether a
//! reload takes a change of it, and when it weakens a default.
//!
//! The types that serde reads, the defaults, `docs/configuration.md`, `packaging/ftp-alg.toml`,
//! what a reload leaves alone and what `check` warns of are all made from these declarations.
//! After a change, `REGENERATE=1 cargo test --test generated_docs` writes the two files anew.
//! CONTRIBUTING.md lists what else a new key needs.

use ipnetwork::IpNetwork;
use serde::Deserialize;

use super::{
    addresses::{PublicMap, SourceNetworks},
    policy_entries::PolicyEntries,
    values::{
        AbsolutePath, AtOnce, BackendChoice, ByteRate, ControlPorts, Count, List, LogFormat,
        MemorySize, NatPorts, Queues, ServerDirectory, Timeout, TlsData, TlsPorts, User,
    },
};
use crate::{
    proto::{kernel::WhenKernelHelps, nat::PortShare},
    ruleset::{Labels, Marks, WhenAbsent},
};

/// A table of the configuration.
#[derive(Debug)]
pub struct KeyTable {
    /// Its name; empty for the keys above all tables.
    pub name: &'static str,
    /// What its keys are about.
    pub about: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// A key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Its name with that of its table, such as `nat.ports`.
    pub name: &'static str,
    /// Its default as it is written in TOML; `None` where its absence means something.
    pub default: Option<&'static str>,
    /// What it may look like where it has no default.
    pub example: Option<&'static str>,
    /// What it means: lines of Markdown.
    pub meaning: &'static str,
    /// What takes a change of it.
    pub taken_by: TakenBy,
    /// What `check` says of a value that is less strict than the default.
    pub warning: Option<&'static str>,
    pub(super) is_weaker: fn(&Config, &Config) -> bool,
    pub(super) keep: fn(&Config, &mut Config) -> bool,
}

/// What takes a change of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakenBy {
    /// A reload, at once.
    Reload,
    /// The next start only.
    Restart,
}

macro_rules! option {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}

/// A struct that is read from a table, unless such a one exists elsewhere.
macro_rules! table {
    (struct $Table:ident $(#[doc = $about:literal])+ {$(
        $(#[doc = $meaning:literal])+ $key:ident: $Type:ty,
    )+}) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $Table {$(
            $(#[doc = $meaning])+
            pub $key: $Type,
        )+}
    };
    (use $($rest:tt)+) => {};
}

macro_rules! name {
    ([] $key:ident) => {
        stringify!($key)
    };
    ([$table:ident] $key:ident) => {
        concat!(stringify!($table), ".", stringify!($key))
    };
}

macro_rules! field {
    ($config:ident [] $key:ident) => {
        $config.$key
    };
    ($config:ident [$table:ident] $key:ident) => {
        $config.$table.$key
    };
}

macro_rules! key {
    (
        $table:tt [$($meaning:literal)+] $key:ident
        [$($default:tt)?] [$($example:tt)?] $taken_by:ident [$($than:tt $warning:ident)?]
    ) => {
        Key {
            name: name!($table $key),
            default: option!($(stringify!($default))?),
            example: option!($(stringify!($example))?),
            meaning: concat!($($meaning, "\n"),+),
            taken_by: TakenBy::$taken_by,
            warning: option!($($warning)?),
            is_weaker: |_config, _default| {
                false $(|| field!(_config $table $key) $than field!(_default $table $key))?
            },
            keep: |running, new| {
                let is_changed = field!(new $table $key) != field!(running $table $key);
                field!(new $table $key).clone_from(&field!(running $table $key));
                is_changed
            },
        }
    };
}

macro_rules! keys {
    (
        $(#[doc = $first_about:literal])+
        struct Config {$(
            $(#[doc = $first_meaning:literal])+
            $first:ident: $First:ty $(= $first_default:tt)? $(=> $first_example:tt)?,
            $first_taken_by:ident;
        )+}
        $(
            $(#[doc = $about:literal])+
            [$table:ident] $how:tt $Table:ident {$(
                $(#[doc = $meaning:literal])+
                $key:ident: $Type:ty $(= $default:tt)? $(=> $example:tt)?,
                $taken_by:ident $(, warn if $than:tt $warning:ident)?;
            )+}
        )+
    ) => {
        $(#[doc = $first_about])+
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Config {
            $($(#[doc = $first_meaning])+ pub $first: $First,)+
            $($(#[doc = $about])+ pub $table: $Table,)+
        }

        $(table!($how $Table $(#[doc = $about])+ {
            $($(#[doc = $meaning])+ $key: $Type,)+
        });)+

        /// All keys, in the order in which people read them.
        pub static TABLES: &[KeyTable] = &[
            KeyTable {
                name: "",
                about: concat!($($first_about, "\n"),+),
                keys: &[$(key!(
                    [] [$($first_meaning)+] $first
                    [$($first_default)?] [$($first_example)?] $first_taken_by []
                )),+],
            },
            $(KeyTable {
                name: stringify!($table),
                about: concat!($($about, "\n"),+),
                keys: &[$(key!(
                    [$table] [$($meaning)+] $key
                    [$($default)?] [$($example)?] $taken_by [$($than $warning)?]
                )),+],
            }),+
        ];
    };
}

const OPENS_MORE: &str = "opens more than FTP needs, for the hosts it names";
const UNREADABLE_DATA: &str = "lets in data connections that nobody has announced readably";
const UNREADABLE_SESSIONS: &str =
    "lets sessions on these ports begin where no command policy can read them";
const TAKES_MORE: &str = "lets one client take more of the gateway than any is known to need";
const KEEPS_MORE: &str = "leaves the daemon more than it needs";

keys! {
    /// Which connections are followed, and how.
    struct Config {
        /// The server ports whose connections are FTP control connections.
        control_ports: ControlPorts = [21], Restart;

        /// The NFQUEUE numbers, one worker thread each: `"3"` for one, `"0-1"` for two, up to 64.
        queue: Queues = "0-1", Restart;

        /// How data connections are let in. `"conntrack"`: by expectations of the kernel; data
        /// connections are RELATED. `"nftables"`: by sets and maps in our own table; data
        /// connections carry the ct label `label.data`. `"auto"`: the first of them that this
        /// kernel has; the log says which, and why.
        backend: BackendChoice = "auto", Restart;

        /// Whether the daemon puts its own table `inet ftp_alg` in place on start and removes it on
        /// exit. The table stays on exit where a connection has a sequence offset, where a data
        /// connection is still expected, and with `when_absent = "drop"`. Where the firewall of a
        /// bridge tracks connections, there is a second one, `bridge ftp_alg`. With `false`, load
        /// by hand what `ftp-alg rules` prints, and `ftp-alg rules --bridge` for a bridge.
        install_rules: bool = true, Restart;

        /// Whether the kernel keeps other programs from changing our table while the daemon runs,
        /// where it can (Linux 6.9): `nft flush ruleset` then leaves the table in place. With
        /// `false`, and on older kernels, the daemon puts back what others have changed. With
        /// `true`, `nft` refuses each change of the table with `Operation not permitted`.
        table_owner: bool = true, Restart;

        /// What happens to the packets of control connections while no daemon runs. `"bypass"`:
        /// they pass unread. `"drop"`: they are dropped. The packets of a connection with a
        /// sequence offset never pass unread.
        when_absent: WhenAbsent = "bypass", Restart;

        /// What happens to a control connection to which the kernel's own helper (nf_conntrack_ftp)
        /// is attached. `"step-aside"`: it is left to that helper. `"refuse"`: its packets are
        /// dropped. Both are logged, and two helpers never rewrite the same line.
        when_kernel_helps: WhenKernelHelps = "step-aside", Restart;

        /// What clients may say. Each entry is usually written as a table `[[command_policy]]` at
        /// the end of the file: see docs/command-policy.md.
        command_policy: Option<PolicyEntries>
            => [{ name = "no-deletes", commands = ["DELE"], action = "refuse" }], Reload;
    }

    /// How long and how many data connections are expected.
    [expectation] struct ExpectationKeys {
        /// How long an announced data connection may take to come: `"500ms"`, `"60s"` or `"2m"`,
        /// from 100ms to an hour.
        timeout: Timeout = "300s", Reload;

        /// How many data connections of one session may be expected at once, 1 to 16. A newer
        /// announcement replaces the oldest.
        max_per_session: AtOnce = 1, Reload;
    }

    /// How announcements are translated.
    [nat] struct NatKeys {
        /// The outside ports that an announcement may be given.
        ports: NatPorts = "1024-65535", Reload;

        /// Outside ports that no announcement is given, because other NAT helpers listen to them.
        /// Besides, none is given a port on which this machine listens, nor a reserved one
        /// (`net.ipv4.ip_local_reserved_ports`).
        avoid_ports: List<u16>
            = [69, 554, 1719, 1720, 1723, 2000, 2427, 2727, 5060, 5061, 6566, 6667, 10080], Reload;

        /// Outside addresses that another router translates one to one, each with its public
        /// address: `{ "172.31.0.4" = "203.0.113.9" }`. Announcements leave with the public
        /// address. A client or server may also announce it itself. See docs/defaults.md.
        public: PublicMap = {}, Reload;

        /// Which part of `nat.ports` this gateway gives, of several gateways that stand in for each
        /// other: `"1/2"` on the one, `"2/2"` on the other. See docs/ha.md.
        share: PortShare = "1/1", Restart;
    }

    /// Exemptions from what is refused by default, for the hosts or networks that a key names. Each
    /// opens more than FTP needs: see docs/defaults.md.
    [policy] struct PolicyKeys {
        /// Servers whose sessions open something before the server has greeted and let the user in
        /// (each with any 2yz), and although the client has said what is not FTP.
        unproven_servers: List<IpNetwork> = [], Reload, warn if != OPENS_MORE;

        /// Hosts that may announce a data port below 1024.
        privileged_ports: List<IpNetwork> = [], Reload, warn if != OPENS_MORE;

        /// Hosts whose data ports others may announce: FTP servers between which a client transfers
        /// files (FXP). The client tells one server by PORT the endpoint that the other has told it
        /// by 227. The server to which a client announces such an endpoint may connect to it.
        third_party_data: List<IpNetwork> = [], Reload, warn if != OPENS_MORE;

        /// Networks whose servers may open data connections from any address of their network. At
        /// most 32, each at most a /16 of IPv4 or a /48 of IPv6.
        data_sources: SourceNetworks = [], Restart, warn if != OPENS_MORE;

        /// Servers whose 227, 228 and 229 open something although they answer no PASV, LPSV or EPSV
        /// of the client.
        unsolicited_replies: List<IpNetwork> = [], Reload, warn if != OPENS_MORE;

        /// Servers whose clients say EPSV ALL and announce by other means all the same.
        after_epsv_all: List<IpNetwork> = [], Reload, warn if != OPENS_MORE;

        /// The directory in which sessions begin, where it is the same on all servers. Entries of
        /// the command policy with `paths` need it. Without the key, the directory is not known.
        login_directory: Option<ServerDirectory> => "/", Reload;

        /// The data connections of encrypted sessions (FTPS), whose announcements nobody can read.
        /// `"none"`: none. `"range"`: the client of such a session may connect to its server within
        /// `policy.tls_ports`, as long as the session lives.
        tls_data: TlsData = "none", Restart, warn if != UNREADABLE_DATA;

        /// The ports that your servers use for their passive data connections (pasv_min_port,
        /// PassivePorts), 1024 and up, at most 1024 of them. `tls_data = "range"` needs them.
        tls_ports: Option<TlsPorts> => "50000-50099", Restart;

        /// How many such data connections a session may have at a time, 1 to 16.
        tls_at_once: AtOnce = 4, Reload;

        /// The servers for whose sessions `tls_data = "range"` holds; for all, where none is named.
        tls_servers: List<IpNetwork> = [], Reload;

        /// The control ports whose connections begin with TLS (implicit FTPS), such as `[990]`.
        /// Each has to be one of `control_ports`.
        tls_implicit_ports: List<u16> = [], Reload, warn if != UNREADABLE_SESSIONS;
    }

    /// How much one client may ask for. A rate is a token bucket of ten seconds' depth. No client
    /// that waits for its answers comes near: see docs/defaults.md.
    [limits] struct LimitKeys {
        /// The commands of a session, a second. More of them wait.
        session_commands: Count = 5000, Reload, warn if > TAKES_MORE;

        /// The bytes of a session's control connection in both directions, a second, `"1M"` to
        /// `"2G"`. More of them wait. A segment counts as 256 bytes at the least.
        session_bytes: ByteRate = "4M", Reload, warn if > TAKES_MORE;

        /// The announcements of a session that open something, a second. More of them are refused
        /// (`too_many_openings`).
        session_openings: Count = 2000, Reload, warn if > TAKES_MORE;

        /// The commands of all sessions of one host (of IPv6: one /64) together, a second.
        host_commands: Count = 50000, Reload, warn if > TAKES_MORE;

        /// The bytes that one host sends in all its sessions together, a second.
        host_bytes: ByteRate = "16M", Reload, warn if > TAKES_MORE;

        /// The announcements of all sessions of one host that open something, a second.
        host_openings: Count = 20000, Reload, warn if > TAKES_MORE;

        /// The sessions that one host may have at once. More of them are reset.
        host_sessions: Count = 4096, Reload, warn if > TAKES_MORE;

        /// The memory that all followed connections may take together, `"8M"` to `"64G"`. At the
        /// bound, connections on which nobody has said anything are forgotten first, then those
        /// that were silent for longest. A session that goes on is picked up again. An idle session
        /// takes some 2 KiB.
        memory: MemorySize = "256M", Reload;
    }

    /// Which privileges the daemon keeps once its sockets are open.
    [process] struct ProcessKeys {
        /// The user that the daemon becomes, by name or number, with CAP_NET_ADMIN and nothing else
        /// of root's. `"auto"`: the user `ftp-alg` where the machine has one. Without it, the
        /// daemon stays the user that it is, and says so.
        user: User = "auto", Restart;

        /// Whether all system calls are refused but the few that the daemon needs.
        seccomp: bool = true, Restart, warn if != KEEPS_MORE;

        /// Whether Landlock restricts the daemon, where the kernel has it. The daemon then reaches
        /// its configuration with the files beside it, and `restart.directory`. It reaches no other
        /// file, no TCP and no other process.
        landlock: bool = true, Restart, warn if != KEEPS_MORE;
    }

    /// The bit of the ct mark that is ours. Change it if it collides with yours.
    [mark] use Marks {
        /// A data connection that was expected, while its first packet passes your filter (backend
        /// `"nftables"`): in the hooks forward, input and output from priority -149 on. No later
        /// packet has it.
        data: u32 = 0x10000000, Restart;
    }

    /// The bits of the ct label that are ours, by their numbers, 0 to 127. Change them if they
    /// collide with yours. No two keys may name the same bit.
    [label] use Labels {
        /// A data connection that was expected, as long as it lives (backend `"nftables"`).
        data: LabelBit = 125, Restart;

        /// A control connection with a sequence offset.
        adjust: LabelBit = 126, Restart;

        /// A control connection that went encrypted. One that is left alone has `label.adjust` and
        /// this bit.
        opaque: LabelBit = 127, Restart;
    }

    /// How the log looks.
    [log] struct LogKeys {
        /// `"text"` or `"json"` (one object a line), to stderr. The environment variable `RUST_LOG`
        /// filters it, `info` unless set; `info,ftp_alg=debug` shows each announcement.
        format: LogFormat = "text", Restart;
    }

    /// What a restart of the daemon finds.
    [restart] struct RestartKeys {
        /// The directory in which connections with a sequence offset are saved, so that they
        /// survive a restart of the daemon. It has to be on a tmpfs: packets wait until their
        /// connections are saved, and a disk may take long.
        directory: AbsolutePath = "/run/ftp-alg/flows", Restart;
    }
}
