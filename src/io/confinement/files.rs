//! Which files the process reaches, and which sockets: Landlock.

use std::{fmt, path::Path};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, PathFdError,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

/// What is asked for; a kernel that knows less of it enforces what it knows. ABI 6 is Linux 6.12's.
const WANTED: ABI = ABI::V6;

/// What stays within reach, opened: all else is refused, TCP and other processes included.
#[derive(Debug)]
pub struct Reach {
    read: PathFd,
    kept: PathFd,
    has_abstract_sockets: bool,
}

impl Reach {
    /// `read` is a file, or a folder with all that lies below it, that is read; `kept` a folder in
    /// which files are made, read, replaced and removed. They are opened here, by a user who may
    /// be let into more folders than the one that the process becomes.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn open(read: &Path, kept: &Path) -> Result<Self, FenceError> {
        Ok(Self {
            read: PathFd::new(read)?,
            kept: PathFd::new(kept)?,
            has_abstract_sockets: false,
        })
    }

    /// Leaves sockets in the abstract namespace within reach: a service manager listens at one.
    #[must_use]
    pub fn with_abstract_sockets(self) -> Self {
        Self {
            has_abstract_sockets: true,
            ..self
        }
    }
}

/// How far the kernel enforces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fence {
    /// All of it, or what this version of Landlock knows.
    Up(String),
    /// Nothing, for this reason.
    Missing(&'static str),
}

/// Why Landlock could not be used although the kernel has it.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// A file or folder that is to stay within reach cannot be opened.
    #[error("Landlock: {0}")]
    Path(#[from] PathFdError),
    /// The kernel refuses.
    #[error("Landlock: {0}")]
    Ruleset(#[from] RulesetError),
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up(how) => f.write_str(how),
            Self::Missing(why) => write!(f, "off: {why}"),
        }
    }
}

/// Lets this thread, and those that it starts from now on, reach nothing else.
///
/// # Errors
/// The kernel has Landlock and refuses, or what is to be reached is not there.
pub fn fence(reach: &Reach) -> Result<Fence, FenceError> {
    let status = ruleset(reach)?.restrict_self()?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced, _) => Fence::Up("on".to_owned()),
        (_, LandlockStatus::Available { effective_abi, .. }) => {
            Fence::Up(format!("on, as far as ABI {} goes", effective_abi as i32))
        }
        (_, LandlockStatus::NotEnabled) => {
            Fence::Missing("the kernel was started without it (`lsm=` on its command line)")
        }
        (_, LandlockStatus::NotImplemented) => {
            Fence::Missing("the kernel was built without CONFIG_SECURITY_LANDLOCK")
        }
    })
}

fn ruleset(reach: &Reach) -> Result<RulesetCreated, FenceError> {
    let mut scopes = Scope::from_all(WANTED);
    if reach.has_abstract_sockets {
        scopes.remove(Scope::AbstractUnixSocket);
    }
    Ok(Ruleset::default()
        .handle_access(AccessFs::from_all(WANTED))?
        .handle_access(AccessNet::from_all(WANTED))?
        .scope(scopes)?
        .create()?
        .add_rule(PathBeneath::new(&reach.read, AccessFs::ReadFile))?
        .add_rule(PathBeneath::new(&reach.kept, keeping()))?)
}

/// What memories need: a file is written whole and renamed over the old one.
fn keeping() -> BitFlags<AccessFs> {
    AccessFs::ReadFile
        | AccessFs::WriteFile
        | AccessFs::MakeReg
        | AccessFs::RemoveFile
        | AccessFs::Truncate
}
