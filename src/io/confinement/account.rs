//! The user that the daemon is.

use std::io;

use nix::unistd::User;
use rustix::{
    process::{Gid, Uid, getuid},
    thread::{set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

/// Why the daemon cannot be another user.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The list of users cannot be read.
    #[error("the users of this machine cannot be asked for: {0}")]
    Unreadable(io::Error),
    /// The kernel refuses.
    #[error("cannot become user `{name}`: {source}; start as root, or as that user")]
    Refused {
        /// Who it was to be.
        name: String,
        /// What the kernel says.
        source: io::Error,
    },
}

impl Account {
    /// The user of this name, or number. A number needs no entry in the list of users; its group
    /// has the same number then.
    ///
    /// # Errors
    /// The list of users cannot be read.
    pub fn find(name: &str) -> Result<Option<Self>, AccountError> {
        let unreadable = |error: nix::Error| AccountError::Unreadable(error.into());
        let Ok(uid) = name.parse::<u32>() else {
            return Ok(User::from_name(name).map_err(unreadable)?.map(Self::from));
        };
        let listed = User::from_uid(uid.into()).map_err(unreadable)?;
        Ok(Some(listed.map_or_else(|| Self::unlisted(uid), Self::from)))
    }

    /// The user that this process is.
    #[must_use]
    pub fn current() -> Self {
        let uid = getuid().as_raw();
        let listed = User::from_uid(uid.into()).ok().flatten();
        listed.map_or_else(|| Self::unlisted(uid), Self::from)
    }

    /// Its name, or its number where it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The number of its group.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// Makes this process that user, in its one group. The permitted capabilities stay permitted;
    /// [`keep_capabilities`](super::keep_capabilities) puts those that are kept in effect again.
    ///
    /// # Errors
    /// The kernel refuses. Some of the privileges may be gone then; none is new.
    pub fn switch_user(&self) -> Result<(), AccountError> {
        self.try_switch().map_err(|error| AccountError::Refused {
            name: self.name.clone(),
            source: error.into(),
        })
    }

    fn try_switch(&self) -> Result<(), rustix::io::Errno> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_keep_capabilities(true)?;
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        set_keep_capabilities(false)
    }

    fn unlisted(uid: u32) -> Self {
        Self {
            name: uid.to_string(),
            uid,
            gid: uid,
        }
    }
}

impl From<User> for Account {
    fn from(user: User) -> Self {
        Self {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_by_number_and_a_number_needs_no_entry() {
        let root = Account::find("root").unwrap().unwrap();
        assert_eq!((root.uid(), root.gid(), root.name()), (0, 0, "root"));
        assert_eq!(Account::find("0").unwrap(), Some(root));
        let unlisted = Account::find("3999999999").unwrap().unwrap();
        assert_eq!(
            (unlisted.uid(), unlisted.gid()),
            (3_999_999_999, 3_999_999_999)
        );
        assert_eq!(Account::find("no-such-user-here").unwrap(), None);
        assert_eq!(Account::find("no\0such").unwrap(), None);
    }
}
