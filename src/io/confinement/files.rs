//! Which files the process reaches, and which sockets: Landlock.

use std::{fmt, path::Path};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus as KernelStatus, PathBeneath,
    PathFd, PathFdError, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope,
};

/// What is asked for. A kernel with an older ABI enforces what it knows; ABI 6 is Linux 6.12's.
const WANTED: ABI = ABI::V6;

/// The files that the process may still reach, opened. The kernel refuses everything else, TCP and
/// other processes included.
#[derive(Debug)]
pub struct AllowedPaths {
    read: PathFd,
    kept: PathFd,
    emptied: Option<PathFd>,
    has_abstract_sockets: bool,
}

impl AllowedPaths {
    /// The process may read `read`, a file or a directory with everything below it. In the
    /// directory `kept` it may create, read, replace and remove files. Both are opened here,
    /// because the process may later become a user who is not let into the directories above them.
    ///
    /// # Errors
    /// One of them is missing.
    pub fn open(read: &Path, kept: &Path) -> Result<Self, LandlockError> {
        Ok(Self {
            read: PathFd::new(read)?,
            kept: PathFd::new(kept)?,
            emptied: None,
            has_abstract_sockets: false,
        })
    }

    /// Allows to remove empty directories in this one, too.
    ///
    /// # Errors
    /// It is missing.
    pub fn with_emptied(self, emptied: &Path) -> Result<Self, LandlockError> {
        Ok(Self {
            emptied: Some(PathFd::new(emptied)?),
            ..self
        })
    }

    /// Allows sockets of the abstract namespace, too: a service manager may listen at one.
    #[must_use]
    pub fn with_abstract_sockets(self) -> Self {
        Self {
            has_abstract_sockets: true,
            ..self
        }
    }
}

/// How far the kernel enforces the restriction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LandlockStatus {
    /// It does, as far as its version of Landlock goes.
    Enforced(String),
    /// It does not, for this reason.
    Absent(&'static str),
}

/// Why Landlock could not be used although the kernel has it.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    /// An allowed file or directory cannot be opened.
    #[error("Landlock: {0}")]
    Path(#[from] PathFdError),
    /// The kernel refuses.
    #[error("Landlock: {0}")]
    Ruleset(#[from] RulesetError),
}

impl fmt::Display for LandlockStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enforced(how) => f.write_str(how),
            Self::Absent(why) => write!(f, "off: {why}"),
        }
    }
}

/// Restricts this thread, and the threads that it starts from now on, to these paths.
///
/// # Errors
/// The kernel has Landlock and refuses.
pub fn install_landlock(paths: &AllowedPaths) -> Result<LandlockStatus, LandlockError> {
    let status = ruleset(paths)?.restrict_self()?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced, _) => LandlockStatus::Enforced("on".to_owned()),
        (_, KernelStatus::Available { effective_abi, .. }) => {
            LandlockStatus::Enforced(format!("on, as far as ABI {} goes", effective_abi as i32))
        }
        (_, KernelStatus::NotEnabled) => {
            LandlockStatus::Absent("the kernel was started without it (`lsm=` on its command line)")
        }
        (_, KernelStatus::NotImplemented) => {
            LandlockStatus::Absent("the kernel was built without CONFIG_SECURITY_LANDLOCK")
        }
    })
}

fn ruleset(paths: &AllowedPaths) -> Result<RulesetCreated, LandlockError> {
    let mut scopes = Scope::from_all(WANTED);
    if paths.has_abstract_sockets {
        scopes.remove(Scope::AbstractUnixSocket);
    }
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(WANTED))?
        .handle_access(AccessNet::from_all(WANTED))?
        .scope(scopes)?
        .create()?
        .add_rule(PathBeneath::new(&paths.read, AccessFs::ReadFile))?
        .add_rule(PathBeneath::new(&paths.kept, keeping()))?;
    Ok(match &paths.emptied {
        Some(emptied) => ruleset.add_rule(PathBeneath::new(emptied, AccessFs::RemoveDir))?,
        None => ruleset,
    })
}

/// What saved flows need: a whole new file is written and renamed over the old one.
fn keeping() -> BitFlags<AccessFs> {
    AccessFs::ReadFile
        | AccessFs::WriteFile
        | AccessFs::MakeReg
        | AccessFs::RemoveFile
        | AccessFs::Truncate
}
